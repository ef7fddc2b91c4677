"""Small networks of all kinds, and how they are trained, for comparison with the float twin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pynq_train.check.draw import Draw
from pynq_train.errors import DoesNotFit, UnsupportedModel
from pynq_train.graph import Graph
from pynq_train.graph.activation import Relu, Relu6
from pynq_train.graph.ops import (
    Add,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    MaxPool,
    MaxPool2x2,
    Op,
    PadChannels,
)
from pynq_train.graph.params import LayerParams
from pynq_train.layers import fuse, init_params

FAMILIES = ("chain", "normal", "depthwise", "residual", "join", "pooled", "small", "means")
"""Kinds of networks; seeds take them in turn."""
_STREAM = 0x717
_WORK = 600_000
"""Most multiplications of a step, so that a case takes a fraction of a second."""


@dataclass(frozen=True)
class Case:
    """A network and how it is trained.

    Attributes:
        graph: the network.
        batch: images of a mini-batch; ``valid``: those that count.
        steps: mini-batches.
        lr, momentum, decay, nesterov, clip: of the optimizer.
        accumulate: mini-batches of an update.
        layer_lr: factors by name of a parameter.
        trainable: what learns: ``all``, or names of parameters.
        loss, smoothing: the loss.
        split: parts of the mini-batch that are forced; None for the scheduler's choice.
        scale: of the start weights of convolutions in front of normalisations.
        seed: of images, labels, weights and dropouts.
    """

    graph: Graph
    batch: int
    valid: int
    steps: int
    lr: float
    momentum: float
    decay: float
    nesterov: bool
    clip: float | None
    accumulate: int
    layer_lr: dict[str, float]
    trainable: str | tuple[str, ...]
    loss: str
    smoothing: float
    split: int | None
    scale: float
    seed: int

    def parameters(self) -> dict[str, LayerParams]:
        """Return start parameters: none of them zero, one or equal to another."""
        draw = np.random.default_rng((3, self.seed))
        last = self.graph.ops[-1].name
        norms = {op.name for op in self.graph.ops if isinstance(op, BatchNorm)}
        scaled = {op.inputs[0] if op.inputs else before.name
                  for before, op in zip(self.graph.ops, self.graph.ops[1:])
                  if isinstance(op, BatchNorm)}
        made = {}
        for name, own in init_params(self.graph, self.seed).items():
            count = len(own.weight)
            bias = 0.2 * draw.standard_normal(count)
            if name in norms:
                made[name] = LayerParams(
                    (1 + 0.3 * draw.standard_normal(count)).astype(np.float32),
                    bias.astype(np.float32), np.zeros(count, np.float32),
                    np.ones(count, np.float32))
                continue
            weight = own.weight * (2 if name == last else self.scale if name in scaled else 1)
            made[name] = LayerParams(weight.astype(np.float32), None if own.bias is None
                                     else bias.astype(np.float32))
        return made

    def images(self) -> tuple[np.ndarray, np.ndarray]:
        """Return images ``(batch, channels, rows, cols)`` and labels: some images are large."""
        draw = np.random.default_rng((4, self.seed))
        x = draw.standard_normal((self.batch, *self.graph.input_shape))
        x *= np.exp2(draw.integers(-1, 2, (self.batch, 1, 1, 1)))
        # The largest values are those of the first image, or of the last one that counts.
        x[0 if self.seed % 2 else self.valid - 1] *= 4
        return x.astype(np.float32), draw.integers(0, self.graph.classes, self.batch)


class _Net:
    """Operations in order; ``at`` is the end of the last one."""

    def __init__(self, draw: Draw, shape: tuple[int, int, int], normal: int) -> None:
        self.draw, self.shape, self.at = draw, shape, "input"
        self.ops: list[Op] = []
        self._normal = normal
        self._shapes = {"input": shape}

    @property
    def size(self) -> int:
        """Smaller side of the map."""
        return min(self._here()[1:])

    @property
    def channels(self) -> int:
        """Channels of the map."""
        return self._here()[0]

    def _here(self) -> tuple[int, int, int]:
        return self._shapes[self.at]

    def add(self, kind: type[Op], *values: object, of: tuple[str, ...] | None = None,
            **more: object) -> str:
        """Append an operation behind the present end, or behind ``of``; return its name."""
        name = f"{kind.kind}{len(self.ops)}"
        op = kind(*values, name=name, inputs=of or (self.at,), **more)  # type: ignore[call-arg]
        self.ops.append(op)
        self._shapes[name] = op.out_shape(*(self._shapes[source] for source in op.inputs))
        self.at = name
        return name

    def conv(self, out: int, kernel: int, stride: int = 1, padding: object = None, groups: int = 1,
             normal: int | None = None) -> str:
        """Append a convolution, often normalised."""
        draw = self.draw
        if padding is None:
            least = max(0, -(-(kernel - self.size) // 2))
            padding = ("same", min(max(least, draw.below(kernel)), kernel - 1))[draw.below(2)]
        norm = draw.chance(self._normal if normal is None else normal)
        self.add(Conv, out, kernel, stride, padding, draw.chance(30 if norm else 80),
                 groups=groups)
        return self.norm() if norm else self.at

    def norm(self) -> str:
        """Append a normalisation."""
        draw = self.draw
        return self.add(BatchNorm, (0.1, 0.01, 0.5, 0.9)[draw.below(4)],
                        (1e-5, 1e-3, 0.1, 0.1)[draw.below(4)], draw.chance(15))

    def act(self, percent: int = 85) -> str:
        """Append an activation, mostly."""
        if self.draw.chance(percent):
            self.add(Relu6 if self.draw.chance(30) else Relu)
        return self.at

    def drop(self, percent: int = 15) -> None:
        """Append a dropout now and then."""
        if self.draw.chance(percent):
            self.add(Dropout, (0.0, 0.1, 0.3, 0.5)[self.draw.below(4)])

    def ragged(self) -> int:
        """Draw a number of channels, hardly ever a multiple of four."""
        return (1, 2, 3, 5, 6, 7, 9, 10, 13, 17, 18, 19, 8, 21)[self.draw.below(14)]

    def plain(self) -> None:
        """Append a convolution, activation and 2x2 pooling."""
        self.drop()
        kernel = 1 + self.draw.below(4)
        self.conv(self.ragged(), kernel, 1 + self.draw.below(2))
        self.act()
        if self.size >= 2 and self.draw.chance(30):
            self.add(MaxPool2x2)

    def depthwise(self) -> None:
        """Append a depthwise or grouped convolution, then a pointwise one."""
        draw = self.draw
        if draw.chance(40):
            count = 2 + draw.below(3)
            self.conv(count * (1 + draw.below(5)), 1)
            self.act()
            self.conv(count * (1 + draw.below(5)), 1 + draw.below(3), 1 + draw.below(2),
                      groups=count)
        else:
            self.conv(self.channels, 3, 1 + draw.below(2), "same", self.channels)
        self.act()
        self.conv(self.ragged(), 1)
        self.act()

    def residual(self) -> None:
        """Append a residual: the other branch is the input, a convolution, or padded channels."""
        draw, start, channels = self.draw, self.at, self.channels
        kind, stride = draw.below(4), 1
        out = channels if kind < 2 else channels + 4 if kind == 3 else self.ragged()
        if kind == 2:
            stride = 1 + draw.below(2)
        self.conv(out, 3, stride, "same")
        self.act()
        inner = self.conv(out, 1 + 2 * draw.below(2), 1, "same", normal=70)
        self.at = start
        other = start
        if kind == 2:
            other = self.conv(out, 1, stride, "same")
        elif kind == 3:
            front = 4 * draw.below(2)
            other = self.add(PadChannels, front, 4 - front)
        self.add(Add, of=(inner, other) if draw.chance(50) else (other, inner))
        self.act()

    def join(self) -> None:
        """Append concatenated branches."""
        draw, start = self.draw, self.at
        ends = []
        for number in range(2 + draw.below(2)):
            self.at = start
            if number and self.size > 1 and draw.chance(25):
                self.add(MaxPool, 3, 1, 1) if draw.chance(50) else self.add(AvgPool, 3, 1, 1)
            else:
                self.conv(self.ragged() if number else 4 * (1 + draw.below(3)),
                          1 + 2 * draw.below(2), 1, "same")
                self.act()
            ends.append(self.at)
        self.add(Concat, of=tuple(ends))
        self.act(20)

    def window(self) -> None:
        """Append a pooling by windows."""
        draw = self.draw
        if self.size < 2:
            return
        if draw.chance(25):
            self.add(AvgPool, 2, 1 + draw.below(2), ("same", 0)[draw.below(2)])
        else:
            kernel = 2 + draw.below(2)
            pads: tuple[object, ...] = ("same", kernel // 2) if self.size < kernel else (
                "same", 0, kernel // 2)
            self.add(MaxPool, kernel, 1 + draw.below(3), pads[draw.below(len(pads))])

    def end(self, mean: int) -> None:
        """Append a classifier, behind a mean in ``mean`` of 100 cases."""
        draw, classes = self.draw, 2 + draw_classes(self.draw)
        if draw.chance(mean):
            self.add(GlobalAvgPool)
            self.act(50)
        elif draw.chance(30) and self.ops:
            here = self._here()
            if here[1] == here[2] and here[1] <= 4:
                self.add(Conv, classes, here[1], 1, 0, draw.chance(70))
                return
        if self._here()[1:] != (1, 1):
            self.add(Flatten)
        self.drop(30)
        if draw.chance(40):
            self.add(Dense, self.ragged(), draw.chance(60))
            if draw.chance(30):
                self.norm()
            self.act()
            self.drop(20)
        self.add(Dense, classes, draw.chance(80))


def draw_classes(draw: Draw) -> int:
    """Draw a number of classes, less two."""
    return draw.below(9)


def _graph(draw: Draw, family: str, name: str) -> Graph:
    small = family == "small"
    shape = (1 + draw.below(5), *(1 + draw.below(3) if small else 3 + draw.below(6)
                                  for _ in range(2)))
    net = _Net(draw, shape, 0 if family == "chain" else 60 if family == "pooled" else 90)
    if family != "chain" or draw.chance(50):
        net.conv(net.ragged(), (1, 3)[draw.below(2)], 1, "same")
        net.act(95)
    blocks = {"chain": net.plain, "normal": net.plain, "depthwise": net.depthwise,
              "residual": net.residual, "join": net.join, "pooled": net.window,
              "small": (net.plain, net.residual, net.depthwise, net.join)[draw.below(4)],
              "means": (net.plain, net.residual)[draw.below(2)]}
    for _ in range(1 + draw.below(2)):
        blocks[family]()
    if family == "pooled":
        net.plain()
    net.end(100 if family == "means" else 0 if family == "chain" else 40)
    return Graph.build(shape, net.ops, name)


def draw_case(seed: int) -> Case:
    """Return case ``seed``: the same on every machine.

    Raises:
        RuntimeError: no network of this seed is one that the engine runs.
    """
    for attempt in range(50):
        draw = Draw(seed * 64 + attempt, _STREAM)
        try:
            graph = _graph(draw, FAMILIES[seed % len(FAMILIES)], f"twin{seed}")
            work = sum(layer.macs_per_image for layer in fuse(graph))
        except (UnsupportedModel, DoesNotFit):
            continue
        batch = max(1, min(1 + draw.below(9), _WORK // max(work, 1)))
        if work <= _WORK:
            return _training(draw, graph, batch, seed)
    raise RuntimeError(f"seed {seed}: no network that the engine runs")


def _training(draw: Draw, graph: Graph, batch: int, seed: int) -> Case:
    """Draw how a network is trained."""
    owners = [layer for layer in fuse(graph) if layer.has_parameters]
    names = [f"{layer.name}.{part}" for layer in owners for part in ("weight", "bias")
             if part == "weight" or layer.bias]
    trainable: str | tuple[str, ...] = "all"
    if draw.chance(35):
        chosen = tuple(name for name in names if draw.chance(60))
        trainable = chosen or names[-1:][0]
    layer_lr = {name: (0.0, 0.25, 2.0, 3.0)[draw.below(4)] for name in names
                if draw.chance(40)} if draw.chance(60) else {}
    momentum = (0.0, 0.5, 0.9, 0.9)[draw.below(4)]
    accumulate = 1 + draw.below(3) if draw.chance(30) else 1
    mse = draw.chance(25)
    return Case(
        graph, batch, batch - draw.below(batch) // 2 if draw.chance(30) else batch,
        2 * accumulate if accumulate > 1 else 2 + draw.below(3),
        lr=(0.02, 0.05, 0.1)[draw.below(3)], momentum=momentum,
        decay=(0.0, 0.001, 0.01)[draw.below(3)],
        nesterov=momentum > 0 and accumulate == 1 and draw.chance(40),
        clip=2.0**-(3 + draw.below(6)) if draw.chance(25) else None, accumulate=accumulate,
        layer_lr=layer_lr, trainable=trainable, loss="mse" if mse else "cross-entropy",
        smoothing=0.0 if mse or draw.chance(60) else 0.1,
        split=None if draw.chance(50) else 2 + draw.below(3),
        scale=(1.0, 0.3, 0.05)[draw.below(3)], seed=seed)


def features(case: Case) -> set[str]:
    """Return what is unusual about a case: a set of tests has all of these somewhere."""
    graph = case.graph
    found = {type(op).__name__ for op in graph.ops} | {case.loss}
    by_name = {op.name: (op, shapes[0]) for op, shapes in zip(graph.ops, graph.in_shapes)}
    for op, shape in by_name.values():
        source = by_name.get(op.inputs[0], (None, shape))[0]
        if isinstance(op, BatchNorm):
            found |= {f"eps {op.eps}", f"running momentum {op.momentum}"}
            found |= {"frozen norm"} if op.frozen else set()
            found |= {"ragged norm"} if shape[0] % 4 else set()
            found |= {"norm of a vector"} if isinstance(source, Dense) else set()
            found |= {f"norm of {shape[1]}x{shape[2]}"} if max(shape[1:]) <= 3 else set()
            found |= {"low variance"} if case.scale < 0.1 else set()
        if isinstance(op, Conv):
            found |= {"depthwise"} if op.groups == shape[0] > 1 else set()
            found |= {"grouped"} if 1 < op.groups < shape[0] else set()
            found |= {"wide"} if op.out_channels > 16 else set()
        if isinstance(op, (Conv, MaxPool, AvgPool)):
            windows = op.windows(shape)
            if any(w.pad_before != w.pad_after for w in windows):
                found.add(f"asymmetric {op.kind}")
        if isinstance(op, (Relu, Relu6)) and isinstance(source, GlobalAvgPool):
            found.add("mean before an activation")
        if isinstance(op, Dropout) and isinstance(source, Flatten):
            found.add("dropout of a flattened map")
    options = {
        "momentum": case.momentum > 0, "no momentum": case.momentum == 0,
        "nesterov": case.nesterov, "decay": case.decay > 0, "clip": case.clip is not None,
        "accumulate": case.accumulate > 1, "accumulate 3": case.accumulate == 3,
        "incomplete": case.valid < case.batch,
        "smoothing": case.smoothing > 0, "frozen parts": case.trainable != "all",
        "rates": bool(case.layer_lr), "rate 0": 0.0 in case.layer_lr.values(),
        "forced parts": case.split is not None and case.batch > 1, "batch 1": case.batch == 1,
        "batch no power of two": case.batch & (case.batch - 1) > 0}
    norms = {op.name for op, _ in by_name.values() if isinstance(op, BatchNorm)}
    options["gamma and beta apart"] = any(
        case.layer_lr.get(f"{name}.weight", 1.0) != case.layer_lr.get(f"{name}.bias", 1.0)
        for name in norms)
    return found | {name for name, there in options.items() if there}
