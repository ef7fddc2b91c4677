"""Networks from Keras models (Keras 2 and 3, any of its backends)."""

from __future__ import annotations

from typing import Any

from pynq_train.errors import BadInput, UnsupportedModel
from pynq_train.exchange.draft import Draft, Refused, Value
from pynq_train.exchange.keras_layers import INSTEAD, LAYERS, Layer
from pynq_train.graph.model import Model
from pynq_train.graph.shapes import Shape

_OTHERWISE = "replace it by supported layers: " + ", ".join(sorted(LAYERS))


def from_keras(model: Any) -> Model:
    """Return the network of a built Sequential or functional Keras model, with its weights.

    Maps are turned to channels first: images are given to the result as ``(n, channels, rows,
    cols)``, or as users have them, see ``prepare_images``; the weights of a Dense layer behind a
    Flatten are put into that order. A Softmax at the end is left out, since loss and softmax
    follow by themselves.

    Raises:
        BadInput: not a Keras model, or not built.
        UnsupportedModel: names every layer that has no counterpart and what could replace it.
    """
    layers = getattr(model, "layers", None)
    if not layers or not hasattr(model, "get_config"):
        raise BadInput("model", expected="a Keras model", found=type(model).__name__)
    name = str(model.name)
    inputs, outputs = getattr(model, "inputs", None) or [], getattr(model, "outputs", None) or []
    if len(inputs) != 1 or len(outputs) != 1:
        raise BadInput(f"model {name!r}", expected="one input and one output",
                       found=f"{len(inputs)} and {len(outputs)}",
                       fix="build it: begin with an Input layer")
    draft = Draft(_input_shape(name, tuple(inputs[0].shape)), name)
    values: dict[str, Value | None] = {_source(inputs[0]): draft.input}
    readers: dict[str, int] = {}
    for layer in layers:
        for tensor in _tensors(layer):
            readers[_source(tensor)] = readers.get(_source(tensor), 0) + 1
    for layer in layers:
        kind = type(layer).__name__
        if kind == "InputLayer":
            continue
        try:
            if kind not in LAYERS:
                raise Refused("", INSTEAD.get(kind, _OTHERWISE))
            sources = [values.get(_source(tensor)) for tensor in _tensors(layer)]
            known = [source for source in sources if source is not None]
            if not sources:
                raise Refused("is used more than once", "give each use a layer of its own")
            values[layer.name] = None
            if len(known) == len(sources):  # else it follows a refused layer
                values[layer.name] = LAYERS[kind](Layer(layer, draft, known,
                                                        layer.name not in readers))
        except Refused as refused:
            draft.refuse(layer.name, kind, refused)
            values[layer.name] = None
    return draft.finish(values.get(_source(outputs[0])))


def _tensors(layer: Any) -> list[Any]:
    """Symbolic inputs of a layer; none if it has no unique ones."""
    try:
        found = layer.input
    except (AttributeError, ValueError):
        return []
    return list(found) if isinstance(found, (list, tuple)) else [found]


def _source(tensor: Any) -> str:
    """Name of the layer that yields a symbolic tensor."""
    history = tensor._keras_history
    layer = getattr(history, "operation", None) or getattr(history, "layer", None)
    return str(layer.name) if layer is not None else ""


def _input_shape(name: str, shape: tuple[Any, ...]) -> Shape:
    if len(shape) == 2 and shape[1]:
        return (int(shape[1]), 1, 1)
    if len(shape) == 4 and all(shape[1:]):
        return (int(shape[3]), int(shape[1]), int(shape[2]))
    raise UnsupportedModel(f"input of model {name!r}", expected="shape (rows, cols, channels) or "
                           "(features,) with fixed sizes", found=shape[1:],
                           fix="build it with fixed sizes")
