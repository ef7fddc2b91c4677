"""Cases of files: data, checkpoints, saved failures, ONNX, networks as JSON."""

from __future__ import annotations

import contextlib
import io
import json
import struct
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

import pynq_train as pt
from fuzz_inputs.case import Bench, Case, Unrefused, changed, damaged
from pynq_train.cli.main import main
from pynq_train.files import read_npz
from pynq_train.files.tensors import checksum
from pynq_train.run import failure

_DRAW = np.random.default_rng(0)
X = _DRAW.standard_normal((24, 1, 8, 8)).astype(np.float32)
Y = _DRAW.integers(0, 3, 24)
_SIMPLE = (int, bool)


def small() -> pt.Graph:
    """A network with a normalisation."""
    return (pt.Sequential((1, 8, 8)).conv(4, 3, padding=1).norm().relu().pool().dense(3).build())


def good_files(folder: Path) -> dict[str, Any]:
    """Return contents of good files by name."""
    learner = pt.Learner(small(), batch=8, normalise=True)
    learner.fit(X, Y, progress=False, validation_data=(X, Y))
    learner.save(folder / "good.safetensors")
    made: dict[str, Any] = {"checkpoint": (folder / "good.safetensors").read_bytes()}

    class Stop(pt.callbacks.Callback):
        """Ends a training behind its first step."""

        def on_step(self, learner: Any, outcome: Any) -> None:
            raise Unrefused

    stop = [Stop(), pt.callbacks.EarlyStopping("loss")]
    with contextlib.suppress(Unrefused):
        learner.fit(X, Y, epochs=2, progress=False, callbacks=stop,
                    checkpoint=folder / "part.safetensors", checkpoint_every=1)
    made["interrupted"] = (folder / "part.safetensors").read_bytes()
    session: Any = learner._trainer
    saved = failure.Failure.of(learner.plan, "golden", session.request(session.training),
                               session.backend.read(0, learner.plan.memory.nbytes), "fuzz")
    failure.save(folder / "good.npz", saved)
    made["failure"] = (folder / "good.npz").read_bytes()
    for name, save in (("data", np.savez_compressed), ("plain", np.savez)):
        out = io.BytesIO()
        save(out, x_train=X, y_train=Y, x_test=X[:8], y_test=Y[:8])
        made[name] = out.getvalue()
    with contextlib.suppress(pt.errors.MissingTool):
        pt.Learner(small(), batch=8).export(folder / "good.onnx")
        made["onnx"] = (folder / "good.onnx").read_bytes()
    learner.close()
    return made


def _same_data(path: str) -> None:
    """Load data; what is taken must be what was there."""
    data = pt.load_data(path)
    assert data.train.y is not None
    if not (np.array_equal(data.train.x, X) and np.array_equal(data.train.y, Y)):
        raise Unrefused("other images or labels than before")


def data_bytes(bench: Bench) -> Case:
    """An .npz file with wrong bytes."""
    data, text = damaged(bench.draw, bench.good[bench.draw.choice(("data", "plain"))])
    path = bench.file("d.npz", data)

    def act() -> None:
        try:
            _same_data(path)
        except AssertionError:  # the labels' name in the directory was hit: images only
            return

    return Case(text, act)


def data_header(bench: Bench) -> Case:
    """An .npz or .npy file whose header says something else than its bytes."""
    draw = bench.draw
    shape: Any = draw.choice([(24, 1, 8, 9), (10**9, 8, 8), (2**63, 8, 8), (-1, 8, 8), (24,), (),
                              "x", [24, 8, 8], (1.5, 8, 8), (24, 8, 8, 2**40), (0, 8, 8)])
    descr: Any = draw.choice(["<f4", "|O", "<f8", "<c8", "|S4", "", "x", 4, [("a", "<f4")], None])
    head = repr({"descr": descr, "fortran_order": draw.choice((False, True, 3)), "shape": shape})
    if draw.random() < 0.2:
        head = draw.choice(("(" * 3000, "{" * 3000, "-" * 9000, "__import__('os')", "", "\xff"))
    text = head.encode("latin-1") + b"\n"
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(1000)
    if draw.random() < 0.3:
        member = draw.choice((b"hello", b"", b"\x93NUMPY", member[:9]))
    if draw.random() < 0.3:
        folder = bench.folder / "npy"
        folder.mkdir(exist_ok=True)
        (folder / "x.npy").write_bytes(member)
        return Case(f".npy {head[:60]}", lambda: pt.load_npy(folder), True)
    path = bench.folder / "h.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.npy", member)
    return Case(head[:60], lambda: pt.load_npz(path), True)


