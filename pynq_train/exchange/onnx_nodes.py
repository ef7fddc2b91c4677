"""What each kind of ONNX node becomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pynq_train.arrays import Array
from pynq_train.exchange.activations import ONNX, ONNX_INSTEAD, Reader
from pynq_train.exchange.channels import WHOLE, Index, equal_parts, parts, take
from pynq_train.exchange.curves import multiply
from pynq_train.exchange.draft import BATCH, Draft, Refused, Value
from pynq_train.exchange.group_norms import group_norm, layer_norm
from pynq_train.exchange.slopes import prelu
from pynq_train.exchange.transposed import conv_transpose, same_crops, shared
from pynq_train.exchange.upsampling import bilinear, upsample
from pynq_train.exchange.values import without_softmax
from pynq_train.exchange.windows import OwnPadding, pair
from pynq_train.graph.ops import Add, BatchNorm, Concat, Dropout, PadChannels


class Node:
    """A node with its attributes, known inputs and constants."""

    def __init__(self, proto: Any, draft: Draft, values: dict[str, Value | None],
                 constants: dict[str, Array], helper: Any, readers: Mapping[str, int],
                 opset: int = 13, result: str = "") -> None:
        self.kind: str = proto.op_type
        self.name: str = proto.name or (proto.output[0] if proto.output else "")
        self.output: str = proto.output[0] if proto.output else ""
        self.proto = proto
        self.opset = opset
        self.draft = draft
        self.ends = not any(readers.get(name) for name in proto.output)
        self._readers, self._result = readers, result
        self._inputs = list(proto.input)
        self._values, self._constants = values, constants
        self._attributes = {entry.name: entry for entry in proto.attribute}
        self._helper = helper

    @property
    def reads_unknown(self) -> bool:
        """Whether an input comes from a refused node."""
        return any(name and self._values.get(name) is None and name not in self._constants
                   for name in self._inputs)

    @property
    def reads_constants(self) -> bool:
        """Whether all inputs are constants, and there is one."""
        names = [name for name in self._inputs if name]
        return bool(names) and all(name in self._constants for name in names)

    @property
    def label(self) -> str:
        """Name for the operation: that of its weights without ``.weight``, else the node's."""
        for name in self._inputs[1:2]:
            if name in self._constants and name.endswith(".weight"):
                return name.removesuffix(".weight")
        return self.name

    def attribute(self, name: str, default: Any) -> Any:
        """Return an attribute as a Python value."""
        entry = self._attributes.get(name)
        if entry is None:
            return default
        # The shortest decimal of a float32 is what its writer meant: 0.1, not 0.10000000149.
        value = {1: lambda: float(str(np.float32(entry.f))),
                 2: lambda: entry.i, 3: lambda: entry.s.decode(),
                 4: lambda: self._helper.to_array(entry.t), 6: lambda: list(entry.floats),
                 7: lambda: list(entry.ints)}.get(entry.type)
        return value() if value else default

    def value(self, index: int = 0) -> Value:
        """Return a computed input."""
        if index >= len(self._inputs):
            raise Refused(f"has {len(self._inputs)} inputs", "give it what it reads")
        value = self._values.get(self._inputs[index])
        if value is None:
            raise Refused("reads a constant", "compute it outside the network")
        return value

    def axes(self, place: int) -> list[int] | None:
        """Return the axes that the node names as an attribute or as input ``place``, or None."""
        axes = self.attribute("axes", None)
        if axes is None:
            constant = self.constant(place)
            axes = None if constant is None else constant.ravel().tolist()
        return axes

    def alone(self, index: int) -> bool:
        """Whether nothing else reads an input, and it is not the network's output."""
        name = self._inputs[index]
        return name != self._result and self._readers.get(name, 0) == 1

    def owner(self, index: int) -> str:
        """Name of a constant input: who else names it has the same weights."""
        return self._inputs[index]

    def constant(self, index: int) -> Array | None:
        """Return a constant input, None if it is left out."""
        if index >= len(self._inputs) or not self._inputs[index]:
            return None
        name = self._inputs[index]
        if name not in self._constants:
            raise Refused(f"has a computed input {name!r}", "make it a constant of the model")
        return self._constants[name]

    def number(self, name: str, place: int, default: Any = None) -> Any:
        """Return the constant input ``place`` if there are so many inputs, else an attribute."""
        return self.attribute(name, default) if len(self) <= place else self.constant(place)

    def is_constant(self, index: int) -> bool:
        """Whether an input is a constant."""
        return index < len(self._inputs) and self._inputs[index] in self._constants

    def __len__(self) -> int:
        """Return the number of inputs."""
        return len(self._inputs)


