"""How a foreign network sees a map: other sizes of the same elements."""

from __future__ import annotations

import pytest

from pynq_train.exchange.draft import Draft
from pynq_train.exchange.values import BATCH, Value
from pynq_train.graph.graph import INPUT
from pynq_train.graph.shapes import Shape


@pytest.mark.parametrize("shape", [(5, 2, 3), (5, 1, 1), (1, 2, 3), (1, 1, 1), (4, 1, 3)])
@pytest.mark.parametrize("seen", ["first", "last", "joined"])
def test_what_was_flattened_is_seen_as_before(shape: Shape, seen: str) -> None:
    draft = Draft(shape, "net", flat=False)
    source = Value(INPUT, shape, last=seen == "last", joined=seen == "joined")
    flat = draft.flatten(source, "flat")
    assert flat.flat and flat.before is source and flat.dims == (shape[0] * shape[1] * shape[2],)
    assert draft.flatten(flat, "again") is flat
    assert draft.reshape(flat, (BATCH, *source.dims), "back") is source
