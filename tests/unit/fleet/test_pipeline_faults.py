"""Segments that fail, answer something else or are replaced; and faults that the proof must see."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from pynq_train.cli import main as cli
from pynq_train.errors import BadInput, HardwareFault
from pynq_train.fleet import proof
from pynq_train.fleet.build import SegmentPlans
from pynq_train.fleet.cut import Cut
from pynq_train.fleet.pipeline import MOST_STEPS, Pipeline
from pynq_train.fleet.proof import verify_cut
from pynq_train.fleet.segment import DeviceMap, Segment, SegmentInput, SegmentOutput, Stage
from pynq_train.graph import Add, BatchNorm, Conv, Dense, GlobalAvgPool, Graph, Relu
from pynq_train.layers import init_params
from pynq_train.quant import SgdStep
from pynq_train.run.masters import Masters
from pynq_train.run.session import new_policy

NET = Graph.build((1, 6, 6), [
    Conv(4, 3, 1, 1, False, "conv1"), BatchNorm(name="bn1"), Relu("relu1"),
    Conv(4, 3, 1, 1, False, "conv2"), BatchNorm(name="bn2"), Add("add", ("bn2", "relu1")),
    Relu("relu2"), GlobalAvgPool("mean"), Dense(3, name="dense")], "faulty")
AFTER = ["conv2", "mean"]
Change = Callable[[str, SegmentOutput], SegmentOutput]


class Spoilt:
    """A stage whose answers are changed, or which fails, by what a test says."""

    def __init__(self, stage: Stage, change: Change) -> None:
        self.stage, self.change = stage, change

    def forward(self, request: SegmentInput) -> SegmentOutput:
        """Change the forward half's answer."""
        return self.change("forward", self.stage.forward(request))

    def backward(self, request: SegmentInput) -> SegmentOutput:
        """Change the backward half's answer."""
        return self.change("backward", self.stage.backward(request))

    def evaluate(self, request: SegmentInput) -> SegmentOutput:
        """Change an evaluation's answer."""
        return self.change("evaluate", self.stage.evaluate(request))

    def read_masters(self) -> dict[str, Masters]:
        """Pass on."""
        return self.stage.read_masters()

    def write_masters(self, masters: Mapping[str, Masters], exponents: Sequence[int]) -> None:
        """Pass on."""
        self.stage.write_masters(masters, exponents)


def unused(stack: ExitStack, seed: int = 1) -> Pipeline:
    """Return the network in three segments on golden."""
    plans = SegmentPlans.of(Cut.of(NET, AFTER), "golden", 4)
    masters = {name: Masters.of(own) for name, own in init_params(NET, seed).items()}
    return plans.open(stack, masters, new_policy(plans.whole, masters, 2))


def opened(stack: ExitStack, seed: int = 1) -> Pipeline:
    """Return the same with exponents for its images."""
    pipeline = unused(stack, seed)
    pipeline.prepare(*batch(0), 2)
    return pipeline


