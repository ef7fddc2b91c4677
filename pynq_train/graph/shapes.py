"""Shapes, and checked numbers."""

from __future__ import annotations

from typing import Any

from pynq_train.arrays import plain
from pynq_train.errors import BadInput

Shape = tuple[int, int, int]
"""``(channels, rows, cols)`` of one image."""
_LARGEST = (1 << 31) - 1
"""Largest size of anything: far above what an engine takes, and products still keep in 64 bits."""


def require_int(what: str, value: Any, low: int, high: int | None = None) -> int:
    """Return ``value``, an integer in ``low .. high``; ``what`` names it in the error's text.

    Raises:
        BadInput: it is something else. A bool counts as no integer.
    """
    value = plain(value)
    bound = f"an integer of at least {low}" if high is None else f"an integer in {low}..{high}"
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadInput(what, expected=bound, found=repr(value))
    if value < low or value > (_LARGEST if high is None else high):
        raise BadInput(what, expected=bound, found=f"{value}"[:40])
    return value


def require_number(what: str, value: Any, low: float, high: float) -> None:
    """Check that ``value`` is a number with ``low <= value < high``; ``what`` names it.

    Raises:
        BadInput: it is not. A bool counts as no number.
    """
    value = plain(value)
    ok = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not ok or not low <= value < high:
        raise BadInput(what, expected=f"a number of {low} to below {high}", found=repr(value))
