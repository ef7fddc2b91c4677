"""Networks from PyTorch modules, through ``torch.fx``."""

from __future__ import annotations

import copy
import inspect
import operator
import warnings
from collections.abc import Sequence
from typing import Any

from pynq_train.errors import BadInput, ModelWarning, UnsupportedModel
from pynq_train.exchange import torch_channels, torch_nodes
from pynq_train.exchange.curves import TORCH_INPLACE
from pynq_train.exchange.draft import Draft, Refused, Value
from pynq_train.exchange.formulas import Formula
from pynq_train.exchange.packages import need
from pynq_train.exchange.torch_call import Call
from pynq_train.exchange.torch_formulas import spelled_out
from pynq_train.exchange.torch_hooks import checked_module
from pynq_train.exchange.torch_nodes import INSTEAD
from pynq_train.exchange.windows import MISFITS, refused_for
from pynq_train.graph.model import Model
from pynq_train.graph.shapes import Shape

MODULES = {**torch_nodes.MODULES, **torch_channels.MODULES}
_TABLES = {"call_function": {**torch_nodes.FUNCTIONS, **torch_channels.FUNCTIONS},
           "call_method": {**torch_nodes.METHODS, **torch_channels.METHODS}}
_OTHERWISE = "replace it by supported modules: " + ", ".join(sorted(MODULES))
_PARAMETRISED = "first torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight')"
_CHANGES = ("iadd", "isub", "imul", "itruediv", "ifloordiv", "imod")
"""Operators that change a tensor in place."""
_ARITHMETIC = {operator.add, operator.sub, operator.mul, operator.floordiv, operator.mod,
               operator.truediv, operator.neg, operator.getitem,
               *(getattr(operator, name) for name in _CHANGES)}
"""What modules do with sizes."""
_VIEWS = {"view", "reshape", "flatten", "Flatten", "squeeze", "unsqueeze", "contiguous", "permute",
          "Identity", "getitem", "Dropout", "dropout", "float", "transpose", "swapaxes", "swapdims",
          *torch_channels.VIEWS}
"""Calls whose result may be their input: what is changed in place in one is changed in both."""
_WITH_WEIGHTS = {"conv2d", "linear", "batchnorm2d", "batchnorm1d", "groupnorm", "layernorm"}
_LEARNS = "pynq_train.learns"
"""Note of a node: whether gradients flow through it."""
_STALE = ("reads a view of a tensor that was changed in place since",
          "use operations that are not in place (inplace=False, x = x + y)")
_INPLACE = {"relu": 1, "relu6": 1, "hardtanh": 3, "dropout": 3, **TORCH_INPLACE}
"""Place of the argument ``inplace`` in functions."""


def from_torch(module: Any, example: Any, *,
               input_range: Sequence[float] | None = None,
               mean: float | Sequence[float] | None = None,
               std: float | Sequence[float] | None = None, layout: str | None = None,
               calibrate: Any = None) -> Model:
    """Return the network of a ``torch.nn.Module``, with its weights.

    The module is traced symbolically: its ``forward`` takes one tensor of images and yields
    logits, without branches that depend on data. A Softmax at the end is left out, since loss
    and softmax follow by themselves. Parameters with ``requires_grad=False``, and gamma and beta
    of normalisations with ``affine=False``, do not learn here either (``Model.frozen``). Tensors
    that are changed in place are so for all who read them, as in PyTorch. Needs the package
    ``torch``, on a PC.

    Args:
        module: the network; it is not changed.
        example: an input ``(n, channels, rows, cols)`` or ``(n, features)``, a tensor or array.
        input_range, mean, std, layout, calibrate: the images that it was made for, and typical
            ones: see :meth:`~pynq_train.graph.model.Model.with_images`.

    Raises:
        BadInput: the example has another shape; or odd numbers of the images.
        UnsupportedModel: names every part that has no counterpart and what could replace it.
        MissingTool: the package ``torch`` is not installed.

    Warns:
        ModelWarning: a module with weights is called twice, or nothing learns in it, or in a part
            of it for want of gradients.
    """
    torch = need("torch", "reading PyTorch modules")
    fx = need("torch.fx", "reading PyTorch modules")
    module = _unwrapped(torch, module)
    if not isinstance(module, torch.nn.Module):
        raise BadInput("module", expected="a torch.nn.Module", found=type(module).__name__)
    if isinstance(module, torch.jit.ScriptModule):
        raise UnsupportedModel("module", expected="a module of Python", found="TorchScript",
                               fix="give the module that it was made of, or export to ONNX and "
                                   "use from_onnx")
    sizes = tuple(getattr(example, "shape", ()))
    draft = Draft(_input_shape(sizes), type(module).__name__, flat=len(sizes) == 2,
                  line=len(sizes) == 3, images=sizes[0])
    reading = _Reading(torch, fx, draft, _traced(fx, module), example)
    made = draft.finish(reading.run(_functional_dropouts(fx, module, reading.traced)))
    if reading.still:
        warnings.warn(f"network {draft.name!r}: {', '.join(reading.still)} are computed without "
                      "gradients (torch.no_grad), so they do not learn in the original; here they "
                      "do unless trainable= says otherwise", ModelWarning, stacklevel=2)
    return made.with_images(
        input_range=input_range, mean=mean, std=std, layout=layout, calibrate=calibrate)


