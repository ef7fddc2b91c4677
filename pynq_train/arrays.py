"""Types of NumPy arrays that the whole package uses; docstrings give their shapes and dtypes.

And NumPy's scalars as numbers: whoever computes a batch size or a rate with NumPy may pass it.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

Array = NDArray[Any]
"""An array of any dtype: where the dtype is fixed, the docstring says so."""


def plain(value: Any) -> Any:
    """Return a scalar of NumPy as Python's number, and anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def plain_fields(record: T) -> T:
    """Return a frozen dataclass with :func:`plain` values; itself, if it has no others."""
    changed = {one.name: plain(getattr(record, one.name)) for one in fields(record)  # type: ignore[arg-type]
               if isinstance(getattr(record, one.name), np.generic)}
    return replace(record, **changed) if changed else record  # type: ignore[type-var]


def set_plain_fields(record: Any) -> None:
    """Replace the scalars of NumPy in a frozen dataclass that is being made."""
    for one in fields(record):
        value = getattr(record, one.name)
        if isinstance(value, np.generic):
            object.__setattr__(record, one.name, value.item())
