"""The schema of plain values: what JSON holds, of bounded size and depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pynq_train.errors import BadInput

_MOST_DEPTH = 8
_MOST_ITEMS = 10_000
_MOST_TEXT = 100_000
_MOST_NAME = 200
_MOST_WHOLE = 1 << 63


@dataclass(frozen=True)
class Plain:
    """Texts, numbers (NaN too: a loss may be none), true, false and nothing, in lists and tables.

    A NumPy number is refused: ``json`` would not write it, and nobody shall guess its type.
    """

    def check(self, value: Any, where: str, depth: int = 0) -> Any:
        """Return the value.

        Args:
            value: of a header.
            where: its place, for messages.
            depth: of the place.

        Raises:
            BadInput: it is something else, or too large.
        """
        if depth > _MOST_DEPTH:
            raise BadInput(where, expected=f"values that are nested at most {_MOST_DEPTH} deep",
                           found="deeper ones")
        if value is None or type(value) in (bool, float):
            return value
        if type(value) is int and -_MOST_WHOLE <= value < _MOST_WHOLE:
            return value
        if type(value) is str and len(value) <= _MOST_TEXT:
            return value
        if type(value) in (list, tuple) and len(value) <= _MOST_ITEMS:
            return [self.check(one, f"{where}[{at}]", depth + 1) for at, one in enumerate(value)]
        if type(value) is dict and len(value) <= _MOST_ITEMS:
            return {self._name(name, where): self.check(one, f"{where}.{name}", depth + 1)
                    for name, one in value.items()}
        raise BadInput(where, expected="a text, a number of 64 bits, true, false, nothing, or a "
                       f"list or table of such with at most {_MOST_ITEMS} items",
                       found=_shown(value))

    @staticmethod
    def _name(name: Any, where: str) -> str:
        if type(name) is not str or len(name) > _MOST_NAME:
            raise BadInput(where, expected=f"names that are texts of at most {_MOST_NAME} "
                           "characters", found=_shown(name))
        return name


def _shown(value: Any) -> str:
    """Return a value's type, and itself if it is short."""
    if type(value) is int:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, (str, list, tuple, dict)):
        return f"{type(value).__name__} of length {len(value)}"
    return type(value).__name__
