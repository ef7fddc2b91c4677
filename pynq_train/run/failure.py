"""What is kept of a run that failed or differed: program and memory in one file.

Files go into the folder that ``PYNQ_TRAIN_FAILURES`` names (empty: none are kept), by default
``failures`` in the cache directory. The newest :data:`KEEP` stay.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pynq_train.arrays import Array
from pynq_train.backends import RunRequest
from pynq_train.backends.base import check_request
from pynq_train.errors import BadInput, PynqTrainError
from pynq_train.files import parse_json, path_text, read_npz, write_atomic
from pynq_train.files.cache import cache_dir
from pynq_train.files.schema import Anything, Flag, Items, Record, Schema, Text, Whole
from pynq_train.hw import contract
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import DESCRIPTOR_BYTES
from pynq_train.schedule.lower.meaning import TRAINING
from pynq_train.schedule.memory.coordinates import ELEMENT_TYPES, TensorMap, tensor_maps
from pynq_train.schedule.plan import Plan

_LOG = logging.getLogger(__name__)

VARIABLE = "PYNQ_TRAIN_FAILURES"
"""Environment variable that names the folder."""
KEEP = 8
"""Files that stay in the folder."""
FORMAT, FORMAT_VERSION = "pynq_train.failure", 3
"""Name and version of the file format."""
_PREFIX, _SUFFIX = "failure-", ".npz"
_MOST = 1 << 62
_PLACE = Whole(0, _MOST)


@dataclass(frozen=True)
class _Axis:
    """Name, places, bytes from place to place, and step of a coordinate."""

    def check(self, value: Any, where: str) -> Any:
        """Return the list of four."""
        items: Schema = Items(Anything(), least=4, most=4)
        schemas: tuple[Schema, ...] = (Text(), _PLACE, _PLACE, _PLACE)
        for one, schema in zip(items.check(value, where), schemas):
            schema.check(one, where)
        if value[1] > 1 and not value[2]:
            raise BadInput(f"{where}: bytes from place to place", expected="1 or more", found=0)
        return value


META = Record({
    "backend": Text(), "board": Text(), "contract": Text(), "text": Text(1 << 20),
    "request": Record({
        "program_offset": _PLACE, "descriptor_count": Whole(1, 1 << 32),
        "step_block_offset": _PLACE, "expected_cycles": Whole(1, _MOST), "profile": Flag(),
        "names": Items(Text(), most=1 << 20)}),
    "tensors": Items(Record({
        "symbol": Text(), "offset": _PLACE, "nbytes": _PLACE,
        "dtype": Text(among=ELEMENT_TYPES), "since": Whole(-1, 1 << 32),
        "axes": Items(_Axis(), most=32)}), most=1 << 20),
}, open=True)
"""Metadata of a file, besides format, version and checksum."""


@dataclass(frozen=True)
class Failure:
    """A run that failed or differed.

    Attributes:
        backend: where that was.
        board: board that the program was made for.
        contract_hash: contract that program and registers follow.
        text: what was said about it.
        request: the run.
        tensors: what the arena holds.
        image: uint8, the arena in front of the run (of what a run overwrites, any values).
    """

    backend: str
    board: str
    contract_hash: str
    text: str
    request: RunRequest
    tensors: tuple[TensorMap, ...]
    image: Array

    @classmethod
    def of(cls, plan: Plan, backend: str, request: RunRequest, image: Array,
           text: str) -> Failure:
        """Return the failure of a plan's program."""
        return cls(backend, plan.board.name, contract.contract_hash(plan.board.config), text,
                   request, tensor_maps(plan, _program(plan, request)), image)


def _program(plan: Plan, request: RunRequest) -> str:
    """Return the name of the program that a run is of."""
    offset = request.program_offset
    return next((region.symbol.rpartition(".")[0] for region in plan.memory
                 if region.kind == "program" and region.offset == offset), TRAINING)


def failure_folder() -> Path | None:
    """Return the folder where files go; None if none are wanted."""
    chosen = os.environ.get(VARIABLE)
    if chosen is None:
        return cache_dir() / "failures"
    return Path(chosen) if chosen else None


def keep(failure: Failure) -> Path | None:
    """Write a file into the folder; a folder that takes none never hides the failure itself.

    Returns:
        The file, None if none was written.
    """
    folder = failure_folder()
    if folder is None:
        return None
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        number = 0
        while (path := folder / f"{_PREFIX}{stamp}-{os.getpid()}-{number}{_SUFFIX}").exists():
            number += 1
        save(path, failure)
        others = sorted(folder.glob(f"{_PREFIX}*{_SUFFIX}"), key=lambda p: p.stat().st_mtime_ns)
        for old in others[:-KEEP]:
            old.unlink(missing_ok=True)
    # The caller is about to raise the failure itself: a full disk must not take its place.
    except (PynqTrainError, OSError) as error:
        _LOG.warning("program and memory of the failed run are not saved: %s", error)
        return None
    return path


