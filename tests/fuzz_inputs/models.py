"""Cases of models and images: each with an opinion of its own of what the documents say."""

from __future__ import annotations

import contextlib
import io
import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

import pynq_train as pt
from fuzz_inputs.case import VALUES, Bench, Case, Unrefused, changed
from fuzz_inputs.files import X, json_bombs, small
from pynq_train.cli.main import main
from pynq_train.errors import PynqTrainError

_NET = pt.Sequential((3, 5, 4)).conv(4, 3, padding=1).relu().dense(3).build()
_SQUARE = pt.Sequential((4, 4, 4)).conv(4, 3, padding=1).relu().dense(3).build()


def _readings(shape: tuple[int, ...], net: pt.Graph) -> set[tuple[bool, str, int]]:
    """Return all ways to read an array as images: one image, its axes (``crw``: as here), channels.
    """
    sizes = dict(zip("crw", net.input_shape))
    found = set()
    for one in (False, True):
        own = shape if one else shape[1:]
        for axes in ("crw", "rwc", "rw"):
            fits = len(own) == len(axes) and all(
                size == sizes[axis] or (axis == "c" and size == 1) for axis, size in zip(axes, own))
            if fits and (one or len(shape) > 1):
                found.add((one, axes, own[axes.index("c")] if "c" in axes else 1))
    return found


def images(bench: Bench) -> Case:
    """Images of a shape, dtype and range, for a model that says what it takes."""
    draw = bench.draw
    net = draw.choice((_NET, _NET, _SQUARE))
    channels, rows, cols = net.input_shape
    shape: tuple[int, ...] = draw.choice([
        (2, channels, rows, cols), (2, rows, cols, channels), (2, rows, cols), (rows, cols),
        (channels, rows, cols), (rows, cols, channels), (2, 1, rows, cols), (2, rows, cols, 1),
        (1, rows, cols), (rows, cols, 1), (2, cols, rows), (2, channels, cols, rows), (),
        (2, 2, rows, cols), (0, channels, rows, cols), (2, rows + 1, cols), (channels,),
        (2, channels, rows, cols, 1), (channels * rows * cols,), (2, channels * rows * cols)])
    span = draw.choice((None, (0, 1), (0, 255), (-1, 1), (-80, 0)))
    dtype = draw.choice((np.uint8, np.uint8, np.float32, np.float64, np.float16, np.int64, np.int8,
                         np.uint16, bool, complex, "U3", object))
    low, high = draw.choice(((0, 1), (0, 255), (-1, 1), (-80, 0), (0, 5000), (1e6, 1e7)))
    values = np.random.default_rng(draw.randrange(1 << 30)).uniform(low, high, shape)
    odd = draw.choice((None, None, None, np.nan, np.inf))
    with np.errstate(invalid="ignore", over="ignore"):
        if dtype not in (np.float32, np.float64, np.float16):
            values, odd = np.clip(values, -128, 127) if dtype is np.int8 else np.abs(values), None
        array = np.asarray(np.rint(values) if dtype in (np.int64, np.uint16, np.uint8, np.int8)
                           else values).astype(dtype)
    if odd is not None and array.size:
        array.flat[-1] = odd
    options = {} if span is None else {"input_range": span}
    wrong = _images_refused(array, net, span)

    def act() -> None:
        learner = pt.Learner(net, batch=4, **options)
        got = learner.logits(array)
        one, axes, _ = sorted(_readings(shape, net))[0]
        if len(got) != (1 if one else shape[0]):
            raise Unrefused(f"{len(got)} answers")
        if net is _NET:
            kept = array[None] if one else array
            kept = kept[:, None] if axes == "rw" else (
                kept.transpose(0, 3, 1, 2) if axes == "rwc" else kept)
            first, last = (0, 1) if span is None else span
            if array.dtype == np.uint8:
                kept = first + kept.astype(np.float64) / 255 * (last - first)
            same = np.repeat(kept, 4 - kept.shape[1], axis=1) if kept.shape[1] == 1 else kept
            again = pt.Learner(net, batch=4, **options).logits(same.astype(np.float32))
            if not np.allclose(got, again, atol=2e-3 * max(np.abs(again).max(), 1e-6)):
                raise Unrefused("other answers than for the same values as float32")

    return Case(f"{array.dtype}{shape} for {net.input_shape}, {span}", act, wrong)