def _unwrapped(torch: Any, module: Any) -> Any:
    """Return the module that a compiled or a parallel one runs."""
    module = getattr(module, "_orig_mod", module)
    parallel = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)
    return module.module if isinstance(module, parallel) else module


class _Reading:
    """Walks a traced module and adds its nodes to a draft.

    ``values`` has for every node what it yields: a value, a constant, or None if it was refused;
    ``still``: layers that are computed without gradients.
    """

    def __init__(self, torch: Any, fx: Any, draft: Draft, traced: Any, example: Any) -> None:
        self.traced = traced
        self._torch, self._fx, self._draft, self._example = torch, fx, draft, example
        self._modules = dict(traced.named_modules())
        self._formulas, self._dropped = spelled_out(torch, traced)
        self._checked: dict[Any, Any] = {}
        self._values: dict[Any, Any] = {}
        self._storage: dict[Any, Any] = {}
        self._stale: set[Any] = set()
        self._shapes: dict[str, tuple[int, ...]] | None = None
        self.still: list[str] = []

    def run(self, others: dict[str, Any]) -> Value | None:
        """Return what the module yields; ``others``: nodes whose arguments count instead."""
        output: Any = None
        for node in self.traced.graph.nodes:
            if node.op == "output":
                output = self._values.get(self._only(node.args[0]))
            else:
                self._values[node] = self._node(node, others.get(node.name, node))
        return output if isinstance(output, Value) else None

    def _only(self, made: Any) -> Any:
        """Return the node of what the module returns, be it in a container of one.

        Raises:
            UnsupportedModel: it returns several values, or none that it computes.
        """
        many = list(made.values()) if isinstance(made, dict) else made
        many = list(many) if isinstance(many, (tuple, list)) else [many]
        if len(many) != 1 or not isinstance(many[0], self._fx.Node):
            raise UnsupportedModel(
                f"network {self._draft.name!r}", expected="one output: the logits",
                found=repr(many[0]) if len(many) == 1 else
                f"a {'dict' if isinstance(made, dict) else 'tuple'} of {len(many)}",
                fix="return the logits alone, for example by a module around this one")
        return many[0]

    def _node(self, node: Any, arguments: Any) -> Any:
        """Return what a node yields: a value, a constant, or None if it was refused."""
        self._storage[node] = node
        if node.op == "placeholder":
            if any(other.op == "placeholder" for other in self._values):
                self._draft.refuse(node.name, "input", Refused("is a second input",
                                                               "use one input"))
                return None
            return self._draft.input
        if node in self._dropped:
            return None
        if node in self._formulas:
            return self._spelled(node, self._formulas[node])
        if node.op == "get_attr":
            return operator.attrgetter(node.target)(self.traced)
        if node.op == "call_module":
            target = self._modules[node.target]
            kind, label = type(target).__name__, str(node.target)
            handler = MODULES.get(kind) if type(target).__module__.startswith("torch.nn.") else None
        else:
            target, label = None, node.name
            kind = node.target if isinstance(node.target, str) else node.target.__name__
            handler = _TABLES.get(node.op, {}).get(kind)
        read = node.all_input_nodes
        known = all(self._values[other] is not None for other in read)
        ends = all(user.op == "output" for user in node.users)
        try:
            if any(other in self._stale for other in read):
                raise Refused(*_STALE)
            plain = known and not any(isinstance(self._values[other], Value) for other in read)
            if plain and node.target in _ARITHMETIC:
                return node.target(*self._given(arguments.args, node))
            if target is not None and target not in self._checked:
                self._checked[target] = checked_module(self._torch, target)
            if handler is None:
                if kind.startswith("Parametrized"):
                    raise Refused("", _PARAMETRISED)
                raise Refused("", INSTEAD.get(kind.rstrip("_").lower(), _OTHERWISE))
            if not known:
                return None  # follows a refused node: its turn comes when that is mended
            call = Call(self._draft, label, kind, self._checked.get(target),
                        self._given(node.args, node), self._given(arguments.kwargs, node), ends)
            made = handler(call)
            call.check_all_read()
            if kind.lower() in _WITH_WEIGHTS and not node.meta.get(_LEARNS, True):
                self.still.append(label)
        except (Refused, *MISFITS) as error:
            self._draft.refuse(label, kind, refused_for(error))
            return self._stand_in(node)
        if kind in _VIEWS and read:
            self._storage[node] = self._storage[read[0]]
        if isinstance(made, Value) and read and _in_place(node, kind, target, call):
            self._changed(node, read[0], made)
        return made

    def _spelled(self, node: Any, formula: Formula) -> Value | None:
        """Return what an activation yields that is spelled out; None behind a refused node."""
        source = self._values[formula.source]
        if source is None:
            return None
        try:
            if formula.source in self._stale:
                raise Refused(*_STALE)
            if not isinstance(source, Value):
                raise Refused("reads no tensor of the network", "compute it outside the network")
            return self._draft.add(formula.op, source, label=node.name)
        except Refused as refused:
            self._draft.refuse(node.name, formula.op.kind, refused)
            return self._stand_in(node)

    def _given(self, arguments: Any, node: Any) -> Any:
        """Return arguments with what their nodes yield."""
        by_name = {other.name: value for other, value in self._values.items()}
        return self._fx.node.map_arg(arguments, lambda other: by_name[other.name])

    def _changed(self, node: Any, source: Any, made: Value) -> None:
        """Let all who read a tensor that ``node`` changed in place read ``made`` from now on."""
        old = self._values[source]
        root = self._storage[node] = self._storage[source]
        for other, value in self._values.items():
            if other is node or self._storage[other] is not root or not isinstance(
                    value, (Value, tuple)):
                continue
            if isinstance(value, tuple):
                self._stale.add(other)  # parts of it, before or behind
            elif self._draft.apart(value.name, old.name):
                continue
            elif value.name == old.name:
                # In place nothing but elements change: what is seen as a vector stays one.
                self._values[other] = Value(made.name, value.shape, made.pads, *value.seen_as,
                                            made.positive)
            else:
                self._stale.add(other)

    def _stand_in(self, node: Any) -> Value | None:
        """Return a value of the sizes that a refused node really yields."""
        if self._shapes is None:
            self._shapes = _run(self._torch, self._fx, self.traced, self._example)
        shape = self._shapes.get(node.name)
        return None if shape is None else self._draft.stand_in(shape[1:])


