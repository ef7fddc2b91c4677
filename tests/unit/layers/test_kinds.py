"""The table of layer kinds: its rows agree with themselves and with what the engine runs."""

from __future__ import annotations

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
