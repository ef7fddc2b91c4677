"""ONNX files: written ones in ONNX Runtime, read ones in the float reference, all refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference_models.concat_nets import NETWORKS as CONCATENATED
from reference_models.dag_nets import NETWORKS, batch, random_params

import pynq_train as pt
from pynq_train.errors import BadInput, UnsupportedModel
from pynq_train.exchange.onnx_import import from_proto
from pynq_train.graph import Conv, Dense, Graph, Relu, zoo
from pynq_train.graph.reference import FloatTrainer
from pynq_train.layers import fuse

pytestmark = [pytest.mark.needs("onnx", "onnxruntime"),
              pytest.mark.filterwarnings("ignore::DeprecationWarning")]

# With random parameters each block of MobileNetV2 doubles what float32 rounds away.
GRAPHS = {**NETWORKS, **CONCATENATED, **{name: zoo.get(name) for name in zoo.names()
                                         if name not in ("vgg16", "mobilenet_v2_035")}}


def runtime(path: Path, x: np.ndarray) -> np.ndarray:
    """Logits that ONNX Runtime computes, one thread; images of one pixel are vectors there."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    if len(session.get_inputs()[0].shape) == 2:  # networks of vectors
        x = x.reshape(len(x), -1)
    axes = len(session.get_inputs()[0].shape)
    fed = x.astype(np.float32).reshape(x.shape[:axes] if x.shape[2:] == (1, 1) else x.shape)
    result: np.ndarray = session.run(["logits"], {"input": fed})[0]
    return result


def close(got: np.ndarray, want: np.ndarray) -> None:
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=2e-4 * np.abs(want).max())


def test_files_are_of_a_version_that_old_readers_take(tmp_path: Path) -> None:
    import onnx

    graph = zoo.lenet5()
    pt.export_onnx(graph, random_params(graph, np.random.default_rng(0)), tmp_path / "n.onnx")
    proto = onnx.load(tmp_path / "n.onnx")
    assert (proto.ir_version, proto.opset_import[0].version) == (8, 13)


@pytest.mark.parametrize("name", list(GRAPHS))
def test_written_file_computes_the_same_and_reads_back(name: str, tmp_path: Path,
                                                       rng: np.random.Generator) -> None:
    graph = GRAPHS[name]
    params = random_params(graph, rng)
    x, _ = batch(graph, rng, 3)
    path = tmp_path / "net.onnx"
    pt.export_onnx(graph, params, path)
    want = FloatTrainer(graph, params).logits(x)
    close(runtime(path, x), want)
    again = pt.load(path)
    assert isinstance(again, pt.Model)
    close(FloatTrainer(again.graph, again.params).logits(x), want)
    kinds = [op.kind for op in graph.ops if op.kind != "flatten"]
    assert [op.kind for op in again.graph.ops if op.kind != "flatten"] == kinds
    assert [op.name for op in again.graph.ops if op.name in params] == list(params)
    assert ({op.name for op in again.graph.ops if op.kind != "flatten"}
            == {op.name for op in graph.ops if op.kind != "flatten"})
    if name in CONCATENATED:
        assert len(fuse(again.graph)) == len(fuse(graph))
    norms, read = ([x for op in g.ops if isinstance(op, pt.BatchNorm)
                    for x in (op.momentum, op.eps)] for g in (graph, again.graph))
    assert norms == pytest.approx(read, rel=1e-6)
    for own, other in zip(params.values(), again.params.values()):
        np.testing.assert_array_equal(own.weight, other.weight)


def test_normalisation_is_part_of_the_file(tmp_path: Path, rng: np.random.Generator) -> None:
    graph = zoo.lenet5()
    params = random_params(graph, rng)
    x, _ = batch(graph, rng, 3)
    pt.export_onnx(graph, params, tmp_path / "n.onnx", mean=[0.5], std=[2.0])
    close(runtime(tmp_path / "n.onnx", x), FloatTrainer(graph, params).logits((x - 0.5) / 2))
    again = pt.from_onnx(tmp_path / "n.onnx")
    assert [op.kind for op in again.graph.ops] == [op.kind for op in graph.ops]
    assert str(again.input_format) == "images of any range, mean 0.5, std 2, channels first"


