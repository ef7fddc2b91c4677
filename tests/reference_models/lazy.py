"""Packages that take seconds to import, and that most test runs never use."""

from __future__ import annotations

import importlib
from typing import Any


class Lazy:
    """A module that is imported when something in it is asked for first.

    Collecting tests imports all test files: with this, PyTorch and Keras are imported by the tests
    that use them, and only by them.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_") or "pytest" in attribute:  # pytest looks for its own marks
            raise AttributeError(attribute)
        return getattr(importlib.import_module(self._name), attribute)
