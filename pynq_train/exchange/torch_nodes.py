"""What each PyTorch module, function and method becomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pynq_train.exchange.activations import (
    TORCH_FUNCTIONS,
    TORCH_INSTEAD,
    TORCH_METHODS,
    TORCH_MODULES,
    Reader,
)
from pynq_train.exchange.draft import Draft, Pads, Refused, Value, checked_window
from pynq_train.graph.ops import (
    Add,
    AvgPool,
    BatchNorm,
    Concat,
    Dense,
    Dropout,
    PadChannels,
)
from pynq_train.graph.params import LayerParams
from pynq_train.graph.shapes import Padding


@dataclass(frozen=True)
class Size:
    """A size or list of sizes that the module computes; only the batch's, never looked at."""

    sizes: Any


@dataclass(frozen=True)
class Call:
    """A call in the traced module: values for tensors, plain Python for the rest."""

    draft: Draft
    label: str
    kind: str
    module: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    ends: bool

    @property
    def value(self) -> Value:
        """The tensor that it reads."""
        first = self.args[0] if self.args else self.kwargs.get("input")
        if not isinstance(first, Value):
            raise Refused("reads no tensor of the network", "compute it outside the network")
        return first

    def option(self, place: int, name: str, default: Any = None) -> Any:
        """Return an argument of a function: positional, named, or the default."""
        return self.args[place] if len(self.args) > place else self.kwargs.get(name, default)

    def number(self, name: str, place: int, default: Any = None) -> Any:
        """Return an attribute of the module or an argument of the function, or the default."""
        if self.module is not None:
            return getattr(self.module, name, default)
        return self.option(place, name, default)


Handler = Callable[[Call], Any]


def _array(tensor: Any) -> Any:
    return None if tensor is None else tensor.detach().cpu().numpy()


def _conv(call: Call) -> Value:
    m = call.module
    if m.padding_mode != "zeros":
        raise Refused(f"has padding_mode {m.padding_mode!r}", "pad with zeros")
    padding = 0 if m.padding == "valid" else m.padding
    return call.draft.conv(call.value, _array(m.weight), _array(m.bias), kernel=m.kernel_size,
                           stride=m.stride, padding=_pads(padding), dilation=m.dilation,
                           groups=m.groups, label=call.label)


def _pads(padding: Any) -> Padding | Pads:
    if isinstance(padding, (int, str)):
        return padding  # type: ignore[return-value] # PyTorch knows 'same' and 'valid' only
    rows, cols = padding
    return (rows, cols, rows, cols)


def _linear(call: Call) -> Value:
    source, m = call.value, call.module
    if not source.flat:
        raise Refused("reads a map that is not flattened", "put torch.flatten(x, 1) before it")
    params = LayerParams(_array(m.weight), _array(m.bias))
    return call.draft.add(Dense(len(m.weight), m.bias is not None), source, label=call.label,
                          params=params)


def _norm(call: Call) -> Value:
    m = call.module
    if m.running_mean is None or m.momentum is None:
        raise Refused("keeps no running statistics with a momentum",
                      "use track_running_stats=True and a momentum")
    mean, variance = _array(m.running_mean), _array(m.running_var)
    gamma = mean * 0 + 1 if m.weight is None else _array(m.weight)
    beta = mean * 0 if m.bias is None else _array(m.bias)
    return call.draft.add(BatchNorm(float(m.momentum), float(m.eps)), call.value,
                          label=call.label, params=LayerParams(gamma, beta, mean, variance))


def _activation(read: Reader) -> Handler:
    return lambda call: call.draft.add(read(call.number), call.value, label=call.label)


def _activations(readers: Mapping[str, Reader]) -> dict[str, Handler]:
    """Return handlers of the same names."""
    return {name: _activation(read) for name, read in readers.items()}


