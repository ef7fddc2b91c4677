"""The board of this machine, or a virtual one: copies, and training steps equal to golden."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from pynq_train.backends import Backend, open_backend
from pynq_train.backends.board import how_to_install_pynq
from pynq_train.doctor import loop_back, step_against_golden
from pynq_train.doctor.loopback import arena_bytes
from pynq_train.errors import BadInput, MissingTool, StaleOverlay
from pynq_train.graph import zoo
from pynq_train.hw.boards import BOARDS, Board
from pynq_train.layers import fuse
from pynq_train.overlays import find_overlay, this_machine
from pynq_train.schedule.plan import Plan, make_plan

CASES = (("digits", 32), ("lenet5", 3))
"""Networks and mini-batches of the steps."""


def missing() -> str | None:
    """Why no board can be used here; None: one can."""
    name = this_machine()
    if find_spec("pynq") is None:
        return f"the package pynq is not installed (on a PC, {how_to_install_pynq()})"
    try:
        if name.startswith("virtual:"):
            from pynq_train.backends.vboard.build import find_tools

            find_tools()
        else:
            find_overlay(BOARDS[name])
    except (BadInput, MissingTool, StaleOverlay) as error:
        return str(error)
    if not name.startswith("virtual:") and os.geteuid() != 0:
        return "boards are driven by user root: sudo -i, then pytest --pyargs pynq_train"
    return None


@pytest.fixture(scope="module")
def board() -> Board:
    """The board that is tested."""
    return BOARDS[this_machine().removeprefix("virtual:")]


@pytest.fixture(scope="module")
def plans(board: Board) -> dict[str, Plan]:
    """Plans of all cases."""
    return {net: make_plan(fuse(zoo.get(net)), batch, board) for net, batch in CASES}


@pytest.fixture(scope="module")
def backend(board: Board, plans: dict[str, Plan]) -> Iterator[Backend]:
    """The board, open; an overlay of another contract is an error, not a reason to skip."""
    why = missing()
    if why is not None:
        pytest.skip(why)
    nbytes = max(arena_bytes(board), *(plan.memory.nbytes for plan in plans.values()))
    with open_backend(this_machine(), nbytes) as backend:
        yield backend


def test_copies_through_all_memory_ports(backend: Backend, board: Board) -> None:
    copied = loop_back(backend, board)
    assert copied.idle_ports == () and copied.cycles > 0


@pytest.mark.parametrize("net", [net for net, _ in CASES])
def test_a_training_step_equals_golden(backend: Backend, plans: dict[str, Plan], net: str) -> None:
    assert step_against_golden(backend, plans[net]).cycles > 0
