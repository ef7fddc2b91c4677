"""The float twin of one training step, and how far the arithmetic of 16 bits may lead from it.

The twin starts every step from the masters that the fixed-point training has, so errors do not
grow from step to step and what is compared is the change of one step. It takes from the engine's
side the images as codes and the 16-bit copies of the weights, which are exact numbers; of the
exponents only the size of a rounding. Its tolerance is measured, not guessed: the same step with
noise of some roundings on every map and every gradient. Where such noise turns a ReLU or the
choice of a maximum, so may the engine's rounding; where it moves nothing, neither may the engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pynq_train.graph import BatchNorm, Graph
from pynq_train.graph.flat import map_shape
from pynq_train.graph.float_loss import softmax_loss, squared_error
from pynq_train.graph.float_ops import KERNELS, Mode, Site
from pynq_train.graph.ops import Activate, Add, MaxPool, MaxPool2x2
from pynq_train.graph.params import LayerParams
from pynq_train.graph.wiring import FROM_INPUT

NOISE = 4.0
"""Roundings (from -1/2 to 1/2 of a code) of the noise on each map and gradient."""
COMMON = 2.0
"""Likewise of the noise that all pixels and images of a channel share."""
SOFTMAX_CODES = 1.15
"""Codes by which a logit gradient may be off (docs/testing.md, "Bounds")."""
COEFFICIENT_BITS = 21
"""Bits of a normalisation's largest coefficient: 23 at the most, less margin and cutting."""
MASTER, MOMENTUM = 2.0**-28, 2.0**-24
"""Last places of masters and momentum (docs/numerics.md, 1)."""
SHARE = 1.5
"""Tolerance, in the change that the noise makes."""
RELATIVE = 2.0**-12
"""Of a change: constants of 16 bits, for example that of the rate or of an average."""

Array = np.ndarray
Params = Mapping[str, LayerParams]


@dataclass(frozen=True)
class Codes:
    """Exponents that say how large a rounding is, by name of an operation.

    Attributes:
        maps: of what an operation writes.
        gradients: of the gradient of what it writes.
        logits: of the logit gradients.
        factors: of what a normalisation multiplies by, gamma over the deviation.
    """

    maps: Mapping[str, int]
    gradients: Mapping[str, int]
    logits: int
    factors: Mapping[str, int]


@dataclass(frozen=True)
class Loss:
    """What is trained for: squared error or cross-entropy, and which images count."""

    mse: bool = False
    smoothing: float = 0.0
    valid: int | None = None

    def of(self, logits: Array, labels: Array) -> tuple[Array, Array]:
        """Return the losses of the images that count, and gradients of the sum / images."""
        losses, slope = (squared_error(logits, labels) if self.mse
                         else softmax_loss(logits, labels, self.smoothing))
        valid = len(labels) if self.valid is None else self.valid
        slope[valid:] = 0
        return losses[:valid], slope


@dataclass(frozen=True)
class Peaks:
    """Largest magnitudes by name of an operation; fields as those of :class:`Codes`."""

    maps: dict[str, float]
    gradients: dict[str, float]
    factors: dict[str, float]


def least(peaks: Sequence[Peaks]) -> Peaks:
    """Return the smallest of several peaks: what is surely reached, with noise or without."""
    return Peaks(*({name: min(getattr(one, label)[name] for one in peaks)
                    for name in getattr(peaks[0], label)}
                   for label in ("maps", "gradients", "factors")))


@dataclass(frozen=True)
class Pass:
    """What a forward and backward pass make.

    Attributes:
        logits: ``(images, classes)``.
        loss: sum over the images that count.
        grads: gradients by layer; empty of an evaluation.
        batch: by normalisation, mean and unbiased variance of the mini-batch where it uses them.
        peaks: largest magnitudes of maps and of gradients, as :class:`Codes` names them.
    """

    logits: Array
    loss: float
    grads: Params
    batch: Mapping[str, tuple[Array, Array]]
    peaks: Peaks


