"""What each PyTorch module, function and method becomes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pynq_train.exchange.activations import (
    TORCH_FUNCTIONS,
    TORCH_INSTEAD,
    TORCH_METHODS,
    TORCH_MODULES,
    Reader,
)
from pynq_train.exchange.curves import multiply
from pynq_train.exchange.draft import BATCH, Refused, Value
from pynq_train.exchange.slopes import prelu
from pynq_train.exchange.torch_call import Call, array_of, frozen_of, numbers_of, owner_of, tied
from pynq_train.exchange.torch_norms import group_norm_call, instance_norm_call, layer_norm_call
from pynq_train.exchange.transposed import conv_transpose
from pynq_train.exchange.upsampling import bilinear, upsample
from pynq_train.exchange.values import text_of, without_softmax
from pynq_train.exchange.windows import OwnPadding
from pynq_train.graph.ops import Add, BatchNorm, Concat, Dropout, PadChannels

Handler = Callable[[Call], Any]


def _conv(call: Call) -> Value:
    m = call.module
    if m.padding_mode != "zeros":
        raise Refused(f"has padding_mode {m.padding_mode!r}", "pad with zeros")
    return _any_conv(call, m.weight, m.bias, m.stride, m.padding, m.dilation, m.groups)


def _conv_function(call: Call) -> Value:
    return _any_conv(call, call.tensor(1, "weight"), call.tensor(2, "bias"),
                     call.option(3, "stride", 1), call.option(4, "padding", 0),
                     call.option(5, "dilation", 1), call.option(6, "groups", 1))


def _any_conv(call: Call, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any,
              groups: int) -> Value:
    if weight.ndim not in (3, 4):
        raise Refused(f"has weights of {weight.ndim} axes",
                      "use images of rows and columns, or sequences")
    line, value, array = weight.ndim == 3, call.value, array_of(weight)
    if line:
        value, array = call.draft.line(value), array[:, :, None]
        stride = (1, *numbers_of(stride))
    made = call.draft.conv(value, array, array_of(bias), kernel=list(array.shape[2:]),
                           stride=stride, padding=_pads(0 if padding == "valid" else padding, line),
                           dilation=dilation, groups=groups, label=call.label,
                           owner=owner_of(weight), frozen=frozen_of(weight, bias))
    return replace(tied(call, made, bias), joined=line)


def _transposed(call: Call) -> Value:
    m = call.module
    return _any_transposed(call, m.weight, m.bias, m.stride, m.padding, m.output_padding, m.groups,
                           m.dilation, call.option(1, "output_size"))


def _transposed_function(call: Call) -> Value:
    return _any_transposed(
        call, call.tensor(1, "weight"), call.tensor(2, "bias"), call.option(3, "stride", 1),
        call.option(4, "padding", 0), call.option(5, "output_padding", 0),
        call.option(6, "groups", 1), call.option(7, "dilation", 1), None)


def _any_transposed(call: Call, weight: Any, bias: Any, stride: Any, padding: Any, extra: Any,
                    groups: int, dilation: Any, size: Any) -> Value:
    if size is not None:
        raise Refused("names its output_size in the call", "use output_padding")
    if weight.ndim not in (3, 4):
        raise Refused(f"has weights of {weight.ndim} axes",
                      "use images of rows and columns, or sequences")
    line, value, array = weight.ndim == 3, call.value, array_of(weight)
    steps, cuts, more = (numbers_of(one) * (1 if line or len(numbers_of(one)) == 2 else 2)
                         for one in (stride, padding, extra))
    if line:
        value, array = call.draft.line(value), array[:, :, None]
        steps, cuts, more = (1, *steps), (0, *cuts), (0, *more)
    made = conv_transpose(
        call.draft, value, array, array_of(bias), stride=list(steps),
        crops=[(cut, cut - one) for cut, one in zip(cuts, more)], dilation=dilation, groups=groups,
        label=call.label, owner=owner_of(weight), frozen=frozen_of(weight, bias))
    return replace(tied(call, made, bias), joined=line)


def _pads(padding: Any, line: bool = False) -> OwnPadding:
    """Return zeros on all four sides; of sequences (``line``) in front and behind alone."""
    if line and not isinstance(padding, str):
        (zeros,) = numbers_of(padding)
        return (0, zeros, 0, zeros)
    if isinstance(padding, (int, str)):
        return padding  # type: ignore[return-value] # PyTorch knows 'same' and 'valid' only
    rows, cols = padding if len(padding) == 2 else tuple(padding) * 2
    return (rows, cols, rows, cols)


def _linear(call: Call) -> Value:
    weight, bias = (call.module.weight, call.module.bias) if call.module is not None else (
        call.tensor(1, "weight"), call.tensor(2, "bias"))
    if not call.value.flat:
        raise Refused("reads a map that is not flattened", "put torch.flatten(x, 1) before it")
    made = call.draft.dense(call.value, array_of(weight), array_of(bias), label=call.label,
                            owner=owner_of(weight), frozen=frozen_of(weight, bias))
    return tied(call, made, bias)


def _norm(call: Call) -> Value:
    m = call.module
    if m.running_mean is None or m.momentum is None:
        raise Refused("keeps no running statistics with a momentum",
                      "use track_running_stats=True and a momentum")
    mean, variance = array_of(m.running_mean), array_of(m.running_var)
    gamma = mean * 0 + 1 if m.weight is None else array_of(m.weight)
    beta = mean * 0 if m.bias is None else array_of(m.bias)
    made = call.draft.norm(call.value, BatchNorm(float(m.momentum), float(m.eps)), gamma, beta,
                           mean, variance, label=call.label,
                           owner=owner_of(m.running_mean if m.weight is None else m.weight),
                           frozen=frozen_of(m.weight, m.bias))
    return tied(call, made, m.bias)


def _activation(read: Reader) -> Handler:
    return lambda call: call.draft.add(read(call.number), call.value, label=call.label)


def _activations(readers: Mapping[str, Reader]) -> dict[str, Handler]:
    """Return handlers of the same names."""
    return {name: _activation(read) for name, read in readers.items()}


def _prelu(call: Call) -> Value:
    slopes = call.module.weight if call.module is not None else call.tensor(1, "weight")
    return prelu(call.draft, call.value, array_of(slopes), label=call.label,
                 owner=owner_of(slopes), frozen=frozen_of(slopes, None))


def _pooled(call: Call) -> tuple[Value, bool]:
    """Return the map that a pooling reads, and whether it pools sequences.

    Raises:
        Refused: its last axes are not those that the pooling takes for them: PyTorch takes the
            images of a mini-batch of other values for channels.
    """
    value = call.value
    if call.kind.lower().endswith("1d"):
        return call.draft.line(value), True
    if value.last or value.joined:
        raise Refused(f"pools {text_of((BATCH, *value.dims))}, whose last axes are not rows "
                      "and columns", "permute it to channels first before")
    return value, False


def _pool(call: Call, largest: bool, options: dict[str, Any]) -> Value:
    kernel, (value, line) = options["kernel_size"], _pooled(call)
    stride = options["stride"] or kernel
    if line:
        kernel, stride = (1, *numbers_of(kernel)), (1, *numbers_of(stride))
    if set(numbers_of(options.get("dilation", 1))) != {1} or options.get("return_indices"):
        raise Refused("has dilation or returns indices", "use plain pooling")
    if options.get("divisor_override") is not None:
        raise Refused("overrides the divisor", "leave divisor_override out")
    out = call.draft.pool(value, largest=largest, kernel=kernel, stride=stride,
                          padding=_pads(options["padding"], line),
                          label=call.label, ceil=bool(options.get("ceil_mode")),
                          counts_padding=bool(options.get("count_include_pad", True)))
    return replace(out, joined=line)


def _pool_module(largest: bool) -> Callable[[Call], Value]:
    return lambda call: _pool(call, largest, vars(call.module))


def _pool_function(largest: bool) -> Callable[[Call], Value]:
    names = ("kernel_size", "stride", "padding", *(
        ("dilation", "ceil_mode", "return_indices") if largest
        else ("ceil_mode", "count_include_pad", "divisor_override")))
    defaults = {"padding": 0, "dilation": 1, "count_include_pad": True}

    def handle(call: Call) -> Value:
        return _pool(call, largest, {name: call.option(at, name, defaults.get(name))
                                     for at, name in enumerate(names, 1)})

    return handle


def _adaptive(call: Call) -> Value:
    size = call.module.output_size if call.module is not None else call.option(1, "output_size")
    value, line = _pooled(call)
    if line:
        size = (1, *numbers_of(size))
    rows, cols = (size, size) if size is None or isinstance(size, int) else tuple(size) * (
        3 - len(size))
    shape = value.dims[-2:]
    rows, cols = (shape[0] if rows is None else rows), (shape[1] if cols is None else cols)
    if (rows, cols) == (1, 1):
        return call.draft.global_mean(call.value, call.label)
    if (rows, cols) == shape:
        return call.value
    if rows and cols and not (shape[0] % rows or shape[1] % cols):
        kernel = [shape[0] // rows, shape[1] // cols]
        return replace(call.draft.pool(value, largest=False, kernel=kernel, stride=kernel,
                                       padding=0, label=call.label), joined=line)
    raise Refused(f"pools {shape[0]}x{shape[1]} to {rows}x{cols}",
                  "pool to 1x1 or to a part of the rows and columns, or use AvgPool2d")


def _mean(call: Call) -> Value:
    value, axes = call.value, call.option(1, "dim")
    axes = [axes] if isinstance(axes, int) else list(axes or ())
    count = len(value.dims) + 1
    pixels = {2: [], 3: [2], 4: [1, 2] if value.last else [2, 3]}[count]
    if not pixels or sorted(axis % count for axis in axes) != pixels:
        raise Refused(f"takes the mean over {tuple(axes)}", "take it over rows and columns (2, 3)")
    out = call.draft.global_mean(value, call.label, last=value.last)
    if not call.option(2, "keepdim", False):
        return call.draft.flatten(out, call.label)
    return out


def _flatten(call: Call) -> Value:
    first, last = (call.module.start_dim, call.module.end_dim) if call.module is not None else (
        call.option(1, "start_dim", 0), call.option(2, "end_dim", -1))
    dims = (BATCH, *call.value.dims)
    begin, end = first % len(dims), last % len(dims) + 1
    if begin == 0:
        raise Refused(f"flattens axes {first} .. {last}", "flatten from axis 1")
    sizes = (*dims[:begin], math.prod(dims[begin:end]), *dims[end:])
    return call.draft.reshape(call.value, sizes, call.label)


def _view(call: Call) -> Value:
    sizes = call.option(1, "shape") if len(call.args) < 3 else call.args[1:]
    sizes = (sizes,) if isinstance(sizes, int) else sizes
    if not isinstance(sizes, (tuple, list)) or not all(isinstance(size, int) for size in sizes):
        raise Refused("reshapes to sizes that are no numbers", "use torch.flatten(x, 1)")
    return call.draft.reshape(call.value, tuple(sizes), call.label)


def _squeeze(call: Call) -> Value:
    axes, dims = call.option(1, "dim"), (BATCH, *call.value.dims)
    some = range(1, len(dims)) if axes is None else [axes] if isinstance(axes, int) else axes
    dropped = {axis % len(dims) for axis in some}
    if 0 in dropped or (not any(dims[axis] == 1 for axis in dropped) and len(dims) > 2):
        raise Refused("drops an axis of a map", "use torch.flatten(x, 1)")
    kept = [size for at, size in enumerate(dims) if at not in dropped or size != 1]
    return call.draft.reshape(call.value, kept, call.label)


def _unsqueeze(call: Call) -> Value:
    dims = [BATCH, *call.value.dims]
    at = call.option(1, "dim") % (len(dims) + 1)
    return call.draft.reshape(call.value, (*dims[:at], 1, *dims[at:]), call.label)


def _permute(call: Call) -> Value:
    axes = call.option(1, "dims") if len(call.args) < 3 else call.args[1:]
    count = len(call.value.dims) + 1
    order = [axis % count for axis in axes]
    if order[:1] != [0]:
        raise Refused("moves the axis of the images", "keep axis 0 in front")
    return call.draft.permute(call.value, [axis - 1 for axis in order[1:]], call.label)


def _add(call: Call) -> Value:
    value, other, times = call.args[0], call.option(1, "other"), call.named("alpha", 1)
    if not isinstance(value, Value) and isinstance(other, Value) and times == 1:
        value, other = other, value
    if isinstance(value, Value) and isinstance(other, (int, float)) and other == 0:
        return value  # sum() of a list begins with it
    if (isinstance(value, Value) and value == call.draft.input and call.kind == "add"
            and not isinstance(other, Value)):
        return call.draft.normalise(value, plus=_constant(other) * times)
    if not isinstance(value, Value) or not isinstance(other, Value) or times != 1:
        raise Refused("adds something else than two maps", "use the bias of the layer before it")
    return call.draft.add(Add(), value, other, label=call.label)


def _constant(value: Any) -> Any:
    """Return a number or a tensor as an array of float64."""
    return np.asarray(array_of(value) if hasattr(value, "detach") else value, np.float64)


def _scaled(call: Call) -> Value:
    value, other = call.args[0], call.option(1, "other")
    if call.kind in ("mul", "multiply") and not isinstance(value, Value):
        value, other = other, value
    if call.kind in ("mul", "multiply") and isinstance(value, Value) and isinstance(other, Value):
        return multiply(call.draft, value, other, call.label)
    if not isinstance(value, Value) or isinstance(other, Value):
        raise Refused("", INSTEAD.get(call.kind, "multiply maps, or maps and numbers"))
    number = _constant(other)
    if call.kind == "sub":
        return call.draft.normalise(value, plus=-number * call.named("alpha", 1))
    product = call.kind in ("mul", "multiply")
    if not product and not number.all():
        raise Refused("divides by 0", "divide by deviations above 0")
    return call.draft.normalise(value, times=number if product else 1 / number)


def _expanded(call: Call) -> Value:
    """Return a vector of channels as it is: what it is multiplied by repeats it."""
    if call.value.flat or call.value.shape[1:] != (1, 1):
        raise Refused("repeats more than one pixel", "multiply by it: that repeats it by itself")
    return call.value


def _concat(call: Call) -> Value:
    sources = list(call.option(0, "tensors"))
    if not sources or not all(isinstance(source, Value) for source in sources):
        raise Refused("joins something else than maps", "compute it outside the network")
    axis = call.option(1, "dim", 0)
    if axis % (len(sources[0].dims) + 1) != 1:
        raise Refused(f"joins along axis {axis}", "join channels, dim=1")
    if len(sources) == 1:
        return sources[0]
    return call.draft.add(Concat(), *sources, label=call.label)


def _dropout(call: Call) -> Value:
    rate = float(call.number("p", 1, 0.5))
    if rate == 0 or (call.module is None and not call.option(2, "training", True)):
        return call.value
    if call.kind.lower() != "dropout":
        raise Refused("is no plain dropout", "use Dropout")
    return call.draft.add(Dropout(rate), call.value, label=call.label)


def _softmax(call: Call) -> Value:
    return without_softmax(call.value, call.number("dim", 1), call.ends, "part")


def _same(call: Call) -> Value:
    return call.value


def _shape(call: Call) -> Any:
    sizes = (BATCH, *call.value.dims)
    axis = call.option(1, "dim")
    return sizes if axis is None else sizes[axis]


def _numel(call: Call) -> int:
    return math.prod((BATCH, *call.value.dims))


def _dim(call: Call) -> int:
    return len(call.value.dims) + 1


def _attribute(call: Call) -> Any:
    if call.args[1] == "shape":
        return (BATCH, *call.value.dims)
    if call.args[1] == "ndim":
        return _dim(call)
    raise Refused(f"reads {call.args[1]}", "use shape alone")


def _pad(call: Call) -> Value:
    pads = [int(size) for size in call.option(1, "pad")]
    pads += [0] * (8 - len(pads))
    left, right, top, bottom, before, after = pads[:6]
    fill = call.option(3, "value", None)
    if call.option(2, "mode", "constant") != "constant" or fill not in (None, 0):
        raise Refused("pads with something else than zeros", "pad with zeros")
    if any(pads[6:]) or ((before or after) and any(pads[:4])):
        raise Refused(f"pads {tuple(pads)}", "pad rows and columns, or channels by themselves")
    if call.value.joined and not any(pads[2:]):
        return _padded_line(call, left, right)
    if before or after:
        return call.draft.add(PadChannels(before, after), call.value, label=call.label)
    return call.draft.pad(call.value, top, left, bottom, right)


def _padded_line(call: Call, before: int, behind: int) -> Value:
    """Return a sequence with zeros before and behind it."""
    return replace(call.draft.pad(call.draft.line(call.value), 0, before, 0, behind), joined=True)


def _pad_module(call: Call) -> Value:
    if getattr(call.module, "value", 0) != 0:
        raise Refused("pads with something else than zeros", "pad with zeros")
    if len(call.module.padding) == 2:
        return _padded_line(call, *call.module.padding)
    left, right, top, bottom = call.module.padding
    return call.draft.pad(call.value, top, left, bottom, right)


def _upsample(call: Call) -> Value:
    mode = call.number("mode", 3, "nearest")
    if mode not in ("nearest", "nearest-exact", "bilinear"):
        raise Refused(f"has mode {mode!r}", "use mode 'nearest' or 'bilinear'")
    corners = bool(call.number("align_corners", 4))
    for place, name in enumerate(("recompute_scale_factor", "antialias"), 5):
        call.option(place, name)  # they change nothing where maps get larger by whole factors
    dims, size = call.value.dims, call.number("size", 1)
    if len(dims) != 3:
        raise Refused("enlarges a vector", "enlarge maps")
    factors = call.number("scale_factor", 2)
    if size is not None:
        sizes = [size] * 2 if isinstance(size, int) else size
        factors = [new / old for new, old in zip(sizes, dims[1:])]
    rows, cols = [factors] * 2 if isinstance(factors, (int, float)) else factors
    if mode == "bilinear":
        sizes = [int(old * factor + 1e-9) for old, factor in zip(dims[1:], (rows, cols))]
        return bilinear(call.draft, call.value, sizes[0], sizes[1], call.label,
                        places="align_corners" if corners else "half_pixel")
    return upsample(call.draft, call.value, rows, cols, call.label)


MODULES: dict[str, Handler] = {
    "Conv2d": _conv, "Conv1d": _conv,
    **dict.fromkeys(("ConvTranspose1d", "ConvTranspose2d"), _transposed),
    "Linear": _linear, "BatchNorm2d": _norm, "BatchNorm1d": _norm,
    "GroupNorm": group_norm_call, "LayerNorm": layer_norm_call,
    **dict.fromkeys(("InstanceNorm1d", "InstanceNorm2d"), instance_norm_call),
    **_activations(TORCH_MODULES), "PReLU": _prelu,
    "MaxPool2d": _pool_module(True), "AvgPool2d": _pool_module(False),
    "MaxPool1d": _pool_module(True), "AvgPool1d": _pool_module(False),
    "AdaptiveAvgPool1d": _adaptive, "ZeroPad1d": _pad_module, "ConstantPad1d": _pad_module,
    "AdaptiveAvgPool2d": _adaptive, "Flatten": _flatten,
    **dict.fromkeys(("Dropout", "Dropout1d", "Dropout2d", "AlphaDropout"), _dropout),
    **dict.fromkeys(("Upsample", "UpsamplingNearest2d", "UpsamplingBilinear2d"), _upsample),
    "ZeroPad2d": _pad_module, "ConstantPad2d": _pad_module, "Identity": _same,
    "Softmax": _softmax, "LogSoftmax": _softmax,
}
"""Modules of ``torch.nn`` that have a counterpart."""

FUNCTIONS: dict[str, Handler] = {
    **dict.fromkeys(("sub", "mul", "div", "truediv"), _scaled), "multiply": _scaled,
    "add": _add, "iadd": _add, "cat": _concat, "concat": _concat,
    **_activations(TORCH_FUNCTIONS), "prelu": _prelu,
    "concatenate": _concat, "conv2d": _conv_function, "conv1d": _conv_function,
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d"), _transposed_function),
    "linear": _linear, "group_norm": group_norm_call, "layer_norm": layer_norm_call,
    "instance_norm": instance_norm_call,
    "max_pool2d": _pool_function(True), "boolean_dispatch": _pool_function(True),
    "max_pool1d": _pool_function(True), "avg_pool1d": _pool_function(False),
    "adaptive_avg_pool1d": _adaptive,
    "avg_pool2d": _pool_function(False), "adaptive_avg_pool2d": _adaptive, "flatten": _flatten,
    "mean": _mean, "reshape": _view, "squeeze": _squeeze, "unsqueeze": _unsqueeze,
    **dict.fromkeys(("dropout", "dropout1d", "dropout2d", "alpha_dropout"), _dropout),
    "softmax": _softmax, "log_softmax": _softmax, "getattr": _attribute,
    "pad": _pad, "permute": _permute, "interpolate": _upsample,
}
"""Functions of ``torch``, ``torch.nn.functional`` and ``operator`` that have a counterpart."""

METHODS: dict[str, Handler] = {
    **_activations(TORCH_METHODS), "prelu": _prelu,
    **dict.fromkeys(("sub", "mul", "div"), _scaled), **dict.fromkeys(("expand", "expand_as"),
                                                                     _expanded),
    "add": _add, "add_": _add, "flatten": _flatten, "view": _view, "reshape": _view,
    "mean": _mean, "squeeze": _squeeze, "unsqueeze": _unsqueeze, "contiguous": _same,
    "size": _shape, "dim": _dim, **dict.fromkeys(("numel", "nelement"), _numel),
    "float": _same, "permute": _permute,
    "softmax": _softmax, "log_softmax": _softmax,
}
"""Methods of tensors that have a counterpart."""

_NORM = "use BatchNorm2d or GroupNorm"
INSTEAD = {
    **TORCH_INSTEAD,
    **dict.fromkeys(("localresponsenorm", "rmsnorm", "rms_norm"), _NORM),
    **dict.fromkeys(("sub", "div", "truediv", "isub", "itruediv"),
                    "prepare the images before the network, or fold it into the weights"),
    "imul": "write x = x * y, which is not in place",
    "adaptivemaxpool2d": "use AdaptiveAvgPool2d(1)",
    "conv3d": "use Conv2d",
    "lstm": "use convolutions over time", "gru": "use convolutions over time",
}
"""What could replace some of the rest, by name in lower case."""
