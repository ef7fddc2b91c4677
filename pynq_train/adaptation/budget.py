"""What an adaptation may take: bytes of device memory, seconds on the board."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from pynq_train.errors import BadInput

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20,
          "gib": 1 << 30}
_BYTES = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")


@dataclass(frozen=True)
class Budget:
    """Limits of an adaptation.

    Attributes:
        memory: bytes of device memory, None for all that the board has.
        seconds: of engine and processor for the whole adaptation, None for any.
    """

    memory: int | None = None
    seconds: float | None = None

    @classmethod
    def of(cls, memory: Any, seconds: Any) -> Budget:
        """Return the budget that a user gives.

        Args:
            memory: a number of bytes, or a text such as ``2 MB`` or ``512 KiB``; None for no limit.
            seconds: a number, None for no limit.

        Raises:
            BadInput: it is neither, or not above 0.
        """
        return cls(None if memory is None else _bytes_of(memory),
                   None if seconds is None else _positive("seconds", seconds, "a number above 0"))

    def exceeded(self, nbytes: int, seconds: float) -> str:
        """Return what does not fit, for people; empty if all does."""
        over = []
        if self.memory is not None and nbytes > self.memory:
            over.append(f"{bytes_text(nbytes)} of memory, {bytes_text(self.memory)} allowed")
        if self.seconds is not None and seconds > self.seconds:
            over.append(f"{seconds_text(seconds)}, {seconds_text(self.seconds)} allowed")
        return " and ".join(over)

    def __str__(self) -> str:
        """Return the limits for people."""
        parts = [bytes_text(self.memory)] if self.memory is not None else []
        parts += [seconds_text(self.seconds)] if self.seconds is not None else []
        return " and ".join(parts) or "no limit"


def _bytes_of(given: Any) -> int:
    """Return a number of bytes, whole, from a number or a text."""
    wanted = "a number of bytes above 0, or a text such as '2 MB' or '512 KiB'"
    if not isinstance(given, str):
        return int(_positive("memory", given, wanted))
    match = _BYTES.fullmatch(given)
    if match is None or match[2].lower() not in _UNITS:
        raise BadInput("memory", expected=wanted, found=repr(given)[:80])
    return int(_positive("memory", float(match[1]) * _UNITS[match[2].lower()], wanted))


def _positive(what: str, given: Any, wanted: str) -> float:
    try:
        value = float(given)
    except (TypeError, ValueError):
        value = math.nan
    if isinstance(given, (bool, str)) or not value > 0 or math.isinf(value):
        raise BadInput(what, expected=wanted, found=repr(given)[:80])
    return value


def bytes_text(nbytes: int) -> str:
    """Return bytes for people: ``0.453 MB``."""
    return f"{nbytes / 1e6:.3f} MB"


def seconds_text(seconds: float) -> str:
    """Return seconds for people: ``0.29 s``, ``12 s``."""
    return f"{seconds:.3g} s"
