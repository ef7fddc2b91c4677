"""Random networks: one seed, one network; and together they have everything."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from pynq_train.check import Coverage, random_net, with_random_end
from pynq_train.check.draw import Draw, RandomNet
from pynq_train.check.net_builder import NetBuilder
from pynq_train.check.options import Options
from pynq_train.check.random_branches import random_branched_net
from pynq_train.check.random_chains import random_chain
from pynq_train.check.random_targets import loss_of
from pynq_train.graph.activation import Relu6
from pynq_train.graph.ops import (
    Add,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    ConvTranspose,
    Dropout,
    GlobalAvgPool,
    MaxPool,
    PadChannels,
    PickChannels,
    Upsample,
)
from pynq_train.hw.boards import BOARDS
from pynq_train.layers import fuse
from pynq_train.quant import Loss, SgdStep
from pynq_train.schedule.lower.program import build_evaluation, build_training
from pynq_train.schedule.plan import make_plan
from pynq_train.schedule.specs.trainable import select

SEEDS = 300


def cover(coverage: Coverage, seed: int, net: RandomNet) -> None:
    """Count what a verification of a network would compare."""
    options, layers = Options.of(seed), fuse(net.graph)
    plan = make_plan(layers, net.batch, BOARDS["pynq-z2"], momentum=options.momentum > 0,
                     trainable=select(layers, net.trainable),
                     loss=loss_of(options, layers, net.batch))
    for build in (build_training, build_evaluation):
        coverage.add_program(build(plan), plan)
    coverage.add_options(options, plan)


@pytest.mark.medium
def test_three_hundred_networks_meet_every_bin() -> None:
    coverage = Coverage()
    for seed in range(SEEDS):
        cover(coverage, seed, with_random_end(random_net(seed), seed))
    assert coverage.missing() == []


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 150, 4711])
def test_a_seed_names_one_network(seed: int) -> None:
    alone = random_net(seed)
    for other in (seed + 1, seed + 2, seed):
        again = random_net(other)
    assert again == alone
    assert random_net(seed + 4) != alone


def test_networks_stay_what_they_were() -> None:
    """Reports name networks by their seeds: who changes what is drawn says so here."""
    nets = "".join(f"{random_net(seed)}{Options.of(seed)}" for seed in range(400))
    assert hashlib.sha256(nets.encode()).hexdigest()[:16] == "9a858cd217316a16"


def test_kinds_of_networks_take_turns() -> None:
    for group in range(3):
        nets = [random_net(4 * group + place) for place in range(4)]
        assert nets[:2] == [random_chain(2 * group), random_chain(2 * group + 1)]
        assert nets[2] == random_branched_net(2 * group)
        plain = random_branched_net(2 * group + 1)
        assert nets[3] == plain or len(nets[3].graph.ops) > len(plain.graph.ops)


def test_every_rung_is_drawn() -> None:
    """Networks with adapters, of which these and the classifier learn."""
    found = [random_net(4 * number + 3) for number in range(60)]
    for ending in (".lora_a", "skip_b", ".da3_a", ".lite_a", ".part1"):
        assert any(name.endswith(ending) for net in found if net.trainable != "all"
                   for name in net.trainable), ending


def test_every_operation_is_drawn() -> None:
    nets = [random_net(seed) for seed in range(120)]
    ops = [op for net in nets for op in net.graph.ops]
    for wanted in (Add, AvgPool, BatchNorm, Concat, ConvTranspose, Dropout, GlobalAvgPool, MaxPool,
                   PadChannels, PickChannels, Relu6, Upsample):
        assert any(isinstance(op, wanted) for op in ops), wanted.__name__
    convs = [op for op in ops if isinstance(op, Conv)]
    assert {True, False} == {op.groups > 1 for op in convs}
    assert any(op.out_channels % 4 for op in convs)
    assert {net.trainable == "all" for net in nets} == {True, False}
    assert min(net.batch for net in nets) == 1 and max(net.batch for net in nets) > 9
    norms = [op for op in ops if isinstance(op, BatchNorm)]
    assert len({op.eps for op in norms}) > 2 and len({op.momentum for op in norms}) > 2
    assert {op.frozen for op in norms} == {True, False}


def test_every_option_is_drawn_with_and_without_momentum() -> None:
    options = [Options.of(seed) for seed in range(64)]
    assert all((one.momentum == 0) == (seed % 2 == 1) for seed, one in enumerate(options))
    assert any(one.nesterov for one in options)
    assert not any(one.nesterov and (not one.momentum or one.accumulate > 1) for one in options)
    for momentum in (0.0, 0.9):
        own = [one for one in options if one.momentum == momentum]
        assert {one.accumulate for one in own} == {1, 2}
        assert {(one.loss, one.label_smoothing > 0) for one in own} == {
            ("cross-entropy", False), ("cross-entropy", True), ("mse", False)}
        assert {one.missing for one in own} == {0, 1, 2, 3}


def test_only_the_last_mini_batch_is_incomplete() -> None:
    """It lacks what the options say, unless none would be left."""
    for missing in range(4):
        options = replace(Options.of(0), missing=missing)
        for batch in range(1, 10):
            assert options.valid(batch, last=False) == batch
            left = batch - missing
            assert options.valid(batch, last=True) == (left if left > 0 else batch)


def test_steps_are_what_options_say() -> None:
    options = Options(0.9, False, "mse", 0.0, 3, 0)
    assert options.loss_of(7) == Loss("mse", 0.0, 7)
    assert Options(0.9, False, "cross-entropy", 0.1, 1, 0).loss_of(7) == Loss(smoothing=0.1,
                                                                              classes=7)
    for step in range(7):
        assert options.sgd(seed=5, step=step, valid=6) == SgdStep(
            lr=0.01, momentum=0.9, decay=1e-3, valid=6, parts=3, part=step % 3, seed=5, step=step)
    one = replace(options, momentum=0.0, nesterov=True, accumulate=1).sgd(1, 4, 2)
    assert (one.nesterov, one.momentum, one.parts, one.part) == (True, 0.0, 1, 0)


def test_an_activation_never_stands_behind_another_one() -> None:
    """A dropout of rate 0 vanishes: the activation behind it would be the second one."""
    build = NetBuilder((4, 5, 5), Draw(1, 1))
    for _ in range(200):
        before = len(build.ops)
        build.drop("input", 100)
        drop = build.ops[before]
        assert isinstance(drop, Dropout)
        assert drop.rate > 0 or len(build.ops) == before + 1
