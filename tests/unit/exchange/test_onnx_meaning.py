"""What an ONNX file really computes, where a reader could take it for something like it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_onnx_patterns import CONV, DENSE, X, node, refused, same, written

pytestmark = [pytest.mark.needs("onnx", "onnxruntime"),
              pytest.mark.filterwarnings("ignore::DeprecationWarning")]

START = [node("Conv", "x w", "c", kernel_shape=[3, 3])]
DRAW = np.random.default_rng(1)
ONES = np.ones(4, np.float32)


def test_a_bias_behind_the_output_is_not_added_to_it(tmp_path: Path) -> None:
    """The output may have readers whose own results nobody wants."""
    nodes = [*START, node("Flatten", "c", "f"), node("MatMul", "f d", "y"), node("Add", "y b", "z")]
    path = written(tmp_path, nodes, {"w": CONV, "d": DENSE.T, "b": np.ones(10, np.float32)})
    assert "n_z (Add) adds a constant: use the bias of the layer before it" in refused(path)


def test_a_normalisation_in_training_mode_is_refused(tmp_path: Path) -> None:
    norm = node("BatchNormalization", "c g b m v", "n", training_mode=1)
    norm.output.extend(("mean", "variance"))
    nodes = [*START, norm, node("Flatten", "n", "f"), node("MatMul", "f d", "y")]
    path = written(tmp_path, nodes, {"w": CONV, "d": DENSE.T, "g": ONES, "b": ONES, "m": ONES,
                                     "v": ONES}, opset=15)
    assert "n_n (BatchNormalization) is in training mode" in refused(path)


@pytest.mark.parametrize(("kind", "text"), [
    ("GlobalAveragePool", "takes the mean over the last axes of (n, 10, 10, 4), which are not its "
     "rows and columns"), ("ReduceMean", "")])
def test_means_of_a_transposed_map(tmp_path: Path, kind: str, text: str) -> None:
    axes: dict[str, Any] = {} if kind == "GlobalAveragePool" else {"axes": [1, 2]}
    nodes = [*START, node("Transpose", "c", "t", perm=[0, 2, 3, 1]), node(kind, "t", "p", **axes),
             node("Flatten", "p", "f"), node("MatMul", "f d", "y")]
    features = 10 if text else 4
    path = written(tmp_path, nodes, {"w": CONV, "d": DENSE.T[:features]})
    if text:
        assert text in refused(path)
    else:
        same(path, X)


@pytest.mark.parametrize("kind", ["Flatten", "Reshape"])
def test_outputs_with_channels_fastest_are_refused(tmp_path: Path, kind: str) -> None:
    nodes = [*START, node("Transpose", "c", "t", perm=[0, 2, 3, 1]),
             node(kind, "t s" if kind == "Reshape" else "t", "y")]
    arrays = {"w": CONV, **({"s": np.array([-1, 400])} if kind == "Reshape" else {})}
    assert "expected outputs that are counted channel by channel, found (n, 400)" in refused(
        written(tmp_path, nodes, arrays))


@pytest.mark.parametrize(("shape", "taken"), [
    ((4,), True), ((1, 4), True), ((1,), True), ((), True), ((4, 1), False), ((4, 4), False)])
def test_what_a_gemm_adds(tmp_path: Path, shape: tuple[int, ...], taken: bool) -> None:
    """One number for each of four images is none for each of four units."""
    nodes = [*START, node("Flatten", "c", "f"), node("Gemm", "f d b", "y", transB=1)]
    added = np.asarray(DRAW.normal(size=shape), np.float32)
    path = written(tmp_path, nodes, {"w": CONV, "d": DENSE[:4], "b": added}, (4, 1, 12, 12))
    if taken:
        same(path, X)
    else:
        assert f"n_y (Gemm) adds an array of shape {shape}: give one number for each unit" in (
            refused(path))


@pytest.mark.parametrize(("opset", "taken"), [(12, True), (13, False)])
def test_the_axis_of_a_softmax_that_names_none(tmp_path: Path, opset: int, taken: bool) -> None:
    """Since opset 13 it is the last one: of (n, 4, 1, 1) that is a column of one pixel."""
    nodes = [*START, node("GlobalAveragePool", "c", "p"), node("Softmax", "p", "y")]
    path = written(tmp_path, nodes, {"w": CONV}, opset=opset)
    if taken:
        import pynq_train as pt

        model = pt.load(path)
        assert isinstance(model, pt.Model) and model.graph.classes == 4
    else:
        assert "n_y (Softmax) goes over axis -1 of what has 4 axes" in refused(path)


def test_sparse_weights_are_named(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    nodes = [*START, node("Flatten", "c", "f"), node("MatMul", "f d", "y")]
    path = written(tmp_path, nodes, {"w": CONV, "d": DENSE.T})
    model = onnx.load(path)
    del model.graph.initializer[1]
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(
        helper.make_tensor("d", TensorProto.FLOAT, [2], [1.0, 2.0]),
        helper.make_tensor("d_indices", TensorProto.INT64, [2], [0, 13]), [400, 10]))
    onnx.save(model, path)
    assert "expected weights as dense tensors, found 1 sparse ones" in refused(path)
