"""The device memory of virtual boards: bandwidth, latency, limits, AXI rules and speed."""

from __future__ import annotations

import ctypes
import subprocess
import time
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pynq_train.backends.vboard.model import _Config
from pynq_train.hw.memory_timing import MemoryTiming

ROOT = Path(__file__).resolve().parents[2]
BASE = 0x1000_0000
CYCLES = 20_000
TIMING = MemoryTiming()

pytestmark = pytest.mark.rtl


class Result(ctypes.Structure):
    _fields_ = (
        ("read_beats", ctypes.c_uint64 * 4),
        ("write_beats", ctypes.c_uint64 * 4),
        ("responses", ctypes.c_uint64 * 4),
        ("first_read_cycle", ctypes.c_uint64),
        ("most_open_reads", ctypes.c_uint64),
        ("violation", ctypes.c_char * 160),
    )

    @property
    def bytes_per_cycle(self) -> float:
        return 8 * (sum(self.read_beats) + sum(self.write_beats)) / CYCLES


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    out = tmp_path_factory.mktemp("bench") / "bench.so"
    source = ROOT / "tests" / "system" / "standin" / "mem_bench.cpp"
    include = ROOT / "sim" / "vboard"
    subprocess.run(
        ["g++", "-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC",
         f"-I{include}", str(source), "-o", str(out)],
        check=True,
    )  # fmt: skip
    return ctypes.CDLL(str(out))


def run(
    library: ctypes.CDLL,
    readers: int,
    writers: int,
    timing: MemoryTiming = TIMING,
    offset: int = 0,
    stride: int = 128,
    beats: int = 16,
    stalls: int = 0,
    cycles: int = CYCLES,
) -> Result:
    dram = np.zeros(64 << 20, np.uint8)
    config = _Config(dram.ctypes.data, BASE, dram.nbytes, *astuple(timing), 1)
    result = Result()
    call: Any = library.bench_run
    call(
        ctypes.byref(config), readers, writers, ctypes.c_uint64(cycles), ctypes.c_uint64(offset),
        ctypes.c_uint64(stride), beats, stalls, ctypes.byref(result),
    )  # fmt: skip
    return result


def test_one_port_moves_a_burst_in_eighteen_cycles(library: ctypes.CDLL) -> None:
    for readers, writers in ((1, 0), (0, 8)):
        result = run(library, readers, writers)
        assert result.bytes_per_cycle == pytest.approx(8 * 16 / 18, rel=0.01)
        assert result.violation == b""


def test_reads_of_all_ports_share_the_bandwidth(library: ctypes.CDLL) -> None:
    result = run(library, 15, 0)
    assert 15.5 < result.bytes_per_cycle <= 16
    assert min(result.read_beats) > 0.98 * max(result.read_beats)
    wide = run(library, 15, 0, replace(TIMING, bytes_per_cycle=64))
    assert wide.bytes_per_cycle == pytest.approx(4 * 8 * 16 / 18, rel=0.01)


def test_reads_and_writes_share_the_bandwidth(library: ctypes.CDLL) -> None:
    result = run(library, 15, 15)
    reads, writes = sum(result.read_beats), sum(result.write_beats)
    assert 0.45 < reads / (reads + writes) < 0.55
    # 64 cycles in a direction, 4 to turn.
    assert result.bytes_per_cycle == pytest.approx(16 * 64 / 69, rel=0.02)
    assert result.violation == b""


def test_a_lone_writer_costs_readers_little(library: ctypes.CDLL) -> None:
    result = run(library, 7, 8)
    assert result.bytes_per_cycle > 14


@pytest.mark.parametrize("latency", [1, 40, 100])
def test_latency_is_from_address_to_first_beat(library: ctypes.CDLL, latency: int) -> None:
    result = run(library, 1, 0, replace(TIMING, read_latency_cycles=latency))
    assert result.first_read_cycle == latency
    assert result.most_open_reads == 8


def test_eight_outstanding_reads_bound_a_port_at_long_latency(library: ctypes.CDLL) -> None:
    result = run(library, 1, 0, replace(TIMING, read_latency_cycles=400))
    assert result.bytes_per_cycle == pytest.approx(8 * 128 / 400, rel=0.1)


def test_random_stalls_slow_but_lose_nothing(library: ctypes.CDLL) -> None:
    result = run(library, 3, 12, stalls=3072)
    assert 4 < result.bytes_per_cycle < 9
    assert result.violation == b""
    assert list(result.responses)[1:] == [0, 0, 0]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"offset": 4096 - 64}, b"4 KB border"),
        ({"beats": 17, "stride": 256}, b"longer than 16 beats"),
        ({"offset": 4}, b"not a multiple of 8"),
    ],
)
def test_broken_rules_are_reported(
    library: ctypes.CDLL, options: dict[str, int], text: bytes
) -> None:
    result = run(library, 2, 0, cycles=100, **options)
    assert text in result.violation
    assert result.violation.startswith(b"port 1: ")


def test_addresses_outside_the_memory_get_decode_errors(library: ctypes.CDLL) -> None:
    outside = run(library, 8, 8, offset=16 << 20, cycles=1000)
    assert outside.responses[3] > 0 and outside.responses[0] == 0


def test_memory_model_is_fast(library: ctypes.CDLL) -> None:
    cycles = 1_000_000
    best = 1.0
    for _ in range(3):
        start = time.process_time()
        run(library, 15, 15, cycles=cycles)
        best = min(best, (time.process_time() - start) / cycles)
    assert best < 300e-9, f"{best * 1e9:.0f} ns per cycle"


@pytest.mark.parametrize("bursts", [1, 2, 4, 8])
def test_a_memory_that_takes_fewer_bursts_is_slower(library: ctypes.CDLL, bursts: int) -> None:
    timing = replace(TIMING, read_latency_cycles=400, outstanding_bursts=bursts)
    result = run(library, 1, 0, timing)
    assert result.most_open_reads == bursts and result.violation == b""
    assert result.bytes_per_cycle == pytest.approx(8 * 16 * bursts / 400, rel=0.1)
    timing = replace(TIMING, write_latency_cycles=400, outstanding_bursts=bursts)
    written = run(library, 0, 1, timing).bytes_per_cycle
    assert written == pytest.approx(8 * 16 * bursts / 416, rel=0.1)


@pytest.mark.parametrize("bursts", [0, 9])
def test_masters_have_no_more_than_eight_bursts(bursts: int) -> None:
    with pytest.raises(ValueError, match=rf"outstanding_bursts must be 1\.\.8, found {bursts}"):
        MemoryTiming(outstanding_bursts=bursts)
