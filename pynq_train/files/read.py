"""Reading whole files, and JSON in them, that others may have damaged or made on purpose."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from pynq_train.errors import BadInput

_KINDS = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device",
          stat.S_IFBLK: "a device"}


def path_text(path: Any, what: str = "file") -> str:
    """Return a path as text.

    Args:
        path: text, bytes or an ``os.PathLike``.
        what: names the file in the error's text.

    Raises:
        BadInput: it is no path, is empty, or holds a zero character.
    """
    try:
        name = os.fsdecode(path)
    except TypeError:
        raise BadInput(f"{what}: its path", expected="a path", found=repr(path)[:80]) from None
    if not name or "\0" in name:
        raise BadInput(f"{what}: its path", expected="a name without zero characters",
                       found=repr(name)[:80])
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        raise BadInput(f"{what}: its path", expected="characters that a file name can hold",
                       found=ascii(name)[:80]) from None
    return name


def check_regular(path: Any, what: str) -> str:
    """Return a path as text; ``what`` names the file in messages.

    Raises:
        BadInput: no such file, a folder, or a device or FIFO, which need not ever end.
    """
    name = path_text(path, what)
    try:
        mode = os.stat(name).st_mode
    except FileNotFoundError:
        raise BadInput(f"{what} {name!r} does not exist", fix="check the path") from None
    except OSError as error:
        raise BadInput(f"{what} {name!r} cannot be read ({error.strerror})",
                       fix="check the path") from None
    if stat.S_ISDIR(mode):
        raise BadInput(f"{what} {name!r} cannot be read (Is a directory)", fix="check the path")
    if not stat.S_ISREG(mode):
        raise BadInput(f"{what} {name!r}", expected="a regular file",
                       found=_KINDS.get(stat.S_IFMT(mode), "something else"),
                       fix="copy its contents to a file first")
    return name


def read_bytes(path: Any, what: str) -> bytes:
    """Return what a file holds.

    Args:
        path: the file.
        what: names it in messages, such as ``model file``.

    Raises:
        BadInput: no such file, no regular one, not readable, or larger than memory.
    """
    name = check_regular(path, what)
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise BadInput(f"{what} {name!r} cannot be read ({error.strerror})",
                       fix="check its rights") from None
    except MemoryError:
        raise BadInput(f"{what} {name!r}", expected="a file that memory holds",
                       found=f"{os.path.getsize(name)} bytes") from None


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is none, or is nested too deep for anything that this package writes.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("JSON that is nested too deep") from None
    except MemoryError:
        raise ValueError("JSON that memory does not hold") from None