def _images_refused(array: Any, net: pt.Graph, span: Any) -> bool | None:
    """Return what docs/images.md says: refused, taken, or either."""
    readings = _readings(array.shape, net)
    # Several ways are one where number of images and channels are the same.
    kinds = {(1 if one else array.shape[0], channels) for one, _, channels in readings}
    if not readings or array.size == 0 or array.dtype.kind not in "uifb":
        return True
    if array.dtype.kind != "f" and array.dtype != np.uint8 and span is None:
        return True
    if array.dtype.kind == "f" and not np.isfinite(array.astype(np.float32)).all():
        return True
    if span is not None and array.dtype != np.uint8:
        middle, half = (span[0] + span[1]) / 2, (span[1] - span[0]) / 2
        times = np.abs(array.astype(np.float64) - middle).max() / half
        if times > 16.001:
            return True
        if times > 15.999:
            return None
    return len(kinds) > 1


def model_values(bench: Bench) -> Case:
    """Weights, biases, gammas and statistics beyond what the engine holds, given in every way."""
    draw, net = bench.draw, small()
    params = pt.Learner(net).params
    name = draw.choice(list(params))
    part = draw.choice([one for one in ("weight", "bias", "mean", "variance")
                        if getattr(params[name], one) is not None])
    value = draw.choice((0.0, 7.99, -8.0, 8.01, -9.0, 1e38, -1e-30, np.nan, np.inf, -np.inf, -1.0,
                         1e6))
    array = getattr(params[name], part).copy()
    array.flat[draw.randrange(array.size)] = value
    params[name] = replace(params[name], **{part: array})
    master = part in ("weight", "bias")
    wrong: bool | None = not math.isfinite(value) or (master and abs(value) > 8)
    if part == "variance" and value < 0:
        wrong = True
    way = draw.choice(("model", "set_params", "fold", "file"))
    if way == "file" and (name, part) == ("conv1", "weight") and 8 < abs(value) <= 8192:
        wrong = False  # an importer divides these weights, and multiplies the images

    def act() -> None:
        if way == "set_params":
            learner = pt.Learner(net, batch=4)
            learner.set_params(params)
        elif way == "fold":
            learner = pt.Learner(pt.fold_batchnorm(pt.Model(net, params)), batch=4)
        elif way == "file" and "onnx" in bench.good:
            pt.export_onnx(net, params, bench.folder / "v.onnx")
            learner = pt.Learner(pt.from_onnx(bench.folder / "v.onnx"), batch=4)
        else:
            learner = pt.Learner(pt.Model(net, params), batch=4)
        learner.predict(X[:4])
        learner.save(bench.folder / "v.safetensors")
        pt.load(bench.folder / "v.safetensors")

    # What is folded may leave the range, or come back into it.
    return Case(f"{way}: {part} of {name} = {value}", act, None if way == "fold" and not (
        wrong and not math.isfinite(value)) else wrong)


def model_images(bench: Bench) -> Case:
    """Odd numbers where a model or an importer is told of its images."""
    draw = bench.draw
    model = pt.Model(small(), pt.Learner(small()).params)
    name = draw.choice(("input_range", "mean", "std", "layout", "calibrate"))
    value = draw.choice((*VALUES, (0, 255), (1, 0), (0, 1), 0.5, [0.5], X[:4], X[0, 0],
                         X[:, :, :3]))
    wrong: bool | None = None
    if name == "layout":
        wrong = value is not None

    def act() -> None:
        pt.Learner(model.with_images(**{name: value}), batch=4).predict(X[:4] * 0 + 0.5)

    return Case(f"{name} = {repr(value)[:40]}", act, wrong)


def onnx_metadata(bench: Bench) -> Case:
    """An ONNX file that says odd things of its images."""
    if "onnx" not in bench.good:
        return json_bombs(bench)
    import onnx

    draw, proto = bench.draw, onnx.ModelProto()
    proto.ParseFromString(bench.good["onnx"])
    tree = {"input_range": [0.0, 1.0], "stated": True, "layout": "channels last",
            "normalisation": {"mean": [0.5], "std": [0.25]}, "in_graph": False}
    tree, text, old, new = changed(draw, tree)
    del proto.metadata_props[:]
    entry = proto.metadata_props.add()
    entry.key, entry.value = "pynq_train.images", json.dumps(tree)
    if draw.random() < 0.2:
        entry.value, text = draw.choice(("[" * 90_000, "", "nul", '"x"', "{}")), "not that JSON"
    if draw.random() < 0.3:
        other = proto.metadata_props.add()
        other.key, other.value = "Image.NominalPixelRange", draw.choice(
            ("NominalRange_0_255", "Normalized_0_1", "", "x" * 1000))
    path = bench.file("i.onnx", proto.SerializeToString())
    listed = isinstance(old, list) and type(new) in (bool, str, dict)
    wrong = True if listed or (type(old) in (str, bool) and type(new) in (list, dict)
                               and "in_graph" not in text) else None

    def act() -> None:
        pt.Learner(pt.from_onnx(path), batch=4).predict(X[:4] * 0 + 0.5)

    return Case(text, act, None if text == "not that JSON" else wrong)


