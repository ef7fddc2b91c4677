"""Planted bugs in programs, each refused by the verifier before anything runs (docs/testing.md)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from scheduled import Scheduled, all_kinds

from pynq_train.errors import IllegalProgram
from pynq_train.graph.graph import Sequential
from pynq_train.hw.commands import Opcode, Pass
from pynq_train.hw.config import HwConfig
from pynq_train.program import Program, verify_program
from pynq_train.schedule.passes import tiling
from pynq_train.schedule.passes.geometry import PassShape, TiledPass
from pynq_train.schedule.specs import fits

PLANNED = all_kinds()


def program(changes: dict[int, dict[str, int]] | None = None) -> Program:
    """The program with other fields in some descriptors."""
    return PLANNED.program(changes)


def test_the_program_is_right_without_a_bug() -> None:
    verify_program(program())


def waits() -> list[tuple[int, str]]:
    """Waits (descriptor, unit) that no earlier wait of the same unit implies."""
    found, highest = [], dict[tuple[str, bool, int], int]()
    for number, fields in enumerate(PLANNED.image.fields):
        array = fields["pre.opcode"] in (Opcode.CONV, Opcode.GRADIENT)
        for unit in "xsy":
            count = fields.get(f"pre.wait_{unit}", 0)
            key = unit, array, fields.get(f"pre.wait_{unit}_sem", 0)
            if count > highest.get(key, 0):
                found.append((number, unit))
                highest[key] = count
    return found


@pytest.mark.parametrize(("number", "unit"), waits())
def test_missing_wait_is_caught(number: int, unit: str) -> None:
    """Without any single one of the scheduler's waits the program is refused."""
    with pytest.raises(IllegalProgram, match=rf"descriptor {number} .*"):
        verify_program(program({number: {f"pre.wait_{unit}": 0}}))


def test_wait_that_is_one_too_small_is_caught() -> None:
    number = PLANNED.number(Opcode.UPDATE, 1)
    wait = PLANNED.fields[number]["pre.wait_x"]
    with pytest.raises(IllegalProgram, match=rf"descriptor {number} .*"):
        verify_program(program({number: {"pre.wait_x": wait - 1}}))


def test_overlapping_tensors_are_caught() -> None:
    """An allocator that gives two tensors one place."""
    good = program()
    regions = list(good.regions)
    at = next(k for k, r in enumerate(regions) if r.symbol.endswith(".dy"))
    regions[at] = replace(regions[at], offset=regions[at].offset - 128)
    with pytest.raises(IllegalProgram, match=r"tensors .* overlap at 0x"):
        verify_program(replace(good, regions=tuple(regions)))


def test_overlapping_records_are_caught() -> None:
    """An update and the pass beside it write their records to one place."""
    update = PLANNED.number(Opcode.UPDATE, 2)
    beside = next(k for k, f in enumerate(PLANNED.fields)
                  if k > update and f["pre.opcode"] == Opcode.CONV)
    with pytest.raises(IllegalProgram, match=r"its record at .* overlaps that of descriptor"):
        verify_program(program({update: {"pre.rec_off": PLANNED.fields[beside]["pre.rec_off"]}}))


def test_overlapping_stores_of_tiles_are_caught() -> None:
    """The next m tile is stored three, not four channel blocks further on."""
    number = PLANNED.number(Opcode.CONV, 0, Pass.FORWARD)
    jump = PLANNED.fields[number]["yw.daddr0"]
    assert jump % 4 == 0 and jump > 0
    with pytest.raises(IllegalProgram, match=rf"descriptor {number} .*"):
        verify_program(program({number: {"yw.daddr0": jump // 4 * 3 // 8 * 8}}))


def test_store_into_another_tensor_is_caught() -> None:
    """The gradient of the second layer's input is written over its weights."""
    plan = PLANNED.plan
    number = PLANNED.number(Opcode.CONV, 1, Pass.BACKWARD)
    weights = plan.memory[f"{plan.specs[1].name}.w16"].offset
    with pytest.raises(IllegalProgram, match=rf"descriptor {number} .*"):
        verify_program(program({number: {"yw.addr": weights}}))


@pytest.mark.parametrize("name", ["u.wv_off", "u.w16_off"])
def test_address_outside_the_arena_is_caught(name: str) -> None:
    number, end = PLANNED.number(Opcode.GRADIENT, 0), PLANNED.plan.memory.nbytes
    assert PLANNED.fields[number][name] < end
    with pytest.raises(IllegalProgram, match=rf"descriptor {number} .* outside the arena"):
        verify_program(program({number: {name: end}}))


@pytest.mark.parametrize("pitch", ["row_pitch", "image_pitch"])
def test_bank_pitch_is_caught(pitch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups that cross rows or images meet in one bank."""
    natural = {"row_pitch": lambda geo: geo.x_cols,
               "image_pitch": lambda geo: geo.x_rows * geo.row_pitch}
    monkeypatch.setattr(TiledPass, pitch, property(natural[pitch]))
    bad = all_kinds().program()
    monkeypatch.undo()
    with pytest.raises(IllegalProgram, match=r"descriptor [0-9]+ .*bank"):
        verify_program(bad)


@pytest.mark.parametrize("pooled", [False, True])
def test_flag_rows_beyond_the_flag_buffer_are_caught(pooled: bool,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler that knows no limit of the loaders' flag buffer (64 words)."""
    columns = 1040 if pooled else 1025
    for name in ("MAX_FLAG_COLUMNS", "MAX_POOL_COLUMNS"):
        monkeypatch.setattr(fits, name, 1 << 14)
    net = Sequential((2, 2, columns), "wide").conv(2, 1).relu()
    bad = Scheduled.of((net.pool() if pooled else net).conv(1, 1).dense(2).build(), 1).program()
    most = 512 if pooled else 1024
    with pytest.raises(IllegalProgram, match=rf"columns of . with flags: expected at most {most},"):
        verify_program(bad)


def test_flag_tiles_that_start_inside_a_word_are_caught() -> None:
    """Column tiles of the masked gradient are shifted by one."""
    net = Sequential((2, 3, 320), "wide").conv(4, 3, padding=1).relu().conv(2, 3, padding=1)
    planned = Scheduled.of(net.dense(2).build(), 1)
    number = planned.gradient(lambda f: f["s.mode"] == 1 and f["pre.t1"] > 1)
    jump = planned.fields[number]["s.dc4"]
    assert jump and jump % 16 == 0
    with pytest.raises(IllegalProgram, match=r"first column of a tile of s with flags"):
        verify_program(planned.program({number: {"s.dc4": jump - 1}}))


def test_chunk_as_long_as_the_ring_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler for a larger S ring lets a tile of the gradient fill the ring of this engine."""
    candidates = tiling.candidates

    def large(shape: PassShape, config: HwConfig) -> Iterator[TiledPass]:
        found = candidates(shape, replace(config, s_ring_words=2 * config.s_ring_words))
        return iter([max(found, key=lambda geo: geo.tile.pixels)])

    monkeypatch.setattr(tiling, "candidates", large)
    net = Sequential((4, 16, 32), "large").conv(16, 3, padding=1).dense(2)
    planned = Scheduled.of(net.build(), 1)
    monkeypatch.undo()
    assert planned.fields[planned.number(Opcode.GRADIENT, 0)]["c.s_chunk"] == 2048
    with pytest.raises(IllegalProgram, match=r"words of an S chunk: expected at most 2040"):
        verify_program(planned.program())
