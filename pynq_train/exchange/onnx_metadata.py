"""What an ONNX file says of the images that its network takes, and of its classes.

ONNX itself knows three places (its ``MetadataProps.md``): the range of pixels and their order of
colours in the metadata, and what each axis of the input means. What they cannot say, such as the
exact numbers, stands as JSON in an entry of our own.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from pynq_train.errors import BadInput, ModelWarning
from pynq_train.files import parse_json
from pynq_train.graph.class_names import checked_names
from pynq_train.graph.image_format import (
    CHANNELS_FIRST,
    CHANNELS_LAST,
    ImageFormat,
    Normalisation,
)
from pynq_train.graph.model import Model

ENTRY = "pynq_train.images"
"""Our own entry. Mean and deviation in it are what the nodes of the file do with the images, if
``in_graph`` is true; else they have to be taken before, and are taken by us."""
NAMES = "pynq_train.class_names"
"""Our own entry: JSON list of the names of the classes, from the first output on."""
RANGE, COLOURS = "Image.NominalPixelRange", "Image.BitmapPixelFormat"
_RANGES = {"NominalRange_0_255": (0.0, 255.0), "Normalized_0_1": (0.0, 1.0),
           "Normalized_1_1": (-1.0, 1.0), "NominalRange_16_235": (16.0, 235.0)}
_BATCH, _CHANNEL, _FEATURE = "DATA_BATCH", "DATA_CHANNEL", "DATA_FEATURE"
_AXES = {CHANNELS_FIRST: (_BATCH, _CHANNEL, _FEATURE, _FEATURE),
         CHANNELS_LAST: (_BATCH, _FEATURE, _FEATURE, _CHANNEL)}


def write_metadata(proto: Any, form: ImageFormat, class_names: tuple[str, ...] = ()) -> None:
    """Let the file ``proto``, whose input has channels first, say which images it takes.

    ``class_names``: those that it has, from the first output on.
    """
    if class_names:
        _put(proto, NAMES, json.dumps(class_names))
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    for dim, axis in zip(dims, _AXES[CHANNELS_FIRST]):
        dim.denotation = axis
    entry = replace(form, layout=CHANNELS_FIRST).to_dict()
    if form.seen is not None:
        entry["in_graph"] = True
    _put(proto, ENTRY, json.dumps(entry))
    for name, span in _RANGES.items():
        if span == form.input_range:
            _put(proto, RANGE, name)


def with_metadata(model: Model, proto: Any) -> Model:
    """Return a model with what its file says of its images and classes.

    ``model`` knows what the nodes of the file do with them.

    Raises:
        BadInput: an entry of our own is malformed.

    Warns:
        ModelWarning: the file contradicts itself, or wants blue first.
    """
    said = {entry.key: entry.value for entry in proto.metadata_props}
    channels = model.graph.input_shape[0]
    form = model.input_format
    axes = tuple(dim.denotation for dim in proto.graph.input[0].type.tensor_type.shape.dim)
    if axes == _AXES[CHANNELS_LAST]:
        form = replace(form, layout=CHANNELS_LAST)
    if said.get(RANGE) in _RANGES:
        form = replace(form, input_range=_RANGES[said[RANGE]])
    if said.get(COLOURS, "").startswith("Bgr"):
        _warn(model, f"its metadata say {COLOURS} = {said[COLOURS]}: give images whose channels "
              "are blue, green, red")
    if ENTRY in said:
        form = _ours(model, form, said[ENTRY], channels)
    return replace(model, input_format=form, class_names=_names(model, said.get(NAMES, "[]")))


def _names(model: Model, text: str) -> tuple[str, ...]:
    """Return the names of the classes in our own entry."""
    what = f"metadata {NAMES!r} of network {model.graph.name!r}"
    try:
        names = parse_json(text)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(text)
    except ValueError:
        raise BadInput(what, expected="a JSON list of names", found=repr(text)[:80],
                       fix="export it again, or remove the entry") from None
    try:
        return checked_names(tuple(names), model.graph.classes)
    except BadInput as error:
        error.add(f"{what} holds it: export it again, or remove the entry")
        raise


def _ours(model: Model, form: ImageFormat, text: str, channels: int) -> ImageFormat:
    """Return a format with what our own entry adds."""
    what = f"metadata {ENTRY!r} of network {model.graph.name!r}"
    try:
        data = parse_json(text)
    except ValueError as error:
        raise BadInput(what, expected="JSON", found=str(error)[:80],
                       fix="export it again, or remove the entry") from None
    try:
        own = ImageFormat.from_dict(data, channels)
    except BadInput as error:
        error.add(f"{what} holds it: export it again, or remove the entry")
        raise
    done, wanted, gain = form.normalisation, own.normalisation, own.gain
    if own.seen is not None and data.get("in_graph") is True:
        if done is None or not _equal(done, own.seen):
            gain = 1.0
            _warn(model, f"its metadata say that it takes {own}, and its nodes do not normalise so:"
                  " the nodes count")
            wanted = done
    elif wanted is not None and done is not None:
        _warn(model, f"its metadata want images with {own}, and its nodes normalise them once "
              "more: the nodes alone count; say mean= and std= if that is wrong")
        wanted = done
    span = own.input_range or form.input_range
    kept = wanted if wanted is not None or (gain != 1 and data.get("in_graph") is True) else done
    return ImageFormat(span, kept,
                       own.stated if own.input_range is not None else form.stated,
                       form.layout if form.layout == CHANNELS_LAST else own.layout,
                       form.gain * gain)


def _equal(one: Normalisation, other: Normalisation) -> bool:
    """Return whether two normalisations are the same in float32, or nearly."""
    return all(np.allclose(a, b, rtol=1e-5, atol=1e-6 * max(map(abs, other.std)))
               for a, b in ((one.mean, other.mean), (one.std, other.std)))


def _warn(model: Model, text: str) -> None:
    warnings.warn(f"network {model.graph.name!r}: {text}", ModelWarning, stacklevel=6)


def _put(proto: Any, key: str, value: str) -> None:
    entry = proto.metadata_props.add()
    entry.key, entry.value = key, value
