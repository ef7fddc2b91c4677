"""Exponent bookkeeping: measured ranges of past steps become the exponents of the next one.

A tensor is signed 16-bit integers ``q`` and one exponent ``e``: value = q * 2**e. A range is
written as ``k``: the largest magnitude lies in [2**(k-1), 2**k), so that ``e = k - 15``. Everything
here is integer; nothing depends on floating point.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pynq_train.errors import BadInput
from pynq_train.graph.activation import Activation
from pynq_train.hw.words import MASTER_EXPONENT
from pynq_train.layers import kinds, nodes
from pynq_train.layers.backward_graph import DLOGITS, BackwardGraph, BackwardNode
from pynq_train.layers.kinds import Kind
from pynq_train.quant.groups import groups_of
from pynq_train.quant.loss import (
    GRADIENT_BITS,
    LARGEST_GRADIENT_EXPONENT,
    PLAIN_LOSS,
    Loss,
)

HISTORY_STEPS = 16
MARGIN = 1
FRACTION_BITS = GRADIENT_BITS
"""A range ``k`` has the exponent ``k - FRACTION_BITS``."""
INPUT_START, FEATURE_START, GRADIENT_START = 2, 4, -8
"""Ranges ``k`` before anything was measured."""
FEATURE_FLOOR, WEIGHT_FLOOR, GRADIENT_FLOOR = -21, -21, -48
"""Smallest exponents, so that every shift keeps inside its field."""
FEATURE_CEILING, WEIGHT_CEILING = 0, -11
MAX_SHIFT = 47
CALIBRATION_SLACK = 3
"""Bits that a start exponent may be too large before calibration is repeated."""
COEFFICIENT_BITS = 23
"""Fraction bits of a range of the 24-bit coefficients of the vector unit."""
COEFFICIENT_START = 3
SCALE_BITS = 22
"""Largest power of two among coefficients."""
MAX_OFFSET_SHIFT = 28
"""Largest right shift behind a normalisation, so that its offsets keep in 48 bits."""
MEAN_BITS = 28
"""Bits by which 1 / pixels of a mean is scaled, where 23 bits hold it."""
MAX_GRADIENT_EXPONENT = LARGEST_GRADIENT_EXPONENT
"""Largest exponent of gradients (``g_shift`` is at least 0 while features have at most 0)."""
_MOST_ROUNDS = 64
"""Rounds in which the exponents of concatenations settle; each raises one at least."""
FORMAT_VERSION = 1


def clamp(value: int, low: int, high: int) -> int:
    """``value`` limited to ``low..high``."""
    return max(low, min(high, value))


@dataclass(frozen=True)
class QuantLayer:
    """What the policy must know of a layer.

    Attributes:
        name: its name.
        sources: positions of the layers that it reads, -1 for the images.
        trained: its output has a gradient.
        kind: what it does.
        pixels: pixels of a mean.
        rate: of a dropout.
        activation: behind it.
    """

    name: str
    sources: tuple[int, ...]
    trained: bool = True
    kind: Kind = kinds.CONV
    pixels: int = 1
    rate: float = 0.0
    activation: Activation = Activation.NONE

    @property
    def on_array(self) -> bool:
        """Whether it is a convolution or fully connected."""
        return self.kind.on_array


@dataclass(frozen=True)
class LayerExponents:
    """Exponents of one layer in one step.

    Attributes:
        x: input.
        w: 16-bit weights that the passes read; coefficients of a normalisation.
        y: output.
        dy: gradient of the output (0 if not trained).
        dx: gradient of the input (0 if there is none).
        w_next: 16-bit weights that the update writes.
        second: second input of a layer with two.
        total: forward sums of a layer of the vector unit, None for others.
        activation: what keeps the output within bounds.
    """

    x: int
    w: int
    y: int
    dy: int
    dx: int
    w_next: int
    second: int = 0
    total: int | None = None
    activation: Activation = Activation.NONE

    @property
    def forward_sum(self) -> int:
        """Exponent of the forward sums."""
        return self.x + self.w if self.total is None else self.total

    @property
    def backward_sum(self) -> int:
        """Exponent of the backward sums."""
        return self.dy + self.w

    @property
    def gradient_sum(self) -> int:
        """Exponent of the weight gradient sums."""
        return self.x + self.dy


@dataclass(frozen=True)
class StepExponents:
    """Exponents of all layers in one step, and the batch they belong to.

    Attributes:
        batch: images of the mini-batch.
        layers: by layer.
        gradients: by gradient tensor.
        sums: exponents of the sums behind each node of the backward graph.
        loss: the loss that they belong to.
    """

    batch: int
    layers: tuple[LayerExponents, ...]
    gradients: Mapping[str, int] = field(default_factory=dict)
    sums: tuple[int, ...] = ()
    loss: Loss = PLAIN_LOSS

    @property
    def logits(self) -> int:
        """Exponent of the logits."""
        return self.layers[-1].y


@dataclass(frozen=True)
class Measures:
    """Record words 0 of one training step; an OR over several descriptors of one tensor.

    Attributes:
        forward: per layer: magnitude bits of the forward sums.
        backward: per layer: magnitude bits of the backward sums; None without backward pass.
        weights: per layer: magnitude bits of the masters; None if not trained.
        coefficients: per layer: magnitude bits of a normalisation's forward coefficients.
        nodes: by position in the backward graph: magnitude bits of what a node on the vector unit
            wrote, and of the coefficients of a normalisation's backward pass.
    """

    forward: Sequence[int]
    backward: Sequence[int | None]
    weights: Sequence[int | None]
    coefficients: Mapping[int, int] = field(default_factory=dict)
    nodes: Mapping[int, tuple[int, int]] = field(default_factory=dict)


@dataclass
class ExponentPolicy:
    """Exponent state of a training run; part of a checkpoint.

    Attributes:
        layers: the network's layers.
        backward_graph: which gradients are computed from which.
        input_k: range of the input images.
        feature: per layer: ranges measured in the last steps, newest last.
        gradient: per layer: ranges of the gradient of its output; the last layer's is fixed.
        weight_k: per layer: range of the masters after the last update.
        w16: per layer: exponent of the 16-bit weights in device memory.
        extra: by name: ranges of partial gradients (tensor names) and of the coefficients of
            normalisations (``<layer>.a`` forward, ``<layer>.b`` backward).
        loss: gives the exponent of the logit gradients; not part of the saved state.
    """

    layers: tuple[QuantLayer, ...]
    backward_graph: BackwardGraph
    input_k: int = INPUT_START
    feature: list[list[int]] = field(default_factory=list)
    gradient: list[list[int]] = field(default_factory=list)
    weight_k: list[int] = field(default_factory=list)
    w16: list[int] = field(default_factory=list)
    extra: dict[str, list[int]] = field(default_factory=dict)
    loss: Loss = PLAIN_LOSS

    @classmethod
    def start(cls, layers: Sequence[QuantLayer], backward_graph: BackwardGraph,
              weight_k: Sequence[int], input_k: int = INPUT_START) -> ExponentPolicy:
        """Return the state before the first step.

        Args:
            layers: the network's layers.
            backward_graph: which gradients are computed from which.
            weight_k: ranges of the start weights, ``range_of_master(max |w|)``.
            input_k: range of the input images.
        """
        if len(weight_k) != len(layers):
            raise BadInput("weight ranges", expected=f"one for each of {len(layers)} layers",
                           found=len(weight_k))
        policy = cls(tuple(layers), backward_graph, input_k, [[] for _ in layers],
                     [[] for _ in layers], list(weight_k))
        policy.w16 = [policy.weight_exponent(i) for i in range(len(layers))]
        return policy

    def weight_exponent(self, layer: int) -> int:
        """Exponent that the next 16-bit copy of a layer's weights gets."""
        return clamp(self.weight_k[layer] + MARGIN - FRACTION_BITS, WEIGHT_FLOOR, WEIGHT_CEILING)

    @property
    def input_exponent(self) -> int:
        """Exponent of the input images."""
        return clamp(self.input_k - FRACTION_BITS, FEATURE_FLOOR, FEATURE_CEILING)

    def exponents(self, batch: int, training: bool = True) -> StepExponents:
        """Return the exponents of the next step; without ``training`` nothing is dropped."""
        forward = self._forward(batch, training)
        gradients = {DLOGITS: self.loss.gradient_exponent(batch, forward[-1].y)}
        inputs: dict[int, int] = {}
        sums: list[int] = []
        for step in self.backward_graph.nodes:
            total = self._sum_of(step, forward, gradients)
            sums.append(total)
            if not step.target:
                continue
            found = total
            if not step.kind.copies:
                history = self._history(step.target)
                target = max(_target(history, GRADIENT_START), GRADIENT_FLOOR)
                most = MAX_OFFSET_SHIFT if step.kind == nodes.NORM else MAX_SHIFT
                found = min(clamp(target, total, total + most), MAX_GRADIENT_EXPONENT)
            gradients[step.target] = found
            if step.kind == nodes.BACKWARD:
                inputs[step.layer] = found
        layers = []
        for i, (layer, own) in enumerate(zip(self.layers, forward)):
            ref = self.backward_graph.of_layer.get(i)
            w_next = self.weight_exponent(i) if layer.trained and layer.on_array else own.w
            layers.append(replace(own, dy=gradients[ref.tensor] if ref else 0,
                                  dx=inputs.get(i, 0), w_next=w_next))
        return StepExponents(batch, tuple(layers), gradients, tuple(sums), self.loss)

    def _forward(self, batch: int, training: bool) -> list[LayerExponents]:
        """Exponents of the forward pass; gradients and new weights are still 0."""
        sources = [layer.sources for layer in self.layers]
        groups = groups_of([layer.kind for layer in self.layers], sources)
        targets: dict[int, int] = {}
        for i, group in enumerate(groups):
            last = len(self.layers) - 1
            ceiling = self.loss.logits_ceiling(batch) if group == last else FEATURE_CEILING
            if not self.layers[i].kind.joins:
                target = clamp(_target(self.feature[i], FEATURE_START), FEATURE_FLOOR, ceiling)
                targets[group] = max(targets.get(group, FEATURE_FLOOR), target)
        for _ in range(_MOST_ROUNDS):
            done = self._round(sources, [targets[group] for group in groups], training)
            # Sums may end above what their group wants: the others have to follow.
            joined = [(group, own.y) for i, (group, own) in enumerate(zip(groups, done))
                      if own.y != targets[group] and groups.count(group) > 1]
            if not joined:
                return done
            for group, y in joined:
                targets[group] = max(targets[group], y)
        raise ValueError("no exponent suits all sources of a concatenation")

    def _round(self, sources: Sequence[tuple[int, ...]], targets: Sequence[int],
               training: bool) -> list[LayerExponents]:
        """Exponents of the forward pass for given targets of the outputs."""
        done: list[LayerExponents] = []
        for i, (layer, target) in enumerate(zip(self.layers, targets)):
            x, *rest = (done[at].y if at >= 0 else self.input_exponent for at in sources[i])
            second = rest[0] if rest else 0
            w, most = self.w16[i], MAX_SHIFT
            if layer.kind.joins:
                done.append(LayerExponents(x, w, target, 0, 0, 0, total=target))
                continue
            if layer.kind.normalises:
                w, most = self._coefficient(layer.name), MAX_OFFSET_SHIFT
                least = max(target - x - most, second - x - SCALE_BITS if rest else w)
                w = min(max(w, least), second - x) if rest else max(w, target - x - most)
                total = x + w
            elif layer.kind == kinds.ADD:
                total = _common(x, second if rest else x)
            elif layer.kind.windowed:
                total, most = x, 0  # values are copied
            elif layer.kind.reduces:
                total = x - mean_scale(layer.pixels)[1]
            elif layer.kind == kinds.DROP:
                total = x - keep_scale(layer.rate)[1]
                if not training:  # who reads it then reads what it reads
                    total, target = x, x
            else:
                total = x + w
            y = clamp(target, total, total + most)
            done.append(LayerExponents(x, w, y, 0, 0, 0, second,
                                       None if layer.on_array else total, layer.activation))
        return done

    def _coefficient(self, name: str) -> int:
        """Exponent of a normalisation's forward coefficients."""
        history = self.extra.get(f"{name}.a")
        return (max(history) + MARGIN if history else COEFFICIENT_START) - COEFFICIENT_BITS

    def _sum_of(self, step: BackwardNode, forward: Sequence[LayerExponents],
                gradients: Mapping[str, int]) -> int:
        """Exponent of the sums of a node of the backward graph."""
        first = gradients[step.reads[0].tensor]
        own = forward[step.layer]
        if step.kind == nodes.SUM:
            return _common(first, gradients[step.reads[1].tensor])
        if step.kind.copies or step.kind == nodes.UNPOOL:
            return first
        if step.kind == nodes.SPREAD:
            return first - mean_scale(self.layers[step.layer].pixels)[1]
        if step.kind == nodes.DROP:
            return first - keep_scale(self.layers[step.layer].rate)[1]
        if step.kind == nodes.NORM:
            history = self.extra.get(f"{self.layers[step.layer].name}.b")
            return first + (max(history) + MARGIN - COEFFICIENT_BITS if history else own.w)
        return first + own.w

    def _history(self, tensor: str) -> list[int]:
        """Measured ranges of a gradient tensor."""
        for layer, history in zip(self.layers, self.gradient):
            if tensor == f"{layer.name}.dy":
                return history
        return self.extra.setdefault(tensor, [])

    def observe(self, used: StepExponents, measures: Measures) -> None:
        """Take the measures of a training step that ran with the exponents ``used``.

        Evaluation must not be observed. An all-zero tensor leaves its history as it is.
        """
        for i, layer in enumerate(used.layers):
            _push(self.feature[i], measures.forward[i], layer.forward_sum)
            if i in measures.coefficients:
                _push(self.extra.setdefault(f"{self.layers[i].name}.a", []),
                      measures.coefficients[i], layer.w)
            weights = measures.weights[i]
            if weights is not None:
                if weights:
                    self.weight_k[i] = weights.bit_length() + MASTER_EXPONENT
                self.w16[i] = layer.w_next
        for number, (step, total) in enumerate(zip(self.backward_graph.nodes, used.sums)):
            bits = measures.backward[step.layer] if step.kind == nodes.BACKWARD else None
            if number in measures.nodes:
                bits, coefficients = measures.nodes[number]
                if step.kind == nodes.NORM:
                    _push(self.extra.setdefault(f"{self.layers[step.layer].name}.b", []),
                          coefficients, total - used.gradients[step.reads[0].tensor])
            if bits is not None and step.target and not step.kind.copies:
                _push(self._history(step.target), bits, total)

    def calibrate(self, used: StepExponents, measures: Measures) -> bool:
        """Take the measures of a calibration step instead of all history.

        Returns:
            Whether to calibrate again: some range lay outside its guess, or far below it.
        """
        for history in (*self.feature, *self.gradient, *self.extra.values()):
            history.clear()
        self.observe(used, measures)
        return self._far(used, measures)

    @staticmethod
    def _far(used: StepExponents, measures: Measures) -> bool:
        for i, layer in enumerate(used.layers):
            pairs = [(measures.forward[i], layer.forward_sum, layer.y)]
            backward = measures.backward[i]
            if i and backward is not None:
                pairs.append((backward, layer.backward_sum, layer.dx))
            for bits, total, chosen in pairs:
                if bits:
                    ideal = bits.bit_length() + total + MARGIN - FRACTION_BITS
                    if ideal > chosen or ideal < chosen - CALIBRATION_SLACK:
                        return True
        return False

    def to_dict(self) -> dict[str, Any]:
        """Return the state as plain values, for a checkpoint."""
        return {
            "version": FORMAT_VERSION,
            "layers": [layer.name for layer in self.layers],
            "input_k": self.input_k, "feature": [list(h) for h in self.feature],
            "gradient": [list(h) for h in self.gradient], "weight_k": list(self.weight_k),
            "w16": list(self.w16),
            "extra": {name: list(history) for name, history in self.extra.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], layers: Sequence[QuantLayer],
                  backward_graph: BackwardGraph) -> ExponentPolicy:
        """Rebuild a state saved by :meth:`to_dict` for a network.

        Args:
            data: plain values.
            layers: the network's layers.
            backward_graph: which gradients are computed from which.

        Raises:
            BadInput: it is malformed, or belongs to other layers.
        """
        if data.get("version") != FORMAT_VERSION:
            raise BadInput("exponent state", expected=f"version {FORMAT_VERSION}",
                           found=data.get("version"), fix="use a checkpoint of this release")
        try:
            # Files of the first release have lists of three, beginning with the name.
            names = [str(one if isinstance(one, str) else one[0]) for one in data["layers"]]
            policy = cls(tuple(layers), backward_graph, int(data["input_k"]),
                         [[int(k) for k in h] for h in data["feature"]],
                         [[int(k) for k in h] for h in data["gradient"]],
                         [int(k) for k in data["weight_k"]], [int(e) for e in data["w16"]],
                         {str(name): [int(k) for k in history]
                          for name, history in data.get("extra", {}).items()})
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"exponent state is malformed ({error})") from None
        if names != [layer.name for layer in layers]:
            raise BadInput("exponent state", expected="the layers of its network", found=names)
        sizes = {len(v) for v in (policy.feature, policy.gradient, policy.weight_k, policy.w16)}
        if sizes != {len(layers)}:
            raise BadInput("exponent state", expected=f"entries for {len(layers)} layers",
                           found=sorted(sizes))
        return policy


