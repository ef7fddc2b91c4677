"""A journal: when weights are read anew, what is kept of the steps since, and going back."""

from __future__ import annotations

import numpy as np
import pytest

from pynq_train.run import journal as module
from pynq_train.run.journal import MOST_BYTES, MOST_STEPS, Journal, Step, spans_of
from pynq_train.schedule.memory.arena import Allocator

SHAPE = (2, 1, 3, 3, 4)
WEIGHTS = {"conv.wv": np.arange(8, dtype=np.uint8)}


def step(journal: Journal, shape: tuple[int, ...] = SHAPE) -> Step:
    """A step whose images stand in an array of the journal's."""
    return Step(journal.room(shape), np.zeros(2, np.int64), np.zeros(4, np.int64))


def take(journal: Journal, count: int, shape: tuple[int, ...] = SHAPE) -> list[Step]:
    """Take steps that end well; return them."""
    steps = [step(journal, shape) for _ in range(count)]
    for one in steps:
        with journal.writing(one):
            pass
    return steps


def test_weights_are_read_before_the_first_step_and_every_few() -> None:
    journal = Journal()
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


@pytest.mark.parametrize(("nbytes", "count"), [
    (MOST_BYTES, 1), (2 * MOST_BYTES, 1), (MOST_BYTES - 2, 2), (MOST_BYTES // 4, 4)])
def test_of_large_images_few_are_kept(nbytes: int, count: int) -> None:
    """Images of at least MOST_BYTES in all, but one step whatever it takes."""
    journal = Journal()
    journal.begin(WEIGHTS)
    for _ in range(count):
        assert not journal.full
        take(journal, 1, (nbytes // 2,))
    assert journal.full


def test_what_is_kept_is_bounded() -> None:
    """A step takes as long again when it is undone; memory of the host is that of the board."""
    assert (module.MOST_STEPS, module.MOST_BYTES) == (16, 8 << 20)


def test_memory_of_old_steps_is_used_again() -> None:
    journal = Journal()
    journal.begin(WEIGHTS)
    old = take(journal, 2)
    assert all(one is not journal.room(SHAPE) for one in (old[0].codes, old[1].codes))
    journal.begin(WEIGHTS)
    again = [journal.room(SHAPE) for _ in range(3)]
    assert {id(codes) for codes in again} > {id(one.codes) for one in old}
    assert all(codes.shape == SHAPE and codes.dtype == np.int16 for codes in again)
    journal.give_back(again[0])
    assert journal.room(SHAPE) is again[0]


def test_steps_that_a_mark_needs_are_not_overwritten() -> None:
    journal = Journal()
    journal.begin(WEIGHTS)
    first, = take(journal, 1)
    mark = journal.mark()
    assert not mark.undone
    take(journal, 1)
    later = {"conv.wv": np.zeros(8, np.uint8)}
    journal.begin(later)
    assert journal.room(SHAPE) is not first.codes and journal.saved is later
    journal.back_to(mark)
    assert journal.saved is WEIGHTS and journal.steps == [first]
    take(journal, 1)
    assert mark.steps == (first,), "steps behind a mark are none of it"
    journal.release(mark)
    journal.begin(WEIGHTS)
    assert any(journal.room(SHAPE) is first.codes for _ in range(2))


def test_of_several_marks_each_is_released_by_itself() -> None:
    journal = Journal()
    journal.begin(WEIGHTS)
    outer = journal.mark()
    old, = take(journal, 1)
    inner = journal.mark()
    assert (len(outer.steps), len(inner.steps)) == (0, 1)
    journal.release(outer)
    journal.begin(WEIGHTS)
    assert journal.room(SHAPE) is not old.codes, "the inner mark is there still"


def test_behind_a_failed_step_nothing_is_known() -> None:
    journal = Journal()
    journal.begin(WEIGHTS)
    take(journal, 2)
    with pytest.raises(KeyboardInterrupt), journal.writing(step(journal)):
        raise KeyboardInterrupt
    assert not journal.saved and not journal.steps and journal.full


def test_without_weights_no_step_is_kept() -> None:
    """A step's images go back at once: nobody could do it again."""
    journal = Journal()
    one, = take(journal, 1)
    assert not journal.steps and journal.room(SHAPE) is one.codes


def test_a_step_names_what_it_writes() -> None:
    one = Step(np.ones(SHAPE, np.int16), np.array([3, 4]), np.array([5]))
    assert [symbol for symbol, _ in one.written] == ["input", "labels", "step_block"]
    assert [data is own for (_, data), own in zip(one.written, (one.codes, one.labels, one.block))
            ] == [True] * 3


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
