"""A step whose engine cannot be brought back is undone without asking for the engine again."""

from __future__ import annotations

import numpy as np
import pytest

from pynq_train.backends import RunRequest, RunResult
from pynq_train.backends.golden import GoldenBackend
from pynq_train.errors import HardwareFault
from pynq_train.graph import Sequential
from pynq_train.hw.boards import BOARDS
from pynq_train.layers.fuse import fuse
from pynq_train.layers.init import init_params
from pynq_train.quant import SgdStep
from pynq_train.run.masters import Masters
from pynq_train.run.session import Session, new_policy
from pynq_train.schedule.plan import make_plan

SGD = SgdStep(lr=0.05, momentum=0.9, decay=0.0)


class Engine(GoldenBackend):
    """Golden, which fails when it is told to."""

    def __init__(self, nbytes: int) -> None:
        super().__init__(nbytes)
        self.calls = 0
        self.fault: HardwareFault | None = None

    def run(self, request: RunRequest) -> RunResult:
        self.calls += 1
        if self.fault is not None:
            raise self.fault
        return super().run(request)


@pytest.mark.parametrize(("lost", "calls"), [(True, 1), (False, 2)])
def test_a_lost_engine_is_not_asked_again(lost: bool, calls: int) -> None:
    layers = fuse(Sequential((2, 6, 6)).conv(4, 3, padding=1).relu().dense(3).build())
    plan = make_plan(layers, 2, BOARDS["pynq-z2"])
    masters = {name: Masters.of(p) for name, p in init_params(layers, 0).items()}
    images = np.random.default_rng(0).standard_normal((2, 2, 6, 6)).astype(np.float32)
    labels = np.array([0, 2])
    with Engine(plan.memory.nbytes) as engine:
        session = Session(plan, engine, masters, new_policy(plan, masters, 2))
        session.protected(lambda: session.train_step(images, labels, SGD))
        before = session.read_masters()
        engine.calls, engine.fault = 0, HardwareFault("no answer")
        engine.fault.engine_lost = lost
        with pytest.raises(HardwareFault):
            session.protected(lambda: session.train_step(images, labels, SGD))
        # The failed run, and where the engine may still work one that does the first step again.
        assert engine.calls == calls
        engine.fault = None
        assert all(own.same_bits(before[name]) for name, own in session.read_masters().items())
