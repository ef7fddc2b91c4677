"""Nodes of ONNX files, one by one: attributes at their borders, and what is refused of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_onnx_patterns import CONV, X, node, refused, same, written

import pynq_train as pt
from pynq_train.graph.ops import Concat

pytestmark = [pytest.mark.needs("onnx", "onnxruntime"),
              pytest.mark.filterwarnings("ignore::DeprecationWarning")]

Nodes = list[Any]


def tail(source: str, channels: int = 4) -> tuple[Nodes, dict[str, np.ndarray]]:
    """A mean of each map and a dense layer."""
    weights = np.random.default_rng(5).normal(size=(3, channels)).astype(np.float32)
    return [node("GlobalAveragePool", source, "mean"), node("Flatten", "mean", "flat"),
            node("Gemm", "flat w2", "y", transB=1)], {"w2": weights}


def around(folder: Path, nodes: Nodes, end: str, arrays: dict[str, np.ndarray],
           channels: int = 4) -> Path:
    """Nodes behind a convolution c of the images, and a tail behind the one that yields ``end``."""
    after, more = tail(end, channels)
    return written(folder, [node("Conv", "x w", "c", pads=[1, 1, 1, 1]), *nodes, *after],
                   {"w": CONV, **more, **arrays})


@pytest.mark.parametrize(("attributes", "rows"), [
    ({"auto_pad": "VALID"}, 10), ({"auto_pad": "SAME_UPPER"}, 12), ({}, 10),
    ({"auto_pad": "NOTSET", "pads": [1, 1, 1, 1]}, 12)])
def test_padding_of_a_convolution(tmp_path: Path, attributes: dict[str, Any], rows: int) -> None:
    after, more = tail("c")
    model = same(written(tmp_path, [node("Conv", "x w", "c", **attributes), *after],
                         {"w": CONV, **more}), X)
    assert model.graph.shapes[0] == (4, rows, rows)


@pytest.mark.parametrize(("attributes", "text"), [
    ({"auto_pad": "SAME_LOWER"}, "has auto_pad SAME_LOWER: use SAME_UPPER or explicit pads"),
    ({"pads": [1, 1]}, "has pads [1, 1]: give four numbers"),
    ({"pads": [1, 1, 1, 1, 1, 1]}, "has pads [1, 1, 1, 1, 1, 1]: give four")])
def test_padding_that_is_refused(tmp_path: Path, attributes: dict[str, Any], text: str) -> None:
    after, more = tail("c")
    path = written(tmp_path, [node("Conv", "x w", "c", **attributes), *after], {"w": CONV, **more})
    assert text in refused(path)


@pytest.mark.parametrize("axes", [[2, 3], [-1, -2], [2, -1], None])
def test_axes_of_one_are_dropped(tmp_path: Path, axes: list[int] | None) -> None:
    w2 = np.random.default_rng(5).normal(size=(3, 4)).astype(np.float32)
    arrays = {"w": CONV, "w2": w2}
    if axes is not None:
        arrays["axes"] = np.array(axes, np.int64)
    nodes = [node("Conv", "x w", "c"), node("GlobalAveragePool", "c", "mean"),
             node("Squeeze", "mean axes" if axes else "mean", "flat"),
             node("Gemm", "flat w2", "y", transB=1)]
    same(written(tmp_path, nodes, arrays), X)


@pytest.mark.parametrize("axes", [[0], [1], [0, 2, 3]])
def test_other_axes_are_not_dropped(tmp_path: Path, axes: list[int]) -> None:
    path = around(tmp_path, [node("GlobalAveragePool", "c", "m"), node("Squeeze", "m axes", "s")],
                  "s", {"axes": np.array(axes, np.int64)})
    assert "drops an axis of a map: only drop rows and columns of size 1" in refused(path)


@pytest.mark.parametrize("axes", [[2, 3], [3, 2], [-1, -2], [2, -1]])
def test_axes_of_one_are_put_in(tmp_path: Path, axes: list[int]) -> None:
    nodes = [node("GlobalAveragePool", "c", "m"), node("Flatten", "m", "f"),
             node("Unsqueeze", "f axes", "u"), node("Squeeze", "u last", "s"),
             node("Unsqueeze", "s last", "d")]
    same(around(tmp_path, nodes, "d", {"axes": np.array(axes, np.int64),
                                       "last": np.array([2, 3], np.int64)}), X)


@pytest.mark.parametrize(("kind", "inputs", "array"), [
    ("Add", "x k", 0.5), ("Add", "k x", 0.5), ("Sub", "x k", 0.25), ("Mul", "x k", 3.0),
    ("Mul", "k x", 3.0), ("Div", "x k", 4.0)])
def test_constants_in_front_belong_to_the_images(tmp_path: Path, kind: str, inputs: str,
                                                 array: float) -> None:
    after, more = tail("c")
    path = written(tmp_path, [node(kind, inputs, "z"), node("Conv", "z w", "c"), *after],
                   {"w": CONV, "k": np.array([[[[array]]]], np.float32), **more})
    found = pt.load(path)
    assert isinstance(found, pt.Model) and found.input_format.normalisation is not None
    mean, std = found.input_format.normalisation.mean, found.input_format.normalisation.std
    scale, shift = {"Add": (1, array), "Sub": (1, -array), "Mul": (array, 0),
                    "Div": (1 / array, 0)}[kind]
    assert 1 / std[0] == pytest.approx(scale) and -mean[0] / std[0] == pytest.approx(shift)
    assert len(mean) == len(std) == 1


@pytest.mark.parametrize(("kind", "inputs", "text"), [
    ("Div", "x k", "divides by 0: divide by deviations above 0"), ("Div", "k x", "(Div)"),
    ("Sub", "k x", "(Sub)"), ("Mul", "x k", "(Mul)")])
def test_constants_that_are_no_normalisation(tmp_path: Path, kind: str, inputs: str, text: str
                                             ) -> None:
    after, more = tail("c")
    path = written(tmp_path, [node(kind, inputs, "z"), node("Conv", "z w", "c"), *after],
                   {"w": CONV, "k": np.zeros(1, np.float32), **more})
    assert text in refused(path)


def test_the_images_times_themselves_are_a_product(tmp_path: Path) -> None:
    after, more = tail("c")
    path = written(tmp_path, [node("Mul", "x x", "z"), node("Conv", "z w", "c"), *after],
                   {"w": CONV, **more})
    assert [op.kind for op in same(path, X).graph.ops][:2] == ["multiply", "conv"]


def test_a_concatenation_of_one_map_is_that_map(tmp_path: Path) -> None:
    model = same(around(tmp_path, [node("Concat", "c", "j", axis=1)], "j", {}), X)
    assert not any(isinstance(op, Concat) for op in model.graph.ops)
    model = same(around(tmp_path, [node("Concat", "c c", "j", axis=-3)], "j", {}, 8), X)
    assert any(isinstance(op, Concat) for op in model.graph.ops)
    path = around(tmp_path, [node("Concat", "c c", "j", axis=2)], "j", {})
    assert "joins along axis 2: join channels, axis 1" in refused(path)


@pytest.mark.parametrize(("pads", "channels"), [
    ([0] * 8, 4), ([0, 0, 1, 1, 0, 0, 1, 1], 4), ([0, 4, 0, 0, 0, 0, 0, 0], 8)])
def test_zeros_around_maps_and_channels(tmp_path: Path, pads: list[int], channels: int) -> None:
    w3 = np.random.default_rng(6).normal(size=(4, channels, 3, 3)).astype(np.float32)
    nodes = [node("Pad", "c pads", "p"), node("Conv", "p w3", "d")]
    same(around(tmp_path, nodes, "d", {"pads": np.array(pads, np.int64), "w3": w3}), X)


def test_zeros_that_are_refused(tmp_path: Path) -> None:
    for pads, text in (([0, 4, 1, 1, 0, 0, 1, 1], "pad channels by themselves"),
                       ([1, 0, 0, 0, 0, 0, 0, 0], "by 0 or more"),
                       ([0, 0, -1, 0, 0, 0, 0, 0], "by 0 or more")):
        path = around(tmp_path, [node("Pad", "c pads", "p"), node("Relu", "p", "d")], "d",
                      {"pads": np.array(pads, np.int64)})
        assert text in refused(path)