def test_a_trained_learner_predicts_the_same_in_onnx_runtime(tmp_path: Path) -> None:
    """The whole test set: fixed-point learner, float reference on its weights, ONNX Runtime."""
    data = pt.load_digits()
    assert data.test is not None
    with pt.Learner("digits", batch=32, optimizer=pt.SGD(lr=0.05)) as learner:
        learner.fit(data.train.x, data.train.y, epochs=2, progress=False)
        learner.export(tmp_path / "mine.onnx")
        fixed = learner.predict(data.test.x)
        reference = FloatTrainer(learner.graph, learner.params).logits(data.test.x).argmax(1)
    got = runtime(tmp_path / "mine.onnx", data.test.x).argmax(1)
    np.testing.assert_array_equal(got, reference)
    np.testing.assert_array_equal(got, fixed)
    assert (got == data.test.y).mean() > 0.9


def test_trained_groups_predict_the_same_in_onnx_runtime(tmp_path: Path) -> None:
    graph = Graph.build((1, 8, 8), [
        Conv(12, 3, 1, 1), Relu(), Conv(24, 3, 1, 1, groups=12), Relu(),
        Conv(40, 3, 2, 1, groups=2), Relu(), Conv(15, 1, groups=5), Dense(10)])
    data, path = pt.load_digits().train, tmp_path / "groups.onnx"
    learner = pt.Learner(graph, batch=16)
    learner.fit(data.x[:64], data.y[:64], progress=False)
    learner.export(path)
    found, want = runtime(path, data.x[:16]), learner.logits(data.x[:16])
    np.testing.assert_allclose(found, want, atol=5e-3)
    again = pt.load(path)
    assert isinstance(again, pt.Model)
    assert [op.groups for op in again.graph.ops if isinstance(op, Conv)] == [1, 12, 2, 5]
    np.testing.assert_allclose(pt.Learner(again, batch=16).logits(data.x[:16]), want, atol=5e-3)


@pytest.mark.slow
def test_ten_thousand_digits_are_predicted_alike(tmp_path: Path, shared_data: Path) -> None:
    """MNIST's test set, as uint8 to the learner and divided by 255 to ONNX Runtime."""
    with np.load(shared_data / "mnist.npz") as data:
        x, y, xt, yt = (data[key] for key in ("x_train", "y_train", "x_test", "y_test"))
    with pt.Learner("lenet5", batch=64, optimizer=pt.SGD(lr=0.02), normalise=True) as learner:
        learner.fit(x[:6000], y[:6000], progress=False)
        learner.export(tmp_path / "mine.onnx")
        fixed = learner.predict(xt)
    got = runtime(tmp_path / "mine.onnx", pt.prepare_images(xt, (1, 28, 28))).argmax(1)
    np.testing.assert_array_equal(got, fixed)
    assert (got == yt).mean() > 0.9


def test_a_learner_goes_on_from_a_file(tmp_path: Path, rng: np.random.Generator) -> None:
    graph = pt.Sequential((1, 8, 8)).conv(4, 3).norm().relu().pool().dense(3).build()
    params = random_params(graph, rng)
    pt.export_onnx(graph, params, tmp_path / "bn.onnx")
    model = pt.load(tmp_path / "bn.onnx")
    assert isinstance(model, pt.Model)
    x, y = batch(graph, rng, 64)
    for start in (model, pt.fold_batchnorm(model.graph, model.params)):
        with pt.Learner(start, batch=16) as learner:
            expected = FloatTrainer(graph, params).logits(x).argmax(1)
            assert (learner.predict(x) == expected).mean() > 0.9
            learner.fit(x, y, progress=False)


# -- files of others -----------------------------------------------------------------------------


class Builder:
    """A hand-made ONNX graph, as other exporters write them."""

    def __init__(self, shape: list[Any]) -> None:
        import onnx

        self.onnx, self.shape = onnx, shape
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, values: Any) -> str:
        self.constants.append(self.onnx.numpy_helper.from_array(np.asarray(values), name))
        return name

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [output], name=f"n_{output}",
                                                     **attributes))
        return output

    def proto(self, output: str) -> Any:
        helper, kind = self.onnx.helper, self.onnx.TensorProto.FLOAT
        graph = helper.make_graph(
            self.nodes, "g", [helper.make_tensor_value_info("x", kind, self.shape)],
            [helper.make_tensor_value_info(output, kind, ["n", None])], self.constants)
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
        proto.ir_version = 8  # this release of onnx may be newer than ONNX Runtime's
        return proto


