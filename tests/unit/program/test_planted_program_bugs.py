"""Planted bugs in programs, each refused by the verifier before anything runs (docs/testing.md)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pynq_train.errors import IllegalProgram
from pynq_train.graph.fuse import fuse
from pynq_train.graph.graph import Sequential
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import DESCRIPTOR_BYTES, Opcode, pack_descriptor
from pynq_train.program import Program, verify
from pynq_train.schedule.build import ProgramImage, build_training
from pynq_train.schedule.plan import Plan, Role, make_plan
from pynq_train.schedule.shape import Geometry

BOARD = BOARDS["pynq-z2"]


def make() -> tuple[Plan, ProgramImage]:
    """A training step with every kind of descriptor."""
    graph = (Sequential((3, 10, 10), "planted").conv(20, 3, padding=1).relu().pool()
             .conv(18, 3, padding=1).relu().dense(5).build())
    plan = make_plan(fuse(graph), 4, BOARD)
    return plan, build_training(plan)


def program(changes: dict[int, dict[str, int]] | None = None) -> Program:
    """The program with other fields in some descriptors."""
    plan, image = make()
    data = image.program
    for number, values in (changes or {}).items():
        at = number * DESCRIPTOR_BYTES
        data = (data[:at] + pack_descriptor({**image.fields[number], **values})
                + data[at + DESCRIPTOR_BYTES:])
    return Program.make("train", data, image.taps, plan.memory, plan.memory.nbytes, BOARD.config)


def number_of(role: Role, layer: int) -> int:
    """Position of a descriptor."""
    return next(k for k, entry in enumerate(make()[1].entries)
                if (entry.role, entry.layer) == (role, layer))


def test_the_program_is_right_without_a_bug() -> None:
    verify(program())


def waits() -> list[tuple[int, str]]:
    """Waits (descriptor, unit) that no earlier wait of the same unit implies."""
    image = make()[1]
    found, highest = [], dict[tuple[str, Opcode, int], int]()
    for number, (entry, fields) in enumerate(zip(image.entries, image.fields)):
        for unit in "xsy":
            count = fields.get(f"pre.wait_{unit}", 0)
            key = unit, entry.role.opcode, fields.get(f"pre.wait_{unit}_sem", 0)
            if count > highest.get(key, 0):
                found.append((number, unit))
                highest[key] = count
    return found


@pytest.mark.parametrize(("number", "unit"), waits())
def test_missing_wait_is_caught(number: int, unit: str) -> None:
    """Without any single one of the scheduler's waits the program is refused."""
    with pytest.raises(IllegalProgram, match=rf"descriptor {number} .*"):
        verify(program({number: {f"pre.wait_{unit}": 0}}))


def test_wait_that_is_one_too_small_is_caught() -> None:
    number = number_of(Role.UPDATE_WEIGHTS, 1)
    wait = make()[1].fields[number]["pre.wait_x"]
    with pytest.raises(IllegalProgram, match=rf"descriptor {number} .*"):
        verify(program({number: {"pre.wait_x": wait - 1}}))


def test_overlapping_tensors_are_caught() -> None:
    """An allocator that gives two tensors one place."""
    good = program()
    regions = list(good.regions)
    at = next(k for k, r in enumerate(regions) if r.symbol.endswith(".dy"))
    regions[at] = replace(regions[at], offset=regions[at].offset - 128)
    with pytest.raises(IllegalProgram, match=r"tensors .* overlap at 0x"):
        verify(replace(good, regions=tuple(regions)))


def test_overlapping_records_are_caught() -> None:
    """An update and the pass beside it write their records to one place."""
    update = number_of(Role.UPDATE_WEIGHTS, 1)
    image = make()[1]
    beside = next(k for k in range(update + 1, image.count)
                  if image.entries[k].role.opcode == Opcode.CONV)
    with pytest.raises(IllegalProgram, match=r"descriptor"):
        verify(program({update: {"pre.rec_off": image.fields[beside]["pre.rec_off"]}}))


def test_overlapping_stores_of_tiles_are_caught() -> None:
    """The next m tile is stored three, not four channel blocks further on."""
    number = number_of(Role.FORWARD, 0)
    jump = make()[1].fields[number]["yw.daddr0"]
    assert jump % 4 == 0 and jump > 0
    with pytest.raises(IllegalProgram, match=rf"descriptor {number} .*"):
        verify(program({number: {"yw.daddr0": jump // 4 * 3 // 8 * 8}}))


def test_store_into_another_tensor_is_caught() -> None:
    """The gradient of the second layer's input is written over its weights."""
    plan, _ = make()
    number = number_of(Role.BACKWARD, 1)
    with pytest.raises(IllegalProgram, match=rf"descriptor {number} .*"):
        verify(program({number: {"yw.addr": plan.memory[f"{plan.specs[1].name}.w16"].offset}}))


def test_address_outside_the_arena_is_caught() -> None:
    plan, image = make()
    number = number_of(Role.WEIGHT_GRADIENT, 0)
    assert image.fields[number]["yw.addr"] < plan.memory.nbytes
    with pytest.raises(IllegalProgram, match=rf"descriptor {number} .* outside the arena"):
        verify(program({number: {"yw.addr": plan.memory.nbytes}}))


@pytest.mark.parametrize("pitch", ["row_pitch", "image_pitch"])
def test_bank_pitch_is_caught(pitch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups that cross rows or images meet in one bank."""
    natural = {"row_pitch": lambda geo: geo.x_cols,
               "image_pitch": lambda geo: geo.x_rows * geo.row_pitch}
    monkeypatch.setattr(Geometry, pitch, property(natural[pitch]))
    bad = program()
    monkeypatch.undo()
    with pytest.raises(IllegalProgram, match=r"descriptor [0-9]+ .*bank"):
        verify(bad)
