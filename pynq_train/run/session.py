"""A network in device memory: what a training step writes, runs and reads back."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynq_train.arrays import Array
from pynq_train.backends import Backend, RunRequest, RunResult
from pynq_train.errors import HardwareFault
from pynq_train.hw.commands import DESCRIPTOR_BYTES
from pynq_train.layers.backward_graph import DLOGITS
from pynq_train.quant import (
    ExponentPolicy,
    Measures,
    SgdStep,
    StepExponents,
    StepParams,
)
from pynq_train.quant.policy import range_of_master
from pynq_train.run.batch import Batch, Images, as_batch
from pynq_train.run.calibration import calibrated
from pynq_train.run.failure import Failure, advice, keep
from pynq_train.run.frame import Frame
from pynq_train.run.halves import Between, joined, read_outputs, with_loss
from pynq_train.run.host_loss import HostResult, host_loss, of_targets
from pynq_train.run.journal import Journal, Mark, golden_weights, run_step, spans_of
from pynq_train.run.masters import Masters, with_averages
from pynq_train.run.trainer import StepOutcome, T
from pynq_train.run.weights import read_weights, write_weights
from pynq_train.schedule.compiled import Programs, build_programs
from pynq_train.schedule.lower.program import ProgramImage
from pynq_train.schedule.lower.records import RunRecords, read_records
from pynq_train.schedule.lower.step_arrays import ArrayState, ResultTable, StepArrays
from pynq_train.schedule.lower.step_block import dry, pack_step_block, plan_params
from pynq_train.schedule.passes.usage import ZEROS
from pynq_train.schedule.plan import Plan

_WEIGHT_KINDS = ("weights", "masters", "running statistics")


def new_policy(plan: Plan, masters: Mapping[str, Masters], input_k: int) -> ExponentPolicy:
    """Return the exponent state of a network that was never run."""
    masters = with_averages(plan, masters)
    ranges = [range_of_master(int(np.abs(masters[s.name].weight.astype(np.int64)).max())
                              if s.on_array else 1) for s in plan.specs]
    policy = ExponentPolicy.start(plan.quant_layers, plan.backward_graph, ranges, input_k)
    policy.loss = plan.loss
    return policy


class Session:
    """Runs the programs of a plan on an open backend: the engine's trainer.

    It satisfies :class:`~pynq_train.run.trainer.Trainer`.

    Args:
        plan: the plan; its arena must be the backend's.
        backend: an open backend.
        masters: weights by layer name.
        policy: exponent state that belongs to the masters; the session moves it on.
        fill_seed: fills the arena with random bytes first (tests of what is really written).
        programs: the plan's programs, if they have been compiled already.

    Attributes:
        counters: read the engine's counters behind each run; outcomes have none otherwise.
        evaluated: exponents that the last evaluation ran with, None before the first.
    """

    def __init__(self, plan: Plan, backend: Backend, masters: Mapping[str, Masters],
                 policy: ExponentPolicy, *, fill_seed: int | None = None,
                 programs: Programs | None = None) -> None:
        self.plan = plan
        self.backend = backend
        self.counters = False
        self.evaluated: StepExponents | None = None
        self._policy = policy
        programs = build_programs(plan) if programs is None else programs
        self.programs = programs
        self.training, self.evaluation = programs.training, programs.evaluation
        self._cycles = programs.cycles
        self._names = {p.name: tuple(f"{one.role.value} of {plan.specs[one.layer].name}"
                                     for one in p.descriptors)
                       for p in (self.training, self.evaluation)}
        self._journal = Journal(plan)
        self._mark: Mark | None = None
        self._behind = False  # the journal's last steps have to be done again
        self._arrays = StepArrays.of(plan, self.training.descriptors, policy)
        self._arrays_lead = False  # the arrays have gone on where the policy stood
        self._arrays_know = True   # they have what the policy has
        self._then: Batch | None = None
        self._ahead: tuple[Batch, int, Frame] | None = None
        self._requests: dict[tuple[str, bool, bool], tuple[RunRequest, ...]] = {}
        self._written: Between | None = None  # of the step in memory, and what was found of it
        self._said: HostResult | None = None
        self._settled_for: dict[int, tuple[ExponentPolicy, StepExponents]] = {}
        self._blocks: dict[int, tuple[StepExponents, bytes]] = {}  # of evaluations, by valid images
        self._results = ResultTable(plan, self.evaluation.descriptors)
        self._places: dict[str, tuple[int, int]] = {}
        self._train_records = f"{self.training.name}.records"
        self._spans = spans_of(plan.memory, _WEIGHT_KINDS)
        if fill_seed is not None:
            junk = np.random.Generator(np.random.Philox(fill_seed))
            backend.write(0, junk.integers(0, 256, plan.memory.nbytes, np.uint8))
        for program in (self.training, self.evaluation):
            self._put(f"{program.name}.program", program.program)
            self._put(f"{program.name}.taps", program.taps)
        for region in plan.memory:
            if region.symbol == ZEROS or region.kind == "scratch":
                backend.write(region.offset, np.zeros(region.nbytes, np.uint8))
        self.write_masters(masters)

    @property
    def policy(self) -> ExponentPolicy:
        """Exponent state that belongs to the masters; training steps move it on."""
        if self._arrays is not None and self._arrays_lead:
            self._arrays.store()
        # Whoever gets it may change it.
        self._arrays_lead = self._arrays_know = False
        self._settled_for.clear()
        return self._policy

    @policy.setter
    def policy(self, policy: ExponentPolicy) -> None:
        self._policy = policy
        self._arrays_lead = self._arrays_know = False
        self._settled_for.clear()

    # -- weights ---------------------------------------------------------------------------------

    def write_masters(self, masters: Mapping[str, Masters]) -> None:
        """Write weights, momentum and the 16-bit copies at the policy's exponents.

        Masters of frozen weights stay here: the engine needs their copies alone.
        """
        self._behind = False
        self._journal.forget()
        self._frozen = masters = with_averages(self.plan, masters)
        write_weights(self._put, self.plan, range(len(self.plan.specs)), masters, self.policy.w16)

    def switch(self, masters: Mapping[str, Masters], policy: ExponentPolicy) -> None:
        """Take up other values of what is trained; nothing else is written.

        Args:
            masters: of the layers that are trained, by name.
            policy: exponents that belong to them; those of frozen weights must be the present ones.
        """
        self._behind = False
        self._journal.forget()
        self.policy = policy
        self._frozen = {**self._frozen, **masters}
        layers = [spec.index for spec in self.plan.specs if spec.name in masters]
        write_weights(self._put, self.plan, layers, self._frozen, policy.w16, learning=True)

    def read_masters(self) -> dict[str, Masters]:
        """Read weights and momentum of all layers."""
        self._catch_up()
        return read_weights(self._get, self.plan, range(len(self.plan.specs)), self._frozen)

    def snapshot(self) -> dict[str, Array]:
        """Bytes of everything that a training step carries over to the next."""
        self._catch_up()
        return self._weights()

    def restore(self, saved: Mapping[str, Array]) -> None:
        """Undo every step since :meth:`snapshot` (the policy is the caller's)."""
        self._behind = False
        self._journal.forget()
        for symbol, data in saved.items():
            self._put(symbol, data)

    def protected(self, work: Callable[[], T]) -> T:
        """Do what runs programs; if it fails, weights, momentum and policy are as before it."""
        if self._behind:
            self._catch_up()
        if self._journal.full:
            self._journal.begin(self._weights())
        mark, state = self._journal.mark(), self._state()
        outer, self._mark = self._mark, mark
        try:
            return work()
        except BaseException:
            self._restore_state(state)
            self._go_back(mark)
            raise
        finally:
            self._mark = outer
            self._journal.release(mark)

    def _state(self) -> ExponentPolicy | ArrayState:
        """Return a copy of the exponent state."""
        if self._arrays is not None and self._arrays_lead:
            return self._arrays.state()
        return copy.deepcopy(self._policy)

    def _restore_state(self, state: ExponentPolicy | ArrayState) -> None:
        if isinstance(state, ExponentPolicy):
            self.policy = state
        elif self._arrays is not None:
            # The object is the same, and the ranges of images do not move with the steps.
            self._arrays.take_back(state)
            self._arrays_lead = self._arrays_know = True
            self._settled_for.clear()

    # -- steps -----------------------------------------------------------------------------------

    def prepare(self, images: Images, labels: Array | None, input_k: int) -> None:
        """Find exponents for images below ``2**input_k``, measured on a first mini-batch.

        Without labels forward passes alone are measured, for evaluations.
        """
        self.policy.input_k = input_k
        if labels is None:
            self.calibrate_forward(images)
        else:
            self.calibrate(images, labels)

    def train_step(self, images: Images, labels: Array, sgd: SgdStep,
                   then: Batch | None = None) -> StepOutcome:
        """Run one training step: one doorbell.

        Args:
            images: a batch, or float32 ``(batch, channels, rows, cols)``.
            labels: ``(batch,)`` class numbers.
            sgd: learning rate, momentum and decay of this step.
            then: images of the next step, which are made ready while the engine works.
        """
        if self._behind:
            self._catch_up()
        self._learn_of(labels)
        block, used = self._step_block(sgd)
        batch, exponent = as_batch(images), self._input_exponent()
        step = self._frame(batch, labels, exponent)
        step.block[: len(block)] = block
        step.between = self._between(labels, used)
        try:
            self._put_frame(step)
            result = self._run(self.training, then)
        except BaseException:
            self._journal.forget()  # nothing is known of the weights
            raise
        self._journal.add(step, batch, exponent)
        if used is not None:
            said = self.records(self.training)
            self._policy.observe(used, said.measures)
            outcome = _outcome(said, result, self.plan.batch, used)
        else:
            assert self._arrays is not None
            found = self._arrays.take(self.backend.read(*self._place(self._train_records)))
            self._arrays_lead = True
            tensors = found.saturations
            outcome = StepOutcome(found.loss_sum, found.correct, self.plan.batch, result.cycles,
                                  sum(tensors.values()) if tensors else 0, result.counters, tensors)
        self._settled_for.clear()
        return outcome if self._said is None else with_loss(outcome, self._said)

    def _learn_of(self, targets: Array) -> None:
        """Let the policy know of a mini-batch's targets what exponents follow from."""
        loss = of_targets(self.plan.loss, targets)
        if loss is not self._policy.loss and loss != self._policy.loss:
            self.policy.loss = loss

    def _between(self, targets: Array | None, used: StepExponents | None) -> Between | None:
        """Return what the host needs between the halves of a step, if it computes the loss.

        ``used``: exponents of the step, None: those that the arrays have.
        """
        if not self.plan.loss.on_host or targets is None:
            return None
        if used is not None:
            return Between(used.loss, targets, used.logits, used.gradients[DLOGITS])
        assert self._arrays is not None
        return Between(self._policy.loss, targets, *self._arrays.ends)

    def _step_block(self, sgd: SgdStep) -> tuple[NDArray[np.int64], StepExponents | None]:
        """Return the words of a step block, and its exponents unless the arrays have them."""
        if self._arrays is not None:
            if not self._arrays_know:
                self._arrays.load(self._policy)
                self._arrays_know = True
            block = self._arrays.block(sgd)
            if block is not None:
                return block, None
        policy = self.policy  # from here on the policy leads
        used = policy.exponents(self.plan.batch)
        packed = pack_step_block(self.plan, plan_params(self.plan, used, sgd))
        return np.frombuffer(packed, np.int64), used

    def _input_exponent(self) -> int:
        """Return the exponent of images at the policy's range of them."""
        if self._arrays is not None and self._arrays_know:
            return self._arrays.input_exponent
        return self._policy.input_exponent

    def _prepare(self) -> None:
        """Make the codes of the next batch; what fails is found out when it is needed."""
        batch, self._then = self._then, None
        if batch is None:
            return
        exponent = self._input_exponent()
        frame = self._journal.frame()
        try:
            batch.fill(exponent, frame.codes)
        except Exception:
            self._journal.give_back(frame)
        else:
            self._ahead = batch, exponent, frame

    def _frame(self, batch: Batch, labels: Array | None, exponent: int) -> Frame:
        """Return a frame with a batch, which may be smaller than the plan's, and its labels."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] is batch and ahead[1] == exponent:
            frame = ahead[2]
        else:
            frame = self._journal.frame() if ahead is None else ahead[2]
            count = len(batch)
            batch.fill(exponent, frame.codes[:count])
            frame.codes[count:] = 0
        frame.between = None
        frame.set_labels(None if self.plan.loss.on_host else labels)
        return frame

    def _put_frame(self, frame: Frame) -> None:
        self._written = frame.between
        for symbol, data in frame.written:
            self._put(symbol, data)

    # -- going back ------------------------------------------------------------------------------

    def _go_back(self, mark: Mark, engine_lost: bool = False) -> None:
        """Bring the weights to where they were at a mark."""
        if not mark.undone:
            mark.undone = True
            self._journal.back_to(mark)
            self._behind = True
            self._catch_up(engine_lost)

    def _catch_up(self, engine_lost: bool = False) -> None:
        """Do the journal's steps once more, if the engine has not done them since a failure."""
        if not self._behind:
            return
        self._behind = False
        try:
            try:
                if not engine_lost:
                    self._again()
            except HardwareFault:
                engine_lost = True
            if engine_lost:  # golden's steps have the same bits
                for symbol, data in golden_weights(self.plan, self.training, self._journal,
                                                   self.requests(self.training)).items():
                    self._put(symbol, data)
        except BaseException:
            self._behind = True  # whoever needs the weights next tries again
            raise

    def _again(self) -> None:
        for symbol, data in self._journal.saved.items():
            self._put(symbol, data)
        for step in self._journal.frames():
            self._put_frame(step)
            run_step(self.plan, self.backend, self.requests(self.training), step)

    # -- calibration and evaluation --------------------------------------------------------------

    def calibrate(self, images: Images, labels: Array) -> int:
        """Find exponents for this batch: run the training step with a dead update until they hold.

        Weights and momentum stay as they are. Returns the number of runs.

        Raises:
            HardwareFault: the backend changed a weight, which it was told not to.
        """
        return self.protected(lambda: self._calibrate(images, labels))

    def _calibrate(self, images: Images, labels: Array) -> int:
        before = self.snapshot()
        self._learn_of(labels)

        def run(used: StepExponents) -> Measures:
            params = dry(plan_params(self.plan, used, SgdStep(0.0), moving=False), used)
            self.write_training(images, labels, params, used)
            self.run(self.training)
            return self.records(self.training).measures

        trial, runs = calibrated(self.policy, self.plan.batch, 2 * len(self.plan.specs) + 2, run)
        self._check_unchanged(before)
        self.policy = trial
        return runs

    def calibrate_forward(self, images: Images) -> int:
        """The same for evaluation of a network that was never trained: forward passes only."""
        def run(used: StepExponents) -> Measures:
            self._write_evaluation(images, None, used)
            self.run(self.evaluation)
            return self.records(self.evaluation).measures

        trial, runs = calibrated(self.policy, self.plan.batch, len(self.plan.specs) + 2, run,
                                 training=False)
        self.policy = trial
        return runs

    def evaluate(self, images: Images, labels: Array | None = None
                 ) -> tuple[StepOutcome, NDArray[np.float32]]:
        """Run the forward pass of at most one mini-batch; no history is touched.

        Where the images leave the ranges of the policy, they are run again with wider ones.

        Returns:
            Outcome, and logits ``(images, classes)``, or of a map ``(images, channels, rows,
            cols)``.
        """
        _, used, result, records, again = self._settled(as_batch(images), labels)
        self.evaluated = used
        loss, correct = self._results.softmax(records)
        saturations = self._results.saturations(records)
        outcome = StepOutcome(loss * used.loss.unit(used.logits), correct, len(images),
                              result.cycles, sum(saturations.values()), result.counters,
                              saturations, again,
                              self._beyond(used, saturations) if saturations else {})
        codes = read_outputs(self.plan, self.backend)[: len(images)]
        if self.plan.loss.on_host and labels is not None:
            found = of_targets(self.plan.loss, labels)
            outcome = with_loss(outcome, host_loss(found, codes, used.logits, labels,
                                                   found.gradient_exponent(0, used.logits)))
        logits = np.ldexp(codes.astype(np.float32), used.logits).astype(np.float32)
        return outcome, logits.reshape(len(logits), -1) if logits.shape[2:] == (1, 1) else logits

    def widen(self, images: Images) -> None:
        """Give the policy room for at most a mini-batch of images; it is never narrowed."""
        self.policy = self._settled(as_batch(images), None)[0]

    def _settled(self, batch: Batch, labels: Array | None
                 ) -> tuple[ExponentPolicy, StepExponents, RunResult, NDArray[np.int64], int]:
        """Evaluate images until nothing saturates that a wider range would hold.

        Returns:
            The policy with room for them, its exponents, the last run, the words of its records,
            and how many of the images were run more than once.
        """
        policy, used = self._for_range(batch.range_k(self._policy.input_k))
        again = 0
        # Each run widens at least one range, and what a layer hides shows when those before it fit.
        while True:
            self._write_evaluation(batch, labels, used)
            result = self._run(self.evaluation)
            records = self._results.words(
                self._get(f"{self.evaluation.name}.records", np.uint8))
            if not self._results.saturations(records):
                break
            wide = policy.widened(used, self.records(self.evaluation).measures)
            wider = wide.exponents(self.plan.batch, training=False)
            if wider == used:  # at the largest exponents
                break
            policy, used, again = wide, wider, len(batch)
        return policy, used, result, records, again

    def _for_range(self, input_k: int) -> tuple[ExponentPolicy, StepExponents]:
        """Return the policy with room for images below ``2**input_k``, and its exponents."""
        input_k = max(input_k, self._policy.input_k)
        if input_k not in self._settled_for:
            policy = self.policy.widened(input_k=input_k)
            self._settled_for[input_k] = policy, policy.exponents(self.plan.batch, training=False)
        return self._settled_for[input_k]

    # -- pieces that verification uses too -------------------------------------------------------

    def write_training(self, images: Images, labels: Array, params: StepParams,
                       used: StepExponents | None = None) -> None:
        """Write input, labels and step block of a training step.

        ``used``: exponents of the step, from which a loss that the host computes follows.
        """
        self._write(as_batch(images), labels, pack_step_block(self.plan, params))
        self._written = None if used is None else self._between(labels, used)

    def request(self, program: ProgramImage, count: int | None = None,
                meanwhile: Callable[[], None] | None = None) -> RunRequest:
        """The (first) run of a program, or of its first ``count`` descriptors."""
        first = self.requests(program, meanwhile)[0]
        return first if count is None else replace(first, descriptor_count=count)

    def requests(self, program: ProgramImage, meanwhile: Callable[[], None] | None = None
                 ) -> tuple[RunRequest, ...]:
        """The runs of a program: two where the host computes the loss in between."""
        place, names = self._place(f"{program.name}.program")[0], self._names[program.name]
        return tuple(RunRequest(place + run.start * DESCRIPTOR_BYTES, len(run),
                                self._place("step_block")[0], self._cycles[program.name], False,
                                names[run.start : run.stop], self.counters,
                                meanwhile if run.start == 0 else None) for run in program.runs)

    def records(self, program: ProgramImage) -> RunRecords:
        """What a program's last run reported."""
        return read_records(self.plan, program.descriptors,
                            self._get(f"{program.name}.records", np.uint8))

    def run(self, program: ProgramImage) -> RunResult:
        """Run a program; if that fails, program and memory are kept for ``pynq-train replay``."""
        self._catch_up()
        return self._run(program)

    def _run(self, program: ProgramImage, then: Batch | None = None) -> RunResult:
        """Run a program; the codes of the images ``then`` are made meanwhile."""
        key = program.name, then is not None, self.counters
        requests = self._requests.get(key)
        if requests is None:
            requests = self._requests[key] = self.requests(
                program, meanwhile=None if then is None else self._prepare)
        self._then, self._said = then, None
        if len(requests) == 1:
            return self._one_run(requests[0])
        first = self._one_run(requests[0])
        if self._written is not None:
            self._said = self._written.run(self.plan, self.backend)
        return joined(first, self._one_run(requests[1]))

    def _one_run(self, request: RunRequest) -> RunResult:
        """Run one half of a program, or all of it."""
        try:
            return self.backend.run(request)
        except HardwareFault as error:
            image = self.backend.read(0, self.plan.memory.nbytes)
            if self._mark is not None:
                self._go_back(self._mark, error.engine_lost)
                for symbol, data in self._weights().items():
                    at = self.plan.memory[symbol].offset
                    image[at : at + data.nbytes] = data
            path = keep(Failure.of(self.plan, self.backend.name, replace(request, meanwhile=None),
                                   image, str(error)))
            if path is not None:
                error.add(advice(path))
            raise

    # -- private ---------------------------------------------------------------------------------

    def _place(self, symbol: str) -> tuple[int, int]:
        """Return offset and bytes of a symbol; every step asks for the same few."""
        found = self._places.get(symbol)
        if found is None:
            region = self.plan.memory[symbol]
            found = self._places[symbol] = region.offset, region.nbytes
        return found

    def _put(self, symbol: str, data: Any) -> None:
        self.backend.write(self._place(symbol)[0], data)

    def _get(self, symbol: str, dtype: Any) -> Array:
        return self.backend.read(*self._place(symbol)).view(dtype)

    def _weights(self) -> dict[str, Array]:
        """Read what a training step carries over: neighbours in memory at once."""
        found: dict[str, Array] = {}
        for first, end, symbols in self._spans:
            data = self.backend.read(first, end - first)
            for symbol, at, nbytes in symbols:
                found[symbol] = data[at - first : at - first + nbytes]
        return found

    def _write(self, batch: Batch, labels: Array | None, block: bytes, exponent: int | None = None
               ) -> None:
        exponent = self._input_exponent() if exponent is None else exponent
        frame, words = self._frame(batch, labels, exponent), np.frombuffer(block, np.int64)
        frame.block[: len(words)] = words
        self._put_frame(frame)
        self._journal.give_back(frame)

    def _write_evaluation(self, images: Images, labels: Array | None, used: StepExponents) -> None:
        batch = as_batch(images)
        known, block = self._blocks.get(len(batch), (None, b""))
        if known is not used:
            params = plan_params(self.plan, used, None)
            params = replace(params, softmax={**params.softmax, "valid": len(batch)})
            block = pack_step_block(self.plan, params)
            self._blocks[len(batch)] = used, block
        self._write(batch, labels, block, used.layers[0].x)

    def _beyond(self, used: StepExponents, saturations: Mapping[str, int]) -> dict[str, float]:
        """Return powers of two that bound the values of layers that saturate in an evaluation."""
        measures = self.records(self.evaluation).measures.forward
        return {f"{spec.name}.y": float(np.ldexp(1.0, bits.bit_length() + own.forward_sum))
                for spec, bits, own in zip(self.plan.specs, measures, used.layers)
                if saturations.get(f"{spec.name}.y")}

    def _check_unchanged(self, before: Mapping[str, Array]) -> None:
        for symbol, data in self.snapshot().items():
            if not np.array_equal(data, before[symbol]):
                raise HardwareFault(f"{self.backend.name}: calibration changed {symbol}",
                                    expected="the same bytes before and after",
                                    fix="run 'pynq-train verify' on this board")


def _outcome(said: RunRecords, result: RunResult, images: int, used: StepExponents) -> StepOutcome:
    return StepOutcome(said.loss_sum * used.loss.unit(used.logits), said.correct, images,
                       result.cycles, sum(said.saturations.values()), result.counters,
                       said.saturations)
