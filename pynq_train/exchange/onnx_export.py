"""Networks as ONNX files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pynq_train.errors import BadInput
from pynq_train.exchange.activations import write_onnx
from pynq_train.exchange.onnx_metadata import write_metadata
from pynq_train.exchange.packages import need
from pynq_train.files import write_atomic
from pynq_train.graph.class_names import checked_names
from pynq_train.graph.graph import Graph
from pynq_train.graph.image_format import ANY_IMAGES, ImageFormat, checked_format
from pynq_train.graph.ops import (
    Activate,
    Add,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    ConvTranspose,
    Curve,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    GroupNorm,
    MaxPool,
    MaxPool2x2,
    Multiply,
    Op,
    PadChannels,
    PickChannels,
    Upsample,
)
from pynq_train.graph.params import FloatArray, LayerParams, check_graph_params
from pynq_train.graph.windows import ends_of
from pynq_train.graph.wiring import FROM_INPUT, INPUT

OPSET = 13
IR_VERSION = 8
"""Both of 2021: every ONNX Runtime since 1.9 reads such a file."""
LOGITS = "logits"

_PLAIN = {GlobalAvgPool: "GlobalAveragePool", Add: "Add", Multiply: "Mul"}


def export_onnx(graph: Graph, params: Mapping[str, LayerParams], path: str | os.PathLike[str],
                *, mean: float | Sequence[float] | None = None,
                std: float | Sequence[float] | None = None,
                input_format: ImageFormat | None = None,
                class_names: Sequence[str] = ()) -> None:
    """Write a network to an ONNX file; ``path`` holds either the old file or all of the new one.

    The file has one input ``input``, float32 ``(n, channels, rows, cols)``, or ``(n, features)``
    where images have one pixel, and one output ``logits``, float32 ``(n, classes)``. Its metadata
    say which images it takes (docs/images.md).
    Needs the package ``onnx``, on a PC.

    Args:
        graph: the network.
        params: its parameters by layer name.
        path: the file.
        mean: taken from every image, a number or one per channel; None for no normalisation.
        std: divides every image then, likewise.
        input_format: the images that the network was made for (``Model.input_format``).
        class_names: names of the classes, from the first output on.

    Raises:
        BadInput: parameters that do not fit, odd numbers, or a folder that cannot be written.
        MissingTool: the package ``onnx`` is not installed.
    """
    if not isinstance(graph, Graph):
        raise BadInput("graph", expected="a Graph", found=type(graph).__name__,
                       fix="give model.graph, or use learner.export(path)")
    form = (ANY_IMAGES if input_format is None else checked_format(input_format)).with_given(
        graph.input_shape[0], None, mean, std)
    names = checked_names(class_names, graph.classes)
    write_atomic(path, to_proto(graph, params, form, names).SerializeToString())


def to_proto(graph: Graph, params: Mapping[str, LayerParams], form: ImageFormat = ANY_IMAGES,
             class_names: tuple[str, ...] = ()) -> Any:
    """Return the ONNX ``ModelProto`` of a network; see :func:`export_onnx`."""
    onnx = need("onnx", "writing ONNX files")
    check_graph_params(graph, params)
    writer = _Writer(onnx, graph)
    first = INPUT
    sizes = list(graph.input_shape)
    if sizes[1:] == [1, 1]:
        sizes = sizes[:1]
        writer.vectors.update((INPUT, "input/normalised"))
    if form.seen is not None:
        first = writer.normalise(form.seen.mean, form.seen.std)
    for op, sources in zip(graph.ops, graph.sources):
        writer.node(op, [first if place == FROM_INPUT else graph.ops[place].name
                         for place in sources], params.get(op.name))
    last = graph.ops[-1].name
    if last in writer.vectors:
        writer.raw("Identity", [last], "", LOGITS)
    else:
        writer.raw("Flatten", [last], "", LOGITS, axis=1)
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    proto = helper.make_model(
        helper.make_graph(
            writer.nodes, graph.name,
            [helper.make_tensor_value_info(INPUT, kind, ["n", *sizes])],
            [helper.make_tensor_value_info(LOGITS, kind, ["n", graph.classes])],
            writer.constants),
        producer_name="pynq_train", opset_imports=[helper.make_opsetid("", OPSET)])
    proto.ir_version = IR_VERSION
    write_metadata(proto, form, class_names)
    onnx.checker.check_model(proto)
    return proto


@dataclass
class _Writer:
    """Collects nodes and initializers; every operation's output has the operation's name.

    The network's output is called ``logits``: an operation of that name yields ``logits/value``.
    ``vectors`` are the outputs of two axes ``(n, units)``; the others have four.
    """

    onnx: Any
    graph: Graph

    def __post_init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.vectors: set[str] = set()

    def constant(self, name: str, array: FloatArray) -> str:
        self.constants.append(self.onnx.numpy_helper.from_array(
            np.asarray(array, dtype=np.float32, order="C"), name))
        return name

    def raw(self, kind: str, inputs: list[str], name: str, output: str = "",
            **attributes: Any) -> None:
        """Append a node; ``output``: what it yields, if that has not the node's name."""
        read, made = ([f"{one}/value" if one == LOGITS else one for one in some]
                      for some in (inputs, [name]))
        self.nodes.append(self.onnx.helper.make_node(kind, read, [output] if output else made,
                                                     name=name or f"{output}/out",
                                                     **attributes))

    def normalise(self, mean: Sequence[float], std: Sequence[float]) -> str:
        """Append (input - mean) / std; these names cannot be operations' (they hold a slash)."""
        for kind, source, name, values in (("Sub", INPUT, "input/centred", mean),
                                           ("Div", "input/centred", "input/normalised", std)):
            constant = self.constant(f"{name}.by", self._by_channel(values))
            self.raw(kind, [source, constant], name)
        return "input/normalised"

    def _by_channel(self, values: Sequence[float]) -> FloatArray:
        """Return numbers of channels as they are broadcast to the input."""
        array = np.array(values, np.float32)
        return array if INPUT in self.vectors else array.reshape(-1, 1, 1)

    def node(self, op: Op, sources: list[str], own: LayerParams | None) -> None:
        inputs = self._alike(op, sources)
        if isinstance(op, (Dense, Flatten)) or all(name in self.vectors for name in inputs):
            self.vectors.add(op.name)
        if isinstance(op, GroupNorm):
            self._group_norm(op, inputs[0], own)
            return
        if own is not None:
            inputs.append(self.constant(f"{op.name}.weight", own.weight))
            for label in ("bias", "mean", "variance"):
                array = getattr(own, label)
                if array is not None:
                    inputs.append(self.constant(f"{op.name}.{label}", array))
        if isinstance(op, (Conv, MaxPool, AvgPool)):
            self._windowed(op, inputs)
        elif isinstance(op, ConvTranspose):
            self._transposed(op, inputs)
        elif isinstance(op, Dense):
            self.raw("Gemm", inputs, op.name, transB=1)
        elif isinstance(op, BatchNorm):
            self.raw("BatchNormalization", inputs, op.name, epsilon=op.eps,
                     momentum=1 - op.momentum)
        elif isinstance(op, (Activate, Curve)):
            write_onnx(self, op, inputs)
        elif isinstance(op, MaxPool2x2):
            self.raw("MaxPool", inputs, op.name, kernel_shape=[2, 2], strides=[2, 2])
        elif isinstance(op, Concat):
            self.raw("Concat", inputs, op.name, axis=1)
        elif isinstance(op, PadChannels):
            axes = 2 if op.name in self.vectors else 4
            pads = np.zeros((2, axes), np.int64)
            pads[:, 1] = op.before, op.after
            self.constants.append(self.onnx.numpy_helper.from_array(
                pads.ravel(), f"{op.name}/pads"))
            self.raw("Pad", [*inputs, f"{op.name}/pads"], op.name)
        elif isinstance(op, PickChannels):
            self.constants.append(self.onnx.numpy_helper.from_array(
                np.array(op.channels, np.int64), f"{op.name}/channels"))
            self.raw("Gather", [*inputs, f"{op.name}/channels"], op.name, axis=1)
        elif isinstance(op, Dropout):
            rate = self.constant(f"{op.name}.rate", np.array(op.rate, np.float32))
            self.raw("Dropout", [*inputs, rate], op.name)
        elif isinstance(op, Flatten):
            self.raw("Flatten", inputs, op.name, axis=1)
        elif isinstance(op, Upsample):
            self._upsample(op, inputs)
        else:
            self.raw(_PLAIN[type(op)], inputs, op.name)

    def _group_norm(self, op: GroupNorm, source: str, own: LayerParams | None) -> None:
        """Append an instance normalisation of the groups, then gamma and beta.

        There is a node of its own since operator set 18 only, with gamma and beta of groups.
        """
        shape = self.graph.shapes[[one.name for one in self.graph.ops].index(op.name)]
        split, whole = (self._sizes(f"{op.name}/{name}", sizes) for name, sizes in
                        (("groups.sizes", (0, op.groups, -1)), ("map.sizes", (0, *shape))))
        one, none = (self.constant(f"{op.name}/{name}", np.full(op.groups, fill, np.float32))
                     for name, fill in (("one", 1.0), ("none", 0.0)))
        self.raw("Reshape", [source, split], f"{op.name}/groups")
        self.raw("InstanceNormalization", [f"{op.name}/groups", one, none], f"{op.name}/normal",
                 epsilon=op.eps)
        if own is None:
            self.raw("Reshape", [f"{op.name}/normal", whole], op.name)
            return
        assert own.bias is not None
        gamma, beta = (self.constant(f"{op.name}.{name}", array.reshape(-1, 1, 1))
                       for name, array in (("weight", own.weight), ("bias", own.bias)))
        self.raw("Reshape", [f"{op.name}/normal", whole], f"{op.name}/whole")
        self.raw("Mul", [f"{op.name}/whole", gamma], f"{op.name}/scaled")
        self.raw("Add", [f"{op.name}/scaled", beta], op.name)

    def _sizes(self, name: str, sizes: Sequence[int]) -> str:
        self.constants.append(self.onnx.numpy_helper.from_array(np.array(sizes, np.int64), name))
        return name

    def _alike(self, op: Op, sources: list[str]) -> list[str]:
        """Return names of the inputs with the axes that ``op`` wants, converted where needed."""
        if isinstance(op, Dense):
            return [self._vector(source) for source in sources]
        windowed = isinstance(op, (Conv, ConvTranspose, MaxPool2x2, MaxPool, AvgPool,
                                   GlobalAvgPool, Upsample, GroupNorm))
        mixed = len({source in self.vectors for source in sources}) > 1
        return [self._map(source) for source in sources] if windowed or mixed else list(sources)

    def _vector(self, source: str) -> str:
        name = f"{source}/vector"
        if source in self.vectors:
            return source
        if all(node.output[0] != name for node in self.nodes):
            self.raw("Flatten", [source], name, axis=1)
        return name

    def _map(self, source: str) -> str:
        name, axes = f"{source}/map", f"{source}/map.axes"
        if source not in self.vectors:
            return source
        if all(node.output[0] != name for node in self.nodes):
            self.constants.append(self.onnx.numpy_helper.from_array(
                np.array([2, 3], np.int64), axes))
            self.raw("Unsqueeze", [source, axes], name)
        return name

    def _upsample(self, op: Upsample, inputs: list[str]) -> None:
        sides: list[float] = [op.factor, op.factor]
        if op.corners:  # sizes are rounded down
            place = next(at for at, other in enumerate(self.graph.ops) if other.name == op.name)
            sides = [(new + 0.5) / old for new, old in zip(
                self.graph.shapes[place][1:], self.graph.in_shapes[place][0][1:])]
        scales = self.constant(f"{op.name}/scales", np.array([1, 1, *sides]))
        if op.mode == "nearest":
            self.raw("Resize", [*inputs, "", scales], op.name, mode="nearest",
                     coordinate_transformation_mode="asymmetric", nearest_mode="floor")
        else:
            self.raw("Resize", [*inputs, "", scales], op.name, mode="linear",
                     coordinate_transformation_mode="align_corners" if op.corners
                     else "half_pixel")

    def _transposed(self, op: ConvTranspose, inputs: list[str]) -> None:
        place = next(at for at, other in enumerate(self.graph.ops) if other.name == op.name)
        shape = self.graph.in_shapes[place][0]
        before = [window.pad_before for window in op.windows(shape)]
        # What is cut off behind; below zero: what is added there.
        behind = [(size - 1) * stride + kernel - cut - out for size, stride, kernel, cut, out in
                  zip(shape[1:], op.stride_sides, op.kernel_sides, before, op.out_shape(shape)[1:])]
        self.raw("ConvTranspose", inputs, op.name, kernel_shape=list(op.kernel_sides),
                 strides=list(op.stride_sides), group=op.groups,
                 pads=[*before, *(max(cut, 0) for cut in behind)],
                 output_padding=[max(-cut, 0) for cut in behind])

    def _windowed(self, op: Conv | MaxPool | AvgPool, inputs: list[str]) -> None:
        place = next(at for at, other in enumerate(self.graph.ops) if other.name == op.name)
        ends = [(window.pad_before, window.pad_after)
                for window in op.windows(self.graph.in_shapes[place][0])]
        if op.padding != "same":
            ends = list(ends_of(op.padding))
        attributes: dict[str, Any] = {
            "kernel_shape": list(op.kernel_sides), "strides": list(op.stride_sides),
            "pads": [ends[axis][end] for end in (0, 1) for axis in (0, 1)]}
        if isinstance(op, Conv):
            attributes["group"] = op.groups
            if op.dilation != 1:
                attributes["dilations"] = list(op.dilation_sides)
        elif isinstance(op, AvgPool):
            attributes["count_include_pad"] = 1
        kind = {Conv: "Conv", MaxPool: "MaxPool", AvgPool: "AveragePool"}[type(op)]
        self.raw(kind, inputs, op.name, **attributes)
