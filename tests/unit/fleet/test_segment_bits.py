"""A network that is cut has the bits of one that is not."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pytest

from pynq_train.backends import Backend, open_backend
from pynq_train.check.random_nets import random_net
from pynq_train.fleet.cut import Cut, legal_edges
from pynq_train.fleet.pipeline import Pipeline
from pynq_train.fleet.proof import verify_cut
from pynq_train.fleet.segment import Segment
from pynq_train.fleet.segment_plan import SegmentPlan
from pynq_train.graph import (
    Add,
    BatchNorm,
    Concat,
    Conv,
    Dense,
    Dropout,
    GlobalAvgPool,
    Graph,
    MaxPool,
    Relu,
    zoo,
)
from pynq_train.hw.boards import BOARDS
from pynq_train.layers import init_params
from pynq_train.quant import SgdStep
from pynq_train.run.masters import Masters
from pynq_train.run.session import Session, new_policy
from pynq_train.schedule.plan import make_plan


def residual(name: str = "residual") -> Graph:
    """Return a network with a skip, normalisations, a dropout, a concatenation and pooling."""
    return Graph.build((3, 8, 8), [
        Conv(8, 3, 1, 1, False, "conv1"), BatchNorm(name="bn1"), Relu("relu1"),
        Conv(8, 3, 1, 1, False, "conv2"), BatchNorm(name="bn2"), Relu("relu2"),
        Conv(8, 3, 1, 1, False, "conv3"), BatchNorm(name="bn3"),
        Add("add", ("bn3", "relu1")), Relu("relu3"), Dropout(0.25, "drop"),
        MaxPool(3, 2, name="pool"), Conv(4, 3, 1, 1, name="left"),
        Conv(8, 1, name="right", inputs=("pool",)), Concat("cat", ("left", "right")),
        Conv(8, 3, 1, 1, name="conv4"), Relu("relu4"), GlobalAvgPool("mean"),
        Dense(5, name="dense")], name)


@pytest.mark.parametrize(("seed", "edge"), [*enumerate(legal_edges(residual()))])
def test_one_cut_anywhere_changes_no_bit(seed: int, edge: str) -> None:
    """Options of many seeds: with and without momentum, both losses, accumulation."""
    report = verify_cut(residual(), [edge], batch=4, steps=3, seed=seed)
    assert report.differences == []
    assert report.compared > 3 * 2000
    assert report.digests[0] == report.digests[1]
    assert len(report.digests[0]) == 64


def test_a_cut_everywhere_changes_no_bit() -> None:
    """As many segments as there can be: some have a single layer, one only a dropout."""
    after = legal_edges(residual())
    assert len(after) == 11
    assert verify_cut(residual(), after, batch=3, steps=3, seed=2).differences == []


@pytest.mark.parametrize("trainable", ["last-layer", "bias", "norm", ["conv3", "*.bias"]])
def test_a_cut_of_a_frozen_network_changes_no_bit(trainable: str | list[str]) -> None:
    """Segments below the lowest trained layer have no backward half."""
    report = verify_cut(residual(), ["relu1", "relu3", "cat"], batch=4, steps=2, seed=4,
                        trainable=trainable)
    assert report.differences == []


def test_a_chain_without_vector_unit_changes_no_bit() -> None:
    """Maps take turns in two regions where nothing below is trained."""
    net = zoo.get("digits")
    for trainable in ("all", "last-layer", ["conv2"]):
        report = verify_cut(net, ["pool1", "pool2"], batch=8, steps=3, seed=1,
                            trainable=trainable)
        assert report.differences == []


@pytest.mark.parametrize("seed", range(8))
def test_random_networks_with_random_cuts(seed: int) -> None:
    """Every edge of a random network where a cut is possible, all at once."""
    drawn = random_net(seed)
    report = verify_cut(drawn.graph, legal_edges(drawn.graph), batch=drawn.batch, steps=2,
                        seed=seed)
    assert report.differences == []


def test_a_dropout_of_the_images_alone_in_a_segment() -> None:
    """In training it makes what the next segment reads; an evaluation reads the images there."""
    net = Graph.build((3, 8, 8), [
        Dropout(0.5, "drop"), Conv(8, 3, 1, 1, name="conv1"), Relu("relu1"),
        Dense(5, name="dense")], "dropped")
    assert verify_cut(net, ["drop"], batch=4, steps=2, seed=0).differences == []


@pytest.mark.parametrize("names", [("pynq-z2", "zcu104", "kv260"),
                                   ("zcu104", "pynq-z2-small", "zcu104")])
def test_boards_of_other_shapes_have_the_same_bits(names: tuple[str, ...]) -> None:
    """Arrays of 16 and of 32 rows, small buffers: plans differ, what travels does not."""
    net = residual()
    cut = Cut.of(net, ["conv2", "drop"])
    plans = [make_plan(cut.layers, 4, BOARDS[name], fits=False) for name in names]
    masters = {name: Masters.of(own) for name, own in init_params(net, 1).items()}
    plan = make_plan(cut.layers, 4, BOARDS["pynq-z2"])
    with ExitStack() as stack:
        def golden(nbytes: int) -> Backend:
            return stack.enter_context(open_backend("golden", nbytes))

        whole = Session(plan, golden(plan.memory.nbytes), masters, new_policy(plan, masters, 2))
        parts = [SegmentPlan.of(own, cut, number) for number, own in enumerate(plans)]
        policy = new_policy(plans[0], masters, 2)
        pipeline = Pipeline(plans[0], parts, [
            Segment(part, golden(part.plan.memory.nbytes), masters, policy.w16, fill_seed=3)
            for part in parts], policy)
        rng = np.random.default_rng(0)
        for step in range(3):
            x, y = rng.normal(size=(4, 3, 8, 8)).astype(np.float32), rng.integers(0, 5, 4)
            for trainer in (whole, pipeline):
                if not step:
                    trainer.prepare(x, y, 2)
                trainer.train_step(x, y, SgdStep(0.05, 0.9, step=step))
            assert whole.policy.to_dict() == pipeline.policy.to_dict()
            mine, theirs = whole.read_masters(), pipeline.read_masters()
            assert all(own.same_bits(theirs[name]) for name, own in mine.items())
