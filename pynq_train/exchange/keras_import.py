"""Networks from Keras models (Keras 2 and 3, any of its backends)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pynq_train.errors import BadInput, UnsupportedModel
from pynq_train.exchange.draft import Draft, Refused, Value
from pynq_train.exchange.keras_layers import (
    INSTEAD,
    LAYERS,
    OPERATIONS,
    READS_NUMBERS,
    Layer,
)
from pynq_train.exchange.windows import MISFITS, refused_for
from pynq_train.graph.image_format import CHANNELS_FIRST, CHANNELS_LAST
from pynq_train.graph.model import Model
from pynq_train.graph.shapes import Shape

_PACKAGES = ("keras", "tf_keras", "tensorflow")
_OTHERWISE = "replace it by supported layers: " + ", ".join(sorted(LAYERS))


def from_keras(model: Any, *,
               input_range: Sequence[float] | None = None,
               mean: float | Sequence[float] | None = None,
               std: float | Sequence[float] | None = None, layout: str | None = None,
               calibrate: Any = None) -> Model:
    """Return the network of a built Sequential or functional Keras model, with its weights.

    Maps are turned to channels first: images are given to the result as ``(n, channels, rows,
    cols)``, or as users have them, see ``prepare_images`` (channels last where the sizes leave a
    choice); the weights of a Dense layer behind a
    Flatten are put into that order. Models inside the model are taken as their layers. Layers with
    ``trainable=False`` do not learn here either (``Model.frozen``); such a normalisation uses its
    running statistics, as in Keras. A Softmax at the end is left out, since loss and softmax
    follow by themselves.

    Args:
        model: the network.
        input_range, mean, std, layout, calibrate: the images that it was made for, and typical
            ones: see :meth:`~pynq_train.graph.model.Model.with_images`.

    Raises:
        BadInput: not a Keras model, or not built; or odd numbers of the images.
        UnsupportedModel: names every layer that has no counterpart and what could replace it.

    Warns:
        ModelWarning: a layer with weights is called twice, or nothing learns.
    """
    if not getattr(model, "layers", None) or not hasattr(model, "get_config"):
        raise BadInput("model", expected="a Keras model", found=type(model).__name__,
                       fix="load it first: keras.models.load_model(path)")
    name = str(model.name)
    inputs, outputs = getattr(model, "inputs", None) or [], getattr(model, "outputs", None) or []
    if len(inputs) != 1 or len(outputs) != 1:
        raise BadInput(f"model {name!r}", expected="one input and one output",
                       found=f"{len(inputs)} and {len(outputs)}",
                       fix="build it: begin with an Input layer")
    shape = tuple(inputs[0].shape)
    draft = Draft(_input_shape(name, shape), name, flat=len(shape) == 2,
                  line=len(shape) == 3, layout=CHANNELS_LAST if len(shape) > 2 else CHANNELS_FIRST)
    calls: list[Call] = []
    output = _flattened(model, [0], calls)[0]
    read = {key for call in calls for key in call.sources}
    values: dict[int, Value | None] = {0: draft.input}
    for key, call in enumerate(calls, 1):
        values[key] = _value(call, [values.get(source) for source in call.sources], draft,
                             key not in read)
    made = values.get(output)
    if made is not None and not made.flat:
        made = replace(made, last=True)  # maps are channels first here, and last in Keras
    return draft.finish(made).with_images(
        input_range=input_range, mean=mean, std=std, layout=layout, calibrate=calibrate)


@dataclass(frozen=True)
class Call:
    """One use of a layer: what it reads (numbers of calls, 0: the input), and what it yields.

    ``whole``: all of its arguments are such values; ``dims``: sizes of its output. ``place``: which
    of several outputs it is; ``given``: all arguments but the first.
    """

    layer: Any
    sources: list[int]
    whole: bool
    dims: tuple[Any, ...]
    place: int = 0
    given: tuple[Any, ...] = ()


def _value(call: Call, sources: list[Value | None], draft: Draft, ends: bool) -> Value | None:
    """Return what a call yields, None behind what was refused."""
    layer, kind = call.layer, type(call.layer).__name__
    handler = LAYERS.get(kind) if hasattr(layer, "get_weights") else OPERATIONS.get(kind)
    known = [source for source in sources if source is not None]
    if type(layer).__module__.partition(".")[0] not in _PACKAGES:
        handler = None  # a class of the user's, whatever it is called
    try:
        if handler is None:
            raise Refused("", INSTEAD.get(kind, _OTHERWISE))
        if not call.whole and kind not in READS_NUMBERS:
            raise Refused("computes with a constant", "fold it into the weights, or prepare the "
                          "images before the network")
        if len(known) < len(sources):  # it follows a refused layer
            return None
        return handler(Layer(layer, draft, known, ends, call.place, call.given))
    except (Refused, *MISFITS) as error:
        draft.refuse(str(layer.name), kind, refused_for(error))
        dims = [size if isinstance(size, int) else 0 for size in call.dims[1:]]
        return draft.stand_in([dims[-1], *dims[:-1]] if len(dims) > 1 else dims)


def _flattened(model: Any, sources: list[int], calls: list[Call]) -> list[int]:
    """Append the calls of a model, each behind what it reads, and return those of its outputs.

    ``sources``: what the model reads.
    """
    found: dict[tuple[int, int], list[int]] = {}
    for tensor, source in zip(model.inputs, sources):
        found[_key(tensor)] = [source]
    todo = list(reversed(model.outputs))
    while todo:
        tensor = todo[-1]
        key = _key(tensor)
        inputs, whole = _inputs(tensor)
        missing = [other for other in inputs if _key(other) not in found]
        if key in found:
            todo.pop()
        elif missing:
            todo += reversed(missing)
        else:
            todo.pop()
            layer = _history(tensor)[0]
            read = [_at(found, other) for other in inputs]
            if getattr(layer, "inputs", None) and getattr(layer, "outputs", None) and hasattr(
                    layer, "layers"):
                found[key] = _flattened(layer, read, calls)
            else:
                found[key] = []
                for place, one in enumerate(_outputs(tensor)):
                    calls.append(Call(layer, read, whole, tuple(one.shape), place, _given(tensor)))
                    found[key].append(len(calls))
    return [_at(found, tensor) for tensor in model.outputs]


def _at(found: dict[tuple[int, int], list[int]], tensor: Any) -> int:
    """Return the call that yields a tensor."""
    made, place = found[_key(tensor)], _history(tensor)[2]
    return made[place] if place < len(made) else made[0]


def _history(tensor: Any) -> tuple[Any, int, int]:
    """Return the layer that yields a symbolic tensor, the number of that call and of its output."""
    history = tensor._keras_history
    layer = getattr(history, "operation", None) or getattr(history, "layer", None)
    return layer, int(history.node_index), int(history.tensor_index)


def _key(tensor: Any) -> tuple[int, int]:
    layer, node, _ = _history(tensor)
    return id(layer), node


def _outputs(tensor: Any) -> list[Any]:
    """Return what the call that yields a tensor yields, itself among it."""
    layer, node, _ = _history(tensor)
    some = getattr(layer._inbound_nodes[node], "output_tensors", None)
    if some is None:
        return [tensor]
    return list(some) if isinstance(some, (list, tuple)) else [some]


def _given(tensor: Any) -> tuple[Any, ...]:
    """Return all arguments of a tensor's call but the first."""
    layer, node, _ = _history(tensor)
    arguments = getattr(layer._inbound_nodes[node], "arguments", None)
    return () if arguments is None else tuple(arguments.args[1:])


