"""Exponent bookkeeping: measured ranges of past steps become the exponents of the next one.

A tensor is signed 16-bit integers ``q`` and one exponent ``e``: value = q * 2**e. A range is
written as ``k``: the largest magnitude lies in [2**(k-1), 2**k), so that ``e = k - 15``. Everything
here is integer; nothing depends on floating point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pynq_train.errors import BadInput
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
MASTER_EXPONENT = -28
"""Exponent of the 32-bit weight and bias masters (Q3.28)."""
INPUT_START, FEATURE_START, GRADIENT_START = 2, 4, -8
"""Ranges ``k`` before anything was measured."""
FEATURE_FLOOR, WEIGHT_FLOOR, GRADIENT_FLOOR = -21, -21, -48
"""Smallest exponents, so that every shift keeps inside its field."""
FEATURE_CEILING, WEIGHT_CEILING = 0, -11
MAX_SHIFT = 47
CALIBRATION_SLACK = 3
"""Bits that a start exponent may be too large before calibration is repeated."""
MAX_GRADIENT_EXPONENT = LARGEST_GRADIENT_EXPONENT
FORMAT_VERSION = 1


def clamp(value: int, low: int, high: int) -> int:
    """``value`` limited to ``low..high``."""
    return max(low, min(high, value))


@dataclass(frozen=True)
class LayerKind:
    """What the policy must know of a layer: its name, and whether it is trained."""

    name: str
    trained: bool = True
    backward: bool = True


@dataclass(frozen=True)
class LayerExponents:
    """Exponents of one layer in one step.

    Attributes:
        x: input.
        w: 16-bit weights that the passes read.
        y: output.
        dy: gradient of the output (0 if not trained).
        dx: gradient of the input (0 if there is none).
        w_next: 16-bit weights that the update writes.
    """

    x: int
    w: int
    y: int
    dy: int
    dx: int
    w_next: int

    @property
    def forward_sum(self) -> int:
        """Exponent of the forward sums."""
        return self.x + self.w

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
    """Exponents of all layers in one step, and the batch and the loss that they belong to."""

    batch: int
    layers: tuple[LayerExponents, ...]
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
    """

    forward: Sequence[int]
    backward: Sequence[int | None]
    weights: Sequence[int | None]