def _padding(node: Node, line: bool) -> OwnPadding:
    """Return zeros on all four sides; of sequences (``line``) in front and behind alone."""
    auto = node.attribute("auto_pad", "NOTSET")
    if auto == "SAME_UPPER":
        return "same"
    if auto not in ("NOTSET", "VALID"):
        raise Refused(f"has auto_pad {auto}", "use SAME_UPPER or explicit pads")
    pads = node.attribute("pads", [0, 0, 0, 0][2 * line :])
    if line and isinstance(pads, list) and len(pads) == 2:
        pads = [0, pads[0], 0, pads[1]]
    if not isinstance(pads, list) or len(pads) != 4 or auto == "VALID":
        if auto == "VALID":
            return 0
        raise Refused(f"has pads {pads}", "give four numbers, for images of rows and columns")
    return (pads[0], pads[1], pads[2], pads[3])


def _two(node: Node, name: str, default: list[int], line: bool = False) -> list[int]:
    """Return an attribute that has a number for rows and one for columns.

    Of sequences (``line``) it has one, for the columns of a row.
    """
    values = node.attribute(name, default[line:])
    if line and isinstance(values, list) and len(values) == 1:
        values = [1, *values]
    if not isinstance(values, list) or len(values) != 2:
        raise Refused(f"has {name} {values}", "give two numbers, for rows and columns")
    return list(pair(values, name))


def _conv(node: Node) -> Value:
    weight = _present(node, 1)
    if weight.ndim not in (3, 4):
        raise Refused(f"has weights of {weight.ndim} axes",
                      "use images of rows and columns, or sequences")
    line = weight.ndim == 3
    kernel = list(weight.shape[2:])
    if node.attribute("kernel_shape", kernel) != kernel:
        raise Refused(f"has kernel_shape {node.attribute('kernel_shape', [])} and weights of "
                      f"{kernel}", "make them equal")
    value = node.value()
    if line:
        value, weight, kernel = node.draft.line(value), weight[:, :, None], [1, *kernel]
    dilation = _two(node, "dilations", [1, 1], line)
    out = node.draft.conv(
        value, weight, node.constant(2), kernel=kernel,
        stride=_two(node, "strides", [1, 1], line), padding=_padding(node, line),
        dilation=dilation[line:], groups=node.attribute("group", 1),
        label=node.label, owner=node.owner(1))
    return replace(out, joined=line)


def _transposed(node: Node) -> Value:
    weight = _present(node, 1)
    if weight.ndim not in (3, 4):
        raise Refused(f"has weights of {weight.ndim} axes",
                      "use images of rows and columns, or sequences")
    line, value = weight.ndim == 3, node.value()
    if line:
        value, weight = node.draft.line(value), weight[:, :, None]
    stride = _two(node, "strides", [1, 1], line)
    dilation = _two(node, "dilations", [1, 1], line)
    extra = node.attribute("output_padding", [0, 0][line:])
    sizes = node.attribute("output_shape", None)
    auto = node.attribute("auto_pad", "NOTSET")
    if line and isinstance(extra, list):
        extra = [0, *extra]
    if not isinstance(extra, list) or len(extra) != 2:
        raise Refused(f"has output_padding {extra}", "give one number for each axis")
    kernel = weight.shape[2:]
    if isinstance(sizes, list):
        # ONNX cuts off what is too much: of an odd number one more in front, unless SAME_UPPER.
        wanted = [1, *sizes[-1:]] if line else sizes[-2:]
        crops = [shared((size - 1) * step + side - out, auto != "SAME_UPPER") for size, step, side,
                 out in zip(value.shape[1:], stride, kernel, wanted)]
    elif auto in ("SAME_UPPER", "SAME_LOWER"):
        crops = list(same_crops(kernel, stride, in_front=auto == "SAME_LOWER"))
    else:
        own = _padding(node, line)
        top, left, bottom, right = own if isinstance(own, tuple) else (0, 0, 0, 0)
        crops = [(top, bottom - extra[0]), (left, right - extra[1])]
    out = conv_transpose(
        node.draft, value, weight, node.constant(2), stride=stride, crops=crops,
        dilation=dilation[line:], groups=node.attribute("group", 1), label=node.label,
        owner=node.owner(1))
    return replace(out, joined=line)


