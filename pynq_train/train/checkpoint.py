"""Saved learners: one .safetensors file with everything that a resumed run needs, bit for bit."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynq_train.errors import BadInput, MissingTool
from pynq_train.exchange.file_kinds import LEARNER, refuse_other_kinds
from pynq_train.files import parse_json, path_text, read_bytes, write_atomic
from pynq_train.graph import Graph
from pynq_train.layers import FusedLayer, fuse
from pynq_train.run.masters import Masters
from pynq_train.run.tensors import from_tensors, to_tensors
from pynq_train.train.state import STATE

FORMAT = "pynq_train.learner"
FORMAT_VERSION = 3
"""Version that is written. Version 2 is read too: there the choice ``trainable`` is ``train``."""
_READABLE = (2, FORMAT_VERSION)
_PROGRAM = "compiled/"
"""Begins the names of tensors with programs; no name of a layer has a slash."""
_ENTRY = "pynq_train"
"""Key of the JSON text in the file's metadata."""

Compiled = tuple[Any, Mapping[str, NDArray[np.uint8]]]
"""Compiled programs as a file holds them (:func:`pynq_train.schedule.compiled.to_saved`)."""


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds: network, weights with momentum, state of the training, programs.

    The programs (``schedule.compiled``) are there if somebody has compiled them.
    """

    graph: Graph
    masters: Mapping[str, Masters]
    state: Mapping[str, Any]
    compiled: Compiled | None = None


def save(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Write a checkpoint; ``path`` holds either the old file or all of the new one."""
    numpy_format = _safetensors()
    tensors = to_tensors(checkpoint.masters)
    compiled: dict[str, Any] = {}
    if checkpoint.compiled is not None:
        compiled["compiled"], programs = checkpoint.compiled
        tensors.update({f"{_PROGRAM}{name}": array for name, array in programs.items()})
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    meta = {
        "format": FORMAT, "version": FORMAT_VERSION,
        "numbers": {"weight": "int32 Q3.28", "momentum": "int32 Q7.24"},
        "graph": checkpoint.graph.to_dict(), "state": dict(checkpoint.state),
        **compiled}
    text = json.dumps({**meta, "sha256": checksum(meta, arrays)})
    write_atomic(path, numpy_format.save(arrays, metadata={_ENTRY: text}))


def checksum(meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of the metadata (without the checksum) and all tensors, in hex digits."""
    values = {key: value for key, value in meta.items() if key != "sha256"}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        BadInput: no such file, damaged, or not a saved learner.
    """
    numpy_format = _safetensors()
    name = path_text(path, "model file")
    refuse_other_kinds(name, LEARNER)
    data = read_bytes(name, "model file")
    meta = _metadata(name, data)
    try:
        arrays = numpy_format.load(data)
    except Exception as error:  # safetensors raises its own SafetensorError, and ValueError
        raise _damaged(name, str(error)) from None
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise BadInput(f"model file {name!r}", expected="a learner saved by pynq_train",
                       found="another .safetensors file")
    version = meta.get("version")
    if version not in _READABLE:
        raise BadInput(f"model file {name!r}", found=version, fix="use the release that saved it",
                       expected=f"version {' or '.join(map(str, _READABLE))}")
    found = checksum(meta, arrays)
    if meta.get("sha256") != found:
        raise BadInput(f"model file {name!r} is damaged: its contents",
                       expected=f"checksum {str(meta.get('sha256'))[:12]}", found=found[:12],
                       fix="use a copy, or an earlier checkpoint")
    graph = Graph.from_dict(meta.get("graph"))
    masters = {layer.name: _masters(name, layer, arrays) for layer in fuse(graph)
               if layer.has_parameters}
    state = meta.get("state")
    if version == 2 and isinstance(state, dict) and "train" in state:
        state["trainable"] = state.pop("train")
    programs = {key[len(_PROGRAM):]: array for key, array in arrays.items()
                if key.startswith(_PROGRAM) and array.dtype == np.uint8}
    compiled = (meta["compiled"], programs) if "compiled" in meta else None
    return Checkpoint(graph, masters, STATE.check(state, f"model file {name!r}: training state"),
                      compiled)


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError:
        raise MissingTool("models are saved through the package 'safetensors'",
                          expected="safetensors 0.4 or newer", found="none",
                          fix="run: pip install safetensors") from None
    return safetensors.numpy


def _damaged(name: str, why: str) -> BadInput:
    line = why.splitlines()[0] if why else "unknown reason"
    return BadInput(f"model file {name!r} is damaged or not a model",
                    expected="a .safetensors file", found=line, fix="save it again, or use a copy")


def _metadata(name: str, data: bytes) -> Any:
    """Return the metadata: they stand in the JSON header behind its 8-byte length."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        raise _damaged(name, f"{len(data)} bytes without a whole header")
    try:
        header = parse_json(data[8 : 8 + length])
        return parse_json(header.get("__metadata__", {}).get(_ENTRY, "null"))
    except (ValueError, AttributeError, TypeError) as error:
        raise _damaged(name, f"a header that is not JSON ({error})") from None


def _masters(path: str, layer: FusedLayer, arrays: Mapping[str, NDArray[Any]]) -> Masters:
    try:
        return from_tensors(repr(path), layer, arrays)
    except KeyError as error:
        raise _damaged(path, f"no tensor {error}") from None
