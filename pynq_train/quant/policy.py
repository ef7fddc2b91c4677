"""Exponent bookkeeping: measured ranges of past steps become the exponents of the next one.

A tensor is signed 16-bit integers ``q`` and one exponent ``e``: value = q * 2**e. A range is
written as ``k``: the largest magnitude lies in [2**(k-1), 2**k), so that ``e = k - 15`` just holds
it. Everything here is integer; nothing depends on floating point, so that a resumed training and
another machine choose the same exponents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pynq_train.errors import BadInput
from pynq_train.files.schema import MOST_TEXT, Items, Record, Table, Whole
from pynq_train.graph.activation import Activation
from pynq_train.hw.curves import SLOPE_EXPONENT
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
"""Steps whose ranges count: the largest of them decides."""
MARGIN = 1
"""Bits by which a range may grow in one step before anything saturates."""
FRACTION_BITS = GRADIENT_BITS
"""A range ``k`` has the exponent ``k - FRACTION_BITS``."""
INPUT_START, FEATURE_START, GRADIENT_START = 2, 4, -8
"""Ranges ``k`` of images, feature maps and gradients before anything was measured."""
FEATURE_FLOOR, WEIGHT_FLOOR, GRADIENT_FLOOR = -21, -21, -48
"""Smallest exponents, so that every shift keeps within its field."""
FEATURE_CEILING, WEIGHT_CEILING = 0, -11
"""Largest exponents, for the same reason."""
MAX_SHIFT = 47
"""Largest right shift of a requantisation."""
CALIBRATION_SLACK = 3
"""Bits that a start exponent may be too large before calibration is repeated."""
COEFFICIENT_BITS = 23
"""Fraction bits of a range of the vector unit's 24-bit coefficients."""
COEFFICIENT_START = 3
"""Range ``k`` of a normalisation's forward coefficients before they were measured."""
SCALE_BITS = 22
"""Exponent of the largest power of two among 24-bit coefficients."""
MAX_OFFSET_SHIFT = 28
"""Largest right shift behind a normalisation, so that its offsets keep within 48 bits."""
MEAN_BITS = 28
"""Most bits by which 1 / pixels of a mean is scaled; 24-bit coefficients may allow fewer."""
MAX_GRADIENT_EXPONENT = LARGEST_GRADIENT_EXPONENT
"""Largest exponent of gradients (``g_shift`` is at least 0 while features have at most 0)."""
_MOST_ROUNDS = 64
"""Rounds in which the exponents of concatenations settle; each raises at least one of them."""
FORMAT_VERSION = 1
"""Version of the state in a checkpoint."""
_RANGES = Items(Whole(-256, 256), most=HISTORY_STEPS)
"""Measured ranges: 48-bit sums of the smallest and largest exponents are well inside."""
_SAVED = Record({
    "input_k": Whole(-149, 128), "feature": Items(_RANGES), "gradient": Items(_RANGES),
    "weight_k": Items(Whole(MASTER_EXPONENT, MASTER_EXPONENT + 32)),
    "w16": Items(Whole(WEIGHT_FLOOR, WEIGHT_CEILING)), "extra": Table(_RANGES, MOST_TEXT),
}, optional=("extra",), open=True)
"""What a checkpoint holds, besides version and names of the layers."""