@dataclass(frozen=True)
class Network:
    """Forward and backward over a graph, with noise on maps and gradients if there is some.

    Attributes:
        graph: the network.
        resting: normalisations that use their running statistics in training.
        seed: of dropout.
    """

    graph: Graph
    resting: frozenset[str] = frozenset()
    seed: int = 0

    def run(self, params: Params, images: Array, labels: Array, loss: Loss, step: int,
            codes: Codes | None = None, noise: Noise | None = None, training: bool = True) -> Pass:
        """Return one pass.

        Args:
            params: weights as the engine multiplies them, by layer.
            images, labels: the mini-batch.
            loss: the loss.
            step: number of the mini-batch, for dropout.
            codes: exponents, for the noise.
            noise: the noise, None without.
            training: False for an evaluation: no gradients, running statistics.
        """
        graph = self.graph
        sites = [Site(replace(op, frozen=True) if op.name in self.resting else op, place, shapes,
                      params.get(op.name), map_shape(graph, graph.sources[place][0]))
                 for place, (op, shapes) in enumerate(zip(graph.ops, graph.in_shapes))]
        maps = {FROM_INPUT: np.ascontiguousarray(images.transpose(0, 2, 3, 1))}
        mode, traces, peaks = Mode(training, self.seed, step), [], Peaks({}, {}, {})
        for at, (site, sources) in enumerate(zip(sites, graph.sources)):
            made, trace = KERNELS[type(site.op)][0](site, [maps[place] for place in sources], mode)
            if noise is not None and codes is not None and site.op.name in codes.maps:
                made = noise.on(made, codes.maps[site.op.name])
            maps[at] = made
            peaks.maps[site.op.name] = float(np.abs(made).max())
            if isinstance(site.op, BatchNorm):
                peaks.factors[site.op.name] = float(
                    np.abs(site.params.weight * trace.inverse).max())
            if isinstance(site.op, (Activate, MaxPool2x2, MaxPool)):
                # What the layer stores: rows that no window reaches are not even computed.
                before = graph.name_at(sources[0])
                if before in peaks.maps:
                    peaks.maps[before] = min(peaks.maps[before], peaks.maps[site.op.name])
            traces.append(trace)
        logits = np.ascontiguousarray(maps[len(sites) - 1].transpose(0, 3, 1, 2)).reshape(
            len(images), -1)
        losses, slope = loss.of(logits, labels)
        batch = {site.op.name: trace.batch for site, trace in zip(sites, traces)
                 if isinstance(site.op, BatchNorm) and trace.batch is not None}
        if not training:
            return Pass(logits, float(losses.sum()), {}, {}, peaks)
        if noise is not None and codes is not None:
            slope = noise.on(slope, codes.logits, 2 * SOFTMAX_CODES)
        return Pass(logits, float(losses.sum()),
                    self._backward(sites, traces, slope, codes, noise, peaks), batch, peaks)

    def _backward(self, sites: Sequence[Site], traces: Sequence[object], slope: Array,
                  codes: Codes | None, noise: Noise | None, peaks: Peaks) -> Params:
        """Return the gradients by layer; ``slope``: gradient of the logits; fill ``peaks``."""
        channels, rows, cols = self.graph.output_shape
        shaped = slope.reshape(len(slope), channels, rows, cols).transpose(0, 2, 3, 1)
        pending = {len(sites) - 1: np.ascontiguousarray(shaped)}
        grads: dict[str, LayerParams] = {}
        for at in range(len(sites) - 1, -1, -1):
            site, gradient = sites[at], pending.pop(at)
            name = site.op.name
            if noise is not None and codes is not None and name in codes.gradients:
                gradient = noise.on(gradient, codes.gradients[name])
            peaks.gradients[name] = float(np.abs(gradient).max())
            back = KERNELS[type(site.op)][1](site, traces[at], gradient, True)
            if back.params is not None:
                grads[name] = back.params
            for place, own in zip(self.graph.sources[at], back.inputs):
                if noise is not None and own is not None and isinstance(site.op, BatchNorm):
                    # Terms that cancel, each times a coefficient that is rounded.
                    own = noise.relative(own, gradient * site.params.weight * traces[at].inverse)
                if place != FROM_INPUT and own is not None:
                    pending[place] = pending[place] + own if place in pending else own
        return grads


