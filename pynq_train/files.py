"""Files that are written as a whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pynq_train.errors import BadInput


def write_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file so that a reader sees all of it or the one before, whatever happens.

    Raises:
        BadInput: the folder does not exist or is not writable.
    """
    target = Path(path)
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise BadInput(f"cannot write {os.fspath(path)!r} ({error.strerror})",
                       fix="choose an existing, writable folder") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise BadInput(f"cannot write {os.fspath(path)!r} ({error.strerror})",
                           fix="check the free space and the name") from None
        raise
