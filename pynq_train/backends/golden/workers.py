"""Threads, scratch memory, and a BLAS that leaves threading to us."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from pynq_train.arrays import Array

T = TypeVar("T")
R = TypeVar("R")

_PREFIXES = ("openblas", "scipy_openblas")
_SUFFIXES = ("", "64_", "_64", "64_64_")


def default_threads() -> int:
    """Return how many threads are worth having on this machine: one per core, at most 8."""
    return max(1, min(8, os.cpu_count() or 1))


class ThreadBuffers(threading.local):
    """Named buffers of one thread, kept from call to call: fresh pages are expensive."""

    def __init__(self) -> None:
        self._buffers: dict[str, Array] = {}

    def get(self, name: str, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return an uninitialised array; the next ``get`` of the same name reuses its memory.

        Each thread has buffers of its own.
        """
        nbytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        buffer = self._buffers.get(name)
        if buffer is None or buffer.nbytes < nbytes:
            buffer = self._buffers[name] = np.empty(-(-nbytes // 8), np.float64)
        return buffer.view(np.uint8)[:nbytes].view(dtype).reshape(shape)


class Workers:
    """Runs a function over chunks on a few threads (NumPy releases the interpreter lock).

    Args:
        threads: number of threads (default: :func:`default_threads`).

    Attributes:
        threads: number of threads.
        scratch: buffers of the calling thread.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or default_threads()
        self.scratch = ThreadBuffers()
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0

    def map(self, function: Callable[[T], R], chunks: Sequence[T]) -> list[R]:
        """Return the results of ``function`` for all chunks, in the order of the chunks."""
        if len(chunks) < 2 or self.threads < 2:
            return [function(chunk) for chunk in chunks]
        if self._pool is None or self._process != os.getpid():
            # A forked process has no threads of the one that it comes from.
            self._pool, self._process = ThreadPoolExecutor(self.threads, "golden"), os.getpid()
        return list(self._pool.map(function, chunks))

    def close(self) -> None:
        """Stop the threads and free the buffers; both come back when needed."""
        if self._pool is not None:
            self._pool.shutdown()
        self._pool, self.scratch = None, ThreadBuffers()


@lru_cache(maxsize=1)
def _blas_thread_control() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """Return getter and setter of NumPy's OpenBLAS thread count; None with any other BLAS."""
    core = getattr(np, "_core", None) or np.core
    try:
        library = ctypes.CDLL(core._multiarray_umath.__file__)
    except (AttributeError, OSError):
        return None
    for prefix in _PREFIXES:
        for suffix in _SUFFIXES:
            try:
                get = getattr(library, f"{prefix}_get_num_threads{suffix}")
                put = getattr(library, f"{prefix}_set_num_threads{suffix}")
            except AttributeError:
                continue
            get.restype, put.restype = ctypes.c_int, None
            return get, put
    return None


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Let matrix products run on one thread each: the chunks are already spread over the cores.

    Many small products on BLAS threads that spin on a busy machine are slower by far.
    """
    control = _blas_thread_control()
    before = control[0]() if control else 1
    if control is None or before == 1:
        yield
        return
    control[1](1)
    try:
        yield
    finally:
        control[1](before)
