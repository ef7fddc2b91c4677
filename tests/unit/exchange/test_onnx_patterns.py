"""What exporters leave in ONNX files: computed constants, layouts, sizes; and malformed nodes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import BadInput, UnsupportedModel
from pynq_train.graph.reference import FloatTrainer

pytestmark = [pytest.mark.needs("onnx", "onnxruntime"),
              pytest.mark.filterwarnings("ignore::DeprecationWarning")]

Nodes = list[Any]


def node(kind: str, inputs: str, output: str, domain: str = "", **attributes: Any) -> Any:
    """A node; ``inputs``: names with spaces between. Empty lists may be attributes."""
    from onnx import helper

    empty = [key for key, value in attributes.items() if value == []]
    made = helper.make_node(kind, inputs.split(), [output], name=f"n_{output}", domain=domain,
                            **{key: [0] if key in empty else value
                               for key, value in attributes.items()})
    for attribute in made.attribute:
        if attribute.name in empty:
            del attribute.ints[:]
    return made


def written(folder: Path, nodes: Nodes, arrays: dict[str, Any],
            shape: tuple[Any, ...] = ("n", 1, 12, 12), opset: int = 13) -> Path:
    """Write a file with input x and output y."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", None])],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, folder / "m.onnx")
    return folder / "m.onnx"


