"""A journal: when weights are read anew, what is kept of the steps since, and going back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.run import journal as module
from pynq_train.run.batch import PixelBatch, PixelTable
from pynq_train.run.frame import Frame
from pynq_train.run.journal import MOST_STEPS, Journal, spans_of
from pynq_train.schedule.memory.arena import Allocator

WEIGHTS = {"conv.wv": np.arange(8, dtype=np.uint8)}
PLAN = pt.Learner("digits", batch=2).plan


def take(journal: Journal, count: int) -> list[Frame]:
    """Take steps that end well; return them."""
    steps = [journal.frame() for _ in range(count)]
    for one in steps:
        journal.add(one)
    return steps


def test_weights_are_read_before_the_first_step_and_every_few() -> None:
    journal = Journal(PLAN)
    assert journal.full and not journal.saved and not journal.steps
    journal.begin(WEIGHTS)
    assert not journal.full
    take(journal, MOST_STEPS - 1)
    assert not journal.full
    take(journal, 1)
    assert journal.full and len(journal.steps) == MOST_STEPS
    journal.begin(WEIGHTS)
    assert not journal.full and not journal.steps
    journal.forget()
    assert journal.full and not journal.saved


@pytest.mark.parametrize(("images", "count"), [(1, 1), (2, 1), (1.5, 1), (0.9, 2), (0.25, 4)])
def test_of_large_images_few_are_kept(images: float, count: int, monkeypatch: pytest.MonkeyPatch
                                      ) -> None:
    """Images of at least MOST_BYTES in all, but one step whatever it takes."""
    journal = Journal(PLAN)
    monkeypatch.setattr(module, "MOST_BYTES", int(journal.frame().codes.nbytes / images))
    journal.begin(WEIGHTS)
    for _ in range(count):
        assert not journal.full
        take(journal, 1)
    assert journal.full


def test_what_is_kept_is_bounded() -> None:
    """A step takes as long again when it is undone; memory of the host is that of the board."""
    assert (module.MOST_STEPS, module.MOST_BYTES) == (16, 8 << 20)


def test_memory_of_old_steps_is_used_again() -> None:
    journal = Journal(PLAN)
    journal.begin(WEIGHTS)
    old = take(journal, 2)
    assert all(journal.frame() is not one for one in old)
    journal.begin(WEIGHTS)
    again = [journal.frame() for _ in range(3)]
    assert set(map(id, again)) > set(map(id, old))
    journal.give_back(again[0])
    assert journal.frame() is again[0]


def test_steps_that_a_mark_needs_are_not_overwritten() -> None:
    journal = Journal(PLAN)
    journal.begin(WEIGHTS)
    first, = take(journal, 1)
    mark = journal.mark()
    assert not mark.undone
    take(journal, 1)
    later = {"conv.wv": np.zeros(8, np.uint8)}
    journal.begin(later)
    assert journal.frame() is not first and journal.saved is later
    journal.back_to(mark)
    assert journal.saved is WEIGHTS and journal.steps == [first]
    take(journal, 1)
    assert mark.steps == (first,), "steps behind a mark are none of it"
    journal.release(mark)
    journal.begin(WEIGHTS)
    assert any(journal.frame() is first for _ in range(2))


def test_of_several_marks_each_is_released_by_itself() -> None:
    journal = Journal(PLAN)
    journal.begin(WEIGHTS)
    outer = journal.mark()
    old, = take(journal, 1)
    inner = journal.mark()
    assert (len(outer.steps), len(inner.steps)) == (0, 1)
    journal.release(outer)
    journal.begin(WEIGHTS)
    assert journal.frame() is not old, "the inner mark is there still"


def test_without_weights_no_step_is_kept() -> None:
    """A step's images go back at once: nobody could do it again."""
    journal = Journal(PLAN)
    one, = take(journal, 1)
    assert not journal.steps and journal.frame() is one


class Pixels(PixelBatch):
    """A mini-batch of the digits' pixels, looked up by a table."""

    def __init__(self, seed: int, count: int = 2) -> None:
        draw = np.random.default_rng(seed)
        self.table = PixelTable(np.linspace(-1, 1, 256, dtype=np.float32)[:, None])
        self.pixels = self.looked_up = draw.integers(0, 256, (count, 1, 8, 8), np.uint8)

    def __len__(self) -> int:
        return len(self.looked_up)

    def values(self) -> Any:
        raise AssertionError("nobody needs floats")

    def range_k(self, known: int) -> int:
        return known

    def fill(self, exponent: int, out: Any) -> None:
        self.table.fill(exponent, self.looked_up, out)