def foreign(rng: np.random.Generator) -> Any:
    """Pad + Conv, BN, Clip, asymmetric pads, pools, Reshape, MatMul + Add, Gemm, Softmax."""
    b = Builder(["batch", 2, 9, 9])
    f = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    b.add("Pad", ["x", b.constant("p", np.int64([0, 0, 1, 1, 0, 0, 1, 1]))], "padded")
    b.add("Conv", ["padded", b.constant("first.weight", f(4, 2, 3, 3))], "c1",
          kernel_shape=[3, 3])
    stats = [b.constant("bn.weight", f(4)), b.constant("b", f(4)), b.constant("m", f(4)),
             b.constant("v", f(4) ** 2 + 1)]
    b.add("BatchNormalization", ["c1", *stats], "bn", epsilon=0.01, momentum=0.8)
    b.add("Clip", ["bn", b.constant("low", np.float32(0)), b.constant("high", np.float32(6))], "r")
    b.add("Conv", ["r", b.constant("w2", f(4, 1, 4, 4)), b.constant("b2", f(4))], "c2", group=4,
          strides=[2, 2], auto_pad="SAME_UPPER")
    b.add("AveragePool", ["c2"], "avg", kernel_shape=[2, 2], strides=[1, 1])
    b.add("MaxPool", ["avg"], "max", kernel_shape=[2, 2], strides=[2, 2])
    b.add("Identity", ["max"], "same")
    b.add("Reshape", ["same", b.constant("s", np.int64([-1, 16]))], "flat")
    b.add("MatMul", ["flat", b.constant("w3", f(16, 5))], "product")
    b.add("Add", ["product", b.constant("b3", f(5))], "sum")
    b.add("Gemm", ["sum", b.constant("w4", f(5, 4)), b.constant("b4", f(4))], "last")
    b.add("Softmax", ["last"], "out", axis=-1)
    return b.proto("out")


