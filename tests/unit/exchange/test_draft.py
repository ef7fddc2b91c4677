"""How a foreign network sees a map: other sizes of the same elements."""

from __future__ import annotations

import pytest

from pynq_train.exchange.draft import Draft
from pynq_train.exchange.values import BATCH, Value
from pynq_train.exchange.windows import Refused
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


@pytest.mark.parametrize(("sizes", "dims", "last"), [
    ((5, 1, 1), (5, 1, 1), False), ((1, 1, 5), (1, 1, 5), True), ((5, 1), (5, 1), False),
    ((5,), (5,), False)])
def test_a_vector_is_seen_as_a_map_of_one_pixel(sizes: tuple[int, ...], dims: tuple[int, ...],
                                                last: bool) -> None:
    draft = Draft((5, 1, 1), "net", flat=True)
    seen = draft.reshape(Value("dense", (5, 1, 1), flat=True), (BATCH, *sizes), "seen")
    assert (seen.dims, seen.last, seen.name) == (dims, last, "dense")


@pytest.mark.parametrize("sizes", [(0, 1, 5), (1, 5, 1), (1, 5), (2, 3), (4,), (5, 1, 1, 1), ()])
def test_a_vector_is_seen_as_nothing_else(sizes: tuple[int, ...]) -> None:
    draft = Draft((5, 1, 1), "net", flat=True)
    with pytest.raises(Refused, match="reshapes"):
        draft.reshape(Value("dense", (5, 1, 1), flat=True), (BATCH, *sizes), "seen")


@pytest.mark.parametrize(("first", "images", "taken"), [
    (BATCH, None, True), (-1, None, True), (1, None, True), (4, 4, True), (4, None, False),
    (3, 4, False), (0, None, False)])
def test_only_the_first_size_counts_images(first: int, images: int | None, taken: bool) -> None:
    draft = Draft((6, 2, 2), "net", flat=False, images=images)
    source = Value("conv", (6, 2, 2))
    if taken:
        assert draft.reshape(source, (first, 6, 2, 2), "same") is source
        assert draft.reshape(source, (first, 6, 4), "joined").joined
    else:
        with pytest.raises(Refused, match="reshapes"):
            draft.reshape(source, (first, 6, 2, 2), "same")


def test_one_size_may_be_left_out() -> None:
    draft = Draft((6, 2, 2), "net", flat=False)
    source = Value("conv", (6, 2, 2))
    assert draft.reshape(source, (BATCH, 6, -1, 2), "same") is source
    assert draft.reshape(source, (BATCH, -1, 4), "joined").joined
    for sizes in ((-1, -1, 2, 2), (BATCH, -1, -1, 2), (BATCH, 5, -1, 2)):
        with pytest.raises(Refused, match="reshapes"):
            draft.reshape(source, sizes, "wrong")


@pytest.mark.parametrize(("order", "last", "taken"), [
    ((0, 1, 2), False, False), ((1, 2, 0), False, True), ((2, 0, 1), True, False)])
def test_axes_change_places(order: tuple[int, ...], last: bool, taken: bool) -> None:
    draft = Draft((6, 2, 3), "net", flat=False)
    source = Value("conv", (6, 2, 3), last=last)
    assert draft.permute(source, order).last == taken
    with pytest.raises(Refused, match=r"in the order \(1, 3, 2\)"):
        draft.permute(source, (0, 2, 1))


def test_zeros_add_up_and_cut_nothing_off() -> None:
    draft = Draft((6, 2, 3), "net", flat=False)
    source = Value("conv", (6, 2, 3))
    assert draft.pad(source, 0, 0, 0, 0) is source
    padded = draft.pad(draft.pad(source, 1, 2, 3, 4), 10, 0, 0, 1)
    assert padded.pads == (11, 2, 3, 5) and padded.dims == (6, 16, 10)
    with pytest.raises(Refused, match=r"\(0, 0, -1, 0\) .* cuts pixels off"):
        draft.pad(source, 0, 0, -1, 0)
    for vector in (Value("v", (6, 1, 1), flat=True), Value("v", (6, 2, 2), joined=True)):
        with pytest.raises(Refused, match="pads a vector"):
            draft.pad(vector, 1, 1, 1, 1)
    for act in (draft.flatten, lambda value, label: draft.reshape(value, (BATCH, 960), label)):
        with pytest.raises(Refused, match="reads a padded map"):
            act(padded, "flat")