class Noise:
    """Uniform noise on arrays; two of a pair have opposite signs.

    Args:
        number: names the noise: 2 n and 2 n + 1 are a pair.
    """

    def __init__(self, number: int) -> None:
        self._draw = np.random.default_rng((97, number // 2))
        self._sign = 1.0 - 2 * (number % 2)

    def on(self, values: Array, exponent: int, codes: float = 1.0) -> Array:
        """Return values with noise of ``NOISE`` roundings at an exponent, each of ``codes``.

        Equal values are rounded alike, for example where a filter sees nothing but zeros: some of
        the noise is the same for all of a channel.
        """
        size = np.float32(self._sign * codes * 2.0**exponent)
        own = self._draw.random(values.shape, np.float32) - np.float32(0.5)
        common = self._draw.random(values.shape[-1:], np.float32) - np.float32(0.5)
        noisy: Array = values + size * (np.float32(NOISE) * own + np.float32(COMMON) * common)
        return noisy

    def relative(self, values: Array, term: Array) -> Array:
        """Return values with noise of 2**-COEFFICIENT_BITS of the largest ``term``, by channel."""
        exponent = int(np.frexp(np.abs(term).max() + 1e-30)[1]) - COEFFICIENT_BITS
        return values + self.on(np.zeros(values.shape[-1:], np.float32), exponent)


@dataclass(frozen=True)
class State:
    """Parameters and momenta of a network, as real numbers.

    Attributes:
        params: weights, biases, running statistics.
        speed: momentum of weights and biases.
    """

    params: Params
    speed: Params


@dataclass(frozen=True)
class Update:
    """Values of SGD in one step, as a person would write them down.

    Attributes:
        lr, momentum, decay, nesterov: of the update.
        factors: of the rate, by name of a parameter (``conv.weight``).
        trained: names of the parameters that learn.
        parts: mini-batches of an update, ``part``: which one this is.
        scale: what clipping multiplies the gradients by.
    """

    lr: float
    momentum: float
    decay: float
    nesterov: bool
    factors: Mapping[str, float]
    trained: frozenset[str]
    parts: int = 1
    part: int = 0
    scale: float = 1.0

    def apply(self, graph: Graph, before: State, made: Pass) -> State:
        """Return the state behind the step; running statistics have moved too."""
        norms = {op.name: op for op in graph.ops if isinstance(op, BatchNorm)}
        params, speed = {}, {}
        for name, own in before.params.items():
            fields, moved = {}, {}
            for label in ("weight", "bias"):
                value = getattr(own, label)
                if value is None:
                    fields[label] = moved[label] = None
                    continue
                fields[label], moved[label] = self._moved(
                    f"{name}.{label}", value, getattr(before.speed[name], label),
                    getattr(made.grads[name], label), label == "weight" and name not in norms)
            mean, variance = own.mean, own.variance
            if name in made.batch:
                part = norms[name].momentum
                mean, variance = (old + part * (new - old) for old, new in zip(
                    (mean, variance), made.batch[name]))
            params[name] = LayerParams(fields["weight"], fields["bias"], mean, variance)
            speed[name] = LayerParams(moved["weight"], moved["bias"])
        return State(params, speed)

    def _moved(self, name: str, value: Array, speed: Array, slope: Array, decays: bool
               ) -> tuple[Array, Array]:
        """Return a parameter and its momentum behind the step."""
        if name not in self.trained:
            return value, speed
        slope = slope.astype(np.float64) * (self.scale / self.parts)
        if self.part == 0:
            if decays:
                slope = slope + self.decay * value
            speed = self.momentum * speed
        speed = speed + slope
        if self.part < self.parts - 1:
            return value, speed
        step = slope + self.momentum * speed if self.nesterov else speed
        return value - self.lr * self.factors.get(name, 1.0) * step, speed


def gradient_makers(graph: Graph, trained: frozenset[str]) -> frozenset[str]:
    """Return the operations whose output needs a gradient: something below them, or they, learn."""
    active: set[str] = set()
    for op, sources in zip(graph.ops, graph.sources):
        below = any(place != FROM_INPUT and graph.ops[place].name in active for place in sources)
        if below or {f"{op.name}.weight", f"{op.name}.bias"} & trained:
            active.add(op.name)
    return frozenset(active)


def rounded_at(graph: Graph, name: str, second: bool) -> str:
    """Return the operation behind which a layer rounds: a normalisation that adds, at its Add."""
    if not second:
        return name
    place = [op.name for op in graph.ops].index(name)
    return next(op.name for op, sources in zip(graph.ops, graph.sources)
                if isinstance(op, Add) and place in sources) if isinstance(
                    graph.ops[place], BatchNorm) else name


def slice_norms(values: Array) -> list[Array]:
    """Return, for each axis, the norm of every slice of it: channels, inputs, taps."""
    squares = np.square(values.astype(np.float64))
    if squares.ndim == 1:
        return [np.sqrt(squares)]
    return [np.sqrt(squares.sum(axis=tuple(a for a in range(squares.ndim) if a != axis)))
            for axis in range(squares.ndim)]


def excess(found: Array, wanted: Array, before: Array, noisy: Sequence[Array], floor: float,
           relative: float = RELATIVE) -> tuple[float, float]:
    """Compare the change of a parameter slice by slice.

    Args:
        found: behind the engine's step.
        wanted: behind the twin's.
        before: before both.
        noisy: behind steps of the twin with noise.
        floor: what one element may be off by its own format.
        relative: part of the change that constants of 16 bits may be off.

    Returns:
        The largest difference of a slice in terms of its tolerance (1 is the most), and the
        median of the tolerance in terms of the change: small where the comparison says much.
    """
    worst, powers = 0.0, []
    changes = slice_norms(wanted - before)
    noises = [slice_norms(one - wanted) for one in noisy]
    for axis, (off, change) in enumerate(zip(slice_norms(found - wanted), changes)):
        spread = np.max([one[axis] for one in noises], axis=0)
        count = found.size // len(off)
        # A slice whose noise happens to be small has the mean noise of all as a part of its own.
        allowed = (SHARE * (spread + 0.25 * np.sqrt(np.mean(np.square(spread))))
                   + relative * change + floor * np.sqrt(count))
        worst = max(worst, float((off / allowed).max()))
        powers.append(float(np.median(allowed / np.maximum(change, 1e-30))))
    return worst, min(powers)