def imported(bench: Bench) -> Case:
    """A network of drawn nodes: what is imported answers as ONNX Runtime does."""
    if "onnx" not in bench.good:
        return json_bombs(bench)
    draw = bench.draw
    rng = np.random.default_rng(draw.randrange(1 << 30))
    nodes, arrays, size, text = _drawn_nodes(bench, rng)

    def act() -> None:
        from onnx import TensorProto, helper, numpy_helper, save

        graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info(
            "x", TensorProto.FLOAT, ["n", 2, size, size])], [helper.make_tensor_value_info(
                "y", TensorProto.FLOAT, ["n", 5])],
            [numpy_helper.from_array(array, key) for key, array in arrays.items()])
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        save(proto, str(bench.folder / "r.onnx"))
        x = rng.standard_normal((4, 2, size, size)).astype(np.float32)
        try:
            wanted = _runtime(str(bench.folder / "r.onnx"), x)
        except Exception:  # the file means nothing: whatever becomes of it, it is no wrong answer
            wanted = None
        got = pt.Learner(pt.from_onnx(bench.folder / "r.onnx"), batch=4).logits(x)
        if wanted is None:
            return
        error = np.abs(got - wanted.reshape(4, -1)).max() / max(np.abs(wanted).max(), 1e-6)
        if got.shape != wanted.reshape(4, -1).shape or error > 0.03:
            raise Unrefused(f"answers are off by {error:.2f}")

    return Case(text, act)


