"""Adapters merged back: one layer again where that is exact mathematics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pynq_train.errors import BadInput
from pynq_train.graph import Concat, Conv, Dense, Model
from pynq_train.layers.supported import check_values
from pynq_train.rungs.adapters import LORA, LORA_A, LORA_B
from pynq_train.rungs.edit import Edit
from pynq_train.rungs.sparse import PART


def merge(model: Model) -> Model:
    """Return a model whose low-rank pairs and split layers are single layers again.

    A pair is ``W + B A``, the parts of a layer stand side by side. The outputs are the same but for
    the rounding of the weights.

    Raises:
        BadInput: nothing of it can be merged: branches with an activation, and pairs that go
            straight to the logits, have no layer that computes the same.
        UnsupportedModel: merged weights leave the range of the engine's masters.
    """
    edit = Edit(model, 0)
    merged = 0
    for op in edit.ops:
        if op.name.endswith(LORA) and _is_pair(edit, op.name.removesuffix(LORA)):
            _merge_pair(edit, op.name.removesuffix(LORA))
            merged += 1
        elif isinstance(op, Concat) and op.inputs[0] == f"{op.name}{PART}0":
            _merge_parts(edit, op)
            merged += 1
    if not merged:
        raise BadInput(f"merge of {model.graph.name!r}", found="none of these",
                       expected="low-rank pairs beside layers (lora), or layers of parts (sparse)",
                       fix="keep the adapters: they run beside the network in an evaluation too")
    result = edit.finish()
    check_values(f"network {model.graph.name!r} with its adapters merged", result.params)
    return result


def _is_pair(edit: Edit, name: str) -> bool:
    return all(one in edit.shapes for one in (name, name + LORA_A, name + LORA_B))


def _merge_pair(edit: Edit, name: str) -> None:
    """Add the product of a pair to the weights of its layer, and drop it."""
    own, a, b = (edit.params(one) for one in (name, name + LORA_A, name + LORA_B))
    m, rank = b.weight.shape[:2]
    product = b.weight.reshape(m, rank).astype(np.float64) @ a.weight.reshape(rank, -1)
    edit.set_params(name, own.weight + product.reshape(own.weight.shape), own.bias)
    edit.rename(name + LORA, name)
    for one in (name + LORA, name + LORA_B, name + LORA_A):
        edit.remove(one)


def _merge_parts(edit: Edit, join: Concat) -> None:
    """Put one layer in the place of its parts."""
    parts = [next(op for op in edit.ops if op.name == name) for name in join.inputs]
    first = parts[0]
    assert isinstance(first, (Conv, Dense))
    own = [edit.params(part.name) for part in parts]
    channels = sum(len(one.weight) for one in own)
    weight = np.concatenate([one.weight for one in own])
    bias = np.concatenate([one.bias for one in own if one.bias is not None]) if first.bias else None
    whole = (replace(first, out_channels=channels, name=join.name) if isinstance(first, Conv)
             else replace(first, units=channels, name=join.name))
    edit.replace(join.name, whole)
    edit.set_params(join.name, weight, bias)
    for part in parts:
        edit.remove(part.name)
