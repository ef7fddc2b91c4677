"""Group normalisations that ONNX files spell out: reshape, instance normalisation, reshape, scale.

ONNX has had a node for them since operator set 18 only; PyTorch and this package write what every
runtime knows. Such nodes are joined to one before anything else looks at them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from pynq_train.arrays import Array
from pynq_train.exchange.packages import need

JOINED = "GroupNormalization"


def join_group_norms(proto: Any, constants: Mapping[str, Array]) -> list[Any]:
    """Return the nodes of a graph, with each spelled-out group normalisation as one node.

    The node is GroupNormalization as since operator set 21: gamma and beta belong to channels. It
    has them only where the file has.

    Args:
        proto: the ``GraphProto``; it is not changed.
        constants: the constants that are known, by name.
    """
    helper = need("onnx.helper", "reading ONNX files")
    nodes = list(proto.node)
    made = {name: node for node in nodes for name in node.output}
    known = {**constants, **_constants(nodes, helper)}
    readers = Counter(name for node in nodes for name in node.input)
    readers.update(entry.name for entry in proto.output)
    behind = {name: node for node in nodes for name in node.input if readers[name] == 1}
    gone: set[int] = set()
    joined: dict[int, Any] = {}
    for node in nodes:
        if node.op_type != "InstanceNormalization":
            continue
        before, after = made.get(node.input[0]), behind.get(node.output[0])
        if (before is None or after is None or before.op_type != "Reshape"
                or after.op_type != "Reshape" or readers[before.output[0]] != 1):
            continue
        groups = _groups(known.get(before.input[1]))
        plain = [known.get(name) for name in node.input[1:3]]
        if groups is None or any(one is None or len(one) != groups for one in plain):
            continue
        scale, shift = (one for one in plain if one is not None)
        if (scale != 1).any() or (shift != 0).any():
            continue
        last, arrays, steps = after, [], [before, node, after]
        for kind in ("Mul", "Add"):
            step = behind.get(last.output[0])
            array = _channels(step, kind, last.output[0], known)
            if step is None or array is None:
                break
            arrays.append(array)
            steps.append(step)
            last = step
        eps = next((entry.f for entry in node.attribute if entry.name == "epsilon"), 1e-5)
        joined[id(last)] = helper.make_node(
            JOINED, [before.input[0], *arrays], list(last.output), name=_scope(last) or node.name,
            num_groups=groups, epsilon=eps)
        gone.update(id(step) for step in steps)
    return [joined.get(id(node), node) for node in nodes
            if id(node) in joined or id(node) not in gone]


def _scope(node: Any) -> str:
    """Return the name of a node without its kind: PyTorch puts that behind the module's name."""
    scope, _, own = node.name.rpartition("/")
    return scope if own.startswith(node.op_type) and scope.strip("/") else node.name


def _constants(nodes: list[Any], helper: Any) -> dict[str, Array]:
    """Return the tensors of Constant nodes, by name."""
    found: dict[str, Array] = {}
    to_array = need("onnx.numpy_helper", "reading ONNX files").to_array
    for node in nodes:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            value = helper.get_attribute_value(node.attribute[0])
            found[node.output[0]] = np.asarray(to_array(value))
    return found


def _groups(sizes: Array | None) -> int | None:
    """Return the groups of sizes ``(0, groups, -1)`` of a reshaping, None if it has others."""
    if sizes is None or sizes.size != 3:
        return None
    first, groups, last = (int(size) for size in sizes)
    whole = (first in (0, -1) and last == -1) or min(first, last) > 0
    return groups if whole and groups > 0 else None


def _channels(node: Any, kind: str, source: str, known: Mapping[str, Array]) -> str | None:
    """Return the name of the constant, one number per channel, that a node computes with."""
    if node is None or node.op_type != kind:
        return None
    other = [name for name in node.input if name != source]
    array = known.get(other[0]) if len(other) == 1 else None
    if array is None or array.ndim < 3 or array.shape[-2:] != (1, 1):
        return None
    return other[0]
