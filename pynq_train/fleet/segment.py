"""A segment of a network on one backend: maps in, maps out, in the format of device memory.

What a segment is asked and what it answers are plain values, which any transport can carry. It
knows no policy: the step block has all shifts of its part of the step, and the coordinator, who
makes it from measured ranges, says which exponents the maps have. Nothing is rounded on the way:
the engine that makes a map rounds it to its exponent, and the one that reads it takes its codes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from pynq_train.arrays import Array
from pynq_train.backends import Backend, RunRequest
from pynq_train.errors import BadInput, HardwareFault
from pynq_train.fleet.cut import Carried
from pynq_train.fleet.segment_plan import BACKWARD, FORWARD, SegmentPlan
from pynq_train.hw.commands import RECORD_WORDS
from pynq_train.hw.words import CHANNELS_PER_WORD, LINE_WORDS, WORD_BYTES, round_up
from pynq_train.run.failure import Failure, advice, keep
from pynq_train.run.masters import Masters, with_averages
from pynq_train.run.weights import read_weights, write_weights
from pynq_train.schedule.lower.meaning import EVALUATION
from pynq_train.schedule.lower.program import ProgramImage
from pynq_train.schedule.passes.usage import ZEROS
from pynq_train.schedule.plan import Plan
from pynq_train.schedule.specs.layout import MapLayout

INPUT, LABELS, LOGITS = "input", "labels", "logits"
"""Symbols of the images, of their labels, and of what the last segment answers in evaluations."""


@dataclass(frozen=True)
class DeviceMap:
    """A feature map, or a gradient of one, or flags, as device memory has them.

    Attributes:
        codes: int16 ``(images, channel blocks, rows, columns, 4)``; of a vector ``(1, channel
            blocks, 1, images, 4)``; of flags int64 ``(words,)``.
        exponent: a code ``q`` stands for ``q * 2**exponent``; 0 for flags.
    """

    codes: NDArray[Any]
    exponent: int = 0

    def values(self) -> NDArray[np.float32]:
        """Return the values of a map or gradient as float32, in the shape of the codes."""
        found: NDArray[np.float32] = np.ldexp(self.codes.astype(np.float32), self.exponent)
        return found


@dataclass(frozen=True)
class SegmentInput:
    """What a segment needs for one half of a step, or for an evaluation.

    Attributes:
        block: int64, words of the step block.
        maps: what it reads of other segments, by symbol; ``input``: the images.
        exponents: of the maps that it makes for others, by symbol.
        labels: int64 ``(images,)``, for the last segment, forward and in evaluations.
        slot: which of the mini-batches in flight this is.
    """

    block: NDArray[np.int64]
    maps: Mapping[str, DeviceMap] = field(default_factory=dict)
    exponents: Mapping[str, int] = field(default_factory=dict)
    labels: NDArray[np.int64] | None = None
    slot: int = 0


@dataclass(frozen=True)
class SegmentOutput:
    """What a segment has made.

    Attributes:
        maps: maps for other segments, by symbol; of an evaluation the last one's ``logits``.
        records: int64 ``(descriptors, 4)``: measured ranges, saturations, loss.
        cycles: cycles of the run (0: the backend has no clock, or there was nothing to run).
    """

    maps: Mapping[str, DeviceMap]
    records: NDArray[np.int64]
    cycles: int = 0


class Stage(Protocol):
    """One segment of a pipeline, here or on another machine."""

    def forward(self, request: SegmentInput) -> SegmentOutput:
        """Run the forward half of a training step; keep what the backward half needs."""

    def backward(self, request: SegmentInput) -> SegmentOutput:
        """Run the backward half, from the gradients of what the segment made; move its weights."""

    def evaluate(self, request: SegmentInput) -> SegmentOutput:
        """Run the forward pass of an evaluation; weights and statistics stay."""

    def read_masters(self) -> dict[str, Masters]:
        """Return weights, momentum and running statistics of the segment's layers, by name."""

    def write_masters(self, masters: Mapping[str, Masters], exponents: Sequence[int]) -> None:
        """Replace them; ``exponents``: of the 16-bit copies, for all layers of the network."""


