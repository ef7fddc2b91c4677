"""Proof that a cut network has the bits of one that is not: step by step, on any backends."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynq_train.arrays import Array
from pynq_train.backends import open_backend
from pynq_train.backends.names import GOLDEN, board_of
from pynq_train.check.draw import Draw
from pynq_train.check.options import Options
from pynq_train.errors import BadInput
from pynq_train.fleet.build import SegmentPlans
from pynq_train.fleet.cut import Cut, legal_edges
from pynq_train.fleet.pipeline import Pipeline
from pynq_train.graph import Graph
from pynq_train.graph.graph import check_graph
from pynq_train.graph.rng import hash_u64, normal_float32, stream_key
from pynq_train.layers import init_params
from pynq_train.quant.policy import INPUT_START
from pynq_train.run.masters import Masters
from pynq_train.run.session import Session, new_policy
from pynq_train.run.trainer import Trainer
from pynq_train.schedule.plan import Plan, make_plan
from pynq_train.schedule.specs.trainable import TrainableChoice, describe_trainable, select

_STREAM = 0xC7
"""Stream of random numbers of images and labels."""
_CUTS = 0xC8
"""Stream of random cuts; the next one draws the segment that is not on golden."""


@dataclass
class CutReport:
    """Outcome of a comparison of a cut network with the whole on golden.

    Attributes:
        net: name of the network.
        after: operations behind which it is cut.
        boards: backend of each segment.
        batch: images of a mini-batch.
        steps: training steps.
        seed: names weights, images, labels and options.
        trainable: names of what was trained, or ``all``.
        compared: numbers compared: masters, momentum, running statistics, exponents, logits.
        cycles: cycles of all segments.
        digests: SHA-256 of masters, momentum, running statistics and exponents behind the last
            step, of the whole network and of the cut one.
        differences: what differs, with the first step behind which it does; empty if nothing does.
    """

    net: str
    after: tuple[str, ...]
    boards: tuple[str, ...]
    batch: int
    steps: int
    seed: int
    trainable: str = "all"
    compared: int = 0
    cycles: int = 0
    digests: tuple[str, str] = ("", "")
    differences: list[str] = field(default_factory=list)

    @property
    def mismatches(self) -> int:
        """Number of differences."""
        return len(self.differences)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), **asdict(Options.of(self.seed)), "mismatches": self.mismatches}

    def text(self) -> str:
        """Return one line for people."""
        frozen = "" if self.trainable == "all" else f"trainable {self.trainable}, "
        where = ", ".join(self.after) or "nothing"
        return (f"{self.net} cut after {where}, batch {self.batch}, {self.steps} steps, seed "
                f"{self.seed}, {frozen}{', '.join(self.boards)} against the whole on golden: "
                f"{self.compared} numbers compared, mismatches: {self.mismatches}, SHA-256 "
                + " and ".join(digest[:16] for digest in self.digests)
                + "".join(f"\n  {one}" for one in self.differences))


def verify_cut(graph: Graph, after: Sequence[str], *, boards: str | Sequence[str] = GOLDEN,
               batch: int = 4, steps: int = 2, seed: int = 0, trainable: TrainableChoice = "all",
               progress: Callable[[int], None] | None = None) -> CutReport:
    """Train a network whole on golden and cut on some boards, and compare them after each step.

    Masters, momentum, running statistics, the whole exponent state, loss, right answers and
    saturations must be equal, and the logits of an evaluation at the end, whose images leave the
    ranges of the training. Mini-batches of one update are in the segments at once. Arenas begin
    with random bytes. It stops behind the first step in which anything differs.

    Args:
        graph: the network.
        after: operations behind which it is cut.
        boards: backend of each segment; one name stands for all.
        batch: images of a mini-batch.
        steps: training steps.
        seed: names weights, images, labels, the random bytes and
            :class:`~pynq_train.check.options.Options`; odd ones train without momentum.
        trainable: what is trained, as for :class:`~pynq_train.train.Learner`.
        progress: called with the number of steps since the last call.

    Raises:
        BadInput: no graph, no steps, or the network cannot be cut there.
        HardwareFault: a backend stopped with an error.
    """
    check_graph(graph)
    if steps < 1:
        raise BadInput("steps", expected="at least 1", found=steps)
    cut, options = Cut.of(graph, after), Options.of(seed)
    chosen = select(cut.layers, trainable)
    loss, momentum = options.loss_of(graph.classes), options.momentum > 0
    plans = SegmentPlans.of(cut, boards, batch, momentum=momentum, trainable=chosen, loss=loss,
                            slots=options.accumulate)
    plan = replace(make_plan(cut.layers, batch, board_of(GOLDEN), momentum=momentum,
                             trainable=chosen), loss=loss)
    report = CutReport(graph.name, cut.after, plans.boards, batch, steps, seed,
                       "all" if trainable == "all" else describe_trainable(cut.layers, chosen))
    masters = {name: Masters.of(own) for name, own in init_params(cut.layers, seed).items()}
    with ExitStack() as stack:
        golden = stack.enter_context(open_backend(GOLDEN, plan.memory.nbytes))
        whole = Session(plan, golden, masters, new_policy(plan, masters, INPUT_START),
                        fill_seed=seed & 0xFFFF_FFFF)
        parts = plans.open(stack, masters, new_policy(plans.whole, masters, INPUT_START),
                           fill_seed=(seed + 1) & 0xFFFF_FFFF)
        _compare(whole, parts, report, progress or (lambda _: None))
    return report


def random_cut(graph: Graph, seed: int, most: int = 4) -> tuple[str, ...]:
    """Return edges for a cut into 2 to ``most`` segments, drawn by a seed.

    A network with fewer edges where a cut is possible is cut at all of them.
    """
    edges, draw = list(legal_edges(graph)), Draw(seed, _CUTS)
    count = min(draw.between(1, most - 1), len(edges))
    return tuple(edges.pop(draw.below(len(edges))) for _ in range(count))


def boards_with_one(board: str, segments: int, seed: int) -> tuple[str, ...]:
    """Return golden for all segments but one, which a seed draws; that one is on ``board``."""
    names = [GOLDEN] * segments
    names[Draw(seed, _CUTS + 1).below(segments)] = board
    return tuple(names)


def _compare(whole: Trainer, parts: Pipeline, report: CutReport, progress: Callable[[int], None]
             ) -> None:
    """Train both; the outcome goes to the report."""
    options = Options.of(report.seed)
    images, labels = _images(whole.plan, report.seed, 0)
    for trainer in (whole, parts):
        trainer.prepare(images, labels, INPUT_START)
    report.differences += _policies(whole, parts, report, "calibration")
    for first in range(0, report.steps, options.accumulate):
        if report.differences:
            return
        numbers = range(first, min(first + options.accumulate, report.steps))
        steps = [(*_images(whole.plan, report.seed, step),
                  options.sgd(report.seed, step, whole.plan.batch)) for step in numbers]
        mine = [whole.train_step(*one) for one in steps]
        # Parts of an update are in the segments at the same time.
        theirs = parts.train_together(steps)
        report.cycles += sum(one.cycles for one in theirs)
        for step, one, other in zip(numbers, mine, theirs):
            for what in ("loss_sum", "correct", "saturations"):
                _note(report, f"step {step + 1}", what, getattr(one, what), getattr(other, what))
        when = f"step {numbers[-1] + 1}"
        report.differences += _policies(whole, parts, report, when)
        _masters(whole, parts, report, when)
        progress(len(numbers))
    report.digests = (_digest(whole), _digest(parts))
    _note(report, "the end", "SHA-256", *report.digests)
    # Images beyond the ranges of the training: both run them again, with more room.
    images, labels = _images(whole.plan, report.seed, report.steps)
    valid = max(1, len(images) - 1)
    (said, logits), (also, others) = (one.evaluate(4 * images[:valid], labels[:valid])
                                      for one in (whole, parts))
    for what in ("loss_sum", "correct", "saturations", "again"):
        _note(report, "evaluation", what, getattr(said, what), getattr(also, what))
    report.compared += logits.size
    if not np.array_equal(logits, others):
        report.differences.append("evaluation: logits")


def _note(report: CutReport, when: str, what: str, mine: float | str, theirs: float | str
          ) -> None:
    report.compared += 1
    if mine != theirs:
        report.differences.append(f"{when}: {what} is {mine} whole, {theirs} cut")


def _digest(trainer: Trainer) -> str:
    """Return a checksum of all that a training step carries over to the next."""
    digest = hashlib.sha256(json.dumps(trainer.policy.to_dict(), sort_keys=True).encode())
    for name, own in trainer.read_masters().items():
        digest.update(name.encode())
        for values in (own.weight, own.weight_momentum, own.bias, own.bias_momentum, own.mean,
                       own.variance):
            digest.update(b"" if values is None else values.tobytes())
    return digest.hexdigest()


def _policies(whole: Trainer, parts: Trainer, report: CutReport, when: str) -> list[str]:
    """Return what differs of the exponent states."""
    mine, theirs = whole.policy.to_dict(), parts.policy.to_dict()
    report.compared += sum(len(one) if isinstance(one, (list, dict)) else 1
                           for one in mine.values())
    return [f"{when}: exponents, {name}" for name, one in mine.items() if theirs[name] != one]


def _masters(whole: Trainer, parts: Trainer, report: CutReport, when: str) -> None:
    """Compare weights, momentum and running statistics."""
    mine, theirs = whole.read_masters(), parts.read_masters()
    if list(mine) != list(theirs):
        report.differences.append(f"{when}: layers are {list(mine)} whole, {list(theirs)} cut")
        return
    for name, own in mine.items():
        report.compared += 2 * own.count + (0 if own.mean is None else 2 * own.mean.size)
        if not own.same_bits(theirs[name]):
            report.differences.append(f"{when}: masters of {name}")


def _images(plan: Plan, seed: int, step: int) -> tuple[NDArray[np.float32], Array]:
    """Return images and labels of a step: normally distributed; class numbers."""
    shape = (plan.batch, *plan.layers[0].in_shape)
    images = normal_float32(stream_key(seed, _STREAM, step), int(np.prod(shape))).reshape(shape)
    draws = hash_u64(stream_key(seed, _STREAM, step, 1), 0, plan.batch)
    return images, (draws % np.uint64(plan.classes)).astype(np.int64)