def same(path: Path, x: np.ndarray, feed: np.ndarray | None = None) -> pt.Model:
    """The file says in the float reference what it says in ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    want = session.run(None, {"x": x if feed is None else feed})[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model = pt.load(path)
    assert isinstance(model, pt.Model)
    got = FloatTrainer(model.graph, model.params).logits(x)
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=2e-4 * np.abs(want).max())
    return model


def refused(path: Path) -> str:
    with pytest.raises(UnsupportedModel) as caught:
        pt.load(path)
    return str(caught.value)


DRAW = np.random.default_rng(0)
CONV = (DRAW.normal(size=(4, 1, 3, 3)) / 3).astype(np.float32)
DENSE = (DRAW.normal(size=(10, 400)) / 20).astype(np.float32)
X = DRAW.standard_normal((4, 1, 12, 12)).astype(np.float32)
FIRST = ("Conv", "x w", "c")


def tail(source: str = "c") -> Nodes:
    return [node("Flatten", source, "f"), node("Gemm", "f d", "y", transB=1)]


def int64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_view_of_the_batch_size(tmp_path: Path) -> None:
    """x.view(x.size(0), -1), and x.view(n, c * h * w), with a node for each step."""
    sized = [node(*FIRST), node("Shape", "c", "s"), node("Gather", "s zero", "b", axis=0)]
    one = [*sized, node("Unsqueeze", "b axis", "u"), node("Concat", "u minus", "r", axis=0)]
    product = [*sized, node("Slice", "s from to", "rest"),
               node("ReduceProd", "rest", "p", axes=[0]), node("Unsqueeze", "b axis", "u"),
               node("Concat", "u p", "r", axis=0)]
    arrays = {"w": CONV, "d": DENSE, "zero": np.int64(0), "axis": int64(0), "minus": int64(-1),
              "from": int64(1), "to": int64(4)}
    for nodes in (one, product):
        nodes += [node("Reshape", "c r", "f"), node("Gemm", "f d", "y", transB=1)]
        same(written(tmp_path, nodes, arrays), X)


def test_images_of_two_are_not_mixed(tmp_path: Path) -> None:
    """A Reshape that takes pixels of two images together is no flatten."""
    nodes = [node(*FIRST), node("Shape", "c", "s"), node("Gather", "s zero", "b"),
             node("Mul", "b two", "b2"), node("Unsqueeze", "b2 axis", "u"),
             node("Concat", "u minus", "r", axis=0), node("Reshape", "c r", "f"),
             node("Gemm", "f d", "y", transB=1)]
    path = written(tmp_path, nodes, {
        "w": CONV, "d": DENSE[:, :200], "zero": np.int64(0), "two": np.int64(2), "axis": int64(0),
        "minus": int64(-1)})
    assert "n_f (Reshape) reshapes (n, 4, 10, 10) to (" in refused(path)
    fixed = [node(*FIRST), node("Reshape", "c r", "f"), node("Gemm", "f d", "y", transB=1)]
    path = written(tmp_path, fixed, {"w": CONV, "d": DENSE[:, :200], "r": int64(8, -1)})
    assert "reshapes (n, 4, 10, 10) to (8, -1): only flatten" in refused(path)
    path = written(tmp_path, fixed, {"w": CONV, "d": DENSE, "r": int64(4, 400)}, (4, 1, 12, 12))
    same(path, X)


def test_the_number_of_images_is_no_weight(tmp_path: Path) -> None:
    nodes = [node(*FIRST), node("Shape", "c", "s"), node("Cast", "s", "k", to=1),
             node("Add", "c k", "a"), *tail("a")]
    text = refused(written(tmp_path, nodes, {"w": CONV, "d": DENSE}))
    assert "n_a (Add) adds a constant" in text


def test_computed_constants(tmp_path: Path) -> None:
    dense = DENSE.T.reshape(4, 10, 10, 10)
    for nodes, arrays in (
            ([node(*FIRST), node("Reshape", "c s", "f"), node("Reshape", "d4 s2", "d2"),
              node("MatMul", "f d2", "y")],
             {"d4": dense, "s": int64(-1, 400), "s2": int64(400, 10)}),
            ([node("Mul", "w k", "w2"), node("Conv", "x w2", "c"), *tail()],
             {"d": DENSE, "k": np.float32(0.5)}),
            ([node(*FIRST), node("Transpose", "dt", "d", perm=[1, 0]), *tail()], {"dt": DENSE.T}),
            ([node("Cast", "w64", "w32", to=1), node("Conv", "x w32", "c"), *tail()],
             {"w64": CONV.astype(np.float64), "d": DENSE}),
            ([node("Sqrt", "v", "q"), node("Div", "w q", "wq"), node("Identity", "wq", "wi"),
              node("Conv", "x wi", "c"), *tail()],
             {"v": np.full((4, 1, 1, 1), 4, np.float32), "d": DENSE}),
            ([node("Concat", "a b", "w2", axis=0), node("Conv", "x w2", "c"), *tail()],
             {"a": CONV[:1], "b": CONV[1:], "d": DENSE}),
            ([node("ConstantOfShape", "four", "z"), node("Conv", "x w z", "c"), *tail()],
             {"four": int64(4), "d": DENSE})):
        same(written(tmp_path, nodes, {"w": CONV, **arrays}), X)


def test_constants_that_cannot_be_computed(tmp_path: Path) -> None:
    huge = written(tmp_path, [node("ConstantOfShape", "s", "z"), node("Add", "x z", "y")],
                   {"s": int64(1 << 20, 1 << 20)})
    assert "n_z (ConstantOfShape) computes a constant of too many values" in refused(huge)
    outer = written(tmp_path, [node("Mul", "a b", "z"), node("Add", "x z", "y")],
                    {"a": np.ones((1 << 15, 1), np.float32), "b": np.ones(1 << 15, np.float32)})
    assert "n_z (Mul) computes a constant of too many values" in refused(outer)
    odd = written(tmp_path, [node("Reshape", "w s", "z"), node("Conv", "x z", "c"), *tail()],
                  {"w": CONV, "d": DENSE, "s": int64(7, 7)})
    assert "n_z (Reshape) cannot be computed" in refused(odd)
    other = written(tmp_path, [node("Tan", "w", "z"), node("Conv", "x z", "c"), *tail()],
                    {"w": CONV, "d": DENSE})
    assert "n_z (Tan) computes a constant: export with constant folding" in refused(other)


def test_channels_last(tmp_path: Path) -> None:
    """tf2onnx: the input is transposed, and so is the map before it is flattened."""
    conv = (DRAW.normal(size=(4, 3, 3, 3)) / 5).astype(np.float32)
    nodes = [node("Transpose", "x", "t", perm=[0, 3, 1, 2]), node("Conv", "t w", "c"),
             node("Relu", "c", "a"), node("Transpose", "a", "l", perm=[0, 2, 3, 1]),
             node("Relu", "l", "l2"), node("Reshape", "l2 s", "f"), node("MatMul", "f d", "y")]
    x = DRAW.standard_normal((4, 3, 8, 6)).astype(np.float32)
    path = written(tmp_path, nodes, {"w": conv, "d": DENSE[:, :96].T.copy(), "s": int64(-1, 96)},
                   ("n", 8, 6, 3))
    model = same(path, x, x.transpose(0, 2, 3, 1).copy())
    assert model.graph.input_shape == (3, 8, 6)
    mean = [*nodes[:5], node("ReduceMean", "l2", "m", axes=[1, 2], keepdims=0),
            node("MatMul", "m d", "y")]
    same(written(tmp_path, mean, {"w": conv, "d": DENSE[:, :4].T.copy()}, ("n", 8, 6, 3)), x,
         x.transpose(0, 2, 3, 1).copy())
    wrong = [*nodes[:4], node("Conv", "l w8", "y")]
    text = refused(written(tmp_path, wrong, {"w": conv, "w8": np.ones((2, 4, 1, 1), np.float32)},
                           ("n", 8, 6, 3)))
    assert "n_y (Conv) reads a map in the order (6, 4, 4) (channels first is (4, 6, 4))" in text


@pytest.mark.parametrize("way", ["Reshape", "Transpose"])
def test_one_channel_last(tmp_path: Path, way: str) -> None:
    first = (node("Reshape", "x s", "x1") if way == "Reshape"
             else node("Transpose", "x", "x1", perm=[0, 3, 1, 2]))
    nodes = [first, node("Conv", "x1 w", "c"), *tail()]
    path = written(tmp_path, nodes, {"w": CONV, "d": DENSE, "s": int64(-1, 1, 12, 12)},
                   ("n", 12, 12, 1))
    assert same(path, X, X.reshape(4, 12, 12, 1)).graph.input_shape == (1, 12, 12)


def test_the_input_is_read_in_one_order_only(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w12", "c"), node("Transpose", "x", "t", perm=[0, 3, 1, 2]),
             node("Conv", "t w12", "e"), node("Add", "c e", "a"), *tail("a")]
    text = refused(written(tmp_path, nodes, {
        "w12": np.ones((1, 12, 3, 3), np.float32), "d": DENSE[:, :100]}, ("n", 12, 12, 12)))
    assert "n_t (Transpose) turns the input, which others read as it is" in text


def test_pools_with_padding(tmp_path: Path) -> None:
    for size, attributes in ((4, {"kernel_shape": [4, 4], "strides": [4, 4]}),
                             (3, {"kernel_shape": [3, 3]})):
        out = 1 if size == 4 else 9
        nodes = [node("Conv", "x w", "c", pads=[1, 1, 1, 1]),
                 node("AveragePool", "c", "p", pads=[1, 1, 1, 1], count_include_pad=1,
                      **attributes), *tail("p")]
        path = written(tmp_path, nodes, {"w": CONV, "d": DENSE[:, : 4 * out]}, ("n", 1, size, size))
        same(path, X[:, :, :size, :size])


def test_padding_nodes(tmp_path: Path) -> None:
    nodes = [node("Pad", "x p", "x1"), node("Conv", "x1 w", "c", strides=[2, 2]),
             node("Relu", "c", "a"), node("Pad", "a p2", "a2"),
             node("MaxPool", "a2", "m", kernel_shape=[3, 3], strides=[2, 2]), *tail("m")]
    path = written(tmp_path, nodes, {
        "w": CONV, "d": DENSE[:, :36], "p": int64(0, 0, 0, 0, 0, 0, 1, 1),
        "p2": int64(0, 0, 1, 1, 0, 0, 1, 1)})
    same(path, X)
    cut = written(tmp_path, [node("Pad", "x p", "x1"), node("Conv", "x1 w", "y")],
                  {"w": CONV, "p": int64(0, 0, -1, 0, 0, 0, 0, 0)})
    assert "n_x1 (Pad) pads [0, 0, -1, 0, 0, 0, 0, 0]: pad" in refused(cut)


def test_biases_that_are_added(tmp_path: Path) -> None:
    nodes = [node(*FIRST), node("Add", "c b", "a"), *tail("a")]
    bias = DRAW.normal(size=(4, 1, 1)).astype(np.float32)
    same(written(tmp_path, nodes, {"w": CONV, "d": DENSE, "b": bias}), X)
    for wrong in (np.ones(10, np.float32), np.ones((10, 1), np.float32)):  # of columns, of rows
        path = written(tmp_path, nodes, {"w": CONV, "d": DENSE, "b": wrong})
        assert "n_a (Add) adds a constant: use the bias" in refused(path)
    twice = [node(*FIRST), node("Add", "c b", "a"), node("Add", "a c", "s"), *tail("s")]
    path = written(tmp_path, twice, {"w": CONV, "d": DENSE, "b": bias})
    assert "n_a (Add) adds a constant" in refused(path), "others read c without the bias"


def test_batch_normalisation_of_the_standard(tmp_path: Path) -> None:
    """Without attributes momentum is 0.9 and epsilon 1e-5; 0.9 of the old statistics stay."""
    arrays = {"w": CONV, "d": DENSE, **{name: DRAW.random(4).astype(np.float32) for name in "gbmv"}}
    nodes = [node(*FIRST), node("BatchNormalization", "c g b m v", "n1"), *tail("n1")]
    model = same(written(tmp_path, nodes, arrays), X)
    norm = next(op for op in model.graph.ops if isinstance(op, pt.BatchNorm))
    assert (norm.momentum, norm.eps) == (pytest.approx(0.1), 1e-5)
    text = refused(written(tmp_path, nodes, {**arrays, "g": np.ones(3, np.float32)}))
    assert "n_n1 (BatchNormalization) has 3, 4, 4, 4 values of gamma" in text


def test_dropouts_that_are_off(tmp_path: Path) -> None:
    for inputs, kept in (("c rate", 1), ("c none", 0), ("c rate on", 1), ("c rate off", 0),
                         ("c", 1)):
        nodes = [node(*FIRST), node("Dropout", inputs, "o"), *tail("o")]
        model = pt.from_onnx(written(tmp_path, nodes, {
            "w": CONV, "d": DENSE, "rate": np.float32(0.3), "none": np.float32(0),
            "on": np.array(True), "off": np.array(False)}))
        assert sum(isinstance(op, pt.Dropout) for op in model.graph.ops) == kept, inputs


def test_weights_of_two_nodes_are_announced(tmp_path: Path) -> None:
    square = DRAW.normal(size=(4, 4, 1, 1)).astype(np.float32)
    nodes = [node(*FIRST), node("Conv", "c w4", "e"), node("Conv", "e w4", "g"), *tail("g")]
    path = written(tmp_path, nodes, {"w": CONV, "d": DENSE, "w4": square})
    with pytest.warns(pt.ModelWarning, match="n_e, n_g share one tensor of weights"):
        pt.load(path)


def test_quantised_files(tmp_path: Path) -> None:
    nodes = [node("Quant", "x k z b", "q", "qonnx.custom_op.general"), node("Conv", "q w", "c"),
             node("MultiThreshold", "c k", "t", "finn.custom_op.general"), *tail("t")]
    text = refused(written(tmp_path, nodes, {
        "w": CONV, "d": DENSE, "k": np.float32(1 / 128), "z": np.float32(0), "b": np.float32(8)}))
    assert "n_q (Quant): export the float model" in text
    assert "n_t (MultiThreshold): export the float model" in text


def test_what_stands_behind_a_bad_node_is_listed_too(tmp_path: Path) -> None:
    nodes = [node(*FIRST), node("Selu", "c", "e"),
             node("Conv", "e w4", "g", dilations=[6, 6], pads=[4] * 4), node("Softplus", "g", "h"),
             node("LRN", "h", "i", size=3), node("Conv", "i wide", "j"), *tail("j")]
    text = refused(written(tmp_path, nodes, {
        "w": CONV * 100, "d": DENSE, "w4": np.ones((4, 4, 3, 3), np.float32),
        "s": np.ones(4, np.float32), "wide": np.ones((4, 4, 1, 12), np.float32)}))
    for part in ("n_e (Selu): use Elu", "n_g (Conv) has kernel 3 with dil", "n_h (Softplus): ",
                 "n_i (LRN): use BatchNormalization",
                 "n_j (Conv) has kernel 1x12: use a kernel of 11", "n_c (weight) holds "):
        assert part in text, (part, text)


def test_numbers_that_are_none(tmp_path: Path) -> None:
    for value, part in ((1e38, "n_c (weight) holds 1e+38"), (np.inf, "n_c (weight) holds NaN or")):
        array = CONV.copy()
        array[0, 0, 0, 0] = value
        path = written(tmp_path, [node(*FIRST), *tail()], {"w": array, "d": DENSE})
        assert part in refused(path)


def test_malformed_attributes(tmp_path: Path) -> None:
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}

    def conv(**more: Any) -> str:
        return refused(written(tmp_path, [node("Conv", "x w", "c", **more), *tail()],
                               {"w": CONV, "d": DENSE}))

    def pooled(kind: str, **more: Any) -> str:
        return refused(written(tmp_path, [node(*FIRST), node(kind, "c", "p", **{**pool, **more}),
                                          *tail("p")], {"w": CONV, "d": DENSE[:, :100]}))

    def gemm(**arrays: Any) -> str:
        nodes = [node(*FIRST), node("Flatten", "c", "f"), node("Gemm", "f d b", "y", transB=1)]
        return refused(written(tmp_path, nodes, {"w": CONV, "d": DENSE, "b": np.zeros(
            10, np.float32), **arrays}))

    for text, part in (
            (conv(strides=[]), "n_c (Conv) has strides []: give two numbers"),
            (conv(strides=[1, 1, 1]), "has strides [1, 1, 1]: give two numbers"),
            (conv(strides=[0, 0]), "has strides [0, 0]: use a strides of 1 or more"),
            (conv(dilations=[]), "has dilations []"), (conv(pads=[1, 1]), "has pads [1, 1]"),
            (conv(pads=[-1, -1, -1, -1]), "has padding (-1, -1, -1, -1)"),
            (conv(group=0), "has weights of shape (4, 1, 3, 3) in 0 groups for 1 channels"),
            (conv(kernel_shape=[5, 5]), "has kernel_shape [5, 5] and weights of [3, 3]"),
            (pooled("MaxPool", kernel_shape=[]), "has kernel_shape []"),
            (pooled("MaxPool", strides=[0, 0]), "has strides [0, 0]"),
            (pooled("AveragePool", kernel_shape=[2], ceil_mode=1), "has kernel_shape [2]"),
            (pooled("AveragePool", strides=[0, 0], ceil_mode=1), "has strides [0, 0]"),
            (gemm(b=np.zeros(2, np.float32)), "has 2 biases for 10 units"),
            (gemm(d=np.float32(1)), "n_y (Gemm) has weights of shape () for 400 features")):
        assert part in text, (part, text)


def test_a_damaged_file_is_still_damaged(tmp_path: Path) -> None:
    path = written(tmp_path, [node(*FIRST), *tail()], {"w": CONV, "d": DENSE})
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(BadInput, match="is damaged or not a model: expected an ONNX file"):
        pt.load(path)


def test_a_mean_of_means_is_one_mean(tmp_path: Path) -> None:
    """Also one whose window is as large as the map, and with what does not move values between."""
    for first, between in (
            (node("GlobalAveragePool", "c", "m"), node("Dropout", "m", "b")),
            (node("AveragePool", "c", "m", kernel_shape=[10, 10], strides=[2, 2], ceil_mode=1),
             node("Relu", "m", "b"))):
        nodes = [node(*FIRST), first, between, node("GlobalAveragePool", "b", "g"), *tail("g")]
        model = same(written(tmp_path, nodes, {"w": CONV, "d": DENSE[:, :4]}), X)
        assert sum(isinstance(op, pt.GlobalAvgPool) for op in model.graph.ops) == 1
        want = FloatTrainer(model.graph, model.params).logits(X)
        got = pt.Learner(model, batch=4).logits(X)
        np.testing.assert_allclose(got, want, atol=2e-3 * np.abs(want).max())