def _in_place(node: Any, kind: str, module: Any, call: Call) -> bool:
    """Return whether a call changes what it reads."""
    if module is not None:
        return bool(getattr(module, "inplace", False))
    if (node.op == "call_function" and kind in _CHANGES) or kind.endswith("_"):
        return True
    return kind in _INPLACE and bool(call.option(_INPLACE[kind], "inplace", False))


def _traced(fx: Any, module: Any) -> Any:
    """Return a module as ``torch.fx`` sees it.

    Raises:
        UnsupportedModel: it cannot be traced.
    """
    try:
        return _symbolic(fx, module)
    except Exception as error:  # whatever the module's own code raises on symbols
        lines = str(error).splitlines() or [type(error).__name__]
        raise UnsupportedModel(f"module {type(module).__name__!r} cannot be traced ({lines[0]})",
                               fix="let forward() compute without conditions on its data, or "
                                   "export to ONNX and use from_onnx") from None


def _symbolic(fx: Any, module: Any) -> Any:
    """Return what ``fx.symbolic_trace`` does, with ``x += y`` as a change of x (not ``x + y``)."""
    torch = need("torch", "reading PyTorch modules")

    def changing(name: str) -> Any:
        function = getattr(operator, name)
        return lambda self, other: self.tracer.create_proxy("call_function", function,
                                                            (self, other), {})

    changes = {f"__{name}__": changing(name) for name in _CHANGES}
    proxy = type("InPlaceProxy", (fx.Proxy,), changes)

    class InPlaceTracer(fx.Tracer):
        """Traces what calling the module does: with its hooks, and arguments at their defaults."""

        def proxy(self, node: Any) -> Any:
            return proxy(node, self)

        def create_node(self, *args: Any, **kwargs: Any) -> Any:
            node = super().create_node(*args, **kwargs)
            node.meta[_LEARNS] = torch.is_grad_enabled()
            return node

        def is_leaf_module(self, m: Any, module_qualified_name: str) -> bool:
            return m is not module and bool(super().is_leaf_module(m, module_qualified_name))

        def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None
                                 ) -> tuple[Any, list[Any]]:
            first, *others = _arguments(module.forward)
            given = [self.create_proxy("placeholder", name, (), {}) for name in (first, *others)]
            return lambda x, *more: module(x, **dict(zip(others, more))), given

    tracer = InPlaceTracer()
    with torch.enable_grad():
        graph = tracer.trace(module)
    return fx.GraphModule(tracer.root, graph, type(module).__name__)