def _runtime(path: str, x: Any) -> Any:
    """Return what ONNX Runtime answers."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


_KINDS = ("conv", "pool", "mean", "norm", "relu", "relu", "clip", "add", "pad", "scale", "turn",
          "self", "drop")


def _drawn_nodes(bench: Bench, rng: np.random.Generator
                 ) -> tuple[list[Any], dict[str, Any], int, str]:
    """Return nodes from ``x`` to ``y``, their arrays, the size of the images, and a text."""
    from onnx import helper

    draw = bench.draw
    size, channels, last = draw.choice((5, 6, 8)), 2, "x"
    nodes: list[Any] = []
    arrays: dict[str, Any] = {}
    kinds: list[str] = []

    def array(values: Any) -> str:
        name = f"a{len(arrays)}"
        arrays[name] = np.asarray(values, np.int64 if np.asarray(values).dtype.kind == "i"
                                  else np.float32)
        return name

    def add(kind: str, *inputs: str, **attributes: Any) -> None:
        nonlocal last
        kinds.append(kind)
        name = f"v{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        last = name

    for at in range(draw.randint(1, 4)):
        kind = draw.choice(_KINDS) if at or draw.random() < 0.3 else "conv"
        if kind == "conv":
            k, groups = draw.choice((1, 2, 3, 3)), draw.choice((1, 1, channels))
            m = channels * draw.choice((1, 2))
            weight = rng.standard_normal((m, channels // groups, k, k)) / k
            more: dict[str, Any] = draw.choice((
                {}, {}, {}, {"pads": [k // 2] * 4}, {"pads": [k // 2] * 4}, {"strides": [2, 2]},
                {"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"}, {"pads": [0, 1, 0, 1]},
                {"pads": [1, 0, 0, 1]}, {"dilations": [2, 2]}))
            add("Conv", last, array(weight), *([array(rng.standard_normal(m))] * draw.choice(
                (0, 1))), group=groups, **more)
            channels = m
        elif kind in ("pool", "mean"):
            k = draw.choice((2, 3, size))
            more = draw.choice(({}, {"strides": [k, k]}, {"pads": [1, 1, 1, 1]}, {"ceil_mode": 1},
                                {"auto_pad": "SAME_UPPER"}, {"strides": [2, 2], "ceil_mode": 1}))
            if kind == "mean" and draw.random() < 0.5:
                more = {**more, "count_include_pad": 1}
            add("MaxPool" if kind == "pool" else "AveragePool", last, kernel_shape=[k, k], **more)
        elif kind == "norm":
            add("BatchNormalization", last, *(array(np.abs(rng.standard_normal(channels)) + 0.3)
                                              for _ in range(4)),
                epsilon=draw.choice((1e-5, 0.1, 1e-3)))
        elif kind == "clip":
            low, high = draw.choice(((0, 6), (0, 1), (-1, 1), (0, 100)))
            add("Clip", last, array(float(low)), array(float(high)))
        elif kind == "add":
            add("Add", last, array(rng.standard_normal(draw.choice((
                (channels, 1, 1), (1, channels, 1, 1), (1,), (channels,))))))
        elif kind == "pad":
            add("Pad", last, array([0, 0, *draw.choice(((1, 1, 0, 0, 1, 1), (0, 1, 0, 0, 1, 0),
                                                        (1, 0, 0, 0, 0, 0)))]))
        elif kind == "scale":
            add(draw.choice(("Mul", "Div", "Sub")), last, array(draw.choice((0.5, 2.0, 3.0))))
        elif kind == "turn":
            add("Transpose", last, perm=draw.choice(([0, 2, 3, 1], [0, 1, 3, 2], [0, 3, 1, 2])))
        elif kind == "self":
            add("Add", last, draw.choice([last, *(node.output[0] for node in nodes), "x"]))
        else:
            add({"relu": "Relu", "drop": "Dropout"}[kind], last)
    end = draw.choice(("flatten", "reshape", "global", "global"))
    if end == "global":
        add("GlobalAveragePool", last)
    if end == "reshape":
        add("Reshape", last, array([draw.choice((-1, 0)), draw.choice((-1, channels))]))
    else:
        add("Flatten", last)
    features = _features(nodes, arrays, last, size, channels)
    weight = rng.standard_normal((5, features)) / math.sqrt(features)
    if draw.random() < 0.5:
        add("Gemm", last, array(weight), transB=1)
    else:
        add("MatMul", last, array(weight.T))
    nodes[-1].output[0] = "y"
    return nodes, arrays, size, f"{size} " + " ".join(kinds)


def _features(nodes: list[Any], arrays: dict[str, Any], last: str, size: int, channels: int) -> int:
    """Return how many values an image has behind ``nodes``, as ONNX infers it; a guess if it can't.
    """
    from onnx import TensorProto, helper, numpy_helper, shape_inference

    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info(
        "x", TensorProto.FLOAT, [4, 2, size, size])], [helper.make_tensor_value_info(
            last, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, key) for key, array in arrays.items()])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    try:
        found = shape_inference.infer_shapes(proto, data_prop=True).graph.output[0]
        dims = [dim.dim_value for dim in found.type.tensor_type.shape.dim]
    except Exception:  # a graph that means nothing
        dims = []
    return dims[1] if len(dims) == 2 and 0 < dims[1] < 10_000 else channels


_PLACES: dict[str, Callable[[Bench], list[str]]] = {
    "evaluate": lambda b: ["--model", "c.safetensors", "--data", "d.npz"],
    "train": lambda b: ["--model", "c.safetensors", "--data", "d.npz", "--out", "o.safetensors",
                        "--epochs", "1", "--no-progress"],
    "finetune": lambda b: ["--model", "c.safetensors", "--data", "d.npz", "--out", "o.safetensors",
                           "--epochs", "1", "--no-progress"],
    "plan": lambda b: ["c.safetensors"],
    "replay": lambda b: ["f.npz", "--board", "golden"],
}
_OPTIONS = ("--board", "--json", "--model", "--data", "--input-range", "--mean", "--std",
            "--trainable", "--batch", "--epochs", "--lr", "--momentum", "--schedule", "--loss",
            "--label-smoothing", "--accumulate", "--resume", "--out", "--checkpoint-every",
            "--seed", "--classes", "--no-such")
_KNOWN = {"evaluate": 7, "finetune": 19, "train": 21, "plan": 2, "replay": 2}
"""How many of them, from the first, a command has, or nearly."""


def command_line(bench: Bench) -> Case:
    """A command with an option of an odd value: it does its work, or ends in one sentence."""
    draw = bench.draw
    for name, key in (("c.safetensors", "checkpoint"), ("d.npz", "data"), ("f.npz", "failure")):
        bench.file(name, bench.good[key])
    command = draw.choice(list(_PLACES))
    arguments = _PLACES[command](bench)
    value = draw.choice(("", "0", "-1", "1", "0 255", "1 0", "nan", "inf", "1e400", "x", "d.npz",
                         "c.safetensors", "none/there.npz", "/", ".", "golden", "0.5", "9" * 30,
                         "*", "[", "conv1", "2", "0.25", "0 1", "all", "\udcff", "é", "a" * 5000,
                         "--", "linear", "mse"))
    known = _OPTIONS[: _KNOWN[command]]
    arguments += [draw.choice(known if draw.random() < 0.8 else _OPTIONS), *value.split(" ")]

    def act() -> None:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            try:
                code = main([command, *arguments])
            except SystemExit as error:  # of --help
                code = int(error.code or 0)
        if code:
            lines = [line for line in out.getvalue().splitlines()
                     if line.startswith("pynq-train: ")]
            if len(lines) != 1:
                raise ValueError(f"ends with {code} and {len(lines)} sentences")
            raise PynqTrainError(lines[0])

    return Case(" ".join([command, *arguments])[:200], act)


MODELS = (images, images, images, model_values, model_values, model_images, onnx_metadata, imported,
          imported, imported, command_line, command_line)
