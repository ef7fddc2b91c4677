"""Saved learners: one .safetensors file with everything that a resumed run needs, bit for bit."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynq_train.exchange.file_kinds import LEARNER, refuse_other_kinds
from pynq_train.files import path_text
from pynq_train.files.tensors import TensorFile
from pynq_train.graph import Graph
from pynq_train.layers import FusedLayer, fuse
from pynq_train.run.masters import Masters
from pynq_train.run.tensors import from_tensors, to_tensors
from pynq_train.train.state import STATE

_FILE = TensorFile("model", "a learner", "pynq_train.learner", version=3, readable=(2, 3))
"""Version 2 is read too: there the choice ``trainable`` is ``train``."""
_PROGRAM = "compiled/"
"""Begins the names of tensors with programs; no name of a layer has a slash."""

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
    tensors = to_tensors(checkpoint.masters)
    compiled: dict[str, Any] = {}
    if checkpoint.compiled is not None:
        compiled["compiled"], programs = checkpoint.compiled
        tensors.update({f"{_PROGRAM}{name}": array for name, array in programs.items()})
    meta = {
        "numbers": {"weight": "int32 Q3.28", "momentum": "int32 Q7.24"},
        "graph": checkpoint.graph.to_dict(), "state": dict(checkpoint.state),
        **compiled}
    _FILE.write(path, meta, tensors)


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        BadInput: no such file, damaged, or not a saved learner.
    """
    name = path_text(path, "model file")
    refuse_other_kinds(name, LEARNER)
    meta, arrays = _FILE.read(name)
    graph = Graph.from_dict(meta.get("graph"))
    masters = {layer.name: _masters(name, layer, arrays) for layer in fuse(graph)
               if layer.has_parameters}
    state = meta.get("state")
    if meta["version"] == 2 and isinstance(state, dict) and "train" in state:
        state["trainable"] = state.pop("train")
    programs = {key[len(_PROGRAM):]: array for key, array in arrays.items()
                if key.startswith(_PROGRAM) and array.dtype == np.uint8}
    compiled = (meta["compiled"], programs) if "compiled" in meta else None
    return Checkpoint(graph, masters, STATE.check(state, f"model file {name!r}: training state"),
                      compiled)


def _masters(path: str, layer: FusedLayer, arrays: Mapping[str, NDArray[Any]]) -> Masters:
    try:
        return from_tensors(repr(path), layer, arrays)
    except KeyError as error:
        raise _FILE.damaged(path, f"no tensor {error}") from None
