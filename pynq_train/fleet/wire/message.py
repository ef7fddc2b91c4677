"""Messages as bytes: a digest, a JSON header, and the arrays that it describes.

::

    "PTF1"  SHA-256 of all that follows  length of the header (uint32)  header  arrays, in order

Integers and arrays are little-endian. The header is checked against a schema before an array is
looked at; no field of it decides what memory is asked for. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pynq_train.arrays import Array
from pynq_train.errors import BadInput, BadMessage
from pynq_train.files.read import parse_json
from pynq_train.files.schema import Items, Record, Text, Whole
from pynq_train.fleet.wire.plain import Plain

Values = dict[str, Any]
"""Plain values by name: texts, numbers, true, false, nothing, lists and tables of such."""
Arrays = dict[str, Array]
"""Arrays by name."""

REQUEST, ANSWER, ERROR = "request", "answer", "error"
MOST_BYTES = 1 << 26
"""Bytes of a message where nothing else is said: masters of 16 million weights."""

_MAGIC = b"PTF1"
_DIGEST = 32
_LENGTH = struct.Struct("<I")
_FRONT = len(_MAGIC) + _DIGEST + _LENGTH.size
_MOST_HEADER = 1 << 20
_MOST_ARRAYS = 4096
_MOST_AXES = 8
_DTYPES = {"bool": np.dtype(np.bool_), **{
    name: np.dtype(name).newbyteorder("<") for name in (
        "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32",
        "float64")}}
_HEAD = Record({
    "kind": Text(among=(REQUEST, ANSWER, ERROR)),
    "name": Text(200),
    "session": Text(64),
    "number": Whole(0, 1 << 62),
    "values": Plain(),
    "arrays": Items(Record({
        "name": Text(200),
        "dtype": Text(among=tuple(_DTYPES)),
        "shape": Items(Whole(0, 1 << 40), most=_MOST_AXES),
    }), most=_MOST_ARRAYS),
})


@dataclass(frozen=True)
class Message:
    """A request, its answer, or the error that stands for one.

    Attributes:
        kind: ``REQUEST``, ``ANSWER`` or ``ERROR``.
        name: what is asked for; an answer repeats it.
        values: plain values by name.
        arrays: arrays by name, of integers, float32, float64 or bool.
        session: what a member has called the coordinator that it works for; empty: none.
        number: counts the requests of a session; an answer repeats it.
    """

    kind: str
    name: str
    values: Values = field(default_factory=dict)
    arrays: Arrays = field(default_factory=dict)
    session: str = ""
    number: int = 0

    def answer(self, values: Values, arrays: Arrays | None = None) -> Message:
        """Return the answer to this request."""
        return replace(self, kind=ANSWER, values=values, arrays=arrays or {})

    def error(self, kind: str, text: str) -> Message:
        """Return the error that answers this request: name of its class, and its text."""
        return replace(self, kind=ERROR, values={"kind": kind[:200], "text": text[:5000]},
                       arrays={})


@dataclass(frozen=True)
class Head:
    """The header of a message whose arrays and digest have not been looked at."""

    message: Message
    arrays: tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...]
    begin: int


def encode(message: Message, most_bytes: int = MOST_BYTES) -> bytes:
    """Return a message as bytes.

    Raises:
        BadMessage: a value is not plain, an array of another type, or the message too large.
    """
    listed, parts = [], []
    for name, array in message.arrays.items():
        plain = np.ascontiguousarray(array).reshape(np.shape(array))
        if plain.dtype.name not in _DTYPES:
            raise BadMessage(_label(message), expected="arrays of " + ", ".join(_DTYPES),
                             found=f"{name!r} of {plain.dtype}")
        little = plain.astype(_DTYPES[plain.dtype.name], copy=False)
        listed.append({"name": name, "dtype": plain.dtype.name, "shape": list(plain.shape)})
        parts.append(little.reshape(-1).view(np.uint8).data)
    try:
        head = _HEAD.check({"kind": message.kind, "name": message.name, "values": message.values,
                            "session": message.session, "number": message.number,
                            "arrays": listed}, _label(message))
    except BadInput as error:
        raise BadMessage(str(error)) from None
    text = json.dumps(head, separators=(",", ":")).encode()
    size = _FRONT + len(text) + sum(map(len, parts))
    if len(text) > _MOST_HEADER or size > most_bytes:
        raise BadMessage(_label(message), found=f"{len(text)} and {size}",
                         expected=f"a header of at most {_MOST_HEADER} bytes and at most "
                         f"{most_bytes} in all", fix="take smaller mini-batches, or more segments")
    digest = hashlib.sha256(_LENGTH.pack(len(text)))
    digest.update(text)
    for part in parts:
        digest.update(part)
    return b"".join([_MAGIC, digest.digest(), _LENGTH.pack(len(text)), text, *parts])


def head_of(data: bytes, most_bytes: int = MOST_BYTES) -> Head:
    """Return the header of a message: enough to know what is asked, at little cost.

    Raises:
        BadMessage: it is malformed, or the message is too large.
    """
    if len(data) > most_bytes:
        raise BadMessage("a message", expected=f"at most {most_bytes} bytes",
                         found=f"{len(data)} bytes")
    if len(data) < _FRONT or data[:len(_MAGIC)] != _MAGIC:
        raise BadMessage("a message", expected=f"at least {_FRONT} bytes that begin with "
                         f"{_MAGIC.decode()}", found=f"{len(data)} bytes that begin with "
                         f"{bytes(data[:4])!r}", fix="use the same release everywhere")
    (length,) = _LENGTH.unpack_from(data, _FRONT - _LENGTH.size)
    if length > _MOST_HEADER or _FRONT + length > len(data):
        raise BadMessage("a message", expected="a header of at most "
                         f"{min(_MOST_HEADER, len(data) - _FRONT)} bytes", found=length)
    begin = _FRONT + length
    try:
        head = _HEAD.check(parse_json(bytes(data[_FRONT:begin])), "header of a message")
        if not isinstance(head["values"], dict):
            raise BadInput("header of a message.values", expected="values by name",
                           found=type(head["values"]).__name__)
    except BadInput as error:
        raise BadMessage(str(error)) from None
    except ValueError as error:
        raise BadMessage("header of a message", expected="JSON", found=str(error)[:100]) from None
    listed = tuple((one["name"], _DTYPES[one["dtype"]], tuple(one["shape"]))
                   for one in head["arrays"])
    if len({name for name, _, _ in listed}) < len(listed):
        raise BadMessage("header of a message.arrays", expected="each name once",
                         found="an array twice")
    size = sum(math.prod(shape) * dtype.itemsize for _, dtype, shape in listed)
    if size != len(data) - begin:
        raise BadMessage("a message", expected=f"{size} bytes of arrays, as its header says",
                         found=len(data) - begin)
    message = Message(head["kind"], head["name"], head["values"], {}, head["session"],
                      head["number"])
    return Head(message, listed, begin)


def decode(data: bytes, most_bytes: int = MOST_BYTES) -> Message:
    """Return the message of bytes; its arrays are copies.

    Raises:
        BadMessage: it is malformed, too large, or its digest is another.
    """
    head = head_of(data, most_bytes)
    view = memoryview(data)
    digest = hashlib.sha256(view[len(_MAGIC) + _DIGEST:]).digest()
    if digest != view[len(_MAGIC):len(_MAGIC) + _DIGEST]:
        raise BadMessage(_label(head.message), expected="the SHA-256 of its contents",
                         found="another one", fix="ask again: it was damaged on its way")
    arrays, at = {}, head.begin
    for name, dtype, shape in head.arrays:
        count = math.prod(shape)
        flat = np.frombuffer(view, dtype, count, at) if count else np.empty(0, dtype)
        try:
            arrays[name] = flat.astype(dtype.newbyteorder("="), copy=True).reshape(shape)
        except ValueError:  # an empty one with axes that NumPy cannot multiply
            raise BadMessage(_label(head.message), expected="axes that NumPy takes",
                             found=f"{name!r} {list(shape)}") from None
        at += count * dtype.itemsize
    return replace(head.message, arrays=arrays)


def _label(message: Message) -> str:
    return f"{message.kind} {message.name[:80]!r}" if isinstance(message.name, str) else "a message"
