"""Messages: every value and array comes back as it was; whatever is damaged is a typed error."""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
from typing import Any

import numpy as np
import pytest

from pynq_train.errors import BadMessage
from pynq_train.fleet.wire import ANSWER, REQUEST, Message, decode, encode, head_of

DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
          "float32", "float64")


def drawn(rng: np.random.Generator) -> Message:
    arrays = {}
    for at in range(int(rng.integers(0, 6))):
        shape = tuple(int(n) for n in rng.integers(0, 5, int(rng.integers(0, 5))))
        dtype = DTYPES[int(rng.integers(len(DTYPES)))]
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        raw = rng.integers(0, 2 if dtype == "bool" else 256, size).astype(np.uint8).tobytes()
        arrays[f"a{at}"] = np.frombuffer(raw, dtype).reshape(shape)
    values = {"k": int(rng.integers(-1 << 62, 1 << 62)), "loss": float(rng.standard_normal()),
              "text": "ä\n\"", "flag": True, "none": None, "list": [1, [2.5, {"x": "y"}]]}
    return Message(REQUEST, "forward", values, arrays, "s1", int(rng.integers(0, 1 << 40)))


def test_messages_come_back_as_they_were(rng: np.random.Generator) -> None:
    for _ in range(100):
        sent = drawn(rng)
        got = decode(encode(sent))
        assert (got.kind, got.name, got.values, got.session, got.number) == (
            sent.kind, sent.name, sent.values, sent.session, sent.number)
        assert list(got.arrays) == list(sent.arrays)
        for name, array in sent.arrays.items():
            assert got.arrays[name].dtype == array.dtype
            assert got.arrays[name].shape == array.shape
            assert got.arrays[name].tobytes() == array.tobytes()
            assert got.arrays[name].flags.writeable


def test_views_and_foreign_byte_orders_arrive_as_plain_arrays() -> None:
    big = np.arange(12, dtype=">i4").reshape(3, 4)
    turned = np.asfortranarray(np.arange(12, dtype=np.int16).reshape(3, 4))[:, ::2]
    got = decode(encode(Message(ANSWER, "x", arrays={"big": big, "turned": turned}))).arrays
    assert np.array_equal(got["big"], big) and got["big"].dtype == np.int32
    assert np.array_equal(got["turned"], turned) and got["turned"].flags.c_contiguous


def test_no_number_is_rounded() -> None:
    values = {"a": 0.1 + 0.2, "b": 5e-324, "c": float("inf"), "d": -(1 << 63), "n": float("nan")}
    got = decode(encode(Message(ANSWER, "x", values))).values
    assert np.isnan(got.pop("n")) and got == {k: v for k, v in values.items() if k != "n"}


@pytest.mark.parametrize(("message", "text"), [
    (Message(REQUEST, "x", {"n": np.int32(3)}), "'x'.values.n: expected a text, a number .* int32"),
    (Message(REQUEST, "x", {"n": 1 << 63}), "integer of 64 bits"),
    (Message(REQUEST, "x", {3: 1}), "expected names that are texts"),  # type: ignore[dict-item]
    (Message(REQUEST, "x", {"n": object()}), "found object"),
    (Message(REQUEST, "x", {"n": {"a": [[[[[[[[1]]]]]]]]}}), "nested at most 8 deep"),
    (Message(REQUEST, "x", arrays={"a": np.array([None])}), "arrays of bool, .* 'a' of object"),
    (Message(REQUEST, "x", arrays={"a": np.zeros(2, "M8[s]")}), "arrays of bool"),
    (Message(REQUEST, "x", arrays={"a": np.zeros(2, np.complex64)}), "'a' of complex64"),
    (Message(REQUEST, "x" * 201), "text of at most 200 characters"),
    (Message("letter", "x"), "one of request, answer, error, found 'letter'"),
    (Message(REQUEST, "x", number=-1), "number: expected an integer of 0 to"),
    (Message(REQUEST, "x", arrays={"a": np.zeros((1,) * 9)}), "list of 0 to 8 values"),
])
def test_what_is_not_plain_is_not_sent(message: Message, text: str) -> None:
    with pytest.raises(BadMessage, match=text):
        encode(message)


