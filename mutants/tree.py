"""Copies of the project for mutants: nothing is ever changed in the working tree."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

_LEFT_OUT = (".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", ".pytest_cache",
             ".mypy_cache", ".ruff_cache", ".hypothesis", "obj_dir", "sim_build")
_AGE = 10
"""Seconds between the time stamps of a file's texts: Python takes bytecode by whole seconds."""


class Tree:
    """A copy of the project with at most one mutated file."""

    def __init__(self, folder: Path) -> None:
        """Take the copy in ``folder``."""
        self.folder = folder
        self._changed: tuple[Path, bytes, float] | None = None
        self._texts = 0

    def refresh(self, source: Path) -> None:
        """Make the copy equal to the project in ``source``; equal files keep their time stamps."""
        fresh = self.folder.with_name(f"{self.folder.name}-fresh")
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(source, fresh, ignore=shutil.ignore_patterns(*_LEFT_OUT), symlinks=True)
        if (source / ".venv").exists():
            (fresh / ".venv").symlink_to((source / ".venv").resolve())
        shutil.rmtree(self.folder, ignore_errors=True)
        fresh.rename(self.folder)
        self._changed = None

    def change(self, module: str, text: str) -> None:
        """Replace a file's text until ``restore``.

        Raises:
            RuntimeError: another file is changed.
        """
        if self._changed is not None:
            raise RuntimeError(f"{self._changed[0]} is changed already; expected restore() first")
        path = self.folder / module
        self._changed = path, path.read_bytes(), path.stat().st_mtime
        self._texts += 1
        path.write_text(text, encoding="utf-8")
        stamp = self._changed[2] + _AGE * self._texts
        os.utime(path, (stamp, stamp))

    def restore(self) -> None:
        """Bring the changed file back."""
        if self._changed is not None:
            path, text, stamp = self._changed
            path.write_bytes(text)
            os.utime(path, (stamp, stamp))
            self._changed = None


def digest(path: Path) -> str:
    """Return the digest of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
