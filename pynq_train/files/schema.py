"""Schemas of structures from files: types and bounds are checked before anything is used.

Plain code, since boards have NumPy alone. A schema is built of the classes below and is asked by
``check(value, where)``, which returns the value or raises :class:`BadInput` with its place.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pynq_train.errors import BadInput

MOST_TEXT = 10_000
"""Characters of a text, and items of a list, where nothing else is said: what people write."""


class Schema(Protocol):
    """What a value has to be."""

    def check(self, value: Any, where: str) -> Any:
        """Return ``value``.

        Args:
            value: of a file.
            where: its place, for messages.

        Raises:
            BadInput: it is something else.
        """
        ...


def _wrong(where: str, expected: str, value: Any) -> BadInput:
    """Return the error for a value; long values are cut."""
    text = repr(value) if isinstance(value, (int, float, str, type(None))) else type(value).__name__
    return BadInput(where, expected=expected, found=text if len(text) <= 60 else text[:57] + "...")


@dataclass(frozen=True)
class Whole:
    """An integer of ``low`` to ``high``; a bool is none."""

    low: int
    high: int

    def check(self, value: Any, where: str) -> int:
        """Return the integer; see :class:`Schema`."""
        if type(value) is not int or not self.low <= value <= self.high:
            raise _wrong(where, f"an integer of {self.low} to {self.high}", value)
        return value


@dataclass(frozen=True)
class Number:
    """A number of ``low`` to ``high``; ``any_float``: NaN and infinity too."""

    low: float = -math.inf
    high: float = math.inf
    any_float: bool = False

    def check(self, value: Any, where: str) -> float:
        """Return the number as a float; see :class:`Schema`."""
        ok = isinstance(value, (int, float)) and not isinstance(value, bool)
        if ok and isinstance(value, float) and not math.isfinite(value):
            ok = self.any_float
        if not ok or (value < self.low or value > self.high) or (abs(value) > 1e308 and (
                isinstance(value, int))):
            bounds = "" if math.isinf(self.low) else f" of {self.low} to {self.high}"
            raise _wrong(where, f"a number{bounds}", value)
        return float(value)


@dataclass(frozen=True)
class Text:
    """A text of at most ``most`` characters, or one of ``among``."""

    most: int = MOST_TEXT
    among: Collection[str] = ()

    def check(self, value: Any, where: str) -> str:
        """Return the text; see :class:`Schema`."""
        if not isinstance(value, str) or len(value) > self.most:
            raise _wrong(where, f"a text of at most {self.most} characters", value)
        if self.among and value not in self.among:
            raise _wrong(where, "one of " + ", ".join(self.among), value)
        return value


@dataclass(frozen=True)
class Flag:
    """True or False."""

    def check(self, value: Any, where: str) -> bool:
        """Return it; see :class:`Schema`."""
        if not isinstance(value, bool):
            raise _wrong(where, "true or false", value)
        return value


@dataclass(frozen=True)
class Anything:
    """Any value of JSON: somebody else has to look at it."""

    def check(self, value: Any, where: str) -> Any:
        """Return the value."""
        return value


@dataclass(frozen=True)
class Maybe:
    """``of``, or nothing."""

    of: Schema

    def check(self, value: Any, where: str) -> Any:
        """Return the value; see :class:`Schema`."""
        return None if value is None else self.of.check(value, where)


@dataclass(frozen=True)
class Either:
    """``one`` for a text, ``other`` for anything else."""

    one: Schema
    other: Schema

    def check(self, value: Any, where: str) -> Any:
        """Return the value; see :class:`Schema`."""
        return (self.one if isinstance(value, str) else self.other).check(value, where)


@dataclass(frozen=True)
class Items:
    """A list of ``least`` to ``most`` values."""

    of: Schema
    least: int = 0
    most: int = MOST_TEXT

    def check(self, value: Any, where: str) -> list[Any]:
        """Return the list; see :class:`Schema`."""
        if not isinstance(value, list):
            raise _wrong(where, "a list", value)
        if not self.least <= len(value) <= self.most:
            raise BadInput(where, expected=f"a list of {self.least} to {self.most} values",
                           found=f"one of {len(value)}")
        return [self.of.check(one, f"{where}[{at}]") for at, one in enumerate(value)]


@dataclass(frozen=True)
class Table:
    """Values of one kind under any names."""

    of: Schema
    most: int = MOST_TEXT

    def check(self, value: Any, where: str) -> dict[str, Any]:
        """Return the table; see :class:`Schema`."""
        if not isinstance(value, dict) or len(value) > self.most:
            raise _wrong(where, f"at most {self.most} values by name", value)
        return {name: self.of.check(one, f"{where}.{name[:80]}") for name, one in value.items()}


@dataclass(frozen=True)
class Record:
    """Values under known names.

    Attributes:
        fields: what each name has.
        optional: names that may be missing.
        open: other names are allowed, and left out.
    """

    fields: Mapping[str, Schema]
    optional: Collection[str] = field(default=())
    open: bool = False

    def check(self, value: Any, where: str) -> dict[str, Any]:
        """Return the values of the known names that are there; see :class:`Schema`."""
        if not isinstance(value, dict):
            raise _wrong(where, "values by name", value)
        missing = [name for name in self.fields if name not in value and name not in self.optional]
        odd = [str(name)[:80] for name in value if name not in self.fields]
        if missing or (odd and not self.open):
            if missing:
                raise BadInput(where, expected=", ".join(missing), found="nothing of these names")
            raise BadInput(where, expected=", ".join(self.fields),
                           found="also " + ", ".join(odd[:5]))
        return {name: schema.check(value[name], f"{where}.{name}")
                for name, schema in self.fields.items() if name in value}
