"""Fields of the step block from the exponents of a step and the optimizer's values.

All shifts are differences of exponents; docs/numerics.md 3 to 7 says what each field does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pynq_train.errors import BadInput
from pynq_train.fixed.counter_hash import STEP_BITS
from pynq_train.graph.activation import Activation
from pynq_train.hw.curves import table_number
from pynq_train.hw.limits import NO_LIMIT
from pynq_train.hw.words import MASTER_EXPONENT
from pynq_train.layers import kinds, nodes
from pynq_train.layers.backward_graph import DLOGITS, BackwardGraph, BackwardNode
from pynq_train.quant.policy import (
    FRACTION_BITS,
    MAX_SHIFT,
    LayerExponents,
    QuantLayer,
    StepExponents,
    keep_scale,
    mean_scale,
)

MOMENTUM_EXPONENT = -24
"""Exponent of the 32-bit momentum (Q7.24)."""
GRADIENT_PRESHIFT = 16
"""Bits by which the update unit shifts a gradient sum left before ``g_shift``."""


# Not frozen: one is made in each step, and a frozen one takes three times as long to make.
@dataclass
class SgdStep:
    """Values of one step of SGD: v = momentum * v + g + decay * w; w -= lr * v.

    With ``nesterov`` the last is w -= lr * (g + decay * w + momentum * v).

    Attributes:
        lr: learning rate.
        momentum: 0..1.
        decay: weight decay, not applied to biases.
        valid: images of the mini-batch that count (default: all).
        factors: per layer: factors of the learning rate of weights and bias (default: 1).
        clip: exponent of the bound of gradient maps (:func:`clip_shift`), None without.
        nesterov: whether it is Nesterov's step.
        parts: mini-batches whose mean gradient makes an update.
        part: which of them this is. The first applies momentum and decay, the last moves w.
        seed: of the training; ``step``: training steps (mini-batches) so far. With them the masks
            of dropouts are drawn.
    """

    lr: float
    momentum: float = 0.0
    decay: float = 0.0
    valid: int | None = None
    factors: tuple[tuple[float, float], ...] = ()
    clip: int | None = None
    nesterov: bool = False
    parts: int = 1
    part: int = 0
    seed: int = 0
    step: int = 0


@dataclass(frozen=True)
class StepParams:
    """Step-block fields of one step by their names (see ``hw.commands``).

    Attributes:
        softmax: of the softmax unit.
        forward: per layer: of the forward pass.
        backward: per layer: of the backward pass.
        update_weights: per layer: of the update of weights, or gamma.
        update_bias: per layer: of the update of biases, or beta.
        norm: by position of a normalisation: of its forward coefficients.
        nodes: by position in the backward graph: of a node on the vector unit.
        node_coefficients: likewise: of the backward coefficients that a node reads.
    """

    softmax: Mapping[str, int]
    forward: tuple[Mapping[str, int], ...]
    backward: tuple[Mapping[str, int], ...]
    update_weights: tuple[Mapping[str, int], ...]
    update_bias: tuple[Mapping[str, int], ...]
    norm: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    nodes: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    node_coefficients: Mapping[int, Mapping[str, int]] = field(default_factory=dict)


def limit_code(activation: Activation, exponent: int) -> int:
    """Largest code behind an activation at an exponent; what 16 bits do not reach clips nothing.

    Without an upper bound nobody reads the limit: it is that of ReLU6, as it always was, so that
    step blocks stay the same byte for byte.
    """
    code = activation.top_code(exponent)
    return limit_code(Activation.RELU6, exponent) if code is None else min(code, NO_LIMIT)


def learning_rate_fields(lr: float) -> tuple[int, int]:
    """Return (mantissa, right shift) of a learning rate: ``lr = mantissa * 2**-shift / 16``.

    The factor 16 takes Q7.24 momentum to Q3.28 weights.

    Raises:
        BadInput: the rate is negative, too large or no number.
    """
    if not 0 <= lr < 2048:
        raise BadInput("learning rate", expected="0 or more, below 2048", found=lr)
    if lr == 0:
        return 0, 0
    fraction, exponent = math.frexp(lr * 16)
    mantissa, shift = round(fraction * (1 << 16)), 16 - exponent
    # The field has 16 bits; a fraction that rounds up to one needs 17.
    if mantissa == 1 << 16:
        mantissa, shift = 1 << 15, shift - 1
    # A rate this small loses mantissa bits instead, down to 0.
    if shift > MAX_SHIFT:
        mantissa, shift = mantissa >> (shift - MAX_SHIFT), MAX_SHIFT
    return mantissa, shift


def step_params(exponents: StepExponents, sgd: SgdStep | None, layers: Sequence[QuantLayer],
                backward_graph: BackwardGraph, alphas: Mapping[int, float]) -> StepParams:
    """Return the step-block fields of a step; without ``sgd`` those of an evaluation.

    The mean over a mini-batch that is no power of two is folded into learning rate and decay: the
    logit gradients carry 2**-floor(log2(batch)), not 1/batch. So is the mean over the parts of an
    update, whose power of two is in ``g_shift``.

    Args:
        exponents: exponents of the step.
        sgd: the optimizer's values, None for an evaluation.
        layers: the layers.
        backward_graph: which gradients are computed from which.
        alphas: by position of a normalisation: the part by which its running statistics move.

    Raises:
        BadInput: a value of the optimizer is out of the range of its field.
    """
    batch = exponents.batch
    valid = batch if sgd is None or sgd.valid is None else sgd.valid
    forward = [_forward_fields(layer, e, sgd) for layer, e in zip(layers, exponents.layers)]
    backward = [{"shift": max(e.dx - e.backward_sum, 0) if e.dx else 0} for e in exponents.layers]
    weights, bias = _update_fields(exponents, sgd, layers)
    norm = {at: {"z_exp": e.x, "a_exp": e.w, "c_exp": e.forward_sum,
                 "alpha": round(alphas.get(at, 0.0) * (1 << 16))}
            for at, (layer, e) in enumerate(zip(layers, exponents.layers))
            if layer.kind.normalises}
    found, coefficients = {}, {}
    for number, (node, total) in enumerate(zip(backward_graph.nodes, exponents.sums)):
        if not node.kind.on_vector_unit:
            continue
        found[number] = _node_fields(node, total, exponents, layers)
        if node.kind == nodes.NORM:
            e, g = exponents.layers[node.layer], exponents.gradients[node.reads[0].tensor]
            coefficients[number] = {"z_exp": e.x, "g_exp": g, "a_exp": total - g,
                                    "b_exp": total - e.x, "c_exp": total}
    softmax = {**exponents.loss.fields(exponents.logits), "valid": valid}
    return StepParams(softmax, tuple(forward), tuple(backward), weights, bias, norm, found,
                      coefficients)


def _update_fields(exponents: StepExponents, sgd: SgdStep | None, layers: Sequence[QuantLayer]
                   ) -> tuple[tuple[Mapping[str, int], ...], tuple[Mapping[str, int], ...]]:
    """Return the updates of weights and of biases, by layer; empty where nothing is trained."""
    none: tuple[Mapping[str, int], ...] = ({},) * len(exponents.layers)
    if sgd is None:
        return none, none
    # The mean over the parts: its power of two shifts the gradient, the rest is in the rate.
    halvings = sgd.parts.bit_length() - 1
    fold = exponents.loss.fold(exponents.batch) * ((1 << halvings) / sgd.parts)
    scale = halvings + (0 if sgd.clip is None else clip_shift(exponents, sgd.clip))
    weights, bias = list(none), list(none)
    factors = sgd.factors or ((1.0, 1.0),) * len(exponents.layers)
    for at, (e, (of_weights, of_bias)) in enumerate(zip(exponents.layers, factors)):
        if not e.dy:
            continue
        bias[at] = _bias_fields(sgd, fold, of_bias, e, scale)
        if e.total is None:
            weights[at] = {**sgd_fields(sgd, fold, of_weights),
                           "w_shift": e.w_next - MASTER_EXPONENT,
                           "g_shift": _gradient_shift(e.gradient_sum - scale)}
            if layers[at].scale:
                weights[at] = {**weights[at], "decay": 0}
        else:  # gamma of a normalisation learns as biases do
            weights[at] = _bias_fields(sgd, fold, of_weights, e, scale)
    return tuple(weights), tuple(bias)


def _forward_fields(layer: QuantLayer, e: LayerExponents, sgd: SgdStep | None) -> dict[str, int]:
    """Return the fields of a layer's forward pass on its unit; a concatenation has none."""
    if layer.on_array:
        return {"shift": e.y - e.forward_sum, "bias_shift": MASTER_EXPONENT - e.forward_sum,
                "limit": limit_code(e.activation, e.y)}
    if layer.kind.joins:
        return {}
    return _drop_fields(layer, e, sgd) if layer.kind == kinds.DROP else _vector_fields(layer, e)