def data_values(bench: Bench) -> Case:
    """An .npz file of good arrays that are no images or labels."""
    draw = bench.draw
    bad_x = [X.astype(complex), X.astype(str), X[0, 0], X[:0], np.where(X > 2, np.nan, X),
             np.where(X > 2, np.inf, X), X[:5]]
    bad_y = [Y.astype(complex), Y - 5, Y[:5], Y.astype("m8[s]"), Y.astype(str)[:5],
             Y[:5, None], np.array(3), np.where(Y == 2, np.nan, Y), np.full((24, 3), np.inf)]
    x, y = (draw.choice(bad_x), Y) if draw.random() < 0.5 else (X, draw.choice(bad_y))
    path = bench.folder / "v.npz"
    np.savez(path, x=x, y=y)
    return Case(f"x {x.dtype}{x.shape}, y {y.dtype}{y.shape}", lambda: pt.load_npz(path), True)


def data_targets(bench: Bench) -> Case:
    """An .npz file of good arrays whose targets suit some losses: the learner refuses the others.
    """
    draw = bench.draw
    binary, numbers = "binary-cross-entropy", ("mse", "huber")
    y, losses = draw.choice([
        (Y, ("cross-entropy", "mse")), (Y.astype(str), ("cross-entropy", "mse")),
        (Y.astype(float), ()), (Y[:, None], ()), (Y + 3, ()), (np.zeros((24, 8, 8), int), ()),
        (np.zeros((24, 3), bool), (binary, *numbers)), (np.eye(3)[Y], (binary, *numbers)),
        (np.eye(3)[Y] - 1, numbers), (np.eye(3)[Y][:, :, None, None] * 5, numbers),
        (np.zeros((24, 2)), ()), (np.full((24, 3), 1e30), ())])
    loss = draw.choice(("cross-entropy", binary, *numbers))
    path = bench.folder / "t.npz"
    np.savez(path, x=X, y=y)

    def act() -> None:
        data = pt.load_npz(path).train
        pt.Learner(small(), batch=8, loss=loss).fit(data.x, data.y, progress=False)

    return Case(f"y {y.dtype}{y.shape}, {loss}", act, loss not in losses)


def _use(path: str) -> None:
    """Load a learner, evaluate, and go on if it can."""
    learner = pt.load(path)
    learner.evaluate(X[:8], Y[:8])
    learner.fit(X, Y, progress=False, resume=learner.state.run is not None, callbacks=[
        pt.callbacks.Callback(), pt.callbacks.EarlyStopping("loss")])


def checkpoint_bytes(bench: Bench) -> Case:
    """A checkpoint with wrong bytes."""
    whole = bench.good["checkpoint"]
    data, text = damaged(bench.draw, whole)
    return Case(text, partial(_use, bench.file("c.safetensors", data)),
                True if data != whole else None)