class Segment:
    """A segment on an open backend; it satisfies :class:`Stage`.

    Args:
        part: the plan; the arena of its last slot must be the backend's.
        backend: an open backend.
        masters: weights by layer name; those of other segments do not matter.
        exponents: of the 16-bit copies of weights, for all layers of the network.
        fill_seed: fills the arena with random bytes first (tests of what is really written).
    """

    def __init__(self, part: SegmentPlan, backend: Backend, masters: Mapping[str, Masters],
                 exponents: Sequence[int], *, fill_seed: int | None = None) -> None:
        self.part, self.backend = part, backend
        self._programs = [part.programs(slot) for slot in range(len(part.slots))]
        self._cycles = {name: part.cycles(name) for name in self._programs[0]}
        if fill_seed is not None:
            junk = np.random.Generator(np.random.Philox(fill_seed))
            backend.write(0, junk.integers(0, 256, part.plan.memory.nbytes, np.uint8))
        for plan, programs in zip(part.slots, self._programs):
            for program in programs.values():
                self._put(plan, f"{program.name}.program", program.program)
                self._put(plan, f"{program.name}.taps", program.taps)
            for region in plan.memory:
                if region.symbol == ZEROS or region.kind == "scratch":
                    backend.write(region.offset, np.zeros(region.nbytes, np.uint8))
        self._frozen: Mapping[str, Masters] = {}
        self.write_masters(masters, exponents)

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"segment {self.part.number} on {self.backend.name}"

    def forward(self, request: SegmentInput) -> SegmentOutput:
        """Run the forward half of a training step: one doorbell.

        Raises:
            BadInput: the request lacks a map, or has one of another shape.
            HardwareFault: the backend stopped with an error.
        """
        return self._run(FORWARD, request)

    def backward(self, request: SegmentInput) -> SegmentOutput:
        """Run the backward half and the updates: one doorbell.

        Raises:
            BadInput, HardwareFault: as :meth:`forward`.
        """
        return self._run(BACKWARD, request)

    def evaluate(self, request: SegmentInput) -> SegmentOutput:
        """Run the forward pass of an evaluation: one doorbell.

        Raises:
            BadInput, HardwareFault: as :meth:`forward`.
        """
        return self._run(EVALUATION, request)

    def read_masters(self) -> dict[str, Masters]:
        """Return weights, momentum and running statistics of the segment's layers, by name."""
        plan = self.part.plan
        return read_weights(lambda symbol, dtype: self._get(plan, symbol).view(dtype), plan,
                            self.part.layers, self._frozen)

    def write_masters(self, masters: Mapping[str, Masters], exponents: Sequence[int]) -> None:
        """Write weights, momentum, running statistics and the 16-bit copies."""
        plan = self.part.plan
        self._frozen = known = with_averages(plan, masters)
        write_weights(lambda symbol, data: self._put(plan, symbol, data), plan, self.part.layers,
                      known, exponents)

    # -- private ---------------------------------------------------------------------------------

    def _run(self, half: str, request: SegmentInput) -> SegmentOutput:
        part = self.part
        slots = 1 if half == EVALUATION else len(part.slots)
        if not 0 <= request.slot < slots:
            raise BadInput(f"{self.name}: slot", expected=f"0..{slots - 1}", found=request.slot)
        plan, program = part.slots[request.slot], self._programs[request.slot].get(half)
        reads = list(part.incoming(half))
        if part.reads_images(half):
            reads.append(Carried(INPUT, -1, "map", -1, frozenset()))
        for one in reads:
            self._write_map(plan, one, request.maps.get(one.symbol))
        if part.last and half != BACKWARD:
            self._write_labels(plan, request.labels)
        if program is None:
            records, cycles = np.zeros((0, RECORD_WORDS), np.int64), 0
        else:
            self._check(request.block, (plan.step_block_bytes // WORD_BYTES,), np.int64,
                        "step block")
            self._put(plan, "step_block", request.block)
            cycles = self._run_program(plan, program)
            records = self._get(plan, f"{half}.records").view(np.int64).reshape(-1, RECORD_WORDS)
        makes = list(part.outgoing(half))
        if part.last and half == EVALUATION:
            makes.append(logits_of(plan))
        return SegmentOutput({one.symbol: DeviceMap(self._read_map(plan, one), 0 if
                                                    one.kind == "flags" else
                                                    request.exponents.get(one.symbol, 0))
                              for one in makes}, records, cycles)

    def _run_program(self, plan: Plan, program: ProgramImage) -> int:
        """Run a program; if that fails, program and memory are kept for ``pynq-train replay``."""
        names = tuple(f"{one.role.value} of {plan.specs[one.layer].name}"
                      for one in program.descriptors)
        request = RunRequest(plan.memory[f"{program.name}.program"].offset, program.count,
                             plan.memory["step_block"].offset, self._cycles[program.name], False,
                             names, False)
        try:
            return self.backend.run(request).cycles
        except HardwareFault as error:
            image = self.backend.read(0, plan.memory.nbytes)
            path = keep(Failure.of(plan, self.backend.name, request, image, str(error)))
            if path is not None:
                error.add(advice(path))
            raise

    def _write_labels(self, plan: Plan, labels: NDArray[np.int64] | None) -> None:
        words = np.zeros(round_up(plan.batch, LINE_WORDS), np.int64)
        if labels is not None:
            if labels.ndim != 1 or len(labels) > plan.batch:
                raise BadInput(f"{self.name}: labels", expected=f"at most ({plan.batch},)",
                               found=labels.shape)
            words[: len(labels)] = labels
        self._put(plan, LABELS, words)

    def _write_map(self, plan: Plan, one: Carried, given: DeviceMap | None) -> None:
        """Write a map that the segment reads; gaps between its images keep what they hold."""
        if given is None:
            raise BadInput(f"{self.name}: maps of the request", expected=f"{one.symbol!r} too",
                           found="none of that name", fix="send all that the segment reads")
        shape, dtype = map_shape(plan, one)
        self._check(given.codes, shape, dtype, f"map {one.symbol!r}")
        offset, layout = plan.memory[one.symbol].offset, map_layout(plan, one)
        if layout is None or _gapless(layout):
            self.backend.write(offset, np.ascontiguousarray(given.codes))
            return
        whole = self.backend.read(offset, layout.extent)
        elements(whole, layout)[...] = given.codes
        self.backend.write(offset, whole)

    def _read_map(self, plan: Plan, one: Carried) -> NDArray[Any]:
        """Return a map that the segment has made, without gaps."""
        shape, dtype = map_shape(plan, one)
        layout = map_layout(plan, one)
        # Not the bytes of the region: maps that take turns in one have different sizes.
        nbytes = layout.extent if layout is not None else WORD_BYTES * shape[0]
        data = self.backend.read(plan.memory[one.symbol].offset, nbytes)
        if layout is None or _gapless(layout):
            found: NDArray[Any] = data.view(dtype).reshape(shape)
            return found
        return np.ascontiguousarray(elements(data, layout))

    def _check(self, found: Array, shape: tuple[int, ...], dtype: Any, what: str) -> None:
        if found.shape != shape or found.dtype != dtype:
            raise BadInput(f"{self.name}: {what}", expected=f"{np.dtype(dtype)} {shape}",
                           found=f"{found.dtype} {found.shape}")

    def _put(self, plan: Plan, symbol: str, data: Any) -> None:
        self.backend.write(plan.memory[symbol].offset, data)

    def _get(self, plan: Plan, symbol: str) -> NDArray[np.uint8]:
        region = plan.memory[symbol]
        return self.backend.read(region.offset, region.nbytes)


def logits_of(plan: Plan) -> Carried:
    """Return the logits as something that travels: to the coordinator."""
    return Carried(LOGITS, len(plan.specs) - 1, "map", -1, frozenset())


def map_layout(plan: Plan, one: Carried) -> MapLayout | None:
    """Return the layout in memory of a map that travels; None for flags, which have no gaps."""
    if one.kind == "flags":
        return None
    if one.symbol == LOGITS:  # what softmax reads, whatever layer yields them
        return MapLayout.dense(plan.batch, plan.classes)
    return plan.input_layout if one.layer < 0 else plan.specs[one.layer].y


def map_shape(plan: Plan, one: Carried) -> tuple[tuple[int, ...], type[np.generic]]:
    """Return shape and element type of a map that travels (:class:`DeviceMap`)."""
    layout = map_layout(plan, one)
    if layout is None:
        flags = plan.specs[one.layer].flags
        assert flags is not None, "flags that travel are there"
        return (flags.nbytes // WORD_BYTES,), np.int64
    return (layout.images, layout.blocks, layout.rows, layout.cols, CHANNELS_PER_WORD), np.int16


def _gapless(layout: MapLayout) -> bool:
    return layout.images == 1 or layout.image_stride == layout.blocks * layout.block_stride


def elements(data: NDArray[np.uint8], layout: MapLayout) -> NDArray[np.int16]:
    """Return the elements of a map in its bytes, gaps between images left out: a view."""
    return as_strided(data.view(np.int16),
                      (layout.images, layout.blocks, layout.rows, layout.cols, CHANNELS_PER_WORD),
                      (layout.image_stride, layout.block_stride, layout.row_stride,
                       layout.col_stride, WORD_BYTES // CHANNELS_PER_WORD))