def clamp(value: int, low: int, high: int) -> int:
    """Return ``value`` limited to ``low..high``."""
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
        scale: its weights are gamma of a normalisation, which does not decay.
    """

    name: str
    sources: tuple[int, ...]
    trained: bool = True
    kind: Kind = kinds.CONV
    pixels: int = 1
    rate: float = 0.0
    activation: Activation = Activation.NONE
    scale: bool = False

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
        """Exponent of the sums of the forward pass, before requantisation."""
        return self.x + self.w if self.total is None else self.total

    @property
    def backward_sum(self) -> int:
        """Exponent of the sums of the backward pass."""
        return self.dy + self.w

    @property
    def gradient_sum(self) -> int:
        """Exponent of the sums of the weight gradient."""
        return self.x + self.dy


@dataclass(frozen=True)
class StepExponents:
    """Exponents of all layers in one step, and the mini-batch and loss that they belong to.

    Attributes:
        batch: images of the mini-batch.
        layers: exponents by layer.
        gradients: exponents by symbol of the gradient.
        sums: exponent of the sums behind each node of the backward graph.
        loss: the loss.
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
    """Measures of one training step: word 0 of the records, joined by OR for each tensor.

    The bit length of a measure says how many bits the sums had; 0 if all were zero.

    Attributes:
        forward: per layer: magnitude bits of the forward sums.
        backward: per layer: magnitude bits of the backward sums; None without backward pass.
        weights: per layer: magnitude bits of the masters; None if not trained.
        coefficients: by position of a normalisation: magnitude bits of its forward coefficients.
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
    """Exponents of a training from step to step; its state is a part of a checkpoint.

    Attributes:
        layers: the network's layers.
        backward_graph: which gradients are computed from which.
        input_k: range of the input images.
        feature: per layer: ranges measured in the last steps, newest last.
        gradient: per layer: ranges of the gradient of its output; the last layer's is fixed.
        weight_k: per layer: range of the masters after the last update.
        w16: per layer: exponent of the 16-bit weights in device memory.
        extra: by name: ranges of partial gradients (tensor symbols) and of the coefficients of
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
            weight_k: range of each layer's start weights, ``range_of_master(max |w|)``.
            input_k: range of the input images.

        Raises:
            BadInput: there are not as many weight ranges as layers.
        """
        if len(weight_k) != len(layers):
            raise BadInput("weight ranges", expected=f"one for each of {len(layers)} layers",
                           found=len(weight_k))
        policy = cls(tuple(layers), backward_graph, input_k, [[] for _ in layers],
                     [[] for _ in layers], list(weight_k))
        policy.w16 = [policy.weight_exponent(i) for i in range(len(layers))]
        return policy

    def weight_exponent(self, layer: int) -> int:
        """Return the exponent that the next 16-bit copy of a layer's weights gets."""
        return clamp(self.weight_k[layer] + MARGIN - FRACTION_BITS, WEIGHT_FLOOR, WEIGHT_CEILING)

    @property
    def input_exponent(self) -> int:
        """Exponent of the input images."""
        return clamp(self.input_k - FRACTION_BITS, FEATURE_FLOOR, FEATURE_CEILING)

    def exponents(self, batch: int, training: bool = True) -> StepExponents:
        """Return the exponents of the next step.

        Args:
            batch: images of the mini-batch.
            training: False in an evaluation: dropouts pass everything on.

        Raises:
            ValueError: no exponent suits all sources of a concatenation.
        """
        forward = self._forward(batch, training)
        gradients = {DLOGITS: self.loss.gradient_exponent(batch, forward[-1].y)}
        inputs: dict[int, int] = {}
        sums: list[int] = []
        for node in self.backward_graph.nodes:
            total = self._sum_of(node, forward, gradients)
            sums.append(total)
            if not node.target:
                continue
            # Copies and tensor views keep the exponent of what they read.
            found = total
            if not node.kind.copies:
                history = self._history(node.target)
                target = max(_target(history, GRADIENT_START), GRADIENT_FLOOR)
                most = MAX_OFFSET_SHIFT if node.kind == nodes.NORM else MAX_SHIFT
                # Requantisation shifts right only, so an exponent is never below that of the sums.
                found = min(clamp(target, total, total + most), MAX_GRADIENT_EXPONENT)
            gradients[node.target] = found
            if node.kind == nodes.BACKWARD:
                inputs[node.layer] = found
        layers = []
        for i, (layer, own) in enumerate(zip(self.layers, forward)):
            ref = self.backward_graph.of_layer.get(i)
            w_next = self.weight_exponent(i) if layer.trained and layer.on_array else own.w
            layers.append(replace(own, dy=gradients[ref.tensor] if ref else 0,
                                  dx=inputs.get(i, 0), w_next=w_next))
        return StepExponents(batch, tuple(layers), gradients, tuple(sums), self.loss)

    def _forward(self, batch: int, training: bool) -> list[LayerExponents]:
        """Return the exponents of the forward pass; gradients and new weights are still 0.

        The sources of a concatenation share the largest exponent that any of them wants. A layer's
        sums may end above that; then all of the group follow, which may move other layers: hence
        rounds, until nothing changes.
        """
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
                      if own.y != targets[group] and self.layers[group].kind.joins]
            if not joined:
                return done
            for group, y in joined:
                targets[group] = max(targets[group], y)
        raise ValueError("no exponent suits all sources of a concatenation")

    def _round(self, sources: Sequence[tuple[int, ...]], targets: Sequence[int],
               training: bool) -> list[LayerExponents]:
        """Return the exponents of the forward pass for given targets of the outputs.

        ``sources``: positions that each layer reads, ``targets``: exponent that each output should
        have. An output gets the nearest one that the shift behind its sums can reach.
        """
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
                # The second map is multiplied by 2**(second - total), a coefficient of 1 to
                # 2**SCALE_BITS: that bounds the exponent of the sums, and with it that of the
                # coefficients, on both sides.
                least = max(target - x - most, second - x - SCALE_BITS if rest else w)
                w = min(max(w, least), second - x) if rest else max(w, target - x - most)
                total = x + w
            elif layer.kind == kinds.ADD:
                total = common(x, second if rest else x)
            elif layer.kind.windowed:
                total, most = x, 0  # values are copied
            elif layer.kind.reduces:
                total = x - mean_scale(layer.pixels)[1]
            elif layer.kind.multiplies:
                total = x + second
            elif layer.kind == kinds.CURVE:
                w = SLOPE_EXPONENT
                total = x + w
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
        """Return the exponent of a normalisation's forward coefficients."""
        history = self.extra.get(f"{name}.a")
        return (max(history) + MARGIN if history else COEFFICIENT_START) - COEFFICIENT_BITS

    def _sum_of(self, node: BackwardNode, forward: Sequence[LayerExponents],
                gradients: Mapping[str, int]) -> int:
        """Return the exponent of the sums of a node of the backward graph."""
        first = gradients[node.reads[0].tensor]
        own = forward[node.layer]
        if node.kind == nodes.SUM:
            return common(first, gradients[node.reads[1].tensor])
        if node.kind.copies or node.kind == nodes.UNPOOL:
            return first
        if node.kind == nodes.SPREAD:
            return first - mean_scale(self.layers[node.layer].pixels)[1]
        if node.kind == nodes.DROP:
            return first - keep_scale(self.layers[node.layer].rate)[1]
        if node.kind == nodes.NORM:
            history = self.extra.get(f"{self.layers[node.layer].name}.b")
            return first + (max(history) + MARGIN - COEFFICIENT_BITS if history else own.w)
        if node.kind in (nodes.PRODUCT, nodes.FACTOR):
            return first + (own.x if node.input else own.second)
        return first + own.w

    def _history(self, tensor: str) -> list[int]:
        """Return the measured ranges of a gradient: the list itself, to which new ones go."""
        for layer, history in zip(self.layers, self.gradient):
            if tensor == f"{layer.name}.dy":
                return history
        return self.extra.setdefault(tensor, [])

    def observe(self, used: StepExponents, measures: Measures) -> None:
        """Take the measures of a training step that ran with the exponents ``used``.

        Evaluations must not be observed. A tensor that is all zero leaves its history as it is.
        """
        for i, layer in enumerate(used.layers):
            # A measure is that of the sums, before rounding to the output's exponent: it shows
            # ranges that did not fit, too.
            _push(self.feature[i], measures.forward[i], layer.forward_sum)
            if i in measures.coefficients:
                _push(self.extra.setdefault(f"{self.layers[i].name}.a", []),
                      measures.coefficients[i], layer.w)
            weights = measures.weights[i]
            if weights is not None:
                if weights:
                    self.weight_k[i] = weights.bit_length() + MASTER_EXPONENT
                # The update has written the copy with this exponent, also where all weights are
                # zero.
                self.w16[i] = layer.w_next
        for number, (node, total) in enumerate(zip(self.backward_graph.nodes, used.sums)):
            bits = measures.backward[node.layer] if node.kind == nodes.BACKWARD else None
            if number in measures.nodes:
                bits, coefficients = measures.nodes[number]
                if node.kind == nodes.NORM:
                    _push(self.extra.setdefault(f"{self.layers[node.layer].name}.b", []),
                          coefficients, total - used.gradients[node.reads[0].tensor])
            if bits is not None and node.target and not node.kind.copies:
                _push(self._history(node.target), bits, total)

    def widened(self, used: StepExponents | None = None, measures: Measures | None = None,
                input_k: int | None = None) -> ExponentPolicy:
        """Return this policy with room for what an evaluation has measured; never a narrower one.

        Args:
            used: exponents of the evaluation.
            measures: what it measured; both None: nothing.
            input_k: all images are below ``2**input_k`` in magnitude; None: as before.
        """
        wide = replace(self, feature=[list(one) for one in self.feature], extra=dict(self.extra),
                       input_k=self.input_k if input_k is None else max(self.input_k, input_k))
        if used is None or measures is None:
            return wide
        for i, layer in enumerate(used.layers):
            _widen(wide.feature[i], measures.forward[i], layer.forward_sum)
            if i in measures.coefficients:
                name = f"{self.layers[i].name}.a"
                wide.extra[name] = list(wide.extra.get(name, []))
                _widen(wide.extra[name], measures.coefficients[i], layer.w)
        return wide

    def calibrate(self, used: StepExponents, measures: Measures) -> bool:
        """Take the measures of a calibration step instead of all history.

        Returns:
            Whether to calibrate again: some range did not fit its exponent, or was far below it.
        """
        for history in (*self.feature, *self.gradient, *self.extra.values()):
            history.clear()
        self.observe(used, measures)
        return self._far(used, measures)

    @staticmethod
    def _far(used: StepExponents, measures: Measures) -> bool:
        """Return whether some exponent was too small, or too large by more than the slack."""
        for i, layer in enumerate(used.layers):
            pairs = [(measures.forward[i], layer.forward_sum, layer.y)]
            backward = measures.backward[i]
            if i and backward is not None:
                pairs.append((backward, layer.backward_sum, layer.dx))
            for bits, total, chosen in pairs:
                if bits:
                    # The exponent that this range would have been given, against the one it was
                    # given.
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
        """Return a state saved by :meth:`to_dict`, for a network.

        Args:
            data: plain values.
            layers: the network's layers.
            backward_graph: which gradients are computed from which.

        Raises:
            BadInput: it is malformed, or belongs to other layers.
        """
        try:
            version = data["version"]
            if version != FORMAT_VERSION:
                raise BadInput("exponent state", expected=f"version {FORMAT_VERSION}",
                               found=version, fix="use a checkpoint of this release")
            # Files of the first release have lists of three, beginning with the name.
            names = [str(one if isinstance(one, str) else one[0]) for one in data["layers"]]
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise BadInput(f"exponent state is malformed ({error})") from None
        saved = _SAVED.check(data, "exponent state")
        policy = cls(tuple(layers), backward_graph, saved["input_k"], saved["feature"],
                     saved["gradient"], saved["weight_k"], saved["w16"], saved.get("extra", {}))
        if names != [layer.name for layer in layers]:
            raise BadInput("exponent state", expected="the layers of its network", found=names)
        sizes = {len(v) for v in (policy.feature, policy.gradient, policy.weight_k, policy.w16)}
        if sizes != {len(layers)}:
            raise BadInput("exponent state", expected=f"entries for {len(layers)} layers",
                           found=sorted(sizes))
        return policy


