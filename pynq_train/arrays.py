"""Types of NumPy arrays that the whole package uses; docstrings give their shapes and dtypes."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
"""An array of any dtype: where the dtype is fixed, the docstring says so."""