@dataclass
class ExponentPolicy:
    """Exponent state of a training run; part of a checkpoint.

    Attributes:
        layers: the network's layers.
        input_k: range of the input images.
        feature: per layer: ranges measured in the last steps, newest last.
        gradient: per layer: ranges of the gradient of its output; the last layer's is fixed.
        weight_k: per layer: range of the masters after the last update.
        w16: per layer: exponent of the 16-bit weights in device memory.
        loss: gives the exponent of the logit gradients; not part of the saved state.
    """

    layers: tuple[LayerKind, ...]
    input_k: int = INPUT_START
    feature: list[list[int]] = field(default_factory=list)
    gradient: list[list[int]] = field(default_factory=list)
    weight_k: list[int] = field(default_factory=list)
    w16: list[int] = field(default_factory=list)
    loss: Loss = PLAIN_LOSS

    @classmethod
    def start(cls, layers: Sequence[LayerKind], weight_k: Sequence[int],
              input_k: int = INPUT_START) -> ExponentPolicy:
        """Return the state before the first step.

        Args:
            layers: the network's layers.
            weight_k: ranges of the start weights, ``range_of_master(max |w|)``.
            input_k: range of the input images.
        """
        if len(weight_k) != len(layers):
            raise BadInput("weight ranges", expected=f"one for each of {len(layers)} layers",
                           found=len(weight_k))
        policy = cls(tuple(layers), input_k, [[] for _ in layers], [[] for _ in layers],
                     list(weight_k))
        policy.w16 = [policy.weight_exponent(i) for i in range(len(layers))]
        return policy

    def weight_exponent(self, layer: int) -> int:
        """Exponent that the next 16-bit copy of a layer's weights gets."""
        return clamp(self.weight_k[layer] + MARGIN - FRACTION_BITS, WEIGHT_FLOOR, WEIGHT_CEILING)

    @property
    def input_exponent(self) -> int:
        """Exponent of the input images."""
        return clamp(self.input_k - FRACTION_BITS, FEATURE_FLOOR, FEATURE_CEILING)

    def exponents(self, batch: int) -> StepExponents:
        """Return the exponents of the next step."""
        count = len(self.layers)
        forward: list[tuple[int, int]] = []
        x = self.input_exponent
        for i in range(count):
            target = _target(self.feature[i], FEATURE_START)
            total = x + self.w16[i]
            ceiling = self.loss.logits_ceiling(batch) if i == count - 1 else FEATURE_CEILING
            y = clamp(clamp(target, FEATURE_FLOOR, ceiling), total, total + MAX_SHIFT)
            forward.append((x, y))
            x = y
        gradients = [0] * count
        inputs = [0] * count
        dy = self.loss.gradient_exponent(batch, x)
        for i in reversed(range(count)):
            if not self.layers[i].trained:
                break
            gradients[i] = dy
            if i and self.layers[i].backward and self.layers[i - 1].trained:
                total = dy + self.w16[i]
                target = max(_target(self.gradient[i - 1], GRADIENT_START), GRADIENT_FLOOR)
                dy = clamp(target, total, total + MAX_SHIFT)
                dy = min(dy, MAX_GRADIENT_EXPONENT)
                inputs[i] = dy
        return StepExponents(batch, tuple(
            LayerExponents(x=forward[i][0], w=self.w16[i], y=forward[i][1], dy=gradients[i],
                           dx=inputs[i],
                           w_next=self.weight_exponent(i) if self.layers[i].trained
                           else self.w16[i])
            for i in range(count)), self.loss)

    def observe(self, used: StepExponents, measures: Measures) -> None:
        """Take the measures of a training step that ran with the exponents ``used``.

        Evaluation must not be observed. An all-zero tensor leaves its history as it is.
        """
        for i, layer in enumerate(used.layers):
            _push(self.feature[i], measures.forward[i], layer.forward_sum)
            backward = measures.backward[i]
            if i and backward is not None:
                _push(self.gradient[i - 1], backward, layer.backward_sum)
            weights = measures.weights[i]
            if weights is not None:
                if weights:
                    self.weight_k[i] = weights.bit_length() + MASTER_EXPONENT
                self.w16[i] = layer.w_next

    def calibrate(self, used: StepExponents, measures: Measures) -> bool:
        """Take the measures of a calibration step instead of all history.

        Returns:
            Whether to calibrate again: some range lay outside its guess, or far below it.
        """
        for history in (*self.feature, *self.gradient):
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
            "layers": [[k.name, k.trained, k.backward] for k in self.layers],
            "input_k": self.input_k, "feature": [list(h) for h in self.feature],
            "gradient": [list(h) for h in self.gradient], "weight_k": list(self.weight_k),
            "w16": list(self.w16),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ExponentPolicy:
        """Rebuild a state saved by :meth:`to_dict`; :class:`BadInput` if it is malformed."""
        if data.get("version") != FORMAT_VERSION:
            raise BadInput("exponent state", expected=f"version {FORMAT_VERSION}",
                           found=data.get("version"), fix="use a checkpoint of this release")
        try:
            layers = tuple(LayerKind(str(n), bool(t), bool(b)) for n, t, b in data["layers"])
            policy = cls(layers, int(data["input_k"]),
                         [[int(k) for k in h] for h in data["feature"]],
                         [[int(k) for k in h] for h in data["gradient"]],
                         [int(k) for k in data["weight_k"]], [int(e) for e in data["w16"]])
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"exponent state is malformed ({error})") from None
        sizes = {len(v) for v in (policy.feature, policy.gradient, policy.weight_k, policy.w16)}
        if sizes != {len(layers)}:
            raise BadInput("exponent state", expected=f"entries for {len(layers)} layers",
                           found=sorted(sizes))
        return policy


def range_of_master(largest: int) -> int:
    """Range ``k`` of Q3.28 masters whose largest magnitude is ``largest`` (an integer)."""
    return max(int(largest).bit_length(), 1) + MASTER_EXPONENT


def _target(history: Sequence[int], start: int) -> int:
    k = max(history) + MARGIN if history else start
    return k - FRACTION_BITS


def _push(history: list[int], bits: int, exponent: int) -> None:
    if bits:
        history.append(bits.bit_length() + exponent)
        del history[:-HISTORY_STEPS]
