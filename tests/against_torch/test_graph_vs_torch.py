"""Float training of every operation, and of whole networks, against PyTorch in float64."""

from __future__ import annotations

import numpy as np
import pytest
from reference_models.concat_nets import NETWORKS as CONCATENATED
from reference_models.dag_nets import NETWORKS, batch, random_params
from reference_models.lazy import Lazy

from pynq_train.graph import Graph, zoo
from pynq_train.graph.reference import FloatTrainer
from pynq_train.layers import init_params

pytestmark = pytest.mark.oracle

torch, functional = Lazy("torch"), Lazy("torch.nn.functional")
torch_graph = Lazy("benchmarks.torch_graph")

SMALL = {**NETWORKS, **CONCATENATED}
LARGE = {"resnet20": zoo.resnet20(), "mobilenet": zoo.mobilenet_v1_025(), "ds_cnn": zoo.ds_cnn_s()}


def compare(graph: Graph, params: dict, x: np.ndarray, y: np.ndarray, tolerance: float,
            smoothing: float = 0.0, squared: bool = False, steps: int = 3) -> None:
    """Losses and gradients of ``steps`` steps, then parameters, statistics and logits."""
    model = FloatTrainer(graph, params, lr=0.02, label_smoothing=smoothing,
                         loss="mse" if squared else "cross-entropy")
    tensors = torch_graph.tensors_of(params)
    learned = [t for t in tensors.values() if t.requires_grad]
    optimiser = torch.optim.SGD(learned, lr=0.02, momentum=0.9)
    images, labels = torch.tensor(x, dtype=torch.float64), torch.tensor(y)

    def close(got: np.ndarray, want: torch.Tensor, what: str) -> None:
        reference = want.detach().numpy()
        scale = max(float(np.abs(reference).max()), 1e-3)
        worst = float(np.abs(got - reference).max())
        assert worst <= tolerance * scale, f"{what}: {worst} of {scale}"

    for step in range(steps):
        optimiser.zero_grad()
        logits = torch_graph.run(graph, tensors, images, training=True, seed=model.seed,
                                 step=step)
        if squared:
            loss = functional.mse_loss(logits, functional.one_hot(labels, graph.classes).double())
        else:
            loss = functional.cross_entropy(logits, labels, label_smoothing=smoothing)
        loss.backward()
        result, grads = model.gradients(x, y)
        assert result.loss == pytest.approx(loss.item(), rel=tolerance, abs=1e-6)
        for name, grad in grads.items():
            for field in ("weight", "bias"):
                if (name, field) in tensors:
                    want = tensors[name, field].grad
                    assert want is not None
                    close(getattr(grad, field), want, f"step {step}, gradient of {name}.{field}")
        optimiser.step()
        model.step(x, y)
    for (name, field), want in tensors.items():
        close(getattr(model.params[name], field), want, f"{name}.{field}")
    close(model.logits(x), torch_graph.run(graph, tensors, images, training=False), "logits")


@pytest.mark.parametrize("name", list(SMALL))
def test_every_operation(name: str, rng: np.random.Generator) -> None:
    graph = SMALL[name]
    # Networks with many values learn five images in two steps; then only rounding is left.
    compare(graph, random_params(graph, rng), *batch(graph, rng, 5), tolerance=2e-4,
            steps=1 if name in CONCATENATED else 3)


@pytest.mark.parametrize(("smoothing", "squared"), [(0.1, False), (0.5, False), (0.0, True)])
def test_losses(smoothing: float, squared: bool, rng: np.random.Generator) -> None:
    graph = SMALL["norm"]
    compare(graph, random_params(graph, rng), *batch(graph, rng, 6), tolerance=2e-4,
            smoothing=smoothing, squared=squared)


@pytest.mark.parametrize("name", list(LARGE))
def test_networks_of_the_zoo(name: str, rng: np.random.Generator) -> None:
    """Deep networks amplify float32's rounding: the bound is wider, a wrong rule is far outside."""
    graph = LARGE[name]
    compare(graph, init_params(graph, 2), *batch(graph, rng, 4), tolerance=2e-2, steps=1)
