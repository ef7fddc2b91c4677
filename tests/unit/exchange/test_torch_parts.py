"""Calls of PyTorch with odd arguments, without PyTorch: tensors are stood in for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pynq_train.exchange import torch_channels
from pynq_train.exchange import torch_nodes as module
from pynq_train.exchange.draft import Draft
from pynq_train.exchange.torch_call import Call, array_of, frozen_of
from pynq_train.exchange.values import BATCH, Value
from pynq_train.exchange.windows import Refused
from pynq_train.graph.graph import INPUT
from pynq_train.graph.ops import Conv

MAP, FLAT = Value("c", (4, 8, 8)), Value("c", (4, 1, 1), flat=True)


class Tensor:
    """What importers ask of a tensor."""

    def __init__(self, array: Any, **more: bool) -> None:
        self.array, self.dtype = np.asarray(array), SimpleNamespace(itemsize=4)
        self.requires_grad, self.ndim = more.get("learns", True), self.array.ndim
        self.shape = self.array.shape
        self.is_meta, self.is_quantized = more.get("meta", False), more.get("quantized", False)
        self._complex = more.get("complex", False)

    def data_ptr(self) -> int:
        return id(self)

    def numel(self) -> int:
        return int(self.array.size)

    def is_complex(self) -> bool:
        return self._complex

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def numpy(self) -> Any:
        return self.array

    def __str__(self) -> str:
        return "tensor"


def call(*args: Any, kind: str = "f", **kwargs: Any) -> Call:
    return Call(Draft((4, 8, 8), "net", flat=False), "one", kind, None, args, kwargs, True)


def why(function: Any, given: Call) -> str:
    with pytest.raises(Refused) as caught:
        function(given)
    return f"{caught.value.why}: {caught.value.instead}"


@pytest.mark.parametrize("given", [call(), call(3), call(None), call(input=3), call((MAP,))])
def test_what_is_read_is_a_tensor_of_the_network(given: Call) -> None:
    with pytest.raises(Refused, match="reads no tensor of the network"):
        _ = given.value
    assert call(MAP).value is call(input=MAP).value is call(MAP, 3, input=2).value is MAP


def test_arguments_by_place_or_name() -> None:
    given = call(MAP, 7, size=8, other=9)
    assert given.option(1, "size") == 7 and given.option(2, "size") == 8
    assert given.option(2, "none") is None and given.option(2, "none", 5) == 5
    tensor = Tensor([1.0])
    assert call(MAP, tensor).tensor(1, "weight") is tensor
    assert call(MAP).tensor(1, "weight") is None
    with pytest.raises(Refused, match="has a computed weight"):
        call(MAP, MAP).tensor(1, "weight")


@pytest.mark.parametrize(("kind", "text"), [
    ("meta", "has weights without data"), ("quantized", "has weights of type "),
    ("complex", "has weights of type ")])
def test_tensors_without_plain_numbers(kind: str, text: str) -> None:
    with pytest.raises(Refused, match=text):
        array_of(Tensor([1.0], **{kind: True}))
    assert array_of(Tensor([1.5])).tolist() == [1.5] and array_of(None) is None


@pytest.mark.parametrize(("weight", "bias", "frozen"), [
    (True, True, []), (False, True, ["weight"]), (True, False, ["bias"]),
    (True, None, ["bias"]), (None, None, ["weight", "bias"])])
def test_what_does_not_learn(weight: bool | None, bias: bool | None, frozen: list[str]) -> None:
    made = [None if one is None else Tensor([1.0], learns=one) for one in (weight, bias)]
    assert frozen_of(*made) == frozen


@pytest.mark.parametrize("axes", [1, 2, 5])
def test_kernels_have_rows_and_columns(axes: int) -> None:
    weight = Tensor(np.zeros((4, 4, 3, 3, 3)[:axes]))
    assert why(lambda one: module._any_conv(one, weight, None, 1, 0, 1, 1), call(MAP)
               ) == f"has weights of {axes} axes: use images of rows and columns, or sequences"


@pytest.mark.parametrize(("padding", "wanted"), [
    ("valid", 0), (0, 0), ("same", "same"), ((1, 1), 1), ((1,), 1), (1, 1)])
def test_paddings_of_convolutions(padding: Any, wanted: Any) -> None:
    draft = Draft((4, 8, 8), "net", flat=False)
    given = Call(draft, "one", "conv", None, (Value(INPUT, (4, 8, 8)),), {}, True)
    module._any_conv(given, Tensor(np.ones((4, 4, 3, 3), np.float32)), None, 1, padding, 1, 1)
    (op,) = draft._ops
    assert isinstance(op, Conv) and op.padding == wanted


@pytest.mark.parametrize(("padding", "wanted"), [
    (2, 2), ("same", "same"), ((1, 2), (1, 2, 1, 2)), ((3,), (3, 3, 3, 3)), ([1, 0], (1, 0, 1, 0))])
def test_paddings_on_four_sides(padding: Any, wanted: Any) -> None:
    assert module._pads(padding) == wanted


@pytest.mark.parametrize("given", [
    call(MAP, None), call(MAP, ()), call(MAP, 1), call(MAP, (1, 2)), call(MAP, [1, 2, 3]),
    call(MAP, 2), call(FLAT, ()), call(FLAT, 1), call(FLAT, None)])
def test_means_over_other_axes(given: Call) -> None:
    assert "take it over rows and columns (2, 3)" in why(module._mean, given)


@pytest.mark.parametrize("sizes", ["ab", (BATCH, "a"), (1.5, 2), None, {1, 2}])
def test_sizes_that_are_no_numbers(sizes: Any) -> None:
    text = "reshapes to sizes that are no numbers: use torch.flatten(x, 1)"
    assert why(module._view, call(MAP, sizes)) == text
    assert module._view(call(MAP, BATCH, 4, 8, 8)) is MAP
    assert module._view(call(MAP, (BATCH, 4, 8, 8))) is MAP
    assert module._view(call(MAP, shape=[BATCH, 4, 8, 8])) is MAP
    assert "reshapes" in why(module._view, call(MAP, 256))


@pytest.mark.parametrize("sources", [(), (MAP, 3), (3,), [None]])
def test_what_is_joined_are_maps(sources: Any) -> None:
    assert why(module._concat, call(sources, 1)).startswith("joins something else than maps")
    assert module._concat(call([MAP], 1)) is MAP
    for axis in (0, 2, 3, -1):
        assert f"joins along axis {axis}" in why(module._concat, call((MAP, MAP), axis))
    assert module._concat(call((MAP,), dim=-3)) is MAP


@pytest.mark.parametrize(("kind", "value", "text"), [
    ("div", 0.0, "divides by 0"), ("truediv", [1.0, 0.0, 2.0, 1.0], "divides by 0")])
def test_division_by_nothing(kind: str, value: Any, text: str) -> None:
    images = Value(INPUT, (4, 8, 8))
    other = value if isinstance(value, float) else Tensor(np.reshape(value, (4, 1, 1)))
    assert text in why(module._scaled, call(images, other, kind=kind))


ALL = slice(None)


@pytest.mark.parametrize(("index", "text"), [
    (0, "by something else than ranges"), ((0,), "by something else than ranges"),
    ((ALL, 0, ALL, ALL), "by something else than ranges"),
    ((ALL, None), "by something else than ranges"),
    ((ALL, [True]), "by something else than ranges"),
    ((ALL,) * 5, "takes 5 axes of (n, "), (slice(1, None), "takes some of the images"),
    ((slice(None, None, 2),), "takes some of the images"),
    ((ALL, ALL, slice(0, 3)), "takes a part of a map: take every pixel"),
    ((ALL, ALL, ALL, slice(1, None)), "takes a part of a map: take every pixel"),
    ((ALL, slice(9, None)), "takes channels  of ")])
def test_parts_of_maps(index: Any, text: str) -> None:
    assert text in why(torch_channels._item, call(MAP, index))


@pytest.mark.parametrize("index", [
    ALL, (ALL,) * 3, (ALL, slice(0, None), ALL, ALL), (ALL, slice(0, 99)), (..., ALL), (ALL, ...)])
def test_whole_maps(index: Any) -> None:
    assert torch_channels._item(call(MAP, index)) is MAP
