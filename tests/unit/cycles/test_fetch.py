"""The sequencer's fetch in the cycle model: when it rests, what wakes it, how it asks."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from pynq_train.cycles import Command, Engine
from pynq_train.cycles.kernel import Condition
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import Opcode, Semaphore
from pynq_train.hw.config import FETCH_AHEAD, FETCH_REST_CYCLES
from pynq_train.hw.memory_timing import MemoryTiming

COUNT = 12


@dataclass
class Fetches:
    """What a run did, by descriptor.

    Attributes:
        began: cycle in which its fetch asked for the first word.
        runs: of each burst, whether others of the same run follow.
        filled, retired: cycles in which it was there, and ended.
    """

    began: list[int]
    runs: list[list[bool]]
    filled: list[int]
    retired: list[int]


def fetches(words: int) -> Fetches:
    """Run vector passes of so many words, one behind the other."""
    commands = [Command({
        "pre.opcode": int(Opcode.VECTOR), "pre.signal": int(Semaphore.VECTOR), "pre.number": number,
        "pre.wait_x_sem": int(Semaphore.VECTOR), "pre.wait_x": number,
        "v.v_images": 1, "v.v_blocks": 1, "v.v_words": words, "v.v_sums": 1,
        "v.m_words": -(-words // 16)}) for number in range(COUNT)]
    engine = Engine(commands, BOARDS["pynq-z2"].config, MemoryTiming(16))
    found = Fetches([], [], [], [])
    ask = engine._program.ask

    def asked(cycle: int, beats: int, inside: bool = False) -> None:
        if len(found.began) == len(found.filled):
            found.began.append(engine.clock.now)
            found.runs.append([])
        found.runs[-1].append(inside)
        ask(cycle, beats, inside)

    class Filled(Condition):
        def wake(self) -> None:
            found.filled.append(engine.clock.now)
            super().wake()

    engine._program.ask = asked  # type: ignore[method-assign]
    engine._filled = Filled(engine.clock)
    engine.run(lambda: found.retired.append(engine.clock.now))
    assert len(found.began) == len(found.filled) == len(found.retired) == COUNT
    return found


@pytest.mark.parametrize(("words", "waker"), [(300, "retirement"), (4000, "time")])
def test_a_resting_fetch_wakes_at_once(words: int, waker: str) -> None:
    """With enough descriptors inside it rests, until one retires or its time is over."""
    found, woken = fetches(words), set()
    for number in range(FETCH_AHEAD, COUNT):
        filled, freed = found.filled[number - 1], found.retired[number - FETCH_AHEAD]
        rested = filled + FETCH_REST_CYCLES
        assert found.began[number] == min(max(freed, filled), rested), number
        if freed > filled:
            woken.add("retirement" if freed < rested else "time")
    assert waker in woken


def test_the_words_of_a_descriptor_are_one_run() -> None:
    """The arbiter remembers a run once; its last burst says so, and so does the step block's."""
    for runs in fetches(300).runs:
        *words, last, param = runs
        assert words and all(words) and not last and not param
