"""What a name of a class may be."""

from __future__ import annotations

from pynq_train.errors import BadInput

MOST_NAME = 200
"""Longest name of a class."""


def checked_names(names: tuple[str, ...], classes: int) -> tuple[str, ...]:
    """Return the names of the first of ``classes`` classes.

    Raises:
        BadInput: there are more; one is empty, too long, cannot be printed, or comes twice.
    """
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