def range_of_master(largest: int) -> int:
    """Return the range ``k`` of Q3.28 masters whose largest magnitude is ``largest``."""
    return max(int(largest).bit_length(), 1) + MASTER_EXPONENT


def mean_scale(pixels: int) -> tuple[int, int]:
    """Return (integer, bits) with ``integer * 2**-bits`` nearest to 1 / ``pixels``.

    It is a coefficient of the vector unit: as many bits as that takes, so that the rounding is as
    small as it can be.
    """
    bits = min(MEAN_BITS, SCALE_BITS + pixels.bit_length() - 1)
    return round((1 << bits) / pixels), bits


def keep_scale(rate: float) -> tuple[int, int]:
    """Return (integer, bits) with ``integer * 2**-bits`` nearest to 1 / (1 - ``rate``).

    It is the factor of what a dropout keeps; the integer is between 2**21 and 2**22.
    """
    fraction, exponent = math.frexp(1 / (1 - rate))
    return round(fraction * (1 << SCALE_BITS)), SCALE_BITS - exponent


def common(one: int, other: int) -> int:
    """Return the exponent in which two maps are added: the finer one, if the other's scale allows.

    The scale is the power of two that takes the coarser map to that exponent, a 24-bit coefficient.
    """
    return max(min(one, other), max(one, other) - SCALE_BITS)


def _target(history: Sequence[int], start: int) -> int:
    """Return the exponent for the largest range of a history, or for ``start`` without any."""
    k = max(history) + MARGIN if history else start
    return k - FRACTION_BITS


def _widen(history: list[int], bits: int, exponent: int) -> None:
    """Make a measured range, if it is the widest of a history, the newest of it."""
    if all(bits.bit_length() + exponent > known for known in history):
        _push(history, bits, exponent)


def _push(history: list[int], bits: int, exponent: int) -> None:
    """Add a measured range to a history and forget old ones; ``exponent``: of the sums."""
    if bits:
        history.append(bits.bit_length() + exponent)
        del history[:-HISTORY_STEPS]
