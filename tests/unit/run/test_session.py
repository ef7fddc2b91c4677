"""A session finds exponents: for the range it is told, and no longer than it must."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from pynq_train.backends import open_backend
from pynq_train.graph import Graph
from pynq_train.hw.boards import BOARDS
from pynq_train.layers import fuse, init_params
from pynq_train.run import Session
from pynq_train.run.masters import Masters
from pynq_train.run.session import new_policy
from pynq_train.schedule.plan import make_plan

BATCH = 4
Data = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def session(net: Graph) -> Iterator[Session]:
    """A session of the small network on golden."""
    plan = make_plan(fuse(net), BATCH, BOARDS["pynq-z2"])
    masters = {name: Masters.of(params) for name, params in init_params(net, 1).items()}
    with open_backend("golden", plan.memory.nbytes) as backend:
        yield Session(plan, backend, masters, new_policy(plan, masters, 2))


@pytest.mark.parametrize("labelled", [False, True])
def test_images_have_the_range_that_is_told(session: Session, data: Data, labelled: bool) -> None:
    """Images below 2**input_k: their exponent follows, and weights stay as they are."""
    images, labels = data[0][:BATCH], data[1][:BATCH]
    before = session.snapshot()
    for input_k in (3, 1):
        session.prepare(images, labels if labelled else None, input_k)
        assert session.policy.input_k == input_k
        assert session.policy.exponents(BATCH).layers[0].x == input_k - 15
    assert all(np.array_equal(before[name], now) for name, now in session.snapshot().items())


def test_calibration_ends_as_soon_as_exponents_hold(session: Session, data: Data) -> None:
    """The last run used what its own measures ask for: one more finds the same."""
    images, labels = data[0][:BATCH], data[1][:BATCH]
    runs = session.calibrate_forward(images)
    found = session.policy.exponents(BATCH, training=False)
    assert 1 < runs < len(session.plan.specs) + 2
    session.calibrate_forward(images)
    assert session.policy.exponents(BATCH, training=False) == found
    runs = session.calibrate(images, labels)
    found = session.policy.exponents(BATCH)
    assert 1 < runs < 2 * len(session.plan.specs) + 2
    session.calibrate(images, labels)
    assert session.policy.exponents(BATCH) == found
