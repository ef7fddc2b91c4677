"""Masters on their way into device memory and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pynq_train.arrays import Array
from pynq_train.hw.words import CHANNELS_PER_WORD
from pynq_train.run.formats import master_words, operand_copy, split_master_words
from pynq_train.run.masters import Masters
from pynq_train.schedule.plan import Plan
from pynq_train.schedule.specs.spec import LayerSpec

Put = Callable[[str, Any], None]
"""Writes an array at a symbol."""
Get = Callable[[str, Any], Array]
"""Reads a symbol as an array of a dtype."""


def write_weights(put: Put, plan: Plan, layers: Iterable[int], masters: Mapping[str, Masters],
                  exponents: Sequence[int], learning: bool = False) -> None:
    """Write weights, momentum, running statistics and the 16-bit copies of some layers.

    Masters of frozen weights are not written: the engine needs their copies alone.

    Args:
        put: writes to the arena of the plan.
        plan: the plan.
        layers: positions of the layers.
        masters: by name, those of average pooling included.
        exponents: of the 16-bit copies, for all layers of the plan.
        learning: only what is trained: the rest stands there already.
    """
    for at in layers:
        spec = plan.specs[at]
        if not spec.on_array:
            if spec.kind.has_running:
                _write_norm(put, spec, masters[spec.name])
            continue
        own, trained = masters[spec.name], plan.trainable[at]
        if trained.weights:
            words = (master_words(own.weight, own.weight_momentum) if plan.momentum
                     else own.weight)
            put(f"{spec.name}.wv", spec.pack_masters(words))
        if trained.weights or not learning:
            put(f"{spec.name}.w16", spec.pack_weights(operand_copy(own.weight, exponents[at])))
        if (own.bias is not None and own.bias_momentum is not None
                and (trained.bias or not learning)):
            put(f"{spec.name}.bias", spec.pack_bias(master_words(own.bias, own.bias_momentum)))


def read_weights(get: Get, plan: Plan, layers: Iterable[int], known: Mapping[str, Masters]
                 ) -> dict[str, Masters]:
    """Return the masters of some layers, by name.

    Args:
        get: reads from the arena of the plan.
        plan: the plan.
        layers: positions of the layers.
        known: what was written: frozen weights are not in the arena.
    """
    result = {}
    for at in layers:
        layer, spec, trained = plan.layers[at], plan.specs[at], plan.trainable[at]
        if not spec.on_array:
            if spec.kind.has_running:
                result[spec.name] = _read_norm(get, spec)
            continue
        if layer.average:
            continue
        frozen = known[spec.name]
        if not trained.weights:
            weight, weight_v = frozen.weight, frozen.weight_momentum
        elif plan.momentum:
            words = spec.unpack_weights(get(f"{spec.name}.wv", np.int64))
            weight, weight_v = split_master_words(words)
        else:
            weight = spec.unpack_weights(get(f"{spec.name}.wv", np.int32))
            weight_v = np.zeros_like(weight)
        bias, bias_v = frozen.bias, frozen.bias_momentum
        if trained.bias:
            words = spec.unpack_bias(get(f"{spec.name}.bias", np.int64))
            bias, bias_v = split_master_words(words)
        result[spec.name] = Masters(weight, weight_v, bias, bias_v)
    return result


def _write_norm(put: Put, spec: LayerSpec, own: Masters) -> None:
    assert own.bias is not None and own.bias_momentum is not None
    assert own.mean is not None and own.variance is not None
    both = [spec.pack_bias(master_words(*pair)) for pair in (
        (own.weight, own.weight_momentum), (own.bias, own.bias_momentum))]
    put(f"{spec.name}.bias", np.concatenate(both))
    running = np.zeros((2, spec.m_blocks * CHANNELS_PER_WORD), np.int64)
    running[:, :spec.m] = own.mean, own.variance
    blocks = running.reshape(2, spec.m_blocks, CHANNELS_PER_WORD).transpose(1, 0, 2)
    put(f"{spec.name}.running", np.ascontiguousarray(blocks))


def _read_norm(get: Get, spec: LayerSpec) -> Masters:
    words = get(f"{spec.name}.bias", np.int64).reshape(2, -1)[:, :spec.m]
    (gamma, gamma_v), (beta, beta_v) = (split_master_words(row) for row in words)
    blocks = get(f"{spec.name}.running", np.int64)
    running = blocks.reshape(spec.m_blocks, 2, CHANNELS_PER_WORD).transpose(1, 0, 2)
    mean, variance = running.reshape(2, -1)[:, :spec.m].copy()
    return Masters(gamma, gamma_v, beta, beta_v, mean, variance)
