"""NumPy's .npy and .npz files, read without trust: no header decides what memory is asked for.

A member that is stored as it is (``numpy.savez``), and a .npy file, is mapped and not read if it is
large: parts of it come into memory when they are used. Nothing is unpickled.
"""

from __future__ import annotations

import ast
import math
import mmap
import os
import struct
import zipfile
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from pynq_train.arrays import Array
from pynq_train.errors import BadInput
from pynq_train.files.memory import free_bytes
from pynq_train.files.read import check_regular

MAP_FROM = 1 << 26
"""Bytes from which an array is mapped where it can be."""
_MAGIC = b"\x93NUMPY"
_MOST_HEADER = 10_000
"""Bytes of an .npy header, as NumPy has it."""
_MOST_AXES = 32
_MOST_BRACKETS = 64
"""Brackets in a header; one of a plain array has three."""
_CHUNK = 1 << 22
_MOST_END = 22 + (1 << 16) - 1
"""Bytes of the end of an archive, with the longest comment."""
_COUNT_ELSEWHERE = (1 << 16) - 1
_UTF8 = 1 << 11
"""Flag of a member whose name is UTF-8."""
_PLAIN = "an .npz file of plain arrays, or an .npy file of one"


@dataclass(frozen=True)
class _Header:
    """What stands in front of an array.

    Attributes:
        dtype: of the elements.
        shape: of the array.
        fortran: columns first.
        size: bytes of the header.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    size: int

    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""
        return math.prod(self.shape) * self.dtype.itemsize

    def shaped(self, flat: Array) -> Array:
        """Return flat bytes as the array."""
        return flat.view(self.dtype).reshape(self.shape, order="F" if self.fortran else "C")


class _Bad(Exception):
    """Why a file is refused: ``expected`` and ``found``."""

    def __init__(self, found: str, expected: str = _PLAIN) -> None:
        super().__init__(found)
        self.expected = expected


def read_npz(path: Any, wanted: Collection[str], what: str = "data file") -> dict[str, Array]:
    """Return the arrays of an .npz file by name; those of names that nobody wants are empty.

    Args:
        path: the file.
        wanted: names of the arrays that are read.
        what: names the file in messages.

    Raises:
        BadInput: no such file, damaged, no .npz file; an array is none, or memory does not hold it.
    """
    name = check_regular(path, what)
    try:
        with open(name, "rb") as file:
            if file.read(len(_MAGIC)) == _MAGIC:
                raise BadInput(f"{what} {name!r}", expected="an .npz file with named arrays",
                               found="a single .npy array", fix="save it with numpy.savez")
            return _members(name, file, wanted)
    except (BadInput, _Bad) as error:
        if isinstance(error, BadInput):
            raise
        raise _refusal(what, name, str(error), error.expected) from None
    except Exception as error:  # whatever zipfile and its codecs say to damaged bytes
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _refusal(what, name, text, _PLAIN) from None


def read_npy(path: Any, what: str = "data file") -> Array:
    """Return the array of an .npy file; a large one is mapped.

    Raises:
        BadInput: no such file, damaged, no .npy file, or of another size than it says.
    """
    name = check_regular(path, what)
    try:
        with open(name, "rb") as file:
            header = _header(file)
            _check_size(header, os.fstat(file.fileno()).st_size - header.size)
            if header.nbytes >= MAP_FROM:
                return header.shaped(_mapped(file, header.size, header.nbytes))
            return header.shaped(_filled(file, header.nbytes))
    except (_Bad, OSError, ValueError) as error:
        expected = error.expected if isinstance(error, _Bad) else _PLAIN
        raise _refusal(what, name, str(error), expected) from None


def _refusal(what: str, name: str, found: str, expected: str) -> BadInput:
    return BadInput(f"{what} {name!r} cannot be read", expected=expected, found=found[:200],
                    fix="save it again with numpy.savez_compressed")


def _members(name: str, file: IO[bytes], wanted: Collection[str]) -> dict[str, Array]:
    """Return the arrays of an open .npz file."""
    found: dict[str, Array] = {}
    with zipfile.ZipFile(file) as archive:
        _check_count(file, len(archive.infolist()))
        for info in archive.infolist():
            _check_name(file, info)
            label = info.filename.removesuffix(".npy")
            if label in found:
                raise _Bad(f"two arrays named {label[:80]!r}")
            # Arrays of other names (class names, users ...) may be of any type: not read.
            found[label] = _member(file, archive, info) if label in wanted else np.empty(0)
    return found


def _check_count(file: IO[bytes], found: int) -> None:
    """Check that an archive has as many members as its end says: zipfile does not look there."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - _MOST_END, 0))
    end = file.read()
    (said,) = struct.unpack_from("<H", end, end.rfind(b"PK\5\6") + 10)
    if said not in (found, _COUNT_ELSEWHERE):
        raise _Bad(f"{found} arrays in an archive of {said}")


