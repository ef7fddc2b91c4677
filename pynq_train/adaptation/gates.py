"""Gates of DA3: pixels of a block's map that are left out, chosen by an adaptor that has learnt.

Beside a block with map y stands the branch's map A. Its mean over the channels, one number a pixel,
says by a scale and an offset whether y counts there: z = m y + A, m is 0 or 1. What is left out
need not be computed. The adaptor is trained first, without gates; then they are, alone, in float32
on the host: two numbers a gate, with straight-through gradients of noisy decisions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynq_train.errors import BadInput
from pynq_train.graph import Add, Graph, Model
from pynq_train.graph.float_ops import Back, Backward, Forward, Maps, Mode, Site
from pynq_train.graph.params import FloatArray
from pynq_train.graph.reference import FloatTrainer
from pynq_train.graph.rng import hash_u64, permutation, stream_key
from pynq_train.graph.shapes import require_int, require_number
from pynq_train.rungs import GATED
from pynq_train.train import Learner
from pynq_train.train.class_names import ClassNames
from pynq_train.train.images import ImageSource

_STREAM = 0x6A7E
_MOMENTUM, _RATE, _BEGIN = 0.9, 0.05, 1.0
"""SGD of the gates; with this offset they begin nearly open."""
_PENALTY = 16.0
"""Weight of the squared difference between the open share and its target, beside the loss."""


@dataclass(frozen=True)
class Gate:
    """Decides, pixel by pixel, whether a block's map counts: where its logit is above 0.

    Attributes:
        centre, spread: mean and deviation of the branch's mean over the channels, on the samples.
        scale, offset: of that mean in units of its deviation.
    """

    centre: float
    spread: float
    scale: float
    offset: float

    def standard(self, branch: FloatArray) -> FloatArray:
        """Return the mean over the channels in units of its deviation, ``(n, rows, cols, 1)``."""
        mean = branch.mean(axis=3, keepdims=True)
        return np.asarray((mean - self.centre) / self.spread, np.float32)

    def logits(self, branch: FloatArray) -> FloatArray:
        """Return the logit of each pixel of a branch's map ``(n, rows, cols, channels)``."""
        return np.asarray(self.scale * self.standard(branch) + self.offset, np.float32)


class _GatedNetwork(FloatTrainer):
    """A float32 network whose branches have gates.

    Attributes:
        gates: by name of the sum behind a block.
        seen: means over the channels of each branch's map, of the last forward pass.
        open: share of open pixels of each gate without noise, of the last forward pass.
        slopes: gradients of scale and offset of each gate, of the last backward pass.
    """

    def __init__(self, model: Model, gates: Mapping[str, Gate], target: float = 1.0,
                 temperature: float = 1.0, seed: int = 0) -> None:
        super().__init__(model.graph, model.params, seed=seed)
        self.gates = dict(gates)
        self.seen: dict[str, FloatArray] = {}
        self.open: dict[str, float] = {}
        self.slopes: dict[str, tuple[float, float]] = {}
        self._target, self._temperature = target, temperature

    def _kernels(self, site: Site) -> tuple[Forward, Backward]:
        return ((self._sum, self._sum_back) if site.op.name in self.gates
                else super()._kernels(site))

    def _sum(self, site: Site, xs: Maps, mode: Mode) -> tuple[FloatArray, Any]:
        own, branch = xs
        gate = self.gates[site.op.name]
        self.seen[site.op.name] = branch.mean(axis=3)
        logits = gate.logits(branch)
        # The share is that of an inference: what noise opens and closes is no saving.
        self.open[site.op.name] = float((logits > 0).mean())
        if mode.training:
            logits = (logits + _logistic(stream_key(
                mode.seed, _STREAM, site.place, mode.step), logits.shape)) / self._temperature
        mask = logits > 0
        return mask * own + branch, (own, mask, logits, gate.standard(branch))

    def _sum_back(self, site: Site, trace: Any, g: FloatArray, wanted: bool) -> Back:
        own, mask, logits, standard = trace
        soft = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
        share = float(np.mean(list(self.open.values())))
        of_share = 2 * _PENALTY * (share - self._target) / (len(self.gates) * mask.size)
        slope = (g * own).sum(axis=3, keepdims=True) + of_share
        slope = slope * soft * (1 - soft) / self._temperature
        self.slopes[site.op.name] = float((slope * standard).sum()), float(slope.sum())
        return Back([g * mask, g])


def _logistic(key: int, shape: tuple[int, ...]) -> FloatArray:
    """Return numbers of the logistic distribution: differences of two Gumbel ones."""
    bits = hash_u64(key, 0, int(np.prod(shape))) >> np.uint64(40)
    uniform = (bits.astype(np.float64) + 0.5) / (1 << 24)
    return (np.log(uniform) - np.log1p(-uniform)).astype(np.float32).reshape(shape)