def _vector_fields(layer: QuantLayer, e: LayerExponents) -> dict[str, int]:
    """Return the fields of the forward pass of a layer of the vector unit."""
    total, shift = e.forward_sum, e.y - e.forward_sum
    limit = limit_code(e.activation, e.y)
    if layer.kind.windowed or layer.kind.multiplies:
        return {"shift": shift}
    if layer.kind == kinds.CURVE:
        return {"shift": shift, "limit": table_number(e.x)}
    if layer.kind.reduces:
        return {"shift": shift, "limit": limit, "a_scale": mean_scale(layer.pixels)[0]}
    return {"shift": shift, "limit": limit,
            "a_scale": 0 if layer.kind.normalises else _scale(e.x, total),
            "b_scale": _scale(e.second, total) if len(layer.sources) > 1 else 0}


def _drop_fields(layer: QuantLayer, e: LayerExponents, sgd: SgdStep | None) -> dict[str, int]:
    """Return the fields of a dropout's forward pass; in an evaluation it passes all elements on."""
    fields = {"shift": e.y - e.forward_sum, "limit": limit_code(e.activation, e.y), "a_scale": 1}
    if sgd is None:
        return fields
    return {**fields, "a_scale": keep_scale(layer.rate)[0], "drop_seed": sgd.seed % (1 << 32),
            "drop_step": sgd.step % (1 << STEP_BITS)}