def test_a_message_that_is_too_large_is_neither_sent_nor_read() -> None:
    message = Message(REQUEST, "x", arrays={"a": np.zeros(1000, np.int16)})
    with pytest.raises(BadMessage, match=r"at most 2000 in all, found \d+ and \d+; take smaller"):
        encode(message, most_bytes=2000)
    with pytest.raises(BadMessage, match="expected at most 2000 bytes, found"):
        decode(encode(message), most_bytes=2000)


def test_every_damaged_byte_is_noticed(rng: np.random.Generator) -> None:
    data = encode(Message(REQUEST, "forward", {"k": 3}, {"y": np.arange(9, dtype=np.int16)}))
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << int(rng.integers(8))
        with pytest.raises(BadMessage):
            decode(bytes(damaged))
    for length in range(len(data)):
        with pytest.raises(BadMessage):
            decode(data[:length])
    with pytest.raises(BadMessage):
        decode(data + b"\0")


def made(header: Any, body: bytes = b"", *, raw: bytes | None = None) -> bytes:
    """A message with a right digest and any header: what a hostile peer would send."""
    text = json.dumps(header).encode() if raw is None else raw
    rest = struct.pack("<I", len(text)) + text + body
    return b"PTF1" + hashlib.sha256(rest).digest() + rest


def header(**changes: Any) -> dict[str, Any]:
    return {"kind": REQUEST, "name": "x", "session": "", "number": 0, "values": {}, "arrays": [],
            **changes}


def one(dtype: Any, shape: Any) -> list[dict[str, Any]]:
    return [{"name": "a", "dtype": dtype, "shape": shape}]


def test_the_helper_makes_good_messages() -> None:
    got = decode(made(header(arrays=one("int16", [2])), b"\1\0\2\0"))
    assert got.arrays["a"].tolist() == [1, 2]


@pytest.mark.parametrize(("data", "text"), [
    (made(header(arrays=one("object", [1])), b"\0" * 8), "dtype: expected one of bool, int8"),
    (made(header(arrays=one("int16", [1 << 40, 1 << 40])), b"\0" * 8), "bytes of arrays, as its"),
    (made(header(arrays=one("int16", [-1])), b"\0" * 8), r"shape\[0\]: expected an integer of 0"),
    (made(header(arrays=one("int16", [2.0])), b"\0" * 4), r"shape\[0\]: expected an integer"),
    (made(header(arrays=one("int16", [True])), b"\0" * 2), r"shape\[0\]: expected an integer"),
    (made(header(arrays=one("int16", [1]) * 2), b"\0" * 4), "each name once"),
    (made(header(arrays=one("int16", [3])), b"\0" * 5), "6 bytes of arrays, .* found 5"),
    (made(header(arrays=one("int16", [0, 1 << 40, 1 << 40]))), "axes that NumPy takes"),
    (made(header(kind="eval")), "one of request, answer, error"),
    (made(header(values=[1])), "values by name, found list"),
    (made(header(extra=1)), "found also extra"),
    (made({"kind": REQUEST}), "expected name, session"),
    (made([1]), "header of a message: expected values by name"),
    (made(None, raw=b"[" * 100_000), "expected JSON"),
    (made(None, raw=b'{"kind": "\xff"}'), "expected JSON"),
    (made(None, raw=pickle.dumps({"a": 1})), "expected JSON"),
    (pickle.dumps({"a": 1}), "begin with PTF1"),
    (b"PTF1" + b"\0" * 32 + b"\xff" * 4, "expected a header of at most 0 bytes, found 4294967295"),
    (b"", "found 0 bytes"),
])
def test_hostile_messages_are_refused_in_one_sentence(data: bytes, text: str) -> None:
    with pytest.raises(BadMessage, match=text) as caught:
        decode(data)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_a_header_says_what_is_asked_before_arrays_are_looked_at() -> None:
    data = bytearray(encode(Message(REQUEST, "forward", arrays={"y": np.zeros(9, np.int16)})))
    data[-1] ^= 1
    assert head_of(bytes(data)).message.name == "forward"
    with pytest.raises(BadMessage, match="SHA-256 of its contents, found another one"):
        decode(bytes(data))
