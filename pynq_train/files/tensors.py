"""Files of named arrays with structured data beside them and a checksum over both (safetensors)."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pynq_train.arrays import Array
from pynq_train.errors import BadInput, MissingTool
from pynq_train.files.read import parse_json, path_text, read_bytes
from pynq_train.files.write import write_atomic

_ENTRY = "pynq_train"
"""Key of the JSON text in the file's metadata."""


@dataclass(frozen=True)
class TensorFile:
    """A kind of file.

    Attributes:
        noun: what one is, such as ``model``, for messages.
        content: what it holds, such as ``a learner``, for messages.
        format: what it says of itself.
        version: version that is written.
        readable: versions that can be read.
    """

    noun: str
    content: str
    format: str
    version: int
    readable: Collection[int]

    def write(self, path: str | os.PathLike[str], meta: Mapping[str, Any],
              arrays: Mapping[str, Array]) -> None:
        """Write a file; ``path`` holds either the old one or all of the new one.

        Args:
            path: the file.
            meta: what goes beside the arrays: values of JSON by name, none of them ``format``,
                ``version`` or ``sha256``.
            arrays: the arrays by name.

        Raises:
            MissingTool: the package safetensors is not installed.
            BadInput: the file cannot be written.
        """
        numpy_format = self._safetensors()
        whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        said = {"format": self.format, "version": self.version, **meta}
        text = json.dumps({**said, "sha256": checksum(said, whole)})
        write_atomic(path, numpy_format.save(whole, metadata={_ENTRY: text}))

    def read(self, path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return what a file holds beside its arrays, with format and version, and the arrays.

        Raises:
            MissingTool: the package safetensors is not installed.
            BadInput: no such file, damaged, or of another kind or version.
        """
        numpy_format = self._safetensors()
        name = path_text(path, f"{self.noun} file")
        data = read_bytes(name, f"{self.noun} file")
        meta = self._metadata(name, data)
        try:
            arrays = numpy_format.load(data)
        except Exception as error:  # safetensors raises its own SafetensorError, and ValueError
            raise self.damaged(name, str(error)) from None
        if not isinstance(meta, dict) or meta.get("format") != self.format:
            raise BadInput(f"{self.noun} file {name!r}",
                           expected=f"{self.content} saved by pynq_train",
                           found="another .safetensors file")
        version = meta.get("version")
        if version not in self.readable:
            raise BadInput(f"{self.noun} file {name!r}", found=version,
                           fix="use the release that saved it",
                           expected=f"version {' or '.join(map(str, self.readable))}")
        found = checksum(meta, arrays)
        if meta.get("sha256") != found:
            raise BadInput(f"{self.noun} file {name!r} is damaged: its contents",
                           expected=f"checksum {str(meta.get('sha256'))[:12]}", found=found[:12],
                           fix="use a copy, or an earlier checkpoint")
        return meta, arrays

    def damaged(self, name: str, why: str) -> BadInput:
        """Return the error for a file that is none of these, or is damaged."""
        line = why.splitlines()[0] if why else "unknown reason"
        return BadInput(f"{self.noun} file {name!r} is damaged or not a {self.noun}",
                        expected="a .safetensors file", found=line,
                        fix="save it again, or use a copy")

    def _metadata(self, name: str, data: bytes) -> Any:
        """Return the metadata: they stand in the JSON header behind its 8-byte length."""
        length = int.from_bytes(data[:8], "little")
        if len(data) < 8 or length > len(data) - 8:
            raise self.damaged(name, f"{len(data)} bytes without a whole header")
        try:
            header = parse_json(data[8 : 8 + length])
            return parse_json(header.get("__metadata__", {}).get(_ENTRY, "null"))
        except (ValueError, AttributeError, TypeError) as error:
            raise self.damaged(name, f"a header that is not JSON ({error})") from None

    def _safetensors(self) -> Any:
        try:
            import safetensors.numpy
        except ImportError:
            raise MissingTool(f"{self.noun}s are saved through the package 'safetensors'",
                              expected="safetensors 0.4 or newer", found="none",
                              fix="run: pip install safetensors") from None
        return safetensors.numpy


def checksum(meta: Mapping[str, Any], arrays: Mapping[str, Array]) -> str:
    """Return the SHA-256 of the metadata (without the checksum) and all tensors, in hex digits."""
    values = {key: value for key, value in meta.items() if key != "sha256"}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