def _arguments(function: Any) -> list[str]:
    """Return the names of the first argument and of all others that have no default."""
    kinds = inspect.Parameter
    named = [one for one in inspect.signature(function).parameters.values()
             if one.kind is not kinds.VAR_KEYWORD]
    return [one.name for at, one in enumerate(named) if at == 0 or (
        one.default is kinds.empty and one.kind is not kinds.VAR_POSITIONAL)]


def _functional_dropouts(fx: Any, module: Any, traced: Any) -> dict[str, Any]:
    """Return the functional dropouts of a module in evaluation as they are in training, by name.

    ``F.dropout(x, 0.5, self.training)`` is off in evaluation and shall not be lost;
    ``F.dropout(x, 0.5, False)`` is off in both.
    """
    if module.training or not any(getattr(node.target, "__name__", "").endswith("dropout")
                                  for node in traced.graph.nodes):
        return {}
    flags = [(part, part.training) for part in module.modules()]
    try:
        module.train()
        nodes = list(_symbolic(fx, module).graph.nodes)
    except Exception:  # the module's own code does something else in training
        return {}
    finally:
        for part, flag in flags:
            part.training = flag
    if [(node.op, node.name) for node in nodes] != [(node.op, node.name)
                                                    for node in traced.graph.nodes]:
        return {}
    return {node.name: node for node in nodes
            if getattr(node.target, "__name__", "").endswith("dropout")}


def _run(torch: Any, fx: Any, traced: Any, example: Any) -> dict[str, tuple[int, ...]]:
    """Return the sizes of what a copy of the module computes from the example, by node.

    Of nodes that fail, and those behind them, there are none.
    """
    found: dict[str, tuple[int, ...]] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: Any) -> Any:
            result = super().run_node(n)
            if isinstance(result, torch.Tensor):
                found[n.name] = tuple(result.shape)
            return result

    try:
        with torch.no_grad():
            Recorder(copy.deepcopy(traced).eval()).run(
                torch.as_tensor(example, dtype=torch.float32).clone())
    except Exception:  # whatever the module's own code raises
        return found
    return found


def _input_shape(shape: tuple[int, ...]) -> Shape:
    if len(shape) == 2 and min(shape[1:]) > 0:
        return (shape[1], 1, 1)
    if len(shape) == 3 and min(shape[1:]) > 0:
        return (shape[1], 1, shape[2])
    if len(shape) == 4 and min(shape[1:]) > 0:
        return (shape[1], shape[2], shape[3])
    raise BadInput("example", expected="shape (n, channels, rows, cols), (n, channels, length) or "
                   "(n, features)",
                   found=shape, fix="give a tensor or array of images as the module takes them")
