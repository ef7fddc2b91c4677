"""How much other optimizers than SGD with momentum help: float32 in PyTorch, small networks.

    python -m benchmarks.optimizers digits [--epochs 10] [--seeds 2]
    python -m benchmarks.optimizers ds_cnn_s --data fsdd_logmel.npz [--epochs 4]

Each optimizer has a few rates; the row is that of the best one by the mean over the seeds. Rates
fall linearly behind a warm-up of a tenth of the steps. The optimizers that the engine does not have
are written here as docs/adr/023-optimizers.md has them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn import functional

import pynq_train as pt
from benchmarks.torch_graph import run, tensors_of
from pynq_train.arrays import Array
from pynq_train.graph import Graph, zoo
from pynq_train.layers import init_params

Update = Callable[[torch.Tensor, torch.Tensor, dict[str, torch.Tensor], int], torch.Tensor]
"""Takes weight, gradient, state and number of the step; returns the step at rate 1."""


def _state(state: dict[str, torch.Tensor], name: str, like: torch.Tensor) -> torch.Tensor:
    return state.setdefault(name, torch.zeros_like(like))


def momentum(w: torch.Tensor, g: torch.Tensor, state: dict[str, torch.Tensor], step: int
             ) -> torch.Tensor:
    """SGD with momentum 0.9."""
    return _state(state, "v", w).mul_(0.9).add_(g)


def signum(w: torch.Tensor, g: torch.Tensor, state: dict[str, torch.Tensor], step: int
           ) -> torch.Tensor:
    """The sign of the momentum."""
    return momentum(w, g, state, step).sign()


def nesterov_sign(w: torch.Tensor, g: torch.Tensor, state: dict[str, torch.Tensor], step: int
                  ) -> torch.Tensor:
    """The sign of Nesterov's step, momentum 0.95."""
    v = _state(state, "v", w).mul_(0.95).add_(g)
    return (0.95 * v + g).sign()


def lion(w: torch.Tensor, g: torch.Tensor, state: dict[str, torch.Tensor], step: int
         ) -> torch.Tensor:
    """Chen et al. 2023: two factors, 0.9 in the step and 0.99 in the momentum."""
    m = _state(state, "m", w)
    u = (0.9 * m + 0.1 * g).sign()
    m.mul_(0.99).add_(g, alpha=0.01)
    return u


def adam(w: torch.Tensor, g: torch.Tensor, state: dict[str, torch.Tensor], step: int
         ) -> torch.Tensor:
    """Kingma and Ba 2014, with bias correction."""
    m = _state(state, "m", w).mul_(0.9).add_(g, alpha=0.1)
    v = _state(state, "v", w).mul_(0.999).addcmul_(g, g, value=0.001)
    return m / (1 - 0.9**step) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)


def short_adam(w: torch.Tensor, g: torch.Tensor, state: dict[str, torch.Tensor], step: int
               ) -> torch.Tensor:
    """The same with 8 significant bits of v and of 1 / sqrt(v), as a table would have them."""
    m = _state(state, "m", w).mul_(0.9).add_(g, alpha=0.1)
    v = _state(state, "v", w).mul_(0.999).addcmul_(g, g, value=0.001)
    # Rounded stochastically: 0.001 of a value is less than half of the last of 8 bits.
    fraction, exponent = torch.frexp(v)
    v.copy_(torch.ldexp(torch.floor(fraction * 256 + torch.rand_like(v)) / 256, exponent))
    r = 1 / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
    fraction, exponent = torch.frexp(r)
    return m / (1 - 0.9**step) * torch.ldexp(torch.round(fraction * 256) / 256, exponent)


OPTIMIZERS: dict[str, tuple[Update, tuple[float, ...]]] = {
    "SGD, momentum 0.9": (momentum, (0.02, 0.05, 0.1)),
    "sign of the momentum": (signum, (3e-4, 1e-3, 3e-3)),
    "sign of Nesterov's step": (nesterov_sign, (3e-4, 1e-3, 3e-3)),
    "Lion": (lion, (3e-4, 1e-3, 3e-3)),
    "Adam": (adam, (1e-3, 3e-3, 1e-2)),
    "Adam, v and root of 8 bits": (short_adam, (1e-3, 3e-3, 1e-2)),
}


def accuracy(graph: Graph, update: Update, rate: float, seed: int, train: tuple[Array, Array],
             test: tuple[Array, Array], epochs: int, batch: int) -> float:
    """Return the accuracy on the test images after a training, in per cent."""
    torch.manual_seed(seed)
    tensors = tensors_of(init_params(graph, seed), torch.float32)
    learned = [tensor for tensor in tensors.values() if tensor.requires_grad]
    states: list[dict[str, torch.Tensor]] = [{} for _ in learned]
    x, y = torch.tensor(train[0]), torch.tensor(train[1])
    each = len(x) // batch
    order = np.random.default_rng(seed)
    for step in range(epochs * each):
        if step % each == 0:
            places = torch.tensor(order.permutation(len(x)))
        some = places[step % each * batch :][:batch]
        loss = functional.cross_entropy(run(graph, tensors, x[some], training=True), y[some])
        grads = torch.autograd.grad(loss, learned)
        done = step / (epochs * each)
        now = rate * min(1.0, done / 0.1 + 1e-3) * (1 - done)
        with torch.no_grad():
            for w, g, state in zip(learned, grads, states):
                w -= now * update(w, g, state, step + 1)
    with torch.no_grad():
        parts = [run(graph, tensors, torch.tensor(test[0][at : at + 256]), training=False)
                 for at in range(0, len(test[0]), 256)]
    return float(100 * (torch.cat(parts).argmax(1).numpy() == test[1]).mean())


def _images(path: str | None, most: int | None) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Return training and test images with their labels, normalised.

    Without a test set in the file every sixth image is one, or the last of its users' are.
    """
    if path is None:
        digits = pt.load_digits()
        assert digits.test is not None and digits.test.y is not None and digits.train.y is not None
        x, y = np.concatenate([digits.train.x, digits.test.x]), np.concatenate(
            [digits.train.y, digits.test.y])
        tested = np.arange(len(x)) >= len(digits.train.x)
    else:
        with np.load(path) as arrays:
            x, y = arrays["x"], arrays["y"]
            tested = (arrays["user"] == arrays["user"].max() if "user" in arrays.files
                      else np.arange(len(x)) % 6 == 5)
        x = x[:, None] if x.ndim == 3 else x
    x, y = x.astype(np.float32), y.astype(np.int64)
    x = (x - x[~tested].mean()) / x[~tested].std()
    return (x[~tested][:most], y[~tested][:most]), (x[tested], y[tested])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row for each optimizer."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("net", help="a network of the zoo")
    parser.add_argument("--data", help="an .npz file (default: scikit-learn's digits)")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--images", type=int, help="of the training images so many")
    parser.add_argument("--rates", type=int, default=3, help="of the rates, from the middle one on")
    given = parser.parse_args(arguments)
    train, test = _images(given.data, given.images)
    graph = zoo.get(given.net)
    for name, (update, rates) in OPTIMIZERS.items():
        found = {rate: [accuracy(graph, update, rate, seed, train, test, given.epochs, given.batch)
                        for seed in range(given.seeds)]
                 for rate in (rates if given.rates == len(rates) else rates[1 : 1 + given.rates])}
        best = max(found, key=lambda rate: float(np.mean(found[rate])))
        others = ", ".join(f"{rate:g}: {np.mean(some):.2f}" for rate, some in found.items())
        sys.stdout.write(f"{name:28} {np.mean(found[best]):6.2f} at {best:g}  ({others})\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
