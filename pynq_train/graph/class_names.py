"""What a name of a class may be."""

from __future__ import annotations

from typing import Any

from pynq_train.errors import BadInput

MOST_NAME = 200
"""Longest name of a class."""


def checked_names(names: Any, classes: int) -> tuple[str, ...]:
    """Return the names of the first of ``classes`` classes, a list or tuple of text.

    Raises:
        BadInput: they are something else, or more; one is empty, too long, cannot be printed, or
            comes twice.
    """
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise BadInput("class names", expected="a list of text", found=repr(names)[:80])
    names = tuple(names)
    if len(names) > classes:
        raise BadInput("class names", expected=f"at most {classes}", found=len(names))
    for name in names:
        if not name or len(name) > MOST_NAME or not name.isprintable():
            raise BadInput("class name", expected=f"1 to {MOST_NAME} characters that can be "
                           "printed", found=repr(name)[:80])
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadInput("class names", expected="names that differ", found=f"{twice!r} twice")
    return names
