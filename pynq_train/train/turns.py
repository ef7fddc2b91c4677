"""One caller at a time: threads that share a learner, and processes forked from its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import wraps
from types import TracebackType
from typing import Any, TypeVar, cast

from pynq_train.backends.names import GOLDEN
from pynq_train.errors import BadInput

Method = TypeVar("Method", bound=Callable[..., Any])


class Turns:
    """A lock that its holder may take again, and that a forked process begins anew.

    A fork copies the lock as it is: held by a thread that the new process does not have. Copies and
    pickles of it are new locks.
    """

    def __init__(self) -> None:
        self._lock, self._process = threading.RLock(), os.getpid()

    @property
    def forked(self) -> bool:
        """Whether this process was forked from the one that made the lock, or took it last."""
        return os.getpid() != self._process

    def __enter__(self) -> None:
        if self.forked:
            self._lock, self._process = threading.RLock(), os.getpid()
        self._lock.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type[Turns], tuple[()]]:
        """Return what makes a new lock."""
        return Turns, ()


def in_turn(method: Method) -> Method:
    """Make the calls of a method wait for each other, and for others of the same object.

    The object has ``_turns``, and ``board`` and ``_backend``, which is None while it is closed: a
    forked process is refused a board that the first one has opened; golden's memory is its own.

    Raises:
        BadInput: the process was forked, and the board is open.
    """
    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self._turns.forked and self._backend is not None and self.board != GOLDEN:
            raise BadInput(f"learner on {self.board} in a forked process",
                           expected="the process that has opened the board", fix="close it "
                           "before the fork, or load a saved one in the new process")
        with self._turns:
            return method(self, *args, **kwargs)

    return cast(Method, call)
