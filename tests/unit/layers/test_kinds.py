"""The table of layer kinds: its rows agree with themselves and with what the engine runs."""

from __future__ import annotations

from typing import Any

import pytest

from pynq_train.graph import zoo
from pynq_train.hw.commands import Opcode
from pynq_train.layers import fuse, kinds, nodes
from pynq_train.layers.kinds import KINDS, Kind


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_row_agrees_with_itself(kind: Kind) -> None:
    assert kind.on_array + (kind.opcode is Opcode.VECTOR) + kind.windowed + kind.joins == 1
    assert kind.on_array == (kind.convolves or kind.fully_connected)
    assert not (kind.to_vector and kind.wordwise), "a vector and the form of the input"
    assert not (kind.reads_masked and (kind.on_array or kind.windowed or kind.own_mask))
    if kind.backward is not None and not kind.joins:
        # What comes back runs on the unit that the layer runs on.
        assert kind.backward.opcode is kind.opcode
        assert kind.backward.through or kind.wordwise
    assert (kind.backward is nodes.VIEW) == kind.joins


def test_layers_have_rows_of_the_table() -> None:
    found = {layer.kind for name in ("digits", "resnet20") for layer in fuse(zoo.get(name))}
    assert found == {kinds.CONV, kinds.DENSE, kinds.NORM, kinds.MEAN}
    assert found < set(KINDS) and len({str(kind) for kind in KINDS}) == len(KINDS)


def of(name: str, rows: tuple[Any, ...] = KINDS) -> set[str]:
    """Labels of the rows in which a property holds."""
    return {str(row) for row in rows if getattr(row, name)}


def test_what_each_kind_of_layer_does() -> None:
    """The table the other way round: by property."""
    assert {str(kind): kind.opcode for kind in KINDS} == {
        "conv": Opcode.CONV, "dense": Opcode.CONV, "norm": Opcode.VECTOR, "add": Opcode.VECTOR,
        "mean": Opcode.VECTOR, "pool": Opcode.POOL, "drop": Opcode.VECTOR, "concat": None,
        "upsample": Opcode.CONV, "transpose": Opcode.CONV, "bilinear": Opcode.CONV,
        "curve": Opcode.VECTOR, "product": Opcode.VECTOR, "scale": Opcode.VECTOR,
        "group norm": Opcode.VECTOR}
    assert {str(kind): str(kind.backward) for kind in KINDS} == {
        "conv": "backward", "dense": "backward", "norm": "norm", "add": "None", "mean": "spread",
        "pool": "unpool", "drop": "drop", "concat": "view", "upsample": "backward",
        "transpose": "backward", "bilinear": "backward", "curve": "curve", "product": "product",
        "scale": "product", "group norm": "norm"}
    assert of("fully_connected") == {"dense"}
    assert of("convolves") == {"conv", "upsample", "transpose", "bilinear"}
    assert of("normalises") == {"norm", "group norm"} and of("reduces") == {"mean"}
    assert of("by_image") == {"group norm"} and of("has_running") == {"norm"}
    assert of("to_vector") == {"dense", "mean"}
    assert of("wordwise") == {"norm", "add", "drop", "concat", "curve", "product", "scale"}
    assert of("free_exponent") == {"conv", "dense", "norm", "add", "concat", "upsample",
                                    "transpose", "bilinear", "curve", "product", "scale",
                                    "group norm"}
    assert of("multiplies") == {"product", "scale"} and of("scales") == {"scale"}
    assert of("transposed") == {"upsample", "transpose", "bilinear"}
    assert of("pieced") == {"bilinear"}
    assert of("own_mask") == {"drop"}
    assert of("reads_masked") == {"norm", "add", "curve", "product", "scale", "group norm"}


def test_what_each_kind_of_node_does() -> None:
    rows = tuple(row for row in vars(nodes).values() if isinstance(row, nodes.NodeKind))
    assert {str(row): row.opcode for row in rows} == {
        "backward": Opcode.CONV, "sum": Opcode.VECTOR, "mask": Opcode.VECTOR,
        "norm": Opcode.VECTOR, "spread": Opcode.VECTOR, "drop": Opcode.VECTOR,
        "unpool": Opcode.POOL, "view": None, "curve": Opcode.VECTOR, "product": Opcode.VECTOR,
        "factor": Opcode.VECTOR}
    assert of("on_vector_unit", rows) == {"sum", "mask", "norm", "spread", "drop", "unpool",
                                          "curve", "product", "factor"}
    assert of("through", rows) == {"backward", "norm", "spread", "unpool", "curve", "product",
                                   "factor"}
    assert of("of_output", rows) == {"sum", "mask", "view"}
    assert of("copies", rows) == {"mask", "view"}