def _node_fields(node: BackwardNode, total: int, exponents: StepExponents,
                 layers: Sequence[QuantLayer]) -> dict[str, int]:
    """Return the fields of a node of the backward graph; ``total``: exponent of its sums."""
    e = [exponents.gradients[ref.tensor] for ref in node.reads]
    shift = exponents.gradients[node.target] - total if node.target else 0
    if node.kind == nodes.SPREAD:
        return {"shift": shift, "b_scale": mean_scale(layers[node.layer].pixels)[0]}
    if node.kind in (nodes.NORM, nodes.UNPOOL, nodes.PRODUCT, nodes.FACTOR):
        return {"shift": shift}
    if node.kind == nodes.CURVE:
        return {"shift": shift, "limit": table_number(exponents.layers[node.layer].x)}
    if node.kind == nodes.DROP:
        return {"shift": shift, "a_scale": keep_scale(layers[node.layer].rate)[0]}
    return {"shift": shift, "a_scale": _scale(e[0], total),
            "b_scale": _scale(e[1], total) if node.kind == nodes.SUM else 0}


def _scale(exponent: int, total: int) -> int:
    """Return the integer factor that takes a map of ``exponent`` to sums of exponent ``total``.

    A map so fine that a factor of one is too much counts as zero.
    """
    return 1 << exponent - total if exponent >= total else 0


def clip_shift(exponents: StepExponents, limit: int) -> int:
    """Return the shift d by which all gradients of a step are scaled, 2**-d, before the momentum.

    A gradient map of exponent e saturates at 2**(e + 15), a bound that follows the measures of the
    last steps. The shift takes the largest of these bounds to ``2**limit``; it is 0 if none is
    above.
    """
    bounds = [exponent + FRACTION_BITS for name, exponent in exponents.gradients.items()
              if name != DLOGITS]
    return max(0, max(bounds, default=limit) - limit)


def _bias_fields(sgd: SgdStep, fold: float, factor: float, e: LayerExponents, scale: int
                 ) -> dict[str, int]:
    """Return the update of biases, whose gradients are sums: no decay, no 16-bit copy."""
    return {**sgd_fields(sgd, fold, factor), "decay": 0,
            "w_shift": max(e.w_next - MASTER_EXPONENT, 0), "g_shift": _gradient_shift(e.dy - scale)}


def _gradient_shift(exponent: int) -> int:
    """Return the ``g_shift`` that takes sums of ``exponent``, times 2**16, to Q7.24; at most 63."""
    # 63 is the largest shift that the field holds; hardly anything of a sum is left then.
    return min(GRADIENT_PRESHIFT + MOMENTUM_EXPONENT - exponent, 63)


def nesterov_in_parts(parts: int) -> BadInput:
    """Return the error of Nesterov's step from ``parts`` mini-batches."""
    return BadInput("nesterov with accumulation", expected="one mini-batch for an update: "
                    "Nesterov's step needs the mean gradient by itself, and the engine keeps the "
                    "momentum alone", found=parts, fix="use nesterov=False, or accumulate=1")


def sgd_fields(sgd: SgdStep, fold: float, factor: float) -> dict[str, int]:
    """Return the optimizer's fields of an update.

    Args:
        sgd: the optimizer's values.
        fold: factor that the gradients lack (:meth:`~pynq_train.quant.loss.Loss.fold`).
        factor: factor of the learning rate for these parameters.

    Raises:
        BadInput: a value is out of the range of its field.
    """
    if not 0 <= sgd.momentum <= 1:
        raise BadInput("momentum", expected="0..1", found=sgd.momentum)
    if sgd.nesterov and sgd.parts > 1:
        raise nesterov_in_parts(sgd.parts)
    # The gradient in the momentum is too large by 1 / fold, and the rate takes that back. Decay
    # goes the same way, so it must be too large as well.
    decay = round(sgd.decay / fold * (1 << 20))
    if not 0 <= decay < 1 << 16:
        raise BadInput("weight decay", expected=f"0 or more, below {min(0.03, fold / 16):.2g}",
                       found=sgd.decay)
    lr, shift = rate_fields(sgd, fold, factor)
    momentum = round(sgd.momentum * (1 << 16))
    if sgd.part:
        momentum, decay = 1 << 16, 0
    return {"lr": lr, "lr_shift": shift, "momentum": momentum, "decay": decay,
            "nesterov": int(sgd.nesterov)}


def rate_fields(sgd: SgdStep, fold: float, factor: float) -> tuple[int, int]:
    """Return the fields of the rate alone, ``lr`` and ``lr_shift``, as :func:`sgd_fields` does.

    Raises:
        BadInput: the rate is negative, too large or no number.
    """
    lr, shift = learning_rate_fields(sgd.lr * factor * fold)
    # The momentum gathers the gradients of all parts; only the last part moves the weights.
    return (0, 0) if sgd.part < sgd.parts - 1 else (lr, shift)
