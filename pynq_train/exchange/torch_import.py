"""Networks from PyTorch modules, through ``torch.fx``."""

from __future__ import annotations

from typing import Any

from pynq_train.errors import BadInput, UnsupportedModel
from pynq_train.exchange.draft import Draft, Refused, Value
from pynq_train.exchange.packages import need
from pynq_train.exchange.torch_nodes import FUNCTIONS, INSTEAD, METHODS, MODULES, Call, Size
from pynq_train.graph.model import Model
from pynq_train.graph.shapes import Shape

_OTHERWISE = "replace it by supported modules: " + ", ".join(sorted(MODULES))


def from_torch(module: Any, example: Any) -> Model:
    """Return the network of a ``torch.nn.Module``, with its weights.

    The module is traced symbolically: its ``forward`` takes one tensor of images and yields
    logits, without branches that depend on data. A Softmax at the end is left out, since loss
    and softmax follow by themselves. Needs the package ``torch``, on a PC.

    Args:
        module: the network; it is not changed.
        example: an input ``(n, channels, rows, cols)`` or ``(n, features)``, a tensor or array.

    Raises:
        BadInput: the example has another shape.
        UnsupportedModel: names every part that has no counterpart and what could replace it.
        MissingTool: the package ``torch`` is not installed.
    """
    torch = need("torch", "reading PyTorch modules")
    fx = need("torch.fx", "reading PyTorch modules")
    if not isinstance(module, torch.nn.Module):
        raise BadInput("module", expected="a torch.nn.Module", found=type(module).__name__)
    name = type(module).__name__
    draft = Draft(_input_shape(tuple(example.shape)), name)
    try:
        traced = fx.symbolic_trace(module)
    except Exception as error:  # whatever the module's own code raises on symbols
        lines = str(error).splitlines() or [type(error).__name__]
        raise UnsupportedModel(f"module {name!r} cannot be traced ({lines[0]})",
                               fix="let forward() compute without conditions on its data, or "
                                   "export to ONNX and use from_onnx") from None
    modules = dict(traced.named_modules())
    values: dict[Any, Any] = {}
    output: Any = None
    for node in traced.graph.nodes:
        if node.op == "output":
            output = values.get(node.args[0]) if isinstance(node.args[0], fx.Node) else None
        else:
            values[node] = _node(node, draft, values, modules, fx)
    return draft.finish(output if isinstance(output, Value) else None)


def _node(node: Any, draft: Draft, values: dict[Any, Any], modules: dict[str, Any], fx: Any
          ) -> Any:
    """Return what a node yields: a value, sizes, or None if it was refused."""
    if node.op == "placeholder":
        if draft.input in values.values():
            draft.refuse(node.name, "input", Refused("is a second input", "use one input"))
            return None
        return draft.input
    if any(values[other] is None for other in node.all_input_nodes):
        return None  # follows a refused node: its turn comes when that is mended
    if node.op == "call_module":
        target = modules[node.target]
        kind, label = type(target).__name__, str(node.target)
        handler = MODULES.get(kind) if type(target).__module__.startswith("torch.nn.") else None
    else:
        target, label = None, node.name
        kind = node.target if isinstance(node.target, str) else node.target.__name__
        table = {"call_function": FUNCTIONS, "call_method": METHODS}.get(node.op, {})
        handler = table.get(kind)
    args = fx.node.map_arg(node.args, lambda other: values[other])
    kwargs = fx.node.map_arg(node.kwargs, lambda other: values[other])
    ends = all(user.op == "output" for user in node.users)
    try:
        if handler is None:
            raise Refused("", INSTEAD.get(kind.rstrip("_").lower(), _OTHERWISE))
        made = handler(Call(draft, label, kind, target, args, kwargs, ends))
    except Refused as refused:
        draft.refuse(label, kind, refused)
        return None
    return made if isinstance(made, (Value, Size)) else Size(made)


def _input_shape(shape: tuple[int, ...]) -> Shape:
    if len(shape) == 2:
        return (shape[1], 1, 1)
    if len(shape) == 4:
        return (shape[1], shape[2], shape[3])
    raise BadInput("example", expected="shape (n, channels, rows, cols) or (n, features)",
                   found=shape)
