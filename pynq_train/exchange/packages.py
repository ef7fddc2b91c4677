"""Packages that only an import or export needs; the board has none of them."""

from __future__ import annotations

import importlib
from typing import Any

from pynq_train.errors import MissingTool


def need(package: str, what: str) -> Any:
    """Import and return ``package``; :class:`MissingTool` says that ``what`` needs it."""
    try:
        return importlib.import_module(package)
    except ImportError:
        root = package.split(".")[0]
        raise MissingTool(f"{what} needs the package {root!r}", expected=root, found="none",
                          fix=f"run: pip install {root}") from None