@pytest.mark.parametrize("count", [1, 2])
def test_pixels_are_kept_in_place_of_their_codes(count: int) -> None:
    """One frame is enough for all steps; each of them writes again what it wrote."""
    journal = Journal(PLAN)
    journal.begin(WEIGHTS)
    written: list[list[bytes]] = []
    frames = set()
    for step in range(5):
        frame, batch, exponent = journal.frame(), Pixels(step, count), -15 + step % 2
        frames.add(id(frame))
        frame.block[:] = step
        frame.set_labels(np.array([step, 9 - step])[:count])
        frame.codes[:] = 0  # behind fewer images
        batch.fill(exponent, frame.codes[:count])
        written.append([data.tobytes() for _, data in frame.written])
        journal.add(frame, batch, exponent)
    assert len(frames) == 1
    assert [[data.tobytes() for _, data in one.written] for one in journal.frames()] == written
    assert sum(one.nbytes for one in journal.steps) == 5 * count * 64
    mark = journal.mark()
    journal.begin(WEIGHTS)
    journal.back_to(mark)
    again = [[data.tobytes() for _, data in one.written] for one in journal.frames()]
    assert again == written


def test_pixels_of_somebody_else_are_not_kept() -> None:
    """Who has them may change them: their codes are kept."""
    journal = Journal(PLAN)
    journal.begin(WEIGHTS)
    frame, batch = journal.frame(), Pixels(1)
    batch.pixels = None
    journal.add(frame, batch, -15)
    assert journal.steps == [frame] and list(journal.frames()) == [frame]


def test_without_weights_no_pixels_are_kept() -> None:
    journal = Journal(PLAN)
    frame = journal.frame()
    journal.add(frame, Pixels(1), -15)
    assert not journal.steps and journal.frame() is frame


def test_a_step_names_what_it_writes() -> None:
    """Block, labels and images, each where the arena has it."""
    one, memory = Frame(PLAN), PLAN.memory
    one.block[:] = 5
    one.set_labels(np.array([3]))
    one.codes[:] = 7

    def part(name: str, dtype: type) -> list[int]:
        arena = np.zeros(memory.nbytes, np.uint8)
        for symbol, data in one.written:
            at = memory[symbol].offset
            arena[at:at + len(data)] = data
        at = memory[name].offset
        return list(np.unique(arena[at:at + memory[name].nbytes].view(dtype)))

    assert part("step_block", np.int64) == [5] and part("input", np.int16) == [7]
    assert part("labels", np.int64) == [0, 3]
    one.set_labels(None)
    assert part("labels", np.int64) == [0]


def test_neighbours_are_read_at_once() -> None:
    """Regions of the kinds, with hardly anything between them; others are left out."""
    arena = Allocator()
    for symbol, nbytes, kind in (("a.w16", 300, "weights"), ("a.wv", 128, "masters"),
                                 ("a.y", 8, "map"), ("b.w16", 1, "weights"),
                                 ("b.wv", 257, "masters"), ("b.y", 8, "map")):
        arena.add(symbol, nbytes, kind)
    memory = arena.finish()
    assert spans_of(memory, ("weights", "masters")) == [
        (0, 512, [("a.w16", 0, 300), ("a.wv", 384, 128)]),
        (640, 1025, [("b.w16", 640, 1), ("b.wv", 768, 257)])]
    assert spans_of(memory, ("map",)) == [
        (512, 520, [("a.y", 512, 8)]), (1152, 1160, [("b.y", 1152, 8)])]
    assert spans_of(memory, ()) == []


def test_a_whole_burst_between_regions_is_not_read() -> None:
    arena = Allocator()
    for symbol, nbytes, kind in (("a", 128, "weights"), ("gap", 128, "map"), ("b", 8, "weights")):
        arena.add(symbol, nbytes, kind)
    assert [span[:2] for span in spans_of(arena.finish(), ("weights",))] == [(0, 128), (256, 264)]