def _gemm(node: Node) -> Value:
    if (node.attribute("alpha", 1.0), node.attribute("beta", 1.0),
            node.attribute("transA", 0)) != (1.0, 1.0, 0):
        raise Refused("has alpha, beta or transA", "scale the weights themselves")
    weight, added = _present(node, 1), node.constant(2)
    if added is not None and added.size > 1 and added.shape[-1] != added.size:
        raise Refused(f"adds an array of shape {added.shape}", "give one number for each unit")
    return node.draft.dense(node.value(), weight if node.attribute("transB", 0) else weight.T,
                            added, label=node.label, owner=node.owner(1))


def _matmul(node: Node) -> Value:
    return node.draft.dense(node.value(), _present(node, 1).T, None, label=node.label,
                            owner=node.owner(1))


def _norm(node: Node) -> Value:
    if node.attribute("training_mode", 0):
        raise Refused("is in training mode: it takes mean and deviation of the mini-batch",
                      "export the model in evaluation mode (model.eval())")
    # ONNX keeps the part momentum of the old statistics, PyTorch and this package take it anew.
    op = BatchNorm(round(1 - node.attribute("momentum", 0.9), 9),
                   node.attribute("epsilon", 1e-5))
    return node.draft.norm(node.value(), op, *(_present(node, i) for i in (1, 2, 3, 4)),
                           label=node.label)


