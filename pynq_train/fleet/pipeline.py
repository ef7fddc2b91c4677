"""A network cut into segments, trained as one: the coordinator of its stages.

The coordinator has the exponent policy of the whole network. For each step it makes one step block,
sends it to every segment with the maps that this reads, and takes back maps and records. Records
hold measured ranges, integers; from those of all segments the policy learns what it would have
learnt from one board. So a cut network has the bits of one that is not.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pynq_train.arrays import Array
from pynq_train.errors import BadInput, HardwareFault, PynqTrainError
from pynq_train.fleet.cut import Carried
from pynq_train.fleet.flight import Answer, Flight, OtherExponents, said_by
from pynq_train.fleet.segment import (
    INPUT,
    LOGITS,
    DeviceMap,
    SegmentInput,
    SegmentOutput,
    Stage,
    logits_of,
    map_shape,
)
from pynq_train.fleet.segment_plan import BACKWARD, FORWARD, SegmentPlan
from pynq_train.fleet.under_way import SentStep, StepUnderWay
from pynq_train.hw.words import CHANNELS_PER_WORD
from pynq_train.quant import ExponentPolicy, Measures, SgdStep, StepExponents
from pynq_train.run.batch import Batch, Images, as_batch
from pynq_train.run.calibration import calibrated
from pynq_train.run.masters import Masters
from pynq_train.run.trainer import StepOutcome, T
from pynq_train.schedule.lower.meaning import EVALUATION
from pynq_train.schedule.lower.records import RunRecords
from pynq_train.schedule.lower.step_block import dry, pack_step_block, plan_params
from pynq_train.schedule.plan import Plan
from pynq_train.schedule.specs.layout import unpack_dense

MOST_STEPS = 16
"""Steps from one reading of the weights to the next."""


@dataclass(frozen=True)
class _Mark:
    """A state to go back to: weights, exponents of their copies, and the steps since."""

    masters: Mapping[str, Masters]
    exponents: tuple[int, ...]
    steps: tuple[SentStep, ...] = ()


class Pipeline:
    """Trains a network whose segments stand on several boards.

    It satisfies :class:`~pynq_train.run.trainer.Trainer`.

    Args:
        plan: the whole network; its tiles and arena are not used.
        parts: plans of the segments, in order, on the boards of the stages.
        stages: the segments; they hold the weights that belong to the policy.
        policy: exponent state of the whole network; training steps move it on.

    Attributes:
        in_flight: mini-batches of one update that can be in the segments at the same time: as many
            as these have slots.
    """

    def __init__(self, plan: Plan, parts: Sequence[SegmentPlan], stages: Sequence[Stage],
                 policy: ExponentPolicy) -> None:
        self.plan, self.parts, self.policy = plan, tuple(parts), policy
        self.in_flight = min(len(part.slots) for part in parts)
        self._stages = list(stages)
        self._routes = parts[0].routes
        self._mark: _Mark | None = None
        self._behind = False  # the segments have to be brought to where the mark is
        layout = plan.input_layout
        self._map_shape = (plan.batch, layout.blocks, layout.rows, layout.cols, CHANNELS_PER_WORD)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The segments, in order."""
        return tuple(self._stages)

    # -- weights ---------------------------------------------------------------------------------

    def read_masters(self) -> dict[str, Masters]:
        """Return weights, momentum and running statistics of all layers, in the plan's order."""
        self._catch_up()
        found: dict[str, Masters] = {}
        for stage in self._stages:
            found.update(stage.read_masters())
        return {spec.name: found[spec.name] for spec in self.plan.specs if spec.name in found}

    def write_masters(self, masters: Mapping[str, Masters]) -> None:
        """Replace weights, momentum and running statistics; the policy must fit them already."""
        self._mark, self._behind = None, False
        for stage in self._stages:
            stage.write_masters(masters, self.policy.w16)
        self._mark = _Mark(dict(masters), tuple(self.policy.w16))

    def replace(self, number: int, stage: Stage) -> None:
        """Let another stage take a segment over, for example of a member that is lost.

        Weights are those of the last finished step: all segments are brought there.

        Raises:
            HardwareFault: nothing was trained in :meth:`protected` yet, so nothing was kept.
        """
        self._check_mark(f"segment {number}: its weights")
        self.exchange(self.parts, [stage if at == number else one
                                   for at, one in enumerate(self._stages)])

    def exchange(self, parts: Sequence[SegmentPlan], stages: Sequence[Stage]) -> None:
        """Go on with other stages, also with fewer segments: a network that is cut at less edges.

        Weights are those of the last finished step: all segments are brought there.

        Args:
            parts: plans of the segments, of the same network, training and mini-batches in flight.
            stages: the segments.

        Raises:
            HardwareFault: nothing was trained in :meth:`protected` yet, so nothing was kept.
        """
        self._check_mark("weights")
        self.parts, self._stages, self._routes = tuple(parts), list(stages), parts[0].routes
        self._behind = True
        self._catch_up()

    def _check_mark(self, what: str) -> None:
        """Raise :class:`HardwareFault` if there are no weights to go back to."""
        if self._mark is None:
            raise HardwareFault(f"{what} are lost", found="none", fix="load a checkpoint",
                                expected="a training under way, whose weights are kept here")

    def protected(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns; if it fails, weights and policy are as before it.

        If a stage fails for good, the others cannot be brought back at once: that is tried again
        before the next use, and when the stage is replaced.
        """
        self._catch_up()
        if self._mark is None or len(self._mark.steps) >= MOST_STEPS:
            self._mark = _Mark(self.read_masters(), tuple(self.policy.w16))
        mark, state = self._mark, copy.deepcopy(self.policy)
        try:
            return work()
        except BaseException:
            self.policy, self._mark, self._behind = state, mark, True
            # Who needs the weights next tries again, and the first error says more.
            with suppress(PynqTrainError):
                self._catch_up()
            raise

    def _catch_up(self) -> None:
        """Bring all segments to where the mark is, if they are not."""
        mark = self._mark
        if not self._behind or mark is None:
            return
        for stage in self._stages:
            stage.write_masters(mark.masters, mark.exponents)
        for step in mark.steps:
            self._halves(step)
        self._behind = False

    # -- steps -----------------------------------------------------------------------------------

    def prepare(self, images: Images, labels: Array | None, input_k: int) -> None:
        """Find exponents for images below ``2**input_k``, measured on a first mini-batch."""
        self.policy.input_k = input_k
        batch, count = as_batch(images), len(self.plan.specs)

        def train(used: StepExponents) -> Measures:
            assert labels is not None
            params = dry(plan_params(self.plan, used, SgdStep(0.0), moving=False), used)
            step = self._sent(batch, labels, used, pack_step_block(self.plan, params))
            return self._halves(step)[0].measures

        def forward(used: StepExponents) -> Measures:
            return self._forward(batch, None, used)[0].measures

        if labels is None:
            self.policy, _ = calibrated(self.policy, self.plan.batch, count + 2, forward,
                                        training=False)
        else:
            self.policy, _ = self.protected(lambda: calibrated(
                self.policy, self.plan.batch, 2 * count + 2, train))

    def train_step(self, images: Images, labels: Array, sgd: SgdStep,
                   then: Batch | None = None) -> StepOutcome:
        """Run one training step: two doorbells for each segment, forward and backward.

        ``then`` is of no use here: images are made ready when the first segment wants them.
        """
        return self.begin(images, labels, sgd).run().end()

    def begin(self, images: Images, labels: Array, sgd: SgdStep) -> StepUnderWay:
        """Begin a training step whose halves the caller runs.

        If a half fails, or the step is not ended, nothing is known of the weights: begin it in
        what :meth:`protected` does.

        Args:
            images: a mini-batch, as for :meth:`train_step`.
            labels: its labels.
            sgd: the optimizer's values.
        """
        self._catch_up()
        used = self.policy.exponents(self.plan.batch)
        block = pack_step_block(self.plan, plan_params(self.plan, used, sgd))
        sent = self._sent(as_batch(images), labels, used, block)
        mark, self._mark = self._mark, None

        def done(step: StepUnderWay) -> StepOutcome:
            self._mark = mark
            return self._done(sent, used, *said_by(self.plan, step.answers))

        return StepUnderWay(self, sent, done)

    def _done(self, step: SentStep, used: StepExponents, said: RunRecords, cycles: int
              ) -> StepOutcome:
        """Let the policy learn from a step that all segments have ended; keep what they got."""
        self.policy.observe(used, said.measures)
        if self._mark is not None:
            self._mark = replace(self._mark, steps=(*self._mark.steps, step))
            if len(self._mark.steps) > MOST_STEPS + self.in_flight:
                self._mark = None
        return StepOutcome(said.loss_sum * used.loss.unit(used.logits), said.correct,
                           self.plan.batch, cycles, sum(said.saturations.values()), {},
                           said.saturations)

    def train_together(self, steps: Sequence[tuple[Images, Array, SgdStep]]
                       ) -> list[StepOutcome]:
        """Run training steps, all parts of one update: each segment works on another of them.

        The bits are those of :meth:`train_step` for one after the other (:mod:`.flight` says why).
        Where the exponents of weights are about to change, the first step runs alone; where
        gradients are clipped, whose bound is that of all segments, all do. If ranges grow so that a
        later step should have had other exponents, all go back and run one after the other.

        Args:
            steps: images, labels and the optimizer's values of each; at most :attr:`in_flight`.

        Raises:
            BadInput: there are more, or they are not parts of one update.
        """
        rates = [sgd for _, _, sgd in steps]
        if len(steps) > self.in_flight or any(
                (one.parts, one.part) != (rates[0].parts, rates[0].part + number)
                for number, one in enumerate(rates)):
            raise BadInput("mini-batches in flight", found=f"{len(steps)}, parts "
                           + ", ".join(f"{one.part} of {one.parts}" for one in rates),
                           expected=f"up to {self.in_flight} parts of one update, in order")
        alone = len(steps) if any(one.clip is not None for one in rates) else 0
        if not alone and any(layer.trained and layer.on_array
                             and self.policy.w16[at] != self.policy.weight_exponent(at)
                             for at, layer in enumerate(self.policy.layers)):
            alone = 1
        outcomes = [self.train_step(*one) for one in steps[:alone]]
        rest = steps[alone:]
        if len(rest) > 1:
            try:
                return outcomes + self.protected(lambda: self._fly(rest))
            except OtherExponents:
                pass  # all went back to where the rest began
        return outcomes + [self.train_step(*one) for one in rest]

    def _fly(self, steps: Sequence[tuple[Images, Array, SgdStep]]) -> list[StepOutcome]:
        """Run steps side by side; raise OtherExponents where one had not those of its turn."""
        exponent = self.policy.input_exponent
        flight = Flight(self, self.policy, [
            (self._images(as_batch(images), exponent), np.asarray(labels, np.int64), sgd)
            for images, labels, sgd in steps], self._exponents)
        flight.run()
        outcomes = []
        for number, (_, labels, sgd) in enumerate(steps):
            used = self.policy.exponents(self.plan.batch)
            block = pack_step_block(self.plan, plan_params(self.plan, used, sgd))
            flight.check(number, np.frombuffer(block, np.int64))
            step = SentStep(flight.images(number), np.asarray(labels, np.int64),
                         np.frombuffer(block, np.int64), self._exponents(used))
            outcomes.append(self._done(step, used, *said_by(self.plan, flight.answers(number))))
        return outcomes

    def _sent(self, batch: Batch, labels: Array, used: StepExponents, block: bytes) -> SentStep:
        return SentStep(self._images(batch, used.layers[0].x), np.asarray(labels, np.int64),
                     np.frombuffer(block, np.int64), self._exponents(used))

    def _images(self, batch: Batch, exponent: int) -> DeviceMap:
        codes = np.zeros(self._map_shape, np.int16)
        batch.fill(exponent, codes[: len(batch)])
        return DeviceMap(codes, exponent)

    def _exponents(self, used: StepExponents) -> dict[str, int]:
        """Return the exponents of all maps and gradients that travel, by symbol."""
        found = dict(used.gradients)
        for one in (*self._routes.forward, *self._routes.evaluate):
            found[one.symbol] = used.layers[one.layer].y
        found[LOGITS] = used.logits
        return found

    def _halves(self, step: SentStep) -> tuple[RunRecords, int]:
        """Run both halves of a step through all segments; return what they say, and all cycles."""
        return said_by(self.plan, StepUnderWay(self, step).run().answers)

    def ask(self, part: SegmentPlan, half: str, block: NDArray[np.int64],
            maps: dict[str, DeviceMap], exponents: Mapping[str, int],
            labels: NDArray[np.int64] | None, slot: int = 0) -> Answer:
        """Run a program of one segment, and check what it answers.

        Args:
            part: the segment.
            half: name of the program, which is not empty.
            block: words of the step block.
            maps: what is there; what the segment makes for others is added.
            exponents: of the maps that travel, by symbol.
            labels: for the last segment.
            slot: which of the mini-batches in flight this is.

        Raises:
            HardwareFault: the segment failed, or answers something else than it should.
        """
        reads = [one.symbol for one in part.incoming(half)]
        if part.reads_images(half):
            reads.append(INPUT)
        makes = {one.symbol: one for one in part.outgoing(half)}
        if part.last and half == EVALUATION:
            makes[LOGITS] = logits_of(self.plan)
        stage = self._stages[part.number]
        call = {FORWARD: stage.forward, BACKWARD: stage.backward, EVALUATION: stage.evaluate}[half]
        answer = call(SegmentInput(
            block, {symbol: maps[symbol] for symbol in reads},
            {symbol: exponents[symbol] for symbol, one in makes.items() if one.kind != "flags"},
            labels if part.last else None, slot))
        self._check(part, half, makes, answer)
        maps.update(answer.maps)
        return part.descriptors[half], answer

    def _check(self, part: SegmentPlan, half: str, makes: Mapping[str, Carried],
               answer: SegmentOutput) -> None:
        """Check what a segment answers, which may be another machine.

        Raises:
            HardwareFault: it lacks a map, or has one of another shape or type, or other records.
        """
        what = f"answer of segment {part.number} ({half})"
        for symbol, one in makes.items():
            shape, dtype = map_shape(self.plan, one)
            found = answer.maps.get(symbol)
            if found is None or found.codes.shape != shape or found.codes.dtype != dtype:
                raise HardwareFault(
                    f"{what}: map {symbol!r}", expected=f"{np.dtype(dtype)} {shape}",
                    found="none" if found is None else f"{found.codes.dtype} {found.codes.shape}",
                    fix="use members of one version")
        count = len(part.descriptors[half])
        if answer.records.dtype != np.int64 or answer.records.shape[:1] != (count,):
            raise HardwareFault(f"{what}: records", expected=f"{count} of int64",
                                found=f"{answer.records.dtype} {answer.records.shape}",
                                fix="use members of one version")

    # -- evaluation ------------------------------------------------------------------------------

    def evaluate(self, images: Images, labels: Array | None = None
                 ) -> tuple[StepOutcome, NDArray[np.float32]]:
        """Run the forward pass of at most one mini-batch; no history is touched.

        Where the images leave the ranges of the policy, they are run again with wider ones.
        """
        self._catch_up()
        batch = as_batch(images)
        _, used, said, cycles, logits, again = self._settled(batch, labels)
        saturations = {name: count for name, count in said.saturations.items() if count}
        beyond = {f"{spec.name}.y": float(np.ldexp(1.0, bits.bit_length() + own.forward_sum))
                  for spec, bits, own in zip(self.plan.specs, said.measures.forward, used.layers)
                  if saturations.get(f"{spec.name}.y")}
        outcome = StepOutcome(said.loss_sum * used.loss.unit(used.logits), said.correct,
                              len(batch), cycles, sum(saturations.values()), {}, saturations,
                              again, beyond)
        return outcome, logits[: len(batch)]

    def widen(self, images: Images) -> None:
        """Give the policy room for at most a mini-batch of images; it is never narrowed."""
        self._catch_up()
        self.policy = self._settled(as_batch(images), None)[0]

    def _settled(self, batch: Batch, labels: Array | None
                 ) -> tuple[ExponentPolicy, StepExponents, RunRecords, int, NDArray[np.float32],
                            int]:
        """Evaluate images until nothing saturates that a wider range would hold.

        Returns:
            The policy with room for them, its exponents, what the last run said, its cycles and
            logits, and how many of the images were run more than once.
        """
        policy = self.policy.widened(input_k=batch.range_k(self.policy.input_k))
        used, again = policy.exponents(self.plan.batch, training=False), 0
        while True:
            said, cycles, logits = self._forward(batch, labels, used)
            if not any(said.saturations.values()):
                break
            wide = policy.widened(used, said.measures)
            wider = wide.exponents(self.plan.batch, training=False)
            if wider == used:  # at the largest exponents
                break
            policy, used, again = wide, wider, len(batch)
        return policy, used, said, cycles, logits, again

    def _forward(self, batch: Batch, labels: Array | None, used: StepExponents
                 ) -> tuple[RunRecords, int, NDArray[np.float32]]:
        """Run an evaluation; return what the segments say, all cycles, and logits of all images."""
        params = plan_params(self.plan, used, None)
        params = replace(params, softmax={**params.softmax, "valid": len(batch)})
        answers: list[Answer] = []
        maps = {INPUT: self._images(batch, used.layers[0].x)}
        known = np.zeros(len(batch), np.int64) if labels is None else np.asarray(labels, np.int64)
        block = np.frombuffer(pack_step_block(self.plan, params), np.int64)
        for part in self.parts:
            if part.descriptors[EVALUATION]:
                answers.append(self.ask(part, EVALUATION, block, maps, self._exponents(used),
                                        known))
        codes = unpack_dense(maps[LOGITS].codes[0, :, 0], self.plan.classes)
        logits = np.ldexp(codes.astype(np.float32), used.logits).astype(np.float32)
        return (*said_by(self.plan, answers), logits)