@dataclass(frozen=True)
class Gated:
    """A network with an adaptor and gates, on the host in float32.

    Attributes:
        model: the network with its adaptor.
        gates: by name of the sum behind a block.
    """

    model: Model
    gates: Mapping[str, Gate]

    def logits(self, x: Any) -> FloatArray:
        """Return the logits ``(n, classes)`` of images as :meth:`Learner.fit` takes them."""
        return self._run(x)[0]

    def accuracy(self, x: Any, y: NDArray[np.int64]) -> float:
        """Return the part of images whose largest logit is that of their class number."""
        return float((self.logits(x).argmax(axis=1) == np.asarray(y)).mean())

    def open_pixels(self, x: Any) -> dict[str, float]:
        """Return the part of pixels of each block that are computed, by name of its gate."""
        return self._run(x)[1]

    def _run(self, x: Any) -> tuple[FloatArray, dict[str, float]]:
        network = _GatedNetwork(self.model, self.gates)
        images = _images(self.model, x)
        logits, opened = [], dict.fromkeys(self.gates, 0.0)
        for first in range(0, len(images), 64):
            part = images[first : first + 64]
            logits.append(network.logits(part))
            for name, share in network.open.items():
                opened[name] += share * len(part) / len(images)
        return np.concatenate(logits), opened


def fit_gates(model: Model | Learner, x: Any, y: Any, *, target: float = 0.7, epochs: int = 20,
              batch: int = 10, temperature: float = 1.0, seed: int = 0) -> Gated:
    """Train the gates of a network whose adaptor has learnt (``trainable="da3"``).

    The network stays as it is; no board takes part. The engine cannot leave out what a gate
    closes: its programs are made before the images are known (docs/adaptation.md).

    Args:
        model: a learner of the rung ``da3``, or its model.
        x: images, as for :meth:`Learner.fit`.
        y: their labels.
        target: part of the pixels that shall stay open.
        epochs: passes over the samples.
        batch: images of a mini-batch.
        temperature: of the decisions while they are learnt.
        seed: of the order of the images and of the noise.

    Raises:
        BadInput: the network has no branches of DA3, or an argument is none of these.
    """
    names: tuple[str, ...] = ()
    if isinstance(model, Learner):
        names = tuple(model.class_names)
        model = Model(model.graph, model.params, model.input_format)
    if not isinstance(model, Model):
        raise BadInput("model", expected="a Learner or a Model", found=type(model).__name__)
    sums = _sums(model.graph)
    require_number("target", target, 0, 1)
    require_number("temperature", temperature, 0.01, 100)
    require_int("epochs", epochs, 1)
    images = _images(model, x)
    require_int("batch", batch, 1, len(images))
    labels, _ = ClassNames.given(names or None, model.graph.classes, model.class_names).numbered(
        y, len(images), model.graph.classes)
    gates = _standing(model, sums, images)
    network = _GatedNetwork(model, gates, target, temperature, seed)
    speed = dict.fromkeys(gates, (0.0, 0.0))
    for epoch in range(epochs):
        order = permutation(stream_key(seed, _STREAM, epoch), len(images))
        for first in range(0, len(images) - batch + 1, batch):
            rows = order[first : first + batch]
            network.gradients(images[rows], labels[rows])
            network.steps += 1  # it names the noise
            for name, (of_scale, of_offset) in network.slopes.items():
                gate, (scale, offset) = network.gates[name], speed[name]
                speed[name] = scale, offset = (_MOMENTUM * scale + of_scale,
                                               _MOMENTUM * offset + of_offset)
                network.gates[name] = Gate(gate.centre, gate.spread, gate.scale - _RATE * scale,
                                           gate.offset - _RATE * offset)
    return Gated(model, network.gates)


def _standing(model: Model, names: tuple[str, ...], images: FloatArray) -> dict[str, Gate]:
    """Return the gates as they begin: nearly all open."""
    network = _GatedNetwork(model, dict.fromkeys(names, Gate(0.0, 1.0, 0.0, 1.0)))
    network.logits(images)
    return {name: Gate(float(mean.mean()), max(float(mean.std()), 1e-6), 1.0, _BEGIN)
            for name, mean in network.seen.items()}


def _sums(graph: Graph) -> tuple[str, ...]:
    """Return the names of the sums behind the blocks that have branches of DA3."""
    found = tuple(op.name for op in graph.ops if isinstance(op, Add) and op.name.endswith(GATED))
    if not found:
        raise BadInput(f"gates of {graph.name!r}", found="none", expected="branches of DA3",
                       fix='train it with trainable="da3" first')
    return found


def _images(model: Model, x: Any) -> FloatArray:
    source = ImageSource(x, model.graph.input_shape, model.input_format)
    return source.batch(np.arange(len(source))).values()
