"""How a foreign network sees a map: other sizes of the same elements."""

from __future__ import annotations

import numpy as np
import pytest

from pynq_train.exchange.draft import Draft, flattens_input
from pynq_train.exchange.values import BATCH, Value, per_channel
from pynq_train.exchange.windows import OwnPadding, Pads, Refused, conv_padding
from pynq_train.graph.graph import INPUT, Graph
from pynq_train.graph.ops import Concat, Conv, Dense, Flatten, MaxPool2x2, Op
from pynq_train.graph.shapes import Shape
from pynq_train.graph.windows import Padding, Pair


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


def test_the_input_is_turned_once() -> None:
    """Channels last, rows and columns of one gray image, or a vector as pixels."""
    draft = Draft((6, 4, 3), "net", flat=False)  # rows 6, columns 4, channels 3
    turned = draft.permute(draft.input, (2, 0, 1))
    assert turned.shape == (3, 6, 4) and turned.turned and draft.input is turned
    with pytest.raises(Refused, match="puts axes"):
        draft.permute(turned, (2, 0, 1))
    gray = Draft((6, 4, 1), "net", flat=False)
    assert gray.reshape(gray.input, (BATCH, 1, 6, 4), "gray").shape == (1, 6, 4)
    assert gray.input.turned
    other = Draft((6, 4, 2), "net", flat=False)
    with pytest.raises(Refused, match="reshapes"):
        other.reshape(other.input, (BATCH, 2, 6, 4), "mixed")
    pixels = Draft((24, 1, 1), "net", flat=True)
    assert pixels.reshape(pixels.input, (BATCH, 2, 3, 4), "map").shape == (2, 3, 4)
    with pytest.raises(Refused, match="reshapes"):
        pixels.reshape(Value("dense", (24, 1, 1), flat=True), (BATCH, 2, 3, 4), "map")


@pytest.mark.parametrize("turned", [False, True])
def test_an_input_that_others_have_read_is_not_turned(turned: bool) -> None:
    draft = Draft((6, 6, 6), "net", flat=False)
    before = draft.permute(draft.input, (2, 0, 1)) if turned else draft.input
    draft.add(MaxPool2x2(), before, label="pool")
    if turned:
        assert draft._turned((6, 6, 6)).shape == (6, 6, 6), "the same once more"
    with pytest.raises(Refused, match="turns the input, which others read as it is"):
        draft._turned((6, 6, 6) if not turned else (6, 36, 1))


def test_an_input_behind_its_normalisation_is_not_turned() -> None:
    draft = Draft((6, 4, 3), "net", flat=False)
    draft._mean = np.zeros(3, np.float32)
    with pytest.raises(Refused, match="turns the input behind its normalisation"):
        draft.permute(draft.input, (2, 0, 1))


def test_maps_and_lines_of_pixels() -> None:
    draft = Draft((6, 2, 3), "net", flat=False)
    joined = Value("conv", (6, 2, 3), joined=True)
    assert joined.dims == (6, 6)
    assert draft.reshape(joined, (BATCH, 6, 2, 3), "map") == Value("conv", (6, 2, 3))
    with pytest.raises(Refused, match="reshapes"):
        draft.reshape(Value("conv", (6, 2, 3), last=True), (BATCH, 6, 6), "lines")
    with pytest.raises(Refused, match="reshapes"):
        draft.reshape(Value("conv", (6, 2, 3)), (BATCH, 4, 9), "lines")
    for last, sizes in ((False, (2, 3, 1)), (True, (1, 2, 3))):
        gray = Value("conv", (1, 2, 3), last=last)
        seen = draft.reshape(gray, (BATCH, *sizes), "gray")
        assert (seen.dims, seen.last) == (sizes, not last)
    assert draft.reshape(Value("conv", (1, 2, 3), joined=True), (BATCH, 1, 2, 3), "gray").dims == (
        1, 2, 3)
    one = draft.reshape(Value("conv", (1, 1, 1), joined=True), (BATCH, 1, 1, 1), "one")
    assert not one.joined and one.dims == (1, 1, 1)


