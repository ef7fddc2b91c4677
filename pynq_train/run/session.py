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
from pynq_train.hw.words import CHANNELS_PER_WORD, MASTER_EXPONENT, ceil_div
from pynq_train.program import Program, verify_program
from pynq_train.quant import (
    ExponentPolicy,
    Measures,
    SgdStep,
    StepExponents,
    StepParams,
)
from pynq_train.quant.policy import range_of_master
from pynq_train.run.failure import Failure, advice, keep
from pynq_train.run.formats import (
    master_words,
    operand_copy,
    quantise,
    range_of,
    split_master_words,
)
from pynq_train.run.masters import Masters, with_averages
from pynq_train.run.trainer import StepOutcome, T
from pynq_train.schedule.lower.program import ProgramImage, build_evaluation, build_training
from pynq_train.schedule.lower.records import RunRecords, read_records
from pynq_train.schedule.lower.step_block import (
    DEAD_UPDATE,
    pack_step_block,
    plan_params,
)
from pynq_train.schedule.memory.place import ZEROS
from pynq_train.schedule.plan import Plan
from pynq_train.schedule.predict import estimate
from pynq_train.schedule.specs.layout import pack_maps, unpack_dense
from pynq_train.schedule.specs.spec import LayerSpec

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
    """

    def __init__(self, plan: Plan, backend: Backend, masters: Mapping[str, Masters],
                 policy: ExponentPolicy, *, fill_seed: int | None = None) -> None:
        self.plan = plan
        self.backend = backend
        self.policy = policy
        self.training = build_training(plan)
        self.evaluation = build_evaluation(plan)
        self._cycles = {p.name: estimate(plan, p.descriptors)
                        for p in (self.training, self.evaluation)}
        self._names = {p.name: tuple(f"{one.role.value} of {plan.specs[one.layer].name}"
                                     for one in p.descriptors)
                       for p in (self.training, self.evaluation)}
        self._before: Mapping[str, Array] = {}
        if fill_seed is not None:
            junk = np.random.Generator(np.random.Philox(fill_seed))
            backend.write(0, junk.integers(0, 256, plan.memory.nbytes, np.uint8))
        for program in (self.training, self.evaluation):
            verify_program(Program.make(program.name, program.program, program.taps, plan.memory,
                                        plan.memory.nbytes, plan.board.config))
            self._put(f"{program.name}.program", program.program)
            self._put(f"{program.name}.taps", program.taps)
        for region in plan.memory:
            if region.symbol == ZEROS or region.kind == "scratch":
                backend.write(region.offset, np.zeros(region.nbytes, np.uint8))
        self.write_masters(masters)

    # -- weights ---------------------------------------------------------------------------------

    def write_masters(self, masters: Mapping[str, Masters]) -> None:
        """Write weights, momentum and the 16-bit copies at the policy's exponents.

        Masters of frozen weights stay here: the engine needs their copies alone.
        """
        self._frozen = masters = with_averages(self.plan, masters)
        for spec, exponent in zip(self.plan.specs, self.policy.w16):
            if not spec.on_array:
                if spec.kind.normalises:
                    self._write_norm(spec, masters[spec.name])
                continue
            own = masters[spec.name]
            if self.plan.trainable[spec.index].weights:
                words = (master_words(own.weight, own.weight_momentum) if self.plan.momentum
                         else own.weight)
                self._put(f"{spec.name}.wv", spec.pack_masters(words))
            copy = operand_copy(own.weight, exponent)
            self._put(f"{spec.name}.w16", spec.pack_weights(copy))
            if own.bias is not None and own.bias_momentum is not None:
                self._put(f"{spec.name}.bias",
                          spec.pack_bias(master_words(own.bias, own.bias_momentum)))

    def read_masters(self) -> dict[str, Masters]:
        """Read weights and momentum of all layers."""
        result = {}
        for layer, spec, trained in zip(self.plan.layers, self.plan.specs, self.plan.trainable):
            if not spec.on_array:
                if spec.kind.normalises:
                    result[spec.name] = self._read_norm(spec)
                continue
            if layer.average:
                continue
            frozen = self._frozen[spec.name]
            if not trained.weights:
                weight, weight_v = frozen.weight, frozen.weight_momentum
            elif self.plan.momentum:
                words = spec.unpack_weights(self._get(f"{spec.name}.wv", np.int64))
                weight, weight_v = split_master_words(words)
            else:
                weight = spec.unpack_weights(self._get(f"{spec.name}.wv", np.int32))
                weight_v = np.zeros_like(weight)
            bias, bias_v = frozen.bias, frozen.bias_momentum
            if trained.bias:
                words = spec.unpack_bias(self._get(f"{spec.name}.bias", np.int64))
                bias, bias_v = split_master_words(words)
            result[spec.name] = Masters(weight, weight_v, bias, bias_v)
        return result

    def _write_norm(self, spec: LayerSpec, own: Masters) -> None:
        assert own.bias is not None and own.bias_momentum is not None
        assert own.mean is not None and own.variance is not None
        both = [spec.pack_bias(master_words(*pair)) for pair in (
            (own.weight, own.weight_momentum), (own.bias, own.bias_momentum))]
        self._put(f"{spec.name}.bias", np.concatenate(both))
        running = np.zeros((2, spec.m_blocks * CHANNELS_PER_WORD), np.int64)
        running[:, :spec.m] = own.mean, own.variance
        blocks = running.reshape(2, spec.m_blocks, CHANNELS_PER_WORD).transpose(1, 0, 2)
        self._put(f"{spec.name}.running", np.ascontiguousarray(blocks))

    def _read_norm(self, spec: LayerSpec) -> Masters:
        words = self._get(f"{spec.name}.bias", np.int64).reshape(2, -1)[:, :spec.m]
        (gamma, gamma_v), (beta, beta_v) = (split_master_words(row) for row in words)
        blocks = self._get(f"{spec.name}.running", np.int64)
        running = blocks.reshape(spec.m_blocks, 2, CHANNELS_PER_WORD).transpose(1, 0, 2)
        mean, variance = running.reshape(2, -1)[:, :spec.m].copy()
        return Masters(gamma, gamma_v, beta, beta_v, mean, variance)

    def snapshot(self) -> dict[str, Array]:
        """Bytes of everything that a training step carries over to the next."""
        return {region.symbol: self.backend.read(region.offset, region.nbytes)
                for region in self.plan.memory if region.kind in _WEIGHT_KINDS}

    def restore(self, saved: Mapping[str, Array]) -> None:
        """Undo every step since :meth:`snapshot` (the policy is the caller's)."""
        for symbol, data in saved.items():
            self._put(symbol, data)

    def protected(self, work: Callable[[], T]) -> T:
        """Do what runs programs; if it fails, weights, momentum and policy are as before it."""
        saved, policy = self.snapshot(), copy.deepcopy(self.policy)
        self._before = saved
        try:
            return work()
        except BaseException:
            self.policy = policy
            self.restore(saved)
            raise
        finally:
            self._before = {}

    # -- steps -----------------------------------------------------------------------------------

    def prepare(self, images: Array, labels: Array | None, input_k: int) -> None:
        """Find exponents for images below ``2**input_k``, measured on a first mini-batch.

        Without labels forward passes alone are measured, for evaluations.
        """
        self.policy.input_k = input_k
        if labels is None:
            self.calibrate_forward(images)
        else:
            self.calibrate(images, labels)

    def train_step(self, images: Array, labels: Array, sgd: SgdStep) -> StepOutcome:
        """Run one training step: one doorbell.

        Args:
            images: float32 ``(batch, channels, rows, cols)``.
            labels: ``(batch,)`` class numbers.
            sgd: learning rate, momentum and decay of this step.
        """
        used = self.policy.exponents(self.plan.batch)
        self.write_training(images, labels, plan_params(self.plan, used, sgd))
        result = self.run(self.training)
        said = self.records(self.training)
        self.policy.observe(used, said.measures)
        return _outcome(said, result, self.plan.batch, used)

    def calibrate(self, images: Array, labels: Array) -> int:
        """Find exponents for this batch: run the training step with a dead update until they hold.

        Weights and momentum stay as they are. Returns the number of runs.

        Raises:
            HardwareFault: the backend changed a weight, which it was told not to.
        """
        return self.protected(lambda: self._calibrate(images, labels))

    def _calibrate(self, images: Array, labels: Array) -> int:
        before = self.snapshot()
        limit = 2 * len(self.plan.specs) + 2
        runs, trial = 0, self._fresh()
        while runs < limit:
            used = trial.exponents(self.plan.batch)
            params = _dry(plan_params(self.plan, used, SgdStep(0.0), moving=False), used)
            self.write_training(images, labels, params)
            self.run(self.training)
            runs += 1
            trial = self._fresh(used, self.records(self.training).measures)
            if trial.exponents(self.plan.batch) == used:
                break
        self._check_unchanged(before)
        self.policy = trial
        return runs

    def calibrate_forward(self, images: Array) -> int:
        """The same for evaluation of a network that was never trained: forward passes only."""
        limit = len(self.plan.specs) + 2
        runs, trial = 0, self._fresh()
        while runs < limit:
            used = trial.exponents(self.plan.batch, training=False)
            self._write_evaluation(images, None, used)
            self.run(self.evaluation)
            runs += 1
            trial = self._fresh(used, self.records(self.evaluation).measures)
            if trial.exponents(self.plan.batch, training=False) == used:
                break
        self.policy = trial
        return runs

    def evaluate(self, images: Array, labels: Array | None = None
                 ) -> tuple[StepOutcome, NDArray[np.float32]]:
        """Run the forward pass of at most one mini-batch; no history is touched.

        Where the images leave the ranges of the policy, they are run again with wider ones.

        Returns:
            Outcome, and logits ``(images, classes)``.
        """
        _, used, result, again = self._settled(images, labels)
        said = self.records(self.evaluation)
        outcome = replace(_outcome(said, result, len(images), used), again=again,
                          beyond=self._beyond(said, used))
        shape = ceil_div(self.plan.classes, CHANNELS_PER_WORD), self.plan.batch, CHANNELS_PER_WORD
        raw = self._get("logits", np.int16).reshape(shape)
        logits = unpack_dense(raw, self.plan.classes)[: len(images)]
        return outcome, np.ldexp(logits.astype(np.float32), used.logits).astype(np.float32)

    def widen(self, images: Array) -> None:
        """Give the policy room for at most a mini-batch of images; it is never narrowed."""
        self.policy = self._settled(images, None)[0]

    def _settled(self, images: Array, labels: Array | None
                 ) -> tuple[ExponentPolicy, StepExponents, RunResult, int]:
        """Evaluate images until nothing saturates that a wider range would hold.

        Returns:
            The policy with room for them, its exponents, the last run, and how many of the images
            were run more than once.
        """
        policy, again = self.policy.widened(input_k=range_of(float(np.abs(images).max()))), 0
        used = policy.exponents(self.plan.batch, training=False)
        # Each run widens at least one range, and what a layer hides shows when those before it fit.
        while True:
            self._write_evaluation(images, labels, used)
            result = self.run(self.evaluation)
            said = self.records(self.evaluation)
            if not any(said.saturations.values()):
                break
            wide = policy.widened(used, said.measures)
            wider = wide.exponents(self.plan.batch, training=False)
            if wider == used:  # at the largest exponents
                break
            policy, used, again = wide, wider, len(images)
        return policy, used, result, again

    # -- pieces that verification uses too -------------------------------------------------------

    def write_training(self, images: Array, labels: Array, params: StepParams) -> None:
        """Write input, labels and step block of a training step."""
        self._write_batch(images, labels)
        self._put("step_block", pack_step_block(self.plan, params))

    def request(self, program: ProgramImage, count: int | None = None) -> RunRequest:
        """The run of a program, or of its first ``count`` descriptors."""
        memory = self.plan.memory
        return RunRequest(memory[f"{program.name}.program"].offset,
                          program.count if count is None else count,
                          memory["step_block"].offset, self._cycles[program.name],
                          names=self._names[program.name])

    def records(self, program: ProgramImage) -> RunRecords:
        """What a program's last run reported."""
        return read_records(self.plan, program.descriptors,
                            self._get(f"{program.name}.records", np.uint8))

    def run(self, program: ProgramImage) -> RunResult:
        """Run a program; if that fails, program and memory are kept for ``pynq-train replay``."""
        request = self.request(program)
        try:
            return self.backend.run(request)
        except HardwareFault as error:
            image = self.backend.read(0, self.plan.memory.nbytes)
            for symbol, data in self._before.items():
                at = self.plan.memory[symbol].offset
                image[at : at + data.nbytes] = data
            path = keep(Failure.of(self.plan, self.backend.name, request, image, str(error)))
            if path is not None:
                error.add(advice(path))
            raise

    # -- private ---------------------------------------------------------------------------------

    def _put(self, symbol: str, data: Any) -> None:
        self.backend.write(self.plan.memory[symbol].offset, data)

    def _get(self, symbol: str, dtype: Any) -> Array:
        region = self.plan.memory[symbol]
        return self.backend.read(region.offset, region.nbytes).view(dtype)

    def _fresh(self, used: StepExponents | None = None, measures: Measures | None = None
               ) -> ExponentPolicy:
        """The same weights and input, and no history but ``measures``."""
        policy = self.policy
        fresh = ExponentPolicy.start(policy.layers, policy.backward_graph, policy.weight_k,
                                     policy.input_k)
        fresh.loss = policy.loss
        if used is not None and measures is not None:
            fresh.observe(used, measures)
            fresh.weight_k = list(policy.weight_k)
        fresh.w16 = list(policy.w16)
        return fresh

    def _write_batch(self, images: Array, labels: Array | None,
                     exponent: int | None = None) -> None:
        batch = self.plan.batch
        codes = quantise(images, self.policy.input_exponent if exponent is None else exponent)
        if len(codes) < batch:
            full = np.zeros((batch, *codes.shape[1:]), np.int16)
            full[: len(codes)] = codes
            codes = full
        self._put("input", pack_maps(codes))
        words = np.zeros(batch, np.int64)
        if labels is not None:
            words[: len(labels)] = labels
        self._put("labels", words)

    def _write_evaluation(self, images: Array, labels: Array | None, used: StepExponents) -> None:
        self._write_batch(images, labels, used.layers[0].x)
        params = plan_params(self.plan, used, None)
        params = replace(params, softmax={**params.softmax, "valid": len(images)})
        self._put("step_block", pack_step_block(self.plan, params))

    def _beyond(self, said: RunRecords, used: StepExponents) -> dict[str, float]:
        """Return powers of two that bound the values of layers that saturate."""
        return {f"{spec.name}.y": float(np.ldexp(1.0, bits.bit_length() + own.forward_sum))
                for spec, bits, own in zip(self.plan.specs, said.measures.forward, used.layers)
                if said.saturations.get(f"{spec.name}.y")}

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


def _dry(params: StepParams, used: StepExponents) -> StepParams:
    """Keep weights and momentum: momentum factor 1, no gradient, no decay, rate 0."""

    def dead(values: Mapping[str, int], exponent: int) -> Mapping[str, int]:
        if not values:
            return values
        return {**DEAD_UPDATE, "w_shift": max(exponent - MASTER_EXPONENT, 0)}

    layers = used.layers
    return replace(
        params,
        update_weights=tuple(dead(v, e.w) for v, e in zip(params.update_weights, layers)),
        update_bias=tuple(dead(v, e.w) for v, e in zip(params.update_bias, layers)))