def test_files_of_other_exporters(rng: np.random.Generator, tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    proto = foreign(rng)
    onnx.save(proto, tmp_path / "other.onnx")
    model = pt.from_onnx(tmp_path / "other.onnx")
    assert [op.kind for op in model.graph.ops] == [
        "conv", "batchnorm", "relu6", "conv", "avgpool", "maxpool2x2", "flatten", "dense",
        "dense"]
    assert [op.name for op in model.graph.ops[:2]] == ["first", "bn"]
    assert model.graph.ops[1].momentum == 0.2 and model.graph.ops[3].padding == "same"
    x = rng.normal(size=(4, 2, 9, 9)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(tmp_path / "other.onnx"),
                                           providers=["CPUExecutionProvider"])
    want = session.run(None, {"x": x})[0]
    logits = FloatTrainer(model.graph, model.params).logits(x)
    got = np.exp(logits - logits.max(1, keepdims=True))
    close(got / got.sum(1, keepdims=True), want)


@pytest.mark.parametrize(("attributes", "momentum", "eps"), [
    ({}, 0.1, 1e-5), ({"momentum": 0.75}, 0.25, 1e-5), ({"epsilon": 0.125}, 0.1, 0.125)])
def test_a_normalisation_without_attributes_has_the_standards(
        rng: np.random.Generator, attributes: dict[str, float], momentum: float, eps: float
) -> None:
    b = Builder(["batch", 2, 4, 4])
    stats = [b.constant(name, np.abs(rng.normal(size=3)).astype(np.float32)) for name in "gbmv"]
    b.add("Conv", ["x", b.constant("w", rng.normal(size=(3, 2, 4, 4)).astype(np.float32))], "c")
    b.add("BatchNormalization", ["c", *stats], "n", **attributes)
    b.add("Conv", ["n", b.constant("w2", rng.normal(size=(2, 3, 1, 1)).astype(np.float32))], "out")
    op = from_proto(b.proto("out"), "given").graph.ops[1]
    assert (op.momentum, op.eps) == (momentum, pytest.approx(eps, rel=1e-7))


def test_all_unsupported_nodes_are_listed_at_once(rng: np.random.Generator) -> None:
    b = Builder([1, 2, 8, 8])
    w = b.constant("w", rng.normal(size=(2, 2, 3, 3)).astype(np.float32))
    b.add("Selu", ["x"], "leaky")
    b.add("Conv", ["x", w], "dilated", dilations=[6, 6], pads=[4] * 4)
    b.add("Conv", ["x", w], "wide", pads=[1, 3, 1, 0])
    b.add("AveragePool", ["x"], "avg", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    b.add("MaxPool", ["x"], "long", kernel_shape=[2, 5])
    b.add("AveragePool", ["x"], "ceil", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    b.add("Conv", ["x", b.constant("w4", np.ones((2, 2, 4, 4), np.float32))], "shifted",
          pads=[2, 2, 1, 4])
    b.add("Pad", ["x", b.constant("p", np.int64([0, 0, 1, 1, 0, 0, 1, 1]))], "padded")
    b.add("MaxPool", ["padded"], "outer", kernel_shape=[3, 3])
    b.add("Conv", ["x", b.constant("w12", np.ones((2, 2, 12, 12), np.float32))], "large",
          pads=[8, 8, 8, 8])
    b.add("AveragePool", ["x"], "far", kernel_shape=[2, 2], strides=[5, 5])
    b.add("Conv", ["leaky", w], "behind")
    b.add("Einsum", ["x"], "odd", equation="abcd->abcd")
    with pytest.raises(UnsupportedModel) as caught:
        from_proto(b.proto("behind"), "bad")
    text = str(caught.value)
    for part in (
            "network 'bad' has 11 unsupported nodes: ",
            "n_leaky (Selu): use Elu",
            "n_dilated (Conv) has kernel 3 with dilation 6, which reaches over 13: let it reach",
            "n_wide (Conv) has padding (1, 3, 1, 0) (top, left, bottom, right): pad with less than",
            "n_avg (AveragePool) leaves its padding out of the mean: pool without padding",
            "n_long (MaxPool) has kernel 2x5: use a kernel of 3 at most",
            "n_ceil (AveragePool) has windows at the border that divide by fewer pixels: pool",
            "n_shifted (Conv) has padding (2, 2, 1, 4) (top, left, bottom, right): pad with less",
            "n_outer (MaxPool) reads a padded map with values below zero, so that zeros can be the",
            "n_large (Conv) has kernel 12: use a kernel of 11 at most",
            "n_far (AveragePool) has stride 5: use a stride of 4 at most",
            "n_odd (Einsum): replace it by supported operations: Add, AveragePool, "):
        assert part in text, part
    assert "behind" not in text


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.onnx' does not exist; check the path"):
        pt.load(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(BadInput, match="is damaged or not a model: expected an ONNX file"):
        pt.load(tmp_path / "bad.onnx")
    b = Builder(["n", 2, "rows", 8])
    b.add("Relu", ["x"], "y")
    with pytest.raises(UnsupportedModel, match=r"input 'x' .*expected shape \(n, channels, rows, "
                                               r"cols\).*found \(0, 2, 0, 8\); export it with fix"):
        from_proto(b.proto("y"), "open")


def test_parameters_must_fit(tmp_path: Path) -> None:
    graph: Graph = zoo.digits()
    with pytest.raises(BadInput, match="parameters: expected layers conv1, conv2, dense1"):
        pt.export_onnx(graph, {}, tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()


def test_pooling_of_any_window_comes_back_and_runs(tmp_path: Path,
                                                   rng: np.random.Generator) -> None:
    graph = Graph.build((2, 11, 10), [
        pt.Conv(4, 3, padding=1), pt.BatchNorm(), pt.Relu(), pt.MaxPool(3, 2, 1),
        pt.MaxPool(3, 1, "same"), pt.MaxPool2x2(), pt.Dense(3)])
    pt.export_onnx(graph, random_params(graph, rng), tmp_path / "pools.onnx")
    again = pt.from_onnx(tmp_path / "pools.onnx")
    shapes = [[(p.kernel, p.stride, p.pad_top, p.out_shape) for p in fuse(one) if p.kind.windowed]
              for one in (graph, again.graph)]
    assert shapes[0] == shapes[1] and len(shapes[0]) == 3