def _parts(data: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return metadata and tensors of a checkpoint."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    return json.loads(header["__metadata__"]["pynq_train"]), load_tensors(data)


def _kind_differs(old: Any, new: Any) -> bool | None:
    """Return True where a value of such another type is surely wrong, else None."""
    simple = type(old) in _SIMPLE and isinstance(new, (str, list, dict))
    listed = isinstance(old, list) and type(new) in (int, float, bool, str, dict)
    return True if simple or listed else None


def checkpoint_meta(bench: Bench) -> Case:
    """A checkpoint of which one value is another, with the right checksum."""
    meta, arrays = _parts(bench.good[bench.draw.choice(("checkpoint", "interrupted"))])
    meta.pop("sha256")
    meta, text, old, new = changed(bench.draw, meta)
    wrong = _kind_differs(old, new)
    if any(part in text for part in (".callbacks", ".numbers", ".trainable", ".layers")):
        wrong = None
    meta["sha256"] = checksum(json.loads(json.dumps(meta)), arrays)
    data = save_tensors(arrays, metadata={"pynq_train": json.dumps(meta)})
    return Case(text, partial(_use, bench.file("m.safetensors", data)), wrong)


def checkpoint_tensors(bench: Bench) -> Case:
    """A checkpoint with another tensor, with the right checksum."""
    meta, arrays = _parts(bench.good["checkpoint"])
    meta.pop("sha256")
    name = bench.draw.choice(sorted(arrays))
    array = arrays[name]
    wide = -(1 << 63) if array.dtype == np.int64 else -(1 << 31)
    other, wrong = bench.draw.choice([
        (array.astype(np.float32), True), (array.reshape(-1)[:1], True), (array[None], True),
        (np.full_like(array, wide), None if "momentum" in name else True),
        (np.full_like(array, -1), True if "variance" in name else None),
        (np.full_like(array, 2**31 - 1), None), (np.zeros_like(array), None), (None, True)])
    arrays = {**arrays, name: other} if other is not None else {
        key: one for key, one in arrays.items() if key != name}
    meta["sha256"] = checksum(meta, arrays)
    data = save_tensors(arrays, metadata={"pynq_train": json.dumps(meta)})
    text = f"{name} {other if other is None else (other.dtype, other.shape)}"
    return Case(text, partial(_use, bench.file("t.safetensors", data)), wrong)


def json_bombs(bench: Bench) -> Case:
    """Headers of brackets and of absurd lengths."""
    text = bench.draw.choice((b"[" * 100_000, b'{"a":' * 50_000, b"1" * 100_000, b"{}", b"null",
                              b'{"__metadata__": 5}', b'{"__metadata__": {"pynq_train": 5}}'))
    length = bench.draw.choice((len(text), len(text), 2**63, 0))
    path = bench.file("j.safetensors", struct.pack("<Q", length) + text)
    return Case(repr(text[:30]), lambda: pt.load(path), True)


def _replay(path: str) -> None:
    """Run the command replay; its exit code says whether the file was taken."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as e:
        code = main(["replay", path, "--board", "golden"])
    if code == 2:
        raise pt.BadInput(e.getvalue())


def failure_bytes(bench: Bench) -> Case:
    """A saved failure with wrong bytes."""
    data, text = damaged(bench.draw, bench.good["failure"])
    return Case(text, partial(_replay, bench.file("f.npz", data)))


def failure_meta(bench: Bench) -> Case:
    """A saved failure of which one value, or the memory, is another, with the right checksum."""
    path = bench.file("g.npz", bench.good["failure"])
    arrays = read_npz(path, ("image", "meta"))
    image, meta = arrays["image"].copy(), json.loads(arrays["meta"].tobytes())
    meta.pop("sha256")
    if bench.draw.random() < 0.3:
        at = meta["request"]["program_offset"] + bench.draw.randrange(8 * 128 * 4)
        image[at] ^= 1 << bench.draw.randrange(8)
        text, wrong = f"byte {at} of the memory", None
    else:
        meta, text, old, new = changed(bench.draw, meta)
        wrong = _kind_differs(old, new)
    meta["sha256"] = failure._digest(meta, image)
    out = io.BytesIO()
    np.savez(out, image=image, meta=np.frombuffer(json.dumps(meta).encode(), np.uint8))
    return Case(text, partial(_replay, bench.file("f.npz", out.getvalue())), wrong)


def _import(path: str) -> None:
    """Import a network and use it."""
    pt.Learner(pt.load(path), batch=4).predict(X[:4])


def onnx_bytes(bench: Bench) -> Case:
    """An ONNX file with wrong bytes."""
    if "onnx" not in bench.good:
        return json_bombs(bench)
    data, text = damaged(bench.draw, bench.good["onnx"])
    return Case(text, partial(_import, bench.file("o.onnx", data)))


def onnx_nodes(bench: Bench) -> Case:
    """An ONNX file that is whole, with another node, attribute, shape or weight."""
    if "onnx" not in bench.good:
        return json_bombs(bench)
    import onnx

    draw, proto = bench.draw, onnx.ModelProto()
    proto.ParseFromString(bench.good["onnx"])
    graph = proto.graph
    node, tensor = draw.choice(graph.node), draw.choice(graph.initializer)
    text, wrong = draw.choice(("kind", "input", "output", "attribute", "weight", "dims", "drop",
                               "shape", "twice", "order", "domain")), None
    if text == "kind":
        node.op_type = draw.choice(("Conv", "Gemm", "Relu", "Flatten", "Add", "MaxPool", "Clip",
                                    "Concat", "Sigmoid", "Reshape", "AveragePool", "Dropout"))
    elif text in ("input", "output"):
        names = node.input if text == "input" else node.output
        names[draw.randrange(len(names))] = draw.choice(
            ["", "nobody", "input", *(one for other in graph.node for one in other.output)])
    elif text == "attribute" and node.attribute:
        one = draw.choice(node.attribute)
        one.CopyFrom(onnx.helper.make_attribute(one.name, draw.choice(
            [0, -1, 3, 10**12, 1.5, "SAME", [0], [1, 2, 3], [-1, -1], [2**40] * 2, [1.5], ["a"]])))
    elif text == "weight":
        values: Any = draw.choice([np.full(4, np.nan, np.float32), np.full(4, 1e38, np.float32),
                                   np.zeros(0, np.float32), np.array(["a"]), np.array(1.5),
                                   np.zeros((2, 2, 2), np.float64)])
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    elif text == "dims":
        tensor.dims[0] = draw.choice((0, -1, 10**12, 7))
    elif text == "drop":
        graph.node.remove(node)
    elif text == "shape":
        dim = draw.choice(graph.input[0].type.tensor_type.shape.dim)
        dim.dim_value = draw.choice((0, -1, 3, 10**12))
    elif text == "twice":
        graph.node.append(node)
    elif text == "domain":
        node.domain, wrong = "my.own", True
    else:
        graph.node.insert(0, graph.node.pop())
    path = bench.file("n.onnx", proto.SerializeToString())
    return Case(f"{text} of {node.op_type} or {tensor.name}", partial(_import, path), wrong)


def graph_json(bench: Bench) -> Case:
    """A network as JSON of which one value is another."""
    tree, text, old, new = changed(bench.draw, small().to_dict())
    wrong = _kind_differs(old, new)

    def act() -> None:
        pt.Learner(pt.Graph.from_json(json.dumps(tree)), batch=4)

    return Case(text, act, None if ".inputs" in text else wrong)


def whole_files(bench: Bench) -> Case:
    """A good file, which is taken: else the others would prove nothing."""
    name = bench.draw.choice(sorted(bench.good))
    if name in ("checkpoint", "interrupted"):
        action = partial(_use, bench.file("w.safetensors", bench.good[name]))
    elif name == "failure":
        action = partial(_replay, bench.file("w.npz", bench.good[name]))
    elif name == "onnx":
        action = partial(_import, bench.file("w.onnx", bench.good[name]))
    else:
        action = partial(_same_data, bench.file("w.npz", bench.good[name]))
    return Case(name, action, False)


FILES = (whole_files, data_bytes, data_header, data_values, data_targets, checkpoint_bytes,
         checkpoint_meta, checkpoint_meta, checkpoint_tensors, json_bombs, failure_bytes,
         failure_meta, onnx_bytes, onnx_nodes, onnx_nodes, graph_json)
