"""The scheduler makes the same programs here as everywhere."""

from __future__ import annotations

import pytest

from pynq_train.hw.config import CONFIGS
from pynq_train.hw.contract import contract_hash
from pynq_train.program import Program, verify_program
from pynq_train.schedule.lower.program import build_evaluation, build_training
from pynq_train.selftest import digests


@pytest.mark.parametrize("config", sorted(CONFIGS))
def test_the_contract_is_the_stored_one(config: str) -> None:
    assert contract_hash(CONFIGS[config]) == digests.stored()["contract"][config], (
        "the contract differs from that of the place where this package was made: install it again "
        "(after a change of it: make gen)")


@pytest.mark.parametrize(("board", "net"), digests.PROGRAMS)
def test_programs_are_the_stored_ones(board: str, net: str) -> None:
    wanted = digests.stored()["programs"][digests.name_of(board, net)]
    assert digests.program_digest(board, net) == wanted, (
        "the program differs from that of the place where this package was made: install it again "
        "(after a change of the scheduler: make gen)")


@pytest.mark.parametrize(("board", "net"), digests.RESULTS)
def test_programs_are_legal(board: str, net: str) -> None:
    plan = digests.plan_of(board, net)
    for image in (build_training(plan), build_evaluation(plan)):
        verify_program(Program.make(image.name, image.program, image.taps, plan.memory,
                                    plan.memory.nbytes, plan.board.config))