def _inputs(tensor: Any) -> tuple[list[Any], bool]:
    """Return the symbolic inputs of a tensor's call, and whether it has no other arguments."""
    layer, node, _ = _history(tensor)
    call = layer._inbound_nodes[node]
    tensors = getattr(call, "input_tensors", None)
    if tensors is None:
        tensors = getattr(call, "keras_inputs", [])
    some = list(tensors) if isinstance(tensors, (list, tuple)) else [tensors]
    some = [one for one in some if hasattr(one, "_keras_history")]
    if hasattr(layer, "get_weights"):
        return some, True
    arguments = getattr(call, "arguments", None)
    return some, arguments is None or len(some) == len(arguments.args)


def _input_shape(name: str, shape: tuple[Any, ...]) -> Shape:
    if len(shape) == 2 and shape[1]:
        return (int(shape[1]), 1, 1)
    if len(shape) == 4 and all(shape[1:]):
        return (int(shape[3]), int(shape[1]), int(shape[2]))
    if len(shape) == 3 and all(shape[1:]):
        return (int(shape[2]), 1, int(shape[1]))
    raise UnsupportedModel(f"input of model {name!r}", expected="shape (rows, cols, channels), "
                           "(length, channels) or (features,) with fixed sizes", found=shape[1:],
                           fix="build it with fixed sizes")