def advice(path: Path | None) -> str:
    """Return what to do with a kept file, for messages; empty without one."""
    return "" if path is None else (
        f"program and memory are saved, see where it differs with: pynq-train replay {path}")


def save(path: str | os.PathLike[str], failure: Failure) -> None:
    """Write a failure to an .npz file, as a whole or not at all.

    Raises:
        BadInput: the folder cannot be written.
    """
    meta = {
        "format": FORMAT, "version": FORMAT_VERSION, "backend": failure.backend,
        "board": failure.board, "contract": failure.contract_hash, "text": failure.text,
        "request": {name: value for name, value in asdict(failure.request).items()
                    if name not in ("counters", "meanwhile")},
        "tensors": [t.to_dict() for t in failure.tensors],
    }
    meta["sha256"] = _digest(meta, failure.image)
    out = io.BytesIO()
    np.savez_compressed(out, image=failure.image,
                        meta=np.frombuffer(json.dumps(meta).encode(), np.uint8))
    write_atomic(path, out.getvalue())


def load(path: str | os.PathLike[str]) -> Failure:
    """Read what :func:`save` wrote.

    Raises:
        BadInput: no such file, damaged, not such a file, or of another version of this package.
    """
    name = path_text(path, "file")
    try:
        arrays = read_npz(name, ("image", "meta"), "file")
    except BadInput as error:
        if error.found is None:
            raise
        raise _wrong(name, str(error.found)) from None
    if not {"image", "meta"} <= set(arrays) or arrays["meta"].dtype != np.uint8:
        raise _wrong(name, "another .npz file")
    try:
        meta = parse_json(arrays["meta"].tobytes())
    except ValueError as error:
        raise _wrong(name, str(error)) from None
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise _wrong(name, "another .npz file")
    if meta.get("version") != FORMAT_VERSION:
        raise BadInput(f"file {name!r}", expected=f"version {FORMAT_VERSION}",
                       found=meta.get("version"), fix="use the release that saved it")
    image = arrays["image"]
    if image.dtype != np.uint8 or image.ndim != 1 or not image.size:
        raise _wrong(name, f"an image of {image.dtype} {image.shape}")
    found = _digest(meta, image)
    if meta.get("sha256") != found:
        raise BadInput(f"file {name!r} is damaged: its contents", found=found[:12],
                       expected=f"checksum {str(meta.get('sha256'))[:12]}", fix="use a copy")
    failure = _failure(META.check(meta, f"file {name!r}"), image, name)
    board = BOARDS.get(failure.board)
    known = contract.contract_hash(board.config) if board is not None else "no such board"
    if known != failure.contract_hash:
        raise BadInput(f"file {name!r} holds a program for another hardware contract",
                       expected=known[:16], found=failure.contract_hash[:16],
                       fix="use the release that saved it")
    return failure


def _digest(meta: Mapping[str, Any], image: Array) -> str:
    """Return the SHA-256 of the metadata (without the checksum) and the image, in hex digits."""
    values = {key: value for key, value in meta.items() if key != "sha256"}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def _failure(meta: Mapping[str, Any], image: Array, name: str) -> Failure:
    """Return the failure of checked metadata and an image.

    Raises:
        BadInput: the run, or a tensor, lies outside of the image.
    """
    values = meta["request"]
    request = RunRequest(**{**values, "names": tuple(values["names"])})
    check_request(request, image.nbytes, DESCRIPTOR_BYTES)
    tensors = tuple(TensorMap.from_dict(values) for values in meta["tensors"])
    for tensor in tensors:
        whole = tensor.nbytes % np.dtype(tensor.dtype).itemsize == 0
        if tensor.offset + tensor.nbytes > image.nbytes or not whole:
            raise BadInput(f"tensor {tensor.symbol[:80]!r} of file {name!r}",
                           expected=f"whole elements in {image.nbytes} bytes",
                           found=f"{tensor.nbytes} at {tensor.offset}", fix="use a copy")
    return Failure(meta["backend"], meta["board"], meta["contract"], meta["text"], request,
                   tensors, image)


def _wrong(name: str, found: str) -> BadInput:
    """Return the error for a file that is damaged or is something else."""
    return BadInput(f"file {name!r} is damaged, or is no saved failure",
                    expected="what a failed training step or 'pynq-train verify' has saved",
                    found=found.splitlines()[0] if found else "nothing", fix="use a copy")