def batch(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels of a step."""
    rng = np.random.default_rng(number)
    return rng.normal(size=(4, 1, 6, 6)).astype(np.float32), rng.integers(0, 3, 4)


def train(pipeline: Pipeline, *steps: int) -> None:
    """Run some steps, each protected."""
    for step in steps:
        pipeline.protected(partial(pipeline.train_step, *batch(step), SgdStep(0.1, 0.9, step=step)))
        assert pipeline._mark is not None
        assert 1 <= len(pipeline._mark.steps) <= MOST_STEPS


def same(one: Pipeline, other: Pipeline) -> bool:
    """Return whether masters and exponents of two are equal."""
    mine, theirs = one.read_masters(), other.read_masters()
    return (one.policy.to_dict() == other.policy.to_dict()
            and all(own.same_bits(theirs[name]) for name, own in mine.items()))


def spoil(pipeline: Pipeline, number: int, change: Change) -> Stage:
    """Put a spoilt stage into a pipeline; return the good one."""
    good = pipeline._stages[number]
    pipeline._stages[number] = Spoilt(good, change)
    return good


@pytest.mark.parametrize("half", ["forward", "backward"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_step_that_fails_anywhere_leaves_nothing_half_done(number: int, half: str) -> None:
    """Segments behind have moved their weights already: all go back, and the training goes on."""
    with ExitStack() as stack:
        good, other = opened(stack), opened(stack)
        train(good, 0, 1, 2, 3)
        train(other, 0, 1)
        failures = [1]

        def fail(which: str, answer: SegmentOutput) -> SegmentOutput:
            if which == half and failures:
                failures.pop()
                raise HardwareFault("power was cut")
            return answer

        spoil(other, number, fail)
        with pytest.raises(HardwareFault, match="power was cut"):
            train(other, 2)
        assert not failures
        train(other, 2, 3)
        assert same(good, other)


def test_a_lost_stage_is_replaced_by_one_that_knows_nothing() -> None:
    """Until then every use fails with its error; then the training has the bits of one."""
    with ExitStack() as stack:
        good, other = opened(stack), opened(stack, seed=1)
        steps = range(MOST_STEPS + 3)  # the weights were read again on the way
        train(good, *steps, 90, 91)
        train(other, *steps)

        def dead(which: str, answer: SegmentOutput) -> SegmentOutput:
            raise HardwareFault("member 1 is gone")

        spoil(other, 1, dead)
        with pytest.raises(HardwareFault, match="member 1 is gone"):
            train(other, 90)
        with pytest.raises(HardwareFault, match="member 1 is gone"):
            other.read_masters()
        fresh = opened(stack, seed=7)
        other.replace(1, fresh.stages[1])
        train(other, 90, 91)
        assert same(good, other)


def test_a_stage_is_not_replaced_where_no_weights_are_kept() -> None:
    """Nothing was trained: a checkpoint has them."""
    with ExitStack() as stack:
        pipeline = unused(stack)
        with pytest.raises(HardwareFault, match=r"segment 1: its weights are lost.*checkpoint"):
            pipeline.replace(1, pipeline.stages[1])


def test_a_step_by_hand_has_the_bits_of_a_step() -> None:
    """Its maps can be looked at on the way; each half has its turn."""
    with ExitStack() as stack:
        good, other = opened(stack), opened(stack)
        sgd = SgdStep(0.1, 0.9)
        expected = good.train_step(*batch(1), sgd)
        step = other.begin(*batch(1), sgd)
        with pytest.raises(BadInput, match=r"expected forward of segment 0, found backward of se"):
            step.backward(2)
        maps = step.forward(0)
        used = good.policy.layers[0].name, other.policy.exponents(4).layers
        assert used[0] == "conv1"
        assert {name: one.exponent for name, one in maps.items()} == {
            "bn1.y": used[1][1].y, "conv2.y": used[1][2].y}
        assert step.forward(1, maps).keys() == {"mean.y"}
        with pytest.raises(BadInput, match=r"still to run: forward of segment 2, backward of seg"):
            step.end()
        assert step.forward(2) == {}
        gradients = step.backward(2)
        assert [one.codes.dtype for one in gradients.values()] == [np.int16]
        assert {one.codes.dtype.name for one in step.backward(1, gradients).values()} == {
            "int16", "int64"}
        assert step.backward(0) == {}
        assert step.end() == expected
        with pytest.raises(BadInput, match="found a step that was ended"):
            step.end()
        with pytest.raises(BadInput, match="expected end, found forward of segment 0"):
            step.forward(0)
        assert same(good, other)


def test_a_map_given_in_place_of_another_is_what_the_next_segment_reads() -> None:
    """Nothing of what was made then counts."""
    with ExitStack() as stack:
        good, other = opened(stack), opened(stack)
        expected = good.train_step(*batch(1), SgdStep(0.1, 0.9))
        step = other.begin(*batch(1), SgdStep(0.1, 0.9))
        maps = step.forward(0)
        zeros = {name: replace(one, codes=np.zeros_like(one.codes)) for name, one in maps.items()}
        step.forward(1, zeros)
        assert step.run().end().loss_sum != expected.loss_sum
        assert not same(good, other)


def shape(answer: SegmentOutput) -> SegmentOutput:
    """Cut the last image off the maps."""
    return replace(answer, maps={name: DeviceMap(one.codes[:-1], one.exponent)
                                 for name, one in answer.maps.items()})


def kind(answer: SegmentOutput) -> SegmentOutput:
    """Answer maps of another type."""
    return replace(answer, maps={name: DeviceMap(one.codes.astype(np.int32), one.exponent)
                                 for name, one in answer.maps.items()})


@pytest.mark.parametrize(("change", "text"), [
    (shape, r"answer of segment 0 \(forward\): map '.*': expected int16 \(4, .*found int16 \(3,"),
    (kind, r"map '.*': expected int16 .*found int32"),
    (lambda one: replace(one, maps={}), "map '.*': expected int16 .*found none"),
    (lambda one: replace(one, records=one.records[1:]), "records: expected .* of int64, found"),
])
def test_answers_of_another_shape_are_typed_errors(
        change: Callable[[SegmentOutput], SegmentOutput], text: str) -> None:
    """A member may be of another version."""
    with ExitStack() as stack:
        pipeline = opened(stack)
        before = pipeline.read_masters()
        spoil(pipeline, 0, lambda half, one: change(one) if half == "forward" else one)
        with pytest.raises(HardwareFault, match=text):
            train(pipeline, 0)
        assert all(own.same_bits(pipeline.read_masters()[name]) for name, own in before.items())


def test_requests_that_do_not_fit_are_refused() -> None:
    """By the segment that gets them, with what it expects."""
    with ExitStack() as stack:
        pipeline = opened(stack)
        first, middle = pipeline.stages[:2]
        assert isinstance(first, Segment)
        assert isinstance(middle, Segment)
        block = np.zeros(first.part.plan.step_block_bytes // 8, np.int64)
        images = DeviceMap(np.zeros((4, 1, 6, 6, 4), np.int16), -10)
        with pytest.raises(BadInput, match=r"segment 1 on golden.*'bn1.y' too, found none"):
            middle.forward(SegmentInput(block))
        with pytest.raises(BadInput, match=r"map 'input': expected int16 \(4, 1, 6, 6, 4\), found"):
            first.forward(SegmentInput(block, {"input": DeviceMap(images.codes[:2], -10)}))
        with pytest.raises(BadInput, match="step block: expected int64"):
            first.forward(SegmentInput(block[1:], {"input": images}))
        with pytest.raises(BadInput, match=r"slot: expected 0..0, found 1"):
            first.forward(SegmentInput(block, {"input": images}, slot=1))


def nudged(half: str, number: int) -> Change:
    """Return a change of one code of one map of a half's answer, by one, from a step on."""
    count = [0]

    def change(which: str, answer: SegmentOutput) -> SegmentOutput:
        count[0] += which == half
        if which != half or count[0] < number or not answer.maps:
            return answer
        name = sorted(answer.maps)[0]
        codes = answer.maps[name].codes.copy()
        codes.flat[codes.size // 2 & ~3] ^= 1
        return replace(answer, maps={**answer.maps, name: replace(answer.maps[name], codes=codes)})

    return change


@pytest.mark.parametrize(("stage", "half"), [(0, "forward"), (1, "backward"), (1, "evaluate")])
def test_the_proof_sees_one_wrong_code(stage: int, half: str, monkeypatch: pytest.MonkeyPatch
                                       ) -> None:
    """The least that can go wrong on the way, in each direction."""
    compare = proof._compare

    def spoilt(whole: object, parts: Pipeline, *rest: object) -> None:
        spoil(parts, stage, nudged(half, 1))
        compare(whole, parts, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(proof, "_compare", spoilt)
    report = verify_cut(NET, ["relu1", "mean"], batch=4, steps=2, seed=0)
    assert report.mismatches > 0
    monkeypatch.setattr("pynq_train.cli.commands.network", lambda name: NET)
    assert cli.main(["verify", "--net", "digits", "--board", "golden", "--cut", "relu1,mean"]) == 7


def test_cuts_on_the_command_line(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    """A cut that is named, one that is drawn, and what goes wrong."""
    run = ["verify", "--net", "digits", "--board", "golden", "--batch", "2", "--steps", "1"]
    assert cli.main([*run, "--cut", "pool2,pool1"]) == 0
    assert "segments: 3" in capsys.readouterr().out
    assert cli.main([*run, "--cut", "random", "--seeds", "3"]) == 0
    assert "networks: 3" in capsys.readouterr().out
    for bad, text in ((["--cut", "pool3"], "unknown edge 'pool3'"),
                      (["--cut", "pool1", "--stalls", "0.1"], "--stalls with --cut"),
                      (["--cut", "pool1", "--board", "golden,golden,golden"],
                       "boards of 2 segments: expected 2")):
        assert cli.main([*run, *bad]) == 2
        assert text in capsys.readouterr().err