def range_of_master(largest: int) -> int:
    """Range ``k`` of Q3.28 masters whose largest magnitude is ``largest`` (an integer)."""
    return max(int(largest).bit_length(), 1) + MASTER_EXPONENT


def mean_scale(pixels: int) -> tuple[int, int]:
    """Return (integer, bits) with ``integer * 2**-bits`` as 1 / ``pixels``, for the vector unit."""
    bits = min(MEAN_BITS, SCALE_BITS + pixels.bit_length() - 1)
    return round((1 << bits) / pixels), bits


def keep_scale(rate: float) -> tuple[int, int]:
    """Return (integer, bits) with ``integer * 2**-bits`` as 1 / (1 - ``rate``), likewise."""
    fraction, exponent = math.frexp(1 / (1 - rate))
    return round(fraction * (1 << SCALE_BITS)), SCALE_BITS - exponent


def _common(one: int, other: int) -> int:
    """Exponent in which two maps are added: the finer one, if the scale of the other allows."""
    return max(min(one, other), max(one, other) - SCALE_BITS)


def _target(history: Sequence[int], start: int) -> int:
    k = max(history) + MARGIN if history else start
    return k - FRACTION_BITS


def _push(history: list[int], bits: int, exponent: int) -> None:
    if bits:
        history.append(bits.bit_length() + exponent)
        del history[:-HISTORY_STEPS]