def _check_name(file: IO[bytes], info: zipfile.ZipInfo) -> None:
    """Check that a member has one name in the directory and before its bytes, also if not read."""
    file.seek(info.header_offset + 26)
    (length,) = struct.unpack("<Hxx", file.read(4))
    name = info.orig_filename.encode("utf-8" if info.flag_bits & _UTF8 else "cp437")
    found = file.read(length)
    if found != name:
        raise _Bad(f"a member that is called {name[:80]!r} and {found[:80]!r}")


def _member(file: IO[bytes], archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    """Return one array of an archive."""
    try:
        with archive.open(info) as stream:
            header = _header(stream)
            _check_size(header, info.file_size - header.size)
            plain = info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1
            if not plain or header.nbytes < MAP_FROM:
                left = free_bytes()
                if header.nbytes > left:
                    raise _Bad(f"{info.filename!r} of {header.nbytes} bytes, {left} are free",
                               "arrays that memory holds; large ones are read in parts if they "
                               "are saved by numpy.savez or as .npy files")
                return header.shaped(_filled(stream, header.nbytes))
    except _Bad as bad:
        raise _Bad(f"{info.filename[:80]!r}: {bad}", bad.expected) from None
    whole = _mapped(file, _body(file, info), info.file_size)
    total = 0
    for begin in range(0, len(whole), _CHUNK):
        total = zlib.crc32(whole[begin : begin + _CHUNK].tobytes(), total)
    if total != info.CRC:
        raise _Bad(f"{info.filename!r} with a wrong checksum")
    return header.shaped(whole[header.size :])


def _body(file: IO[bytes], info: zipfile.ZipInfo) -> int:
    """Return where the bytes of a stored member begin: behind its local header, name and extras."""
    file.seek(info.header_offset)
    local = file.read(30)
    name, extra = struct.unpack("<HH", local[26:30])
    return int(info.header_offset + 30 + name + extra)


def _header(stream: IO[bytes]) -> _Header:
    """Read the header of an .npy file.

    Raises:
        _Bad: there is none, or not of a plain array.
    """
    start = stream.read(len(_MAGIC) + 2)
    if len(start) < len(_MAGIC) + 2 or start[:-2] != _MAGIC or start[-2] not in (1, 2, 3):
        raise _Bad("no .npy array")
    width = 2 if start[-2] == 1 else 4
    size = int.from_bytes(stream.read(width), "little")
    if size > _MOST_HEADER:
        raise _Bad(f"a header of {size} bytes")
    text = stream.read(size)
    if len(text) < size or sum(map(text.count, (b"(", b"[", b"{"))) > _MOST_BRACKETS:
        raise _Bad("a malformed header")
    try:
        values = ast.literal_eval(text.decode("utf-8" if start[-2] == 3 else "latin-1").strip())
        shape, fortran = values["shape"], values["fortran_order"]
        dtype = np.dtype(values["descr"] if isinstance(values["descr"], str) else object)
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError):
        raise _Bad("a malformed header") from None
    odd = dtype.hasobject or dtype.fields is not None or dtype.subdtype is not None
    if odd or not dtype.itemsize:
        raise _Bad("an array of Python objects or records")
    plain = isinstance(shape, tuple) and len(shape) <= _MOST_AXES and all(
        type(length) is int and 0 <= length < 1 << 62 for length in shape)
    if not plain or not isinstance(fortran, bool):
        raise _Bad("a malformed header")
    return _Header(dtype, shape, fortran, len(start) + width + size)


def _check_size(header: _Header, found: int) -> None:
    """Raise :class:`_Bad` unless as many bytes follow as the header says."""
    if header.nbytes != found or header.nbytes >= 1 << 62:
        raise _Bad(f"{max(found, 0)} bytes for an array {header.shape} of {header.dtype}",
                   f"{header.nbytes} bytes")


def _filled(stream: IO[bytes], nbytes: int) -> Array:
    """Return the next bytes of a stream, uint8.

    Raises:
        _Bad: there are fewer, or memory does not hold them.
    """
    try:
        out = np.empty(nbytes, np.uint8)
    except MemoryError:
        raise _Bad(f"an array of {nbytes} bytes", "one that memory holds") from None
    done = 0
    while done < nbytes:
        part = stream.read(min(_CHUNK, nbytes - done))
        if not part:
            raise _Bad(f"{done} bytes", f"{nbytes} bytes")
        out[done : done + len(part)] = np.frombuffer(part, np.uint8)
        done += len(part)
    # To its end, where the checksum is compared.
    if stream.read(1):
        raise _Bad("more bytes than the array has")
    return out


def _mapped(file: IO[bytes], offset: int, nbytes: int) -> Array:
    """Return bytes of a file as a read-only map, uint8."""
    try:
        start = offset - offset % mmap.ALLOCATIONGRANULARITY
        space = mmap.mmap(file.fileno(), nbytes + offset - start, access=mmap.ACCESS_READ,
                          offset=start)
    except (ValueError, OSError, MemoryError) as error:
        raise _Bad(f"{nbytes} bytes that cannot be mapped ({error})") from None
    return np.frombuffer(space, np.uint8, nbytes, offset - start)
