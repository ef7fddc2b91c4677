"""A case of the fuzzer, what may come of it, and values that people and damage put anywhere."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

NESTED: list[Any] = []
for _ in range(300):
    NESTED = [NESTED]
JSON_VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 127, 10**6, 10**30, -(10**30), 1.5, float("nan"), float("inf"),
    "", "x", "8", "\0", "a" * 20_000, [], [[]], [1], ["x"], {}, {"a": 1}, NESTED)
"""What can stand in JSON."""
VALUES: tuple[Any, ...] = (
    *JSON_VALUES, (), (1,), (1, 2, 3, 4, 5), b"8", object(), int, len, 2 + 1j, {1}, range(3),
    np.float32(1.5), np.int64(-1), np.nan, np.array([]), np.array([1, 2]), np.array(["a"]),
    np.array({}, object), np.datetime64("now"))
"""What can be passed to a function."""


class Unrefused(Exception):
    """An input that the documented rules refuse was taken."""


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes:
        text: what was done to it.
        action: uses it.
        refused: the documented rules refuse it; None where either is right.
    """

    text: str
    action: Callable[[], Any]
    refused: bool | None = None


@dataclass(frozen=True)
class Bench:
    """Where cases are made.

    Attributes:
        folder: for their files.
        draw: random choices of this case.
        good: contents of good files by name, made once.
    """

    folder: Path
    draw: random.Random
    good: dict[str, Any]

    def file(self, name: str, data: bytes) -> str:
        """Write a file and return its path."""
        path = self.folder / name
        path.write_bytes(data)
        return str(path)


def damaged(draw: random.Random, data: bytes) -> tuple[bytes, str]:
    """Return bytes with some bits turned, cut off, put in, doubled; and what was done."""
    out, at = bytearray(data), draw.randrange(max(len(data), 1))
    kind = draw.choice(("bits", "bits", "cut", "zeros", "insert", "twice", "empty", "ones"))
    if kind == "bits":
        for _ in range(draw.choice((1, 1, 1, 5, 50))):
            out[draw.randrange(len(out))] ^= 1 << draw.randrange(8)
    elif kind == "cut":
        del out[at:]
    elif kind in ("zeros", "ones"):
        out[at : at + 8] = (b"\0" if kind == "zeros" else b"\xff") * len(out[at : at + 8])
    elif kind == "insert":
        out[at:at] = draw.randbytes(draw.randint(1, 9))
    elif kind == "twice":
        out += data
    else:
        out = bytearray()
    return bytes(out), f"{kind} at {at}"


def changed(draw: random.Random, tree: Any, values: tuple[Any, ...] = JSON_VALUES
            ) -> tuple[Any, str, Any, Any]:
    """Return a tree of JSON with one value replaced or left out: tree, place, old and new value."""
    tree = copy.deepcopy(tree)
    places: list[tuple[Any, Any, str]] = []

    def walk(node: Any, text: str) -> None:
        for key, one in (node.items() if isinstance(node, dict) else enumerate(node)):
            places.append((node, key, f"{text}.{key}"))
            if isinstance(one, (dict, list)):
                walk(one, f"{text}.{key}")

    walk(tree, "")
    node, key, text = draw.choice(places)
    old = node[key]
    if isinstance(node, dict) and draw.random() < 0.1:
        del node[key]
        return tree, f"{text} left out", old, ...
    new = copy.deepcopy(draw.choice(values))
    node[key] = new
    return tree, f"{text} = {repr(new)[:40]}", old, new
