"""A step that fails leaves nothing behind, in networks with running statistics too."""

from __future__ import annotations

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.backends import RunRequest, RunResult
from pynq_train.errors import HardwareFault
from pynq_train.graph import BatchNorm, Conv, Dense, GlobalAvgPool, Graph, Relu
from pynq_train.quant import SgdStep
from pynq_train.run.session import Session


def normalised() -> Graph:
    return Graph.build((2, 5, 5), [Conv(10, 3, bias=False, name="conv"), BatchNorm(name="bn"),
                                   Relu(), GlobalAvgPool(), Dense(3, name="last")])


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(2)
    return draw.standard_normal((24, 2, 5, 5)).astype(np.float32), draw.integers(0, 3, 24)


@pytest.mark.parametrize("trainable", ["all", "norm", "last-layer"])
def test_a_failed_step_changes_no_master_and_no_statistics(
        data: tuple[np.ndarray, np.ndarray], trainable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = pt.Learner(normalised(), batch=8, trainable=trainable)
    learner.fit(*data, epochs=1, progress=False)
    session = learner._open()
    before, policy = learner.masters, session.policy.to_dict()
    assert isinstance(session, Session)
    original, moved = session.backend.run, []

    def broken(request: RunRequest) -> RunResult:
        original(request)
        moved.append(session.read_masters())
        raise HardwareFault("planted: behind all writes")

    x, y = data
    with monkeypatch.context() as patch:
        patch.setattr(session.backend, "run", broken)
        with pytest.raises(HardwareFault, match="planted"):
            session.protected(lambda: session.train_step(x[:8], y[:8], SgdStep(0.1, 0.9)))
    # The step itself has changed masters, and statistics where they move.
    assert not all(own.same_bits(moved[0][name]) for name, own in before.items())
    means = before["bn"].mean, moved[0]["bn"].mean
    assert np.array_equal(*means) == (trainable == "last-layer")
    assert all(own.same_bits(before[name]) for name, own in learner.masters.items())
    assert session.policy.to_dict() == policy