def _group_norm(node: Node) -> Value:
    gamma, beta = node.constant(1), node.constant(2)
    groups, channels = node.attribute("num_groups", -1), node.value().shape[0]
    # Up to operator set 20 the numbers belong to groups.
    gamma, beta = (None if one is None else np.repeat(one.ravel(), channels // groups)
                   if 0 < one.size == groups < channels and channels % groups == 0 else one
                   for one in (gamma, beta))
    return group_norm(node.draft, node.value(), groups, node.attribute("epsilon", 1e-5), gamma,
                      beta, label=node.label)


def _layer_norm(node: Node) -> Value:
    value = node.value()
    axis = node.attribute("axis", -1) % (len(value.dims) + 1)
    return layer_norm(node.draft, value, value.dims[axis - 1:] if axis else (),
                      node.attribute("epsilon", 1e-5), _present(node, 1), node.constant(2),
                      label=node.label, owner=node.owner(1))


def _activation(read: Reader) -> Callable[[Node], Value]:
    return lambda node: node.draft.add(read(node.number), node.value(), label=node.name)


def _pool(node: Node) -> Value:
    value, line = node.value(), node.value().joined
    if line:
        value = node.draft.line(value)
    if _two(node, "dilations", [1, 1], line) != [1, 1]:
        raise Refused(f"has dilations {node.attribute('dilations', [])}",
                      "use windows without dilation")
    out = node.draft.pool(
        value, largest=node.kind == "MaxPool", kernel=_two(node, "kernel_shape", [], line),
        stride=_two(node, "strides", [1, 1], line), padding=_padding(node, line), label=node.name,
        counts_padding=bool(node.attribute("count_include_pad", 0)),
        ceil=bool(node.attribute("ceil_mode", 0)))
    return replace(out, joined=line)


def _mean(node: Node) -> Value:
    source, axes = node.value(), node.axes(1)
    count = len(source.dims) + 1
    pixels = {2: [], 3: [2], 4: [1, 2] if source.last else [2, 3]}[count]
    if not pixels or sorted(axis % count for axis in axes or []) != pixels:
        raise Refused(f"reduces axes {axes}", "reduce rows and columns, axes (2, 3)")
    out = node.draft.global_mean(source, node.name, last=source.last)
    return out if node.attribute("keepdims", 1) else node.draft.flatten(out, node.name)


def _flatten(node: Node) -> Value:
    source, axis = node.value(), node.attribute("axis", 1)
    if axis % (len(source.dims) + 1) != 1:
        raise Refused(f"flattens from axis {axis}", "flatten from axis 1")
    return node.draft.flatten(source, node.name)


def _reshape(node: Node) -> Value:
    source = node.value()
    sizes = _present(node, 1).ravel().tolist()
    if not node.attribute("allowzero", 0):
        own = (BATCH, *source.dims)
        sizes = [own[at] if size == 0 and at < len(own) else size for at, size in enumerate(sizes)]
    return node.draft.reshape(source, sizes, node.name)


def _squeeze(node: Node) -> Value:
    source, axes = node.value(), node.axes(1)
    dims = (BATCH, *source.dims)
    dropped = {at for at, size in enumerate(dims) if size == 1} if axes is None else {
        axis % len(dims) for axis in axes}
    if 0 in dropped or any(dims[axis] != 1 for axis in dropped):
        raise Refused("drops an axis of a map", "only drop rows and columns of size 1")
    return node.draft.reshape(source, [size for at, size in enumerate(dims) if at not in dropped],
                              node.name)


def _unsqueeze(node: Node) -> Value:
    source, axes = node.value(), node.axes(1) or []
    sizes: list[int] = [BATCH, *source.dims]
    count = len(sizes) + len(axes)
    for axis in sorted(axis % count for axis in axes):
        sizes.insert(axis, 1)
    return node.draft.reshape(source, sizes, node.name)


def _add(node: Node) -> Value:
    for index in (0, 1):
        if node.is_constant(index):
            if node.value(1 - index) == node.draft.input:
                return node.draft.normalise(node.draft.input, plus=_present(node, index))
            return node.draft.add_bias(node.value(1 - index), _present(node, index),
                                       node.alone(1 - index))
    return node.draft.add(Add(), node.value(0), node.value(1), label=node.name)


def _scaled(node: Node) -> Value:
    if node.is_constant(1):
        array = _present(node, 1).astype(np.float64)
        if node.kind == "Div" and not array.all():
            raise Refused("divides by 0", "divide by deviations above 0")
        return node.draft.normalise(node.value(), **{
            "Sub": lambda: {"plus": -array}, "Mul": lambda: {"times": array},
            "Div": lambda: {"times": 1 / array}}[node.kind]())
    if node.kind == "Mul":
        if node.is_constant(0):
            return node.draft.normalise(node.value(1), times=_present(node, 0))
        return multiply(node.draft, node.value(0), node.value(1), node.name)
    raise Refused("", INSTEAD[node.kind])


def _concat(node: Node) -> Value:
    sources = [node.value(i) for i in range(len(node))]
    axis, last = node.attribute("axis", 0), all(source.last for source in sources)
    if axis % (len(sources[0].dims) + 1) != (3 if last else 1):
        raise Refused(f"joins along axis {axis}", f"join channels, axis {3 if last else 1}")
    if len(sources) == 1:
        return sources[0]
    plain = [replace(source, last=False) for source in sources] if last else sources
    return replace(node.draft.add(Concat(), *plain, label=node.name), last=last)


def _dropout(node: Node) -> Value:
    ratio = node.constant(1)
    rate = float(ratio) if ratio is not None else float(node.attribute("ratio", 0.5))
    training = node.constant(2)
    if rate == 0 or (training is not None and not bool(training)):
        return node.value()
    return node.draft.add(Dropout(float(str(np.float32(rate)))), node.value(), label=node.name)


def _pad(node: Node) -> Value:
    source = node.value()
    pads = node.attribute("pads", None)
    if pads is None:
        pads = _present(node, 1).ravel().tolist()
    fill = node.constant(2)
    if (node.attribute("mode", "constant") != "constant" or (fill is not None and fill.any())
            or float(node.attribute("value", 0.0)) != 0):
        raise Refused("pads with something else than zeros", "pad with zeros")
    count = len(source.dims) + 1
    some = node.constant(3)
    axes = list(range(count)) if some is None else [axis % count for axis in
                                                    some.ravel().tolist()]
    if len(pads) != 2 * len(axes):
        raise Refused(f"pads {pads}", f"give {2 * len(axes)} numbers")
    around = {axis: (pads[at], pads[at + len(axes)]) for at, axis in enumerate(axes)}
    sides = [around.get(axis, (0, 0)) for axis in range(count)]
    if any(sides[0]) or min(pads) < 0:
        raise Refused(f"pads {pads}", "pad channels, rows and columns only, by 0 or more")
    if source.joined and any(map(any, sides)):
        if any(sides[1]):
            raise Refused(f"pads {pads}", "pad the length of sequences only")
        padded = node.draft.pad(node.draft.line(source), 0, sides[2][0], 0, sides[2][1])
        return replace(padded, joined=True)
    channels = sides[3 if source.last else 1]
    pixels = [] if source.flat else sides[1:3] if source.last else sides[2:4]
    if any(channels):
        if any(map(any, pixels)):
            raise Refused(f"pads {pads}", "pad channels by themselves")
        return node.draft.add(PadChannels(*channels), source, label=node.name)
    if not any(map(any, pixels)):
        return source
    (top, bottom), (left, right) = pixels
    return node.draft.pad(source, top, left, bottom, right)


def _resize(node: Node) -> Value:
    source, mode = node.value(), node.attribute("mode", "nearest")
    if mode not in ("nearest", "linear", "bilinear") or node.attribute("antialias", 0):
        raise Refused(f"has mode {mode}" + " with antialias" * bool(node.attribute("antialias", 0)),
                      "use mode nearest or linear")
    count = len(source.dims) + 1
    # Upsample, and Resize of opset 10, have the scales as their second input.
    early = node.kind == "Upsample" or len(node) == 2
    scales = node.constant(1 if early else 2)
    if scales is None or not scales.size:
        scales = np.asarray(node.attribute("scales", []), np.float64)
    sizes = None if early else node.constant(3)
    axes = node.axes(9) or list(range(count))
    if sizes is not None and sizes.size:
        scales = np.array([size / (BATCH, *source.dims)[axis % count]
                           for size, axis in zip(sizes.ravel(), axes)])
    if len(scales.ravel()) != len(axes):
        raise Refused(f"has {scales.size} factors for {len(axes)} axes", "give one for each")
    factor = {axis % count: float(scale) for axis, scale in zip(axes, scales.ravel())}
    if count != 4 or any(factor.get(axis, 1) != 1 for axis in (0, 1)):
        raise Refused("enlarges something else than rows and columns", "enlarge maps alone")
    if mode != "nearest":
        rows, cols = (int(size * factor.get(axis, 1) + 1e-4) for axis, size in
                      zip((2, 3), source.dims[1:]))
        return bilinear(node.draft, source, rows, cols, node.name, places="asymmetric" if early
                        else node.attribute("coordinate_transformation_mode", "half_pixel"))
    return upsample(node.draft, source, factor.get(2, 1), factor.get(3, 1), node.name,
                    places="asymmetric" if early else node.attribute(
                        "coordinate_transformation_mode", "half_pixel"),
                    rounding="floor" if early else node.attribute(
                        "nearest_mode", "round_prefer_floor"))


def _softmax(node: Node) -> Value:
    # Before opset 13 it goes over all axes from the one that it names.
    return without_softmax(node.value(), node.attribute("axis", -1 if node.opset >= 13 else 1),
                           node.ends, "node")


def _constant(node: Node) -> Array:
    for name in ("value", "value_float", "value_int", "value_floats", "value_ints"):
        value = node.attribute(name, None)
        if value is not None:
            return np.asarray(value)
    raise Refused("holds no numbers", "store the constant as a tensor")


def _identity(node: Node) -> Value | Array:
    return _present(node, 0) if node.is_constant(0) else node.value()


def _transpose(node: Node) -> Value:
    source = node.value()
    count = len(source.dims) + 1
    order = node.attribute("perm", None) or list(reversed(range(count)))
    if sorted(order) != list(range(count)) or order[0] != 0:
        raise Refused(f"puts axes in the order {order}",
                      "only change between channels first and channels last")
    return node.draft.permute(source, [axis - 1 for axis in order[1:]], node.name)


def _slice(node: Node) -> Value:
    source = node.value()
    count = len(source.dims) + 1
    if node.opset < 10:
        starts, ends = node.attribute("starts", []), node.attribute("ends", [])
        axes, steps = node.attribute("axes", None), None
    else:
        starts, ends = (_present(node, at).ravel().tolist() for at in (1, 2))
        axes, steps = (None if (one := node.constant(at)) is None else one.ravel().tolist()
                       for at in (3, 4))
    axes = list(range(len(starts))) if axes is None else [axis % count for axis in axes]
    index: list[Index] = [WHOLE] * (count - 1)
    for axis, start, end, step in zip(axes, starts, ends, steps or [1] * len(starts)):
        if axis == 0 and ((start, step) != (0, 1) or end < (node.draft.images or BATCH)):
            raise Refused("takes some of the images", "compute with all of them")
        if axis:
            # An end so far below zero says that the first place is the last one that is taken.
            first = step < 0 and end < -source.dims[axis - 1]
            index[axis - 1] = slice(start, None if first else end, step)
    return take(node.draft, source, index, node.name)


def _gather(node: Node) -> Value:
    source, places = node.value(), _present(node, 1)
    count = len(source.dims) + 1
    axis = node.attribute("axis", 0) % count
    if axis == 0 or places.ndim != 1:
        raise Refused("takes some of the images" if axis == 0 else
                      f"takes places of shape {places.shape}", "take a list of channels, axis 1")
    index: list[Index] = [WHOLE] * (count - 1)
    index[axis - 1] = [int(place) for place in places]
    return take(node.draft, source, index, node.name)


def _split(node: Node) -> dict[str, Value]:
    source, outputs = node.value(), list(node.proto.output)
    axis = node.attribute("axis", 0) % (len(source.dims) + 1)
    if axis == 0:
        raise Refused("splits the mini-batch", "split channels, axis 1")
    sizes = node.attribute("split", None)
    if sizes is None:
        given = node.constant(1)
        sizes = (equal_parts(source.dims[axis - 1], len(outputs)) if given is None
                 else given.ravel().tolist())
    made = parts(node.draft, source, axis, sizes, node.name)
    return {name: value for name, value in zip(outputs, made) if name}


def _shape(node: Node) -> Array:
    sizes = np.array([BATCH, *node.value().dims], np.int64)
    return sizes[node.attribute("start", 0) : node.attribute("end", None)]


def _present(node: Node, index: int) -> Array:
    array = node.constant(index)
    if array is None:
        raise Refused("lacks its weights", "export the model with its weights")
    return array


def computes_with_batch(array: Array) -> bool:
    """Return whether a constant follows from the number of images, which is open."""
    return array.dtype.kind in "iuf" and bool((np.abs(array.astype(np.float64)) > BATCH / 4).any())


def _prelu(node: Node) -> Value:
    value, slopes = node.value(), _present(node, 1)
    # One for each channel stands in front of rows and columns, as broadcasting wants it.
    if slopes.size > 1 and slopes.shape[-len(value.shape):] != (value.shape[0], 1, 1):
        raise Refused(f"has slopes of shape {slopes.shape} for {value.shape}",
                      "give one for each channel, (channels, 1, 1), or one for all")
    return prelu(node.draft, value, slopes, label=node.label)


NODES: dict[str, Callable[[Node], Value | Array | dict[str, Value]]] = {
    **{kind: _activation(read) for kind, read in ONNX.items()},
    "Add": _add, "AveragePool": _pool, "BatchNormalization": _norm, "Concat": _concat,
    **dict.fromkeys(("InstanceNormalization", "GroupNormalization"), _group_norm),
    "LayerNormalization": _layer_norm,
    "Constant": _constant, "Conv": _conv, "ConvTranspose": _transposed, "Dropout": _dropout,
    "Flatten": _flatten, "Gemm": _gemm, "Gather": _gather, "Slice": _slice, "Split": _split,
    "GlobalAveragePool": lambda node: node.draft.global_mean(node.value(), node.name),
    "Identity": _identity, "LogSoftmax": _softmax, "MatMul": _matmul,
    "MaxPool": _pool, "PRelu": _prelu, "Pad": _pad, "ReduceMean": _mean,
    "Reshape": _reshape, "Resize": _resize, "Softmax": _softmax, "Squeeze": _squeeze,
    **dict.fromkeys(("Sub", "Mul", "Div"), _scaled),
    "Shape": _shape, "Transpose": _transpose, "Unsqueeze": _unsqueeze,
    "Upsample": _resize,
}
"""Kinds of nodes that have a counterpart."""

INSTEAD = {
    **ONNX_INSTEAD,
    "GlobalMaxPool": "use GlobalAveragePool",
    "LRN": "use BatchNormalization",
    "QuantizeLinear": "export the float model", "DequantizeLinear": "export the float model",
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger",
                     "DynamicQuantizeLinear", "Quant", "BipolarQuant", "IntQuant", "FloatQuant",
                     "Trunc", "MultiThreshold"), "export the float model"),
    **dict.fromkeys(("Sub", "Div"), "prepare the images before the network, or fold it into the "
                                    "weights"),
    "LSTM": "use convolutions over time", "GRU": "use convolutions over time",
}
"""What could replace kinds of nodes that have no counterpart."""