def _pool(call: Call, largest: bool, options: dict[str, Any]) -> Value:
    stride = options["stride"] or options["kernel_size"]
    rows, cols = (options["padding"],) * 2 if isinstance(options["padding"], int) else (
        options["padding"])
    if options.get("ceil_mode"):
        raise Refused("rounds sizes up (ceil_mode)", "use ceil_mode=False")
    if options.get("dilation", 1) not in (1, (1, 1), [1, 1]) or options.get("return_indices"):
        raise Refused("has dilation or returns indices", "use plain pooling")
    if options.get("divisor_override") is not None:
        raise Refused("overrides the divisor", "leave divisor_override out")
    return call.draft.pool(call.value, largest=largest, kernel=options["kernel_size"],
                           stride=stride, padding=(rows, cols, rows, cols), label=call.label,
                           counts_padding=bool(options.get("count_include_pad", True)))


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
    rows, cols = (size, size) if isinstance(size, int) else size
    shape = call.value.shape[1:]
    if (rows, cols) == (1, 1):
        return call.draft.global_mean(call.value, call.label)
    if (rows or shape[0], cols or shape[1]) == shape:
        return call.value
    raise Refused(f"pools {shape[0]}x{shape[1]} to {rows}x{cols}", "pool to 1x1, or use AvgPool2d")


def _mean(call: Call) -> Value:
    axes = call.option(1, "dim")
    axes = [axes] if isinstance(axes, int) else list(axes or ())
    if sorted(axis % 4 for axis in axes) != [2, 3]:
        raise Refused(f"takes the mean over {tuple(axes)}", "take it over rows and columns (2, 3)")
    out = call.draft.global_mean(call.value, call.label)
    return out if call.option(2, "keepdim", False) else call.draft.flatten(out, call.label)


def _flatten(call: Call) -> Value:
    first, last = (call.module.start_dim, call.module.end_dim) if call.module is not None else (
        call.option(1, "start_dim", 0), call.option(2, "end_dim", -1))
    if first != 1 or last not in (-1, 3):
        raise Refused(f"flattens axes {first} .. {last}", "flatten from axis 1")
    return call.draft.flatten(call.value, call.label)


def _view(call: Call) -> Value:
    sizes = call.args[1:] if len(call.args) != 2 or isinstance(call.args[1], (int, Size)) else (
        tuple(call.args[1]))
    whole = call.value.shape[0] * call.value.shape[1] * call.value.shape[2]
    if len(sizes) == 2 and (sizes[1] in (-1, whole) or sizes == (-1, whole)):
        return call.draft.flatten(call.value, call.label)
    raise Refused(f"reshapes to {sizes}", "use torch.flatten(x, 1)")


def _squeeze(call: Call) -> Value:
    if call.value.shape[1:] != (1, 1):
        raise Refused("drops an axis of a map", "use torch.flatten(x, 1)")
    return call.draft.flatten(call.value, call.label)


def _add(call: Call) -> Value:
    other = call.option(1, "other")
    if not isinstance(other, Value) or call.kwargs.get("alpha", 1) != 1:
        raise Refused("adds something else than two maps", "use the bias of the layer before it")
    return call.draft.add(Add(), call.value, other, label=call.label)


def _concat(call: Call) -> Value:
    sources = list(call.option(0, "tensors"))
    axis = call.option(1, "dim", 0)
    if axis != 1 and not (axis == -1 and all(s.flat for s in sources)):
        raise Refused(f"joins along axis {axis}", "join channels, dim=1")
    if len(sources) == 1:
        return sources[0]
    return call.draft.add(Concat(), *sources, label=call.label)


def _dropout(call: Call) -> Value:
    rate = call.module.p if call.module is not None else call.option(1, "p", 0.5)
    return call.draft.add(Dropout(float(rate)), call.value, label=call.label)


def _softmax(call: Call) -> Value:
    if not call.ends:
        raise Refused("is not the last part", "remove it: softmax and loss follow by themselves")
    return call.value


def _same(call: Call) -> Value:
    return call.value


def _size(call: Call) -> Size:
    return Size("of the batch")


