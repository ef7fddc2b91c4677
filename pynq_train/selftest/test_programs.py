"""The scheduler makes the same programs here as everywhere."""

from __future__ import annotations

import pytest

from pynq_train.program import Program, verify_program
from pynq_train.schedule.lower.program import build_training
from pynq_train.selftest import digests


@pytest.mark.parametrize(("board", "net"), digests.PROGRAMS)
def test_programs_are_the_stored_ones(board: str, net: str) -> None:
    wanted = digests.stored()[digests.program_key(board, net)]
    assert digests.program_digest(board, net) == wanted, (
        "the program differs from that of the place where this package was made: install it again "
        "(after a change of scheduler or contract: python -m pynq_train.selftest)")


@pytest.mark.parametrize("board", digests.STEPS)
def test_programs_are_legal(board: str) -> None:
    plan = digests.plan_of(board, digests.NET)
    image = build_training(plan)
    verify_program(Program.make(image.name, image.program, image.taps, plan.memory,
                                plan.memory.nbytes, plan.board.config))
