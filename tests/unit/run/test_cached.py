"""Training from a cache of the frozen layers' maps has the bits of training without."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pynq_train.backends import open_backend
from pynq_train.errors import BadInput
from pynq_train.graph import Graph
from pynq_train.graph.activation import Relu
from pynq_train.graph.ops import Add, BatchNorm, Conv, Dense, Dropout, GlobalAvgPool, MaxPool2x2, Op
from pynq_train.hw.boards import BOARDS
from pynq_train.layers import fuse
from pynq_train.layers.init import init_params
from pynq_train.quant import ExponentPolicy, SgdStep
from pynq_train.run import Masters
from pynq_train.run.batch import FloatBatch
from pynq_train.run.cached import ActivationCache, CachedBatch, CachedSession
from pynq_train.run.session import Session, new_policy
from pynq_train.schedule.plan import Plan, make_plan
from pynq_train.schedule.specs.trainable import select

BOARD = BOARDS["pynq-z2"]
BATCH, IMAGES, STEPS = 4, 10, 6


def residual() -> Graph:
    ops: list[Op] = [
        Conv(8, 3, 1, 1, name="c0"), BatchNorm(name="n0"), Relu(name="r0"),
        Conv(8, 3, 1, 1, name="c1"), BatchNorm(name="n1"), Relu(name="r1"),
        Conv(8, 3, 1, 1, name="c2"), BatchNorm(name="n2"), Add("sum", ("n2", "r0")), Relu(),
        GlobalAvgPool(), Dense(3)]
    return Graph.build((3, 8, 8), ops, "residual")


def chain() -> Graph:
    return Graph.build((2, 9, 7), [Conv(6, 3, 1, 1, name="c0"), Relu(), MaxPool2x2(),
                                   Conv(5, 3, 1, 1, name="c1"), Relu(), Dense(8, name="d0"),
                                   Relu(), Dense(3, name="d1")], "chain")


CASES = {"last block of a residual network": (residual, "last-block"),
         "classifier behind a mean": (residual, "last-layer"),
         "dense layers behind a map": (chain, ("d0", "d1")),
         "classifier behind a vector": (chain, "last-layer"),
         "a bias in the middle": (chain, ("c1.bias",))}


def planned(case: str, batch: int = BATCH) -> Plan:
    make, choice = CASES[case]
    layers = fuse(make())
    return make_plan(layers, batch, BOARD, trainable=select(layers, choice), cache=True)


def data(plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    x = rng.standard_normal((IMAGES, *plan.layers[0].in_shape)).astype(np.float32)
    x[-1] *= 3  # the exponents of the first mini-batch do not hold it
    return x, rng.integers(0, plan.classes, IMAGES)


@contextmanager
def opened(plan: Plan, kind: type[Session], policy: ExponentPolicy | None = None
           ) -> Iterator[Session]:
    masters = {name: Masters.of(p) for name, p in init_params(plan.layers, 3).items()}
    policy = new_policy(plan, masters, 1) if policy is None else policy
    with open_backend("golden", plan.memory.nbytes) as backend:
        yield kind(plan, backend, masters, policy, fill_seed=9)


def batches(x: np.ndarray, batch: int) -> Iterator[tuple[np.ndarray, FloatBatch]]:
    for first in range(0, len(x), batch):
        rows = np.arange(first, min(first + batch, len(x)))
        yield rows, FloatBatch(x[rows])


def held(session: Session, frozen: list[int], kept: ExponentPolicy) -> None:
    """Let the exponents of the frozen layers be those of another policy."""
    policy = session.policy
    for at in frozen:
        policy.feature[at] = list(kept.feature[at])
        name = f"{policy.layers[at].name}.a"
        if name in kept.extra:
            policy.extra[name] = list(kept.extra[name])
    session.policy = policy


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_a_cache_changes_no_bit(case: str, in_file: bool, tmp_path: Path) -> None:
    plan = planned(case)
    x, y = data(plan)
    draw = np.random.default_rng(1)
    order = [draw.choice(IMAGES, BATCH, replace=False) for _ in range(STEPS)]
    sgd = SgdStep(0.05, 0.9, 1e-4)
    cache = ActivationCache(plan, IMAGES, tmp_path / "maps" if in_file else None)
    with opened(plan, CachedSession) as cached:
        assert isinstance(cached, CachedSession)
        cached.prepare(x[:BATCH], y[:BATCH], 3)
        runs = cached.fill(cache, lambda: batches(x, BATCH))
        assert cached.cached and runs % 3 == 0
        start = copy.deepcopy(cached.policy)
        losses = []
        for rows in order:
            step = CachedBatch(FloatBatch(np.zeros_like(x[rows])), rows)  # nobody reads the images
            losses.append(cached.protected(partial(cached.train_step, step, y[rows], sgd)).loss_sum)
        masters, outputs = cached.read_masters(), cached.evaluate(x[:BATCH])[1]
        assert cached.cached
    frozen = [at for at, own in enumerate(plan.active) if not own]
    with opened(plan, Session, copy.deepcopy(start)) as whole:
        for rows, loss in zip(order, losses):
            held(whole, frozen, start)
            assert whole.train_step(x[rows], y[rows], sgd).loss_sum == loss
        held(whole, frozen, start)
        found = whole.read_masters()
        assert all(found[name].same_bits(own) for name, own in masters.items())
        assert np.array_equal(whole.evaluate(x[:BATCH])[1], outputs)


def test_the_cache_is_what_is_trained_from() -> None:
    """Other maps in the cache, other losses."""
    plan = planned("classifier behind a mean")
    x, y = data(plan)
    found = []
    for change in (0, 1):
        cache = ActivationCache(plan, IMAGES)
        with opened(plan, CachedSession) as session:
            assert isinstance(session, CachedSession)
            session.prepare(x[:BATCH], y[:BATCH], 3)
            session.fill(cache, lambda: batches(x, BATCH))
            cache.put(np.arange(BATCH), [data ^ change for data in cache.get(np.arange(BATCH))])
            batch = CachedBatch(FloatBatch(x[:BATCH]), np.arange(BATCH))
            found.append(session.train_step(batch, y[:BATCH], SgdStep(0.1)).loss_sum)
    assert found[0] != found[1]


def test_a_cache_is_dropped_when_what_it_holds_is_no_longer_true() -> None:
    plan = planned("last block of a residual network")
    x, y = data(plan)
    cache = ActivationCache(plan, IMAGES)
    with opened(plan, CachedSession) as session:
        assert isinstance(session, CachedSession)

        def filled() -> None:
            session.prepare(x[:BATCH], y[:BATCH], 3)
            session.fill(cache, lambda: batches(x, BATCH))
            assert session.cached

        filled()
        session.write_masters(session.read_masters())
        assert not session.cached
        filled()
        policy = session.policy
        policy.feature[plan.boundary[0]] = [own + 2 for own in policy.feature[plan.boundary[0]]]
        session.policy = policy
        assert not session.cached
        filled()
        session.calibrate(x[:BATCH], y[:BATCH])
        assert not session.cached
        # Without a cache the same mini-batch is trained with whole steps.
        batch = CachedBatch(FloatBatch(x[:BATCH]), np.arange(BATCH))
        before = session.policy.to_dict()
        session.train_step(batch, y[:BATCH], SgdStep(0.1))
        assert session.policy.to_dict() != before


@pytest.mark.parametrize("batch", [1, 4])
def test_maps_come_back_as_they_were_put(batch: int) -> None:
    plan = planned("last block of a residual network", batch)
    assert [plan.specs[place].name for place in plan.boundary] == ["n0", "n1"]
    cache = ActivationCache(plan, 6)
    assert cache.nbytes == 6 * plan.cache_bytes
    rng = np.random.default_rng(batch)
    maps = [rng.integers(0, 256, plan.specs[place].y.nbytes, np.uint8) for place in plan.boundary]
    rows = np.arange(batch)[::-1] + 1
    cache.put(rows, maps)
    for one, other in zip(cache.get(rows), maps):
        assert np.array_equal(one, other)
    cache.put(np.array([0]), maps)  # the last mini-batch of an epoch may be smaller
    for one, other in zip(cache.get(np.zeros(batch, np.int64)), maps):
        assert np.array_equal(one[: len(one) // batch], other[: len(one) // batch])


def test_what_cannot_be_cached_is_refused() -> None:
    layers = fuse(chain())
    with pytest.raises(BadInput, match="cache: expected frozen layers in front of what is trained"):
        make_plan(layers, BATCH, BOARD, cache=True)
    dropping = fuse(Graph.build((2, 8, 8), [Conv(4, 3, 1, 1, name="c"), Relu(),
                                            Dropout(0.5, name="drop"), Dense(3)]))
    with pytest.raises(BadInput, match=r"cache: .* the dropout 'drop' among them"):
        make_plan(dropping, BATCH, BOARD, trainable=select(dropping, "last-layer"), cache=True)
    plan = make_plan(layers, BATCH, BOARD, trainable=select(layers, "last-layer"))
    assert plan.boundary == () and plan.cache_bytes == 0
    with (pytest.raises(BadInput, match="plan of a cached training: expected one with a cached"),
          opened(plan, CachedSession)):
        pass
    with pytest.raises(BadInput, match=r"cache file .*: found No such file"):
        ActivationCache(planned("classifier behind a mean"), IMAGES, "/no/such/folder/maps")