def _item(call: Call) -> Size | Value:
    if not isinstance(call.args[0], Value):
        return _size(call)
    index = call.args[1] if isinstance(call.args[1], tuple) else (call.args[1],)
    steps = [one.step or 1 for one in index
             if isinstance(one, slice) and one.start in (None, 0) and one.stop is None]
    if len(index) != 4 or len(steps) != 4 or steps[:2] != [1, 1] or steps[2] != steps[3]:
        raise Refused("takes a part of a map", "take every pixel, or every second or third of rows "
                      "and columns from the first: x[:, :, ::2, ::2]")
    if steps[2] == 1:
        return call.value
    # A mean of one pixel: nothing is computed.
    return call.draft.add(AvgPool(*checked_window(1, steps[2])), call.value, label=call.label)


def _pad(call: Call) -> Value:
    pads = [int(size) for size in call.option(1, "pad")]
    pads += [0] * (8 - len(pads))
    left, right, top, bottom, before, after = pads[:6]
    fill = call.option(3, "value", None)
    if call.option(2, "mode", "constant") != "constant" or fill not in (None, 0):
        raise Refused("pads with something else than zeros", "pad with zeros")
    if min(pads) < 0 or any(pads[6:]) or ((before or after) and any(pads[:4])):
        raise Refused(f"pads {tuple(pads)}", "pad rows and columns, or channels by themselves")
    if before or after:
        return call.draft.add(PadChannels(before, after), call.value, label=call.label)
    old = call.value.pads
    return replace(call.value, pads=(old[0] + top, old[1] + left, old[2] + bottom, old[3] + right))


MODULES: dict[str, Handler] = {
    "Conv2d": _conv, "Linear": _linear, "BatchNorm2d": _norm, "BatchNorm1d": _norm,
    **_activations(TORCH_MODULES),
    "MaxPool2d": _pool_module(True), "AvgPool2d": _pool_module(False),
    "AdaptiveAvgPool2d": _adaptive, "Flatten": _flatten, "Dropout": _dropout,
    "Identity": _same, "Softmax": _softmax, "LogSoftmax": _softmax,
}
"""Modules of ``torch.nn`` that have a counterpart."""

FUNCTIONS: dict[str, Handler] = {
    "add": _add, "iadd": _add, "cat": _concat, "concat": _concat,
    **_activations(TORCH_FUNCTIONS),
    "concatenate": _concat,
    "max_pool2d": _pool_function(True), "boolean_dispatch": _pool_function(True),
    "avg_pool2d": _pool_function(False), "adaptive_avg_pool2d": _adaptive, "flatten": _flatten,
    "mean": _mean, "reshape": _view, "squeeze": _squeeze, "dropout": _dropout,
    "softmax": _softmax, "log_softmax": _softmax, "getattr": _size, "getitem": _item,
    "pad": _pad,
}
"""Functions of ``torch``, ``torch.nn.functional`` and ``operator`` that have a counterpart."""

METHODS: dict[str, Handler] = {
    **_activations(TORCH_METHODS),
    "add": _add, "add_": _add, "flatten": _flatten, "view": _view, "reshape": _view,
    "mean": _mean, "squeeze": _squeeze, "contiguous": _same, "size": _size,
    "softmax": _softmax, "log_softmax": _softmax,
}
"""Methods of tensors that have a counterpart."""

_NORM = "use BatchNorm2d"
INSTEAD = {
    **TORCH_INSTEAD,
    **dict.fromkeys(("groupnorm", "layernorm", "instancenorm2d", "localresponsenorm",
                     "group_norm", "layer_norm"), _NORM),
    "mul": "leave gates and scales out, or fold the scale into the weights",
    "dropout2d": "use Dropout", "adaptivemaxpool2d": "use AdaptiveAvgPool2d(1)",
    "convtranspose2d": "use a convolution", "conv1d": "use Conv2d", "conv3d": "use Conv2d",
    "lstm": "use convolutions over time", "gru": "use convolutions over time",
}
"""What could replace some of the rest, by name in lower case."""
