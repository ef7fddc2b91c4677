"""Proof that a board computes what golden defines: whole memory images, bit for bit."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynq_train.backends import Backend, RunRequest, open_backend
from pynq_train.backends.names import board_of
from pynq_train.check.coverage import Coverage
from pynq_train.check.difference import Difference, first_difference
from pynq_train.check.options import Options
from pynq_train.check.random_targets import loss_of, random_targets
from pynq_train.check.step_block import check_step_block
from pynq_train.errors import BadInput, HardwareFault
from pynq_train.graph import Graph
from pynq_train.graph.graph import check_graph
from pynq_train.graph.rng import normal_float32, stream_key
from pynq_train.layers import fuse, init_params
from pynq_train.layers.backward_graph import DLOGITS
from pynq_train.quant.policy import INPUT_START
from pynq_train.run.failure import Failure, advice, keep
from pynq_train.run.halves import Between
from pynq_train.run.host_loss import of_targets
from pynq_train.run.masters import Masters
from pynq_train.run.session import Session, new_policy
from pynq_train.schedule.lower.program import ProgramImage
from pynq_train.schedule.lower.step_block import pack_step_block, plan_params
from pynq_train.schedule.memory.coordinates import standing, tensor_maps
from pynq_train.schedule.plan import Plan, make_plan
from pynq_train.schedule.specs.trainable import TrainableChoice, describe_trainable, select

_STREAM = 0x7E
"""Stream of random numbers of images and labels."""
Progress = Callable[[int], None]
"""Called with the number of descriptors since the last call."""


@dataclass
class VerifyReport:
    """Outcome of a verification.

    Attributes:
        net: name of the network.
        board: backend that golden was compared with.
        batch: images of a mini-batch.
        steps: training steps.
        seed: names weights, images, labels and options.
        trainable: names of what was trained, or ``all``.
        descriptors: descriptors after which memory was compared.
        bytes_compared: bytes compared in all.
        mismatches: differing bytes at the first difference, 0 if there is none.
        cycles: engine cycles of the free-running steps.
        first: the first difference.
        saved: file with program and memory of the run that differed, for ``pynq-train replay``.
        coverage: shapes and options that were compared.
    """

    net: str
    board: str
    batch: int
    steps: int
    seed: int
    trainable: str = "all"
    descriptors: int = 0
    bytes_compared: int = 0
    mismatches: int = 0
    cycles: int = 0
    first: Difference | None = None
    saved: Path | None = None
    coverage: Coverage = field(default_factory=Coverage)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "net": self.net, "board": self.board, "batch": self.batch, "steps": self.steps,
            "seed": self.seed, "trainable": self.trainable, **asdict(Options.of(self.seed)),
            "descriptors_compared": self.descriptors,
            "bytes_compared": self.bytes_compared, "mismatches": self.mismatches,
            "cycles": self.cycles, "first": asdict(self.first) if self.first else None,
            "saved": str(self.saved) if self.saved else None,
        }

    def text(self) -> str:
        """Return one line for people."""
        frozen = "" if self.trainable == "all" else f"trainable {self.trainable}, "
        return (f"{self.net}, batch {self.batch}, {self.steps} steps, seed {self.seed}, {frozen}"
                f"{self.board}: {self.descriptors} descriptors compared, "
                f"{self.bytes_compared} bytes compared, mismatches: {self.mismatches}")


def verify(graph: Graph, *, batch: int = 4, steps: int = 2, board: str = "virtual:pynq-z2",
           seed: int = 0, progress: Progress | None = None, stalls: float = 0.0,
           trainable: TrainableChoice = "all") -> VerifyReport:
    """Run training steps on golden and on a board and compare their memory.

    Both start from the same arena of random bytes. Step mode: the whole images are compared after
    every descriptor. Free-running mode: after every step and after an evaluation.
    The images that both modes end with are compared too. Stops at the first difference.

    Args:
        graph: the network.
        batch: images of a mini-batch.
        steps: training steps.
        board: backend to compare with golden.
        seed: names weights, images, labels, the random bytes and :class:`Options`; odd ones train
            without momentum.
        progress: called with the number of descriptors since the last call.
        stalls: probability of a random stall of each memory handshake (virtual boards).
        trainable: what is trained, as for :class:`~pynq_train.train.Learner`.

    Raises:
        BadInput: no graph, no steps, or stalls on a backend that has none.
        HardwareFault: a backend stopped with an error, or its two modes differ.
    """
    check_graph(graph)
    if steps < 1:
        raise BadInput("steps", expected="at least 1", found=steps)
    layers, options = fuse(graph), Options.of(seed)
    plan = make_plan(layers, batch, board_of(board), momentum=options.momentum > 0,
                     trainable=select(layers, trainable), loss=loss_of(options, layers, batch))
    report = VerifyReport(graph.name, board, batch, steps, seed,
                          "all" if trainable == "all"
                          else describe_trainable(layers, plan.trainable))
    masters = {n: Masters.of(p) for n, p in init_params(layers, seed).items()}
    with ExitStack() as stack:
        golden = stack.enter_context(open_backend("golden", plan.memory.nbytes))
        other = stack.enter_context(open_backend(board, plan.memory.nbytes))
        if stalls:
            _stall(other, stalls)
        pair = _Pair(plan, golden, other, masters, seed, report, progress or (lambda _: None))
        pair.run()
    return report


def _stall(backend: Backend, probability: float) -> None:
    """Let a virtual board stall memory handshakes at random; BadInput on other backends."""
    model = getattr(backend, "model", None)
    if model is None or not 0 <= probability < 1:
        raise BadInput("stalls", expected="a probability below 1, and a virtual board",
                       found=f"{probability} on {backend.name}")
    model.set_random_stalls(probability)


class _Found(Exception):
    """Ends a comparison: ``args[0]`` is the difference."""


class _Pair:
    """The same plan on two backends.

    Args:
        plan: the network.
        golden: the golden backend.
        other: the backend to compare with it.
        masters: weights to start from, by layer.
        seed: names images, labels and options.
        report: where the outcome goes.
        progress: called with the number of descriptors since the last call.
    """

    def __init__(self, plan: Plan, golden: Backend, other: Backend, masters: dict[str, Masters],
                 seed: int, report: VerifyReport, progress: Progress) -> None:
        self.plan, self.report, self.seed, self.progress = plan, report, seed, progress
        self.golden, self.other = golden, other
        self.options = Options.of(seed)
        self.reference = Session(plan, golden, masters, new_policy(plan, masters, INPUT_START),
                                 fill_seed=seed & 0xFFFF_FFFF)
        self.reference.calibrate(*self._batch(0))
        self.start = self.image = golden.read(0, plan.memory.nbytes)
        self.run_request = self.reference.request(self.reference.training)
        self.tensors = tensor_maps(plan)
        self.policy = self.reference.policy
        for program in (self.reference.training, self.reference.evaluation):
            self.report.coverage.add_program(program, plan)
        self.report.coverage.add_options(self.options, plan)

    def run(self) -> None:
        """Run both modes, then the evaluation; the outcome goes to the report."""
        try:
            stepped = [self._hash() for _ in self._steps(stepping=True)]
            free = [self._hash() for _ in self._steps(stepping=False)]
            if stepped != free:
                number = next(i for i, (a, b) in enumerate(zip(stepped, free)) if a != b)
                raise HardwareFault(
                    f"{self.report.board}: step mode and free-running mode differ",
                    expected="the same memory", found=f"another one after step {number + 1}")
            self._evaluation()
        except _Found as found:
            difference: Difference = found.args[0]
            self.report.first = difference
            self.report.mismatches = difference.bytes_differing
            self.report.saved = self._keep(difference.text())
        except HardwareFault as error:
            if advised := advice(self._keep(str(error))):
                error.add(advised)
            raise

    def _keep(self, text: str) -> Path | None:
        """Save program and memory of the run under way."""
        return keep(Failure.of(self.plan, self.report.board, self.run_request, self.image, text))

    def _batch(self, step: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return images and labels of step ``step``.

        float32 ``(batch, channels, rows, cols)``, normally distributed, and int64 ``(batch,)``.
        """
        plan = self.plan
        channels, rows, cols = plan.layers[0].in_shape
        shape = (plan.batch, channels, rows, cols)
        key = stream_key(self.seed, _STREAM, step)
        images = normal_float32(key, int(np.prod(shape))).reshape(shape)
        return images, random_targets(plan, stream_key(self.seed, _STREAM, step, 1))

    def _steps(self, stepping: bool) -> Iterator[int]:
        """Run all steps on both backends from the start image, comparing on the way."""
        for backend in (self.golden, self.other):
            backend.write(0, self.start)
        # Exponents move with the measures of each step: both modes must start from the same ones,
        # or they would not end with the same memory.
        self.reference.policy = copy.deepcopy(self.policy)
        program = self.reference.training
        for step in range(self.report.steps):
            images, labels = self._batch(step)
            valid = self.options.valid(self.plan.batch, step == self.report.steps - 1)
            images, labels = images[:valid], labels[:valid]
            self.reference.policy.loss = of_targets(self.plan.loss, labels)
            used = self.reference.policy.exponents(self.plan.batch)
            sgd = self.options.sgd(self.seed, step, valid)
            params = plan_params(self.plan, used, sgd)
            check_step_block(self.plan, program.fields, used, sgd,
                             pack_step_block(self.plan, params))
            self.reference.write_training(images, labels, params, used)
            self._copy_inputs()
            self._begin(self.reference.request(program))
            between = None if not program.halt else Between(
                used.loss, labels, used.logits, used.gradients[DLOGITS])
            self._run_training(program, step, stepping, between)
            self.reference.policy.observe(used, self.reference.records(program).measures)
            yield step

    def _begin(self, request: RunRequest) -> None:
        """Remember what is about to run, and the memory in front of it."""
        self.run_request = request
        self.image = self.other.read(0, self.plan.memory.nbytes)

    def _copy_inputs(self) -> None:
        """Give the other backend what the host wrote for golden: images, labels, step block."""
        for symbol in ("input", "labels", "step_block"):
            region = self.plan.memory[symbol]
            self.other.write(region.offset, self.golden.read(region.offset, region.nbytes))

    def _run_training(self, program: ProgramImage, step: int, stepping: bool,
                      between: Between | None) -> None:
        """Run a program on both backends and compare: after each descriptor, or at the end."""
        for number, request in enumerate(self.reference.requests(program)):
            if number and between is not None:
                # Both have the same outputs here, or they would have been compared in vain.
                for backend in (self.golden, self.other):
                    between.run(self.plan, backend)
                self._begin(request)
            if stepping:
                self._run_stepping(program, request, step, number * program.halt)
            else:
                self.golden.run(request)
                self.report.cycles += self.other.run(request).cycles
        if not stepping:
            self._compare(f"step {step + 1}, free-running, end")
            self.progress(program.count)

    def _run_stepping(self, program: ProgramImage, request: RunRequest, step: int, first: int
                      ) -> None:
        """Run a program descriptor by descriptor; compare all memory after each.

        ``first``: number of the run's first descriptor in the program.
        """
        pairs = zip_longest(self.golden.run_step_mode(request), self.other.run_step_mode(request))
        count = 0
        for index, other in pairs:
            if index != other or index is None:
                raise HardwareFault(f"{self.report.board}: step mode",
                                    expected=f"a halt after descriptor {index}",
                                    found=f"one after {other}")
            descriptor = program.descriptors[first + index]
            layer = self.plan.specs[descriptor.layer].name
            self._compare(f"step {step + 1}, descriptor {first + index} "
                          f"({descriptor.role.value} of {layer})", first + index)
            self.report.descriptors += 1
            self.progress(1)
            count += 1
        if count != request.descriptor_count:
            raise HardwareFault(f"{self.report.board}: step mode", found=f"{count} descriptors",
                                expected=f"{request.descriptor_count}")

    def _evaluation(self) -> None:
        """Run an evaluation on both backends and compare all memory."""
        images, labels = self._batch(self.report.steps)
        # One image less than the mini-batch: the rest must not count.
        valid = max(1, len(images) - 1)
        self.reference.evaluate(images[:valid], labels[:valid])
        self._copy_inputs()
        self._begin(self.reference.request(self.reference.evaluation))
        self.other.run(self.reference.request(self.reference.evaluation))
        self.tensors = tensor_maps(self.plan, self.reference.evaluation.name)
        self._compare("evaluation, end")

    def _hash(self) -> str:
        """Return a hash of golden's memory, which equals that of the other backend here."""
        return hashlib.sha256(self.golden.read(0, self.plan.memory.nbytes).tobytes()).hexdigest()

    def _compare(self, when: str, index: int | None = None) -> None:
        """Compare all memory of both backends; raise _Found at the first difference.

        Args:
            when: what has run, for messages.
            index: number of the descriptor behind which they are compared; None: the last one.
        """
        mine = self.golden.read(0, self.plan.memory.nbytes)
        theirs = self.other.read(0, self.plan.memory.nbytes)
        self.report.bytes_compared += mine.nbytes
        found = first_difference(when, mine, theirs, standing(self.tensors, index))
        if found is not None:
            raise _Found(found)