@pytest.mark.parametrize(("padding", "pads", "size", "kernel", "stride", "found"), [
    (1, (0, 0, 0, 0), 6, 3, 1, 1), (0, (1, 1, 1, 1), 6, 3, 1, 1), (1, (1, 1, 1, 1), 6, 5, 1, 2),
    ("same", (0, 0, 0, 0), 6, 3, 2, "same"), ((0, 0, 1, 1), (0, 0, 0, 0), 6, 3, 2, "same"),
    ((1, 1, 0, 0), (0, 0, 0, 0), 7, 3, 3, ((1, 0), (1, 0))),
    ((1, 1, 2, 2), (0, 0, 0, 0), 7, 3, 2, 1), ((1, 1, 0, 0), (0, 0, 1, 1), 6, 3, 1, 1),
    ((0, 0, 0, 0), (0, 0, 1, 1), 6, 3, 2, "same"),
    ((0, 1, 0, 1), (0, 0, 0, 0), 6, 3, 1, ((0, 0), (1, 1))),
    ((1, 1, 2, 2), (0, 0, 0, 0), 6, 3, 1, ((1, 2), (1, 2))),
    ((0, 2, 2, 0), (0, 1, 0, 0), 6, 3, 1, None),
    ("same", (1, 1, 1, 1), 6, 3, 1, 2), ("same", (1, 1, 1, 1), 5, 5, 3, 3),
    (-1, (0, 0, 0, 0), 6, 3, 1, None), ((0, 0, 0, -1), (0, 0, 0, 0), 6, 3, 1, None),
    (3, (0, 0, 0, 0), 6, 3, 1, None)])
def test_zeros_of_an_operation_and_those_in_front_of_it(
        padding: OwnPadding, pads: Pads, size: int, kernel: int, stride: int,
        found: Padding | None) -> None:
    asked = (2, size, size), pads, Pair.of(kernel), Pair.of(stride), padding
    if found is None:
        with pytest.raises(Refused, match="has padding"):
            conv_padding(*asked)
    else:
        assert conv_padding(*asked) == found


def test_a_mean_of_one_pixel_and_a_bias_of_zeros_are_nothing() -> None:
    draft = Draft((2, 6, 6), "net", flat=False)
    source = Value(INPUT, (2, 6, 6))
    assert draft.pool(source, largest=False, kernel=1, stride=1, padding=0, label="one") == source
    assert draft.pool(source, largest=False, kernel=1, stride=2, padding=0, label="some").shape == (
        2, 3, 3)
    assert draft.add_bias(source, [0.0, 0.0], alone=False) is source


def test_zeros_are_never_the_largest() -> None:
    draft = Draft((2, 6, 6), "net", flat=False)
    padded = Value("map", (2, 6, 6), pads=(1, 1, 1, 1))
    with pytest.raises(Refused, match="reads a padded map with values below zero"):
        draft.pool(padded, largest=True, kernel=3, stride=1, padding=0, label="pool")


@pytest.mark.parametrize(("last", "shape", "taken"), [
    (False, (3,), False), (False, (3, 1, 1), True), (False, (1, 3, 1, 1), True),
    (False, (1, 1, 1), True), (False, (), True), (True, (3,), True), (True, (1, 1, 3), True),
    (True, (1, 1, 1, 3), True), (True, (3, 1, 1), False), (False, (2, 1, 1), False),
    (False, (2, 3, 1, 1), False), (False, (1, 1, 3, 1, 1), False), (False, (3, 4, 1), False)])
def test_one_value_per_channel(last: bool, shape: tuple[int, ...], taken: bool) -> None:
    """As NumPy broadcasts it to maps of 3 channels, 4 rows and 5 columns."""
    values = np.arange(1, 1 + int(np.prod(shape)), dtype=np.float32).reshape(shape)
    found = per_channel(values, Value("map", (3, 4, 5), last=last))
    if not taken:
        assert found is None
    else:
        whole = np.broadcast_to(values, (1, 4, 5, 3) if last else (1, 3, 4, 5))
        want = whole[0, 0, 0] if last else whole[0, :, 0, 0]
        assert found is not None and found.tolist() == want.tolist()


@pytest.mark.parametrize(("ops", "flattens"), [
    ([Flatten("f"), Dense(2, name="d")], True), ([Conv(2, 1, name="c"), Dense(2, name="d")], False),
    ([Flatten("f", ("input",)), Conv(2, 1, name="c", inputs=("input",)),
      Flatten("g"), Concat("j", ("f", "g")), Dense(2, name="d")], False)])
def test_images_that_are_flattened_at_once(ops: list[Op], flattens: bool) -> None:
    assert flattens_input(Graph.build((1, 4, 4), ops)) == flattens
