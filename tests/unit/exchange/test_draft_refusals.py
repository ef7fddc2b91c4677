"""What a draft refuses: each condition by itself, beside what it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pynq_train.errors import UnsupportedModel
from pynq_train.exchange.draft import Draft
from pynq_train.exchange.values import Value
from pynq_train.exchange.windows import Refused
from pynq_train.graph.activation import Relu
from pynq_train.graph.ops import Add, BatchNorm, Concat, Conv, Dense, Dropout, PadChannels

MAP = Value("c", (4, 6, 8))
FLAT = Value("f", (4, 1, 1), flat=True)
PADDED = replace(MAP, pads=(1, 0, 0, 0))


@pytest.fixture
def draft() -> Draft:
    return Draft((4, 6, 8), "net", flat=False)


def why(work: Callable[[], Any]) -> str:
    with pytest.raises(Refused) as caught:
        work()
    return f"{caught.value.why}: {caught.value.instead}"


def conv(draft: Draft, source: Value = MAP, m: int = 5, n: int = 4, bias: Any = None, **more: Any
         ) -> Value:
    options = {"kernel": 3, "stride": 1, "padding": 0, "dilation": 1, "groups": 1, **more}
    return draft.conv(source, np.ones((m, n, 3, 3), np.float32), bias, label="one", **options)


@pytest.mark.parametrize(("change", "text"), [
    ({}, ""), ({"bias": np.zeros(5)}, ""), ({"groups": 2, "n": 2, "m": 6}, ""),
    ({"bias": np.zeros(4)}, "has 4 biases for 5 channels"),
    ({"bias": np.zeros(6)}, "has 6 biases for 5 channels"), ({"n": 3}, "in 1 group for 4 channels"),
    ({"n": 5}, "in 1 group for 4 channels"), ({"groups": 2}, "in 2 groups for 4 channels"),
    ({"groups": 0}, "in 0 groups for 4 channels"), ({"groups": -1}, "groups for 4 channels"),
    ({"dilation": 6}, "has kernel 3 with dilation 6, which reaches over 13: let it reach over 11"),
    ({"dilation": [1, 6]}, "has kernel 3 with dilation 1x6, which reaches over 3x13"),
    ({"dilation": 0}, "has dilation 0: use a dilation of 1 or more")])
def test_arrays_of_a_convolution(change: dict[str, Any], text: str, draft: Draft) -> None:
    if text:
        assert text in why(lambda: conv(draft, **change))
    else:
        assert conv(draft, **change).shape[1:] == (4, 6)


@pytest.mark.parametrize(("source", "weight", "bias", "text"), [
    (FLAT, (3, 4), 3, ""), (FLAT, (3, 4), 1, ""), (FLAT, (3, 4), None, ""),
    (MAP, (3, 192), None, "reads a map that is not flattened"),
    (FLAT, (3, 5), None, "for 4 features"), (FLAT, (3, 3), None, "for 4 features"),
    (FLAT, (12,), None, "for 4 features"), (FLAT, (3, 4, 1), None, "for 4 features"),
    (FLAT, (3, 4), 2, "has 2 biases for 3 units"), (FLAT, (3, 4), 4, "has 4 biases for 3 units")])
def test_arrays_of_a_dense_layer(source: Value, weight: tuple[int, ...], bias: int | None,
                                 text: str, draft: Draft) -> None:
    def work() -> Value:
        own = None if bias is None else np.full(bias, 2.0)
        return draft.dense(source, np.ones(weight), own, label="one")

    if text:
        assert text in why(work)
        return
    assert work() == Value("one", (3, 1, 1), flat=True)
    found = draft._params["one"].bias
    assert (found is None) == (bias is None) and (found is None or found.tolist() == [2.0] * 3)


@pytest.mark.parametrize(("sizes", "variance", "text"), [
    ((4, 4, 4, 4), 0.0, ""), ((4, 4, 4, 4), 1.0, ""),
    ((4, 4, 4, 4), -1e-3, "has a variance of -0.001"), ((3, 4, 4, 4), 1.0, "has 3, 4, 4, 4 values"),
    ((4, 5, 4, 4), 1.0, "has 4, 5, 4, 4 values"), ((4, 4, 4, 1), 1.0, "has 4, 4, 4, 1 values"),
    ((4, 4, 8, 4), 1.0, "for 4 channels")])
def test_arrays_of_a_normalisation(sizes: tuple[int, ...], variance: float, text: str,
                                   draft: Draft) -> None:
    arrays = [np.ones(size) for size in sizes]
    arrays[3][-1] = variance
    if text:
        assert text in why(lambda: draft.norm(MAP, BatchNorm(), *arrays, label="one"))
    else:
        assert draft.norm(MAP, BatchNorm(), *arrays, label="one").shape == MAP.shape


def test_zeros_in_front_of_what_keeps_them(draft: Draft) -> None:
    """Activations and dropouts hand them on; nothing else reads them."""
    assert draft.add(Relu(), PADDED, label="a").pads == PADDED.pads
    assert draft.add(Dropout(0.5), PADDED, label="b").pads == PADDED.pads
    for op, sources in ((Add(), (PADDED, MAP)), (Add(), (MAP, PADDED)), (Concat(), (MAP, PADDED)),
                        (PadChannels(0, 2), (PADDED,)), (BatchNorm(), (PADDED,))):
        assert "reads a padded map" in why(lambda op=op, sources=sources: draft.add(  # type: ignore[misc]
            op, *sources, label="c"))
    assert "reads a padded map" in why(lambda: draft.flatten(PADDED, "d"))
    assert "reshapes" in why(lambda: draft.reshape(PADDED, (1, 4, 48), "e"))
    assert "puts axes" in why(lambda: draft.permute(PADDED, (1, 2, 0)))


def test_maps_of_other_orders(draft: Draft) -> None:
    last, joined = replace(MAP, last=True), replace(MAP, joined=True)
    for source in (last, joined):
        assert "transpose it to channels first before" in why(lambda source=source: conv(  # type: ignore[misc]
            draft, source))
        assert draft.add(Relu(), source, label="a").layout == source.layout
        assert draft.add(Add(), source, source, label="b").layout == source.layout
        for pair in ((MAP, source), (source, MAP)):
            assert "joins values in different orders of axes" in why(
                lambda pair=pair: draft.add(Add(), *pair, label="c"))  # type: ignore[misc]
    conv(draft, MAP)


def test_the_input_is_read_in_one_way() -> None:
    draft = Draft((4, 6, 8), "net", flat=False)
    before = draft.input
    draft.normalise(before, 2.0)
    assert "otherwise normalised than others" in why(lambda: conv(draft, before))
    conv(draft, draft.input)
    turned = Draft((6, 8, 4), "net", flat=False)
    before = turned.input
    turned.permute(before, (2, 0, 1))
    assert "in another order of axes than others" in why(lambda: conv(turned, before, n=6))
    assert conv(turned, turned.input).shape == (5, 4, 6)


@pytest.mark.parametrize(("dims", "shape"), [
    (None, None), ((), None), ((4,), (4, 1, 1)), ((4, 48), (4, 48, 1)), ((4, 6, 8), (4, 6, 8)),
    ((4, 6, 8, 2), None), ((0,), None), ((4, -1, 8), None), ((4, 0, 8), None),
    ((1, 1, 1), (1, 1, 1))])
def test_what_stands_in_for_a_refused_node(dims: Any, shape: Any, draft: Draft) -> None:
    found = draft.stand_in(dims)
    if shape is None:
        assert found is None
    else:
        assert found is not None and found.shape == shape and found.positive
        assert (found.flat, found.joined) == (len(dims) == 1, len(dims) == 2)


@pytest.mark.parametrize(("times", "plus", "taken"), [
    (2.0, 0.0, True), (1e-6, -3.0, True), ([1, 2, 3, 4], [0, 1, 0, -1], True), (0.0, 0.0, False),
    (-1.0, 0.0, False), (np.inf, 0.0, False), (np.nan, 0.0, False), (1.0, np.inf, False),
    (1.0, np.nan, False), ([1, 2, 0, 4], 0.0, False), ([1, 2, 3], 0.0, False),
    (1.0, [1, 2, 3], False), ([1, 2, -3, 4], 0.0, False)])
def test_constants_of_images(times: Any, plus: Any, taken: bool, draft: Draft) -> None:
    factors, terms = (np.asarray(one, np.float32) if np.size(one) == 1 else
                      np.asarray(one, np.float32).reshape(-1, 1, 1) for one in (times, plus))
    if not taken:
        assert "normalises with something else than one factor above 0" in why(
            lambda: draft.normalise(draft.input, factors, terms))
        return
    draft.normalise(draft.input, factors, terms)
    std = np.broadcast_to(draft._std, 4)
    np.testing.assert_allclose(1 / std, np.broadcast_to(times, 4), rtol=1e-6)
    np.testing.assert_allclose(-np.broadcast_to(draft._mean, 4) / std, np.broadcast_to(plus, 4),
                               atol=1e-6)


def test_only_images_that_nobody_has_read_are_normalised(draft: Draft) -> None:
    for source in (MAP, replace(draft.input, pads=(1, 1, 1, 1))):
        assert "computes with a constant" in why(lambda source=source: draft.normalise(  # type: ignore[misc]
            source, 2.0))
    conv(draft, draft.input)
    assert "computes with a constant" in why(lambda: draft.normalise(draft.input, 2.0))


def test_a_bias_is_that_of_the_last_layer(draft: Draft) -> None:
    out = conv(draft, draft.input)
    other = replace(out, name="other")
    five = np.arange(5.0).reshape(5, 1, 1)
    for source, bias, alone in ((out, np.arange(4.0).reshape(4, 1, 1), True), (out, five, False),
                                (other, five, True)):
        assert "adds a constant" in why(lambda source=source, bias=bias, alone=alone:  # type: ignore[misc]
                                        draft.add_bias(source, bias, alone))
    assert draft.add_bias(out, five, True) is out
    assert draft._params["one"].bias is not None
    assert draft._params["one"].bias.tolist() == [0, 1, 2, 3, 4]
    assert isinstance(draft._ops[-1], Conv) and draft._ops[-1].bias
    assert "adds a constant" in why(lambda: draft.add_bias(out, five, True)), "it has one now"
    after = draft.add(Relu(), out, label="relu")
    assert "adds a constant" in why(lambda: draft.add_bias(after, five, True))
    assert draft.add_bias(after, np.zeros((5, 1, 1)), False) is after
    assert "adds a constant" in why(lambda: Draft((4, 6, 8), "net", flat=False).add_bias(
        MAP, five, True))


@pytest.mark.parametrize("sizes", [(), (1,), (1, 0, 192), (1, -2, -96), (1, 4, 6, 9), (2, 96)])
def test_sizes_that_are_no_reshape(sizes: tuple[int, ...], draft: Draft) -> None:
    assert "reshapes (n, 4, 6, 8) to " in why(lambda: draft.reshape(MAP, sizes, "one"))


def test_a_mean_of_a_vector_is_itself(draft: Draft) -> None:
    first = draft.global_mean(MAP, "a")
    assert first.shape == (4, 1, 1) and draft.global_mean(first, "b") is first



@pytest.mark.parametrize("case", ["none", "input", "padded", "fine"])
def test_a_network_ends_with_what_it_yields(case: str, draft: Draft) -> None:
    out = draft.dense(draft.flatten(draft.input, "flat"), np.ones((3, 192)), None, label="dense")
    value = {"none": None, "input": draft.input, "padded": replace(out, pads=(0, 0, 0, 1)),
             "fine": out}[case]
    if case == "fine":
        model = draft.finish(value)
        assert isinstance(model.graph.ops[-1], Dense) and model.graph.input_shape == (4, 6, 8)
        return
    with pytest.raises(UnsupportedModel, match="expected one output, yielded by the last"):
        draft.finish(value)


@pytest.mark.parametrize(("shape", "wanted"), [
    ((6, 8, 1), (1, 6, 8)), ((6, 8, 2), (6, 8, 2)), ((1, 8, 1), (1, 8, 1)), ((6, 1, 1), (6, 1, 1)),
    ((2, 2, 1), (1, 2, 2))])
def test_gray_images_that_are_flattened_have_channels_in_front(shape: Any, wanted: Any) -> None:
    draft = Draft(shape, "net", flat=False)
    count = int(np.prod(shape))
    out = draft.dense(draft.flatten(draft.input, "flat"), np.ones((3, count)), None, label="dense")
    assert draft.finish(out).graph.input_shape == wanted
