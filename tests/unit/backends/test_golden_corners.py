"""Corners of golden that no network meets: large sums, no pixels, full caches, other BLAS."""

from __future__ import annotations

import ctypes
import os
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pynq_train.backends.golden import conv, machine, vector, workers
from pynq_train.hw.commands import Opcode, pack_descriptor


@pytest.mark.parametrize(("rows", "cols"), [(1, 4), (4, 1), (1, 1)])
def test_a_pooled_map_without_pixels_is_not_computed(rows: int, cols: int) -> None:
    """A map of one row or column has no windows: nothing is read, measured or written."""
    geometry: Any = SimpleNamespace(out_rows=rows, out_cols=cols, pool=1)
    memory: Any = None
    assert conv.forward(memory, geometry, {}, workers.Workers(1)) == conv.PassRecord()


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("reduce", [0, 1])
def test_sums_that_float64_does_not_hold(second: bool, reduce: int) -> None:
    """Modulo 2**48, element by element as Python's integers have it."""
    draw = np.random.default_rng(reduce)
    shape = (2, 3, 5, 4)
    a, b = (draw.integers(-32768, 32768, shape).astype(np.float64) for _ in range(2))
    scale = draw.integers(-(1 << 45), 1 << 45, (2, 4))
    offset = draw.integers(-(1 << 46), 1 << 46, 4)
    found = vector._total_int(a, b if second else None, scale, offset, reduce)
    for at in np.ndindex(found.shape):
        lane = at[-1]
        pick: Any = (*at[:2], slice(None), lane) if reduce else at
        total = int(a[pick].sum()) * int(scale[0, lane]) + int(offset[lane])
        if second:
            total += int(b[pick].sum()) * int(scale[1, lane])
        assert int(found[at]) == (total + (1 << 47)) % (1 << 48) - (1 << 47)


def test_both_sums_agree_where_both_are_exact() -> None:
    draw = np.random.default_rng(1)
    a, b = (draw.integers(-99, 99, (2, 3, 5, 4)).astype(np.float64) for _ in range(2))
    scale, offset = draw.integers(-99, 99, (2, 4)), draw.integers(-99, 99, 4)
    for reduce in (0, 1):
        for other in (None, b):
            exact = vector._total_int(a, other, scale, offset, reduce)
            floats = vector._total(a.copy(), other, scale.astype(float), offset.astype(float),
                                   reduce)
            assert np.array_equal(exact, floats)


def test_descriptors_are_unpacked_once_and_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch
                                                             ) -> None:
    monkeypatch.setattr(machine, "_CACHE", 2)
    engine = machine.GoldenMachine(np.zeros(4096, np.uint8), 1)
    codes = [pack_descriptor({"pre.opcode": int(Opcode.FENCE), "pre.number": number})
             for number in range(5)]
    for round_ in range(2):
        for number, code in enumerate(codes):
            found = engine._decode(code)
            assert engine._decode(code) is found
            assert (found.opcode, found.fields["pre.number"]) == (Opcode.FENCE, number), round_
            assert 1 <= len(engine._decoded) <= 2


# -- threads of BLAS -------------------------------------------------------------------------------

class Library:
    """A library with the functions whose names are given."""

    def __init__(self, *names: str) -> None:
        for name in names:
            setattr(self, name, SimpleNamespace(name=name))


@pytest.mark.parametrize(("names", "found"), [
    ((), None), (("openblas_get_num_threads",), None),
    (("openblas_get_num_threads", "openblas_set_num_threads"), "openblas_get_num_threads"),
    (("scipy_openblas_get_num_threads64_", "scipy_openblas_set_num_threads64_"),
     "scipy_openblas_get_num_threads64_"),
    (("openblas_get_num_threads_64", "openblas_set_num_threads_64"),
     "openblas_get_num_threads_64")])
def test_functions_of_blas_are_found_by_name(names: tuple[str, ...], found: str | None,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library(*names))
    pair: Any = workers._blas_thread_control.__wrapped__()
    if found is None:
        assert pair is None
    else:
        get, put = pair
        assert get.name == found and put.name == found.replace("_get_", "_set_")
        assert get.restype is ctypes.c_int and put.restype is None


def test_another_blas_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> None:
        raise OSError("no such library")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    assert workers._blas_thread_control.__wrapped__() is None
    monkeypatch.setattr(workers, "_blas_thread_control", lambda: None)
    with workers.single_threaded_blas():
        pass


@pytest.mark.parametrize(("before", "said"), [(4, [1, 4]), (2, [1, 2]), (1, [])])
def test_blas_has_one_thread_inside_and_its_own_behind(before: int, said: list[int],
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(workers, "_blas_thread_control", lambda: (lambda: before, asked.append))
    with workers.single_threaded_blas():
        assert asked == said[:1]
    assert asked == said
    asked.clear()
    with pytest.raises(KeyboardInterrupt), workers.single_threaded_blas():
        raise KeyboardInterrupt
    assert asked == said


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 2), (8, 8), (9, 8), (64, 8), (None, 1)])
def test_a_thread_for_each_of_a_few_cores(cores: int | None, threads: int,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert workers.default_threads() == threads
