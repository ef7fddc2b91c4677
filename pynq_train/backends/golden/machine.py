"""Executes descriptors from a memory image.

It reads opcode and geometry of a descriptor and never its schedule: golden says what must come out,
however the engine goes about it (``docs/adr/002-golden-reads-geometry.md``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pynq_train.arrays import Array
from pynq_train.backends.golden import conv, scalar
from pynq_train.backends.golden.geometry import Geometry
from pynq_train.backends.golden.memory import ArenaViews, OutsideArena
from pynq_train.backends.golden.norm import norm
from pynq_train.backends.golden.pool import pool
from pynq_train.backends.golden.vector import vector
from pynq_train.backends.golden.workers import Workers, single_threaded_blas
from pynq_train.errors import HardwareFault
from pynq_train.hw.commands import (
    DESCRIPTOR_BYTES,
    PARAM_BYTES,
    Opcode,
    Pass,
    unpack_descriptor,
    unpack_params,
)
from pynq_train.program.program import Fields

_CACHE = 4096
"""Descriptors that are kept unpacked."""
_PASSES = {Pass.FORWARD: conv.forward, Pass.BACKWARD: conv.backward}


@dataclass(frozen=True)
class _Decoded:
    """A descriptor, unpacked; ``geometry`` of convolutions only."""

    opcode: Opcode
    fields: Fields
    geometry: Geometry | None


def _geometry(opcode: Opcode, fields: Fields) -> Geometry | None:
    """Return the geometry of a convolution, None of other descriptors.

    Raises:
        ValueError: the opcode does not do its pass.
    """
    if opcode not in (Opcode.CONV, Opcode.GRADIENT):
        return None
    geometry = Geometry.of(fields)
    if (geometry.kind == Pass.WEIGHT_GRADIENT) != (opcode == Opcode.GRADIENT):
        raise ValueError(f"g_pass: expected WEIGHT_GRADIENT in GRADIENT descriptors only, "
                         f"found {geometry.kind.name} in {opcode.name}")
    return geometry


class GoldenMachine:
    """The arithmetic of the engine on one memory image.

    Args:
        arena: the memory image, flat uint8 at a multiple of 8; written in place.
        threads: threads to use (default: one per core, at most 8).
    """

    def __init__(self, arena: Array, threads: int | None = None) -> None:
        self._memory = ArenaViews(arena)
        self._workers = Workers(threads)
        self._decoded: dict[bytes, _Decoded] = {}

    def run(self, program_off: int, count: int, step_off: int) -> None:
        """Run ``count`` descriptors from byte offset ``program_off``.

        Args:
            program_off: byte offset of the first descriptor.
            count: number of descriptors.
            step_off: byte offset of the step block.

        Raises:
            HardwareFault: an illegal descriptor, or a tensor outside the arena; the text names the
                descriptor. What ran before it stays in memory.
        """
        for _ in self.steps(program_off, count, step_off):
            pass

    def steps(self, program_off: int, count: int, step_off: int) -> Iterator[int]:
        """Run descriptor by descriptor; yield the index of each after it has retired.

        Arguments and errors as for :meth:`run`.
        """
        for index in range(count):
            try:
                with single_threaded_blas():
                    self._execute(program_off + index * DESCRIPTOR_BYTES, step_off)
            except OutsideArena as error:
                raise HardwareFault(
                    f"golden: descriptor {index} reads or writes outside the arena",
                    found=str(error), fix="verify the program (program.verify)") from None
            except ValueError as error:
                raise HardwareFault(f"golden: descriptor {index} is illegal", found=str(error),
                                    fix="verify the program (program.verify)") from error
            yield index

    def close(self) -> None:
        """Stop the threads; the machine may still be used afterwards."""
        self._workers.close()

    def _decode(self, data: bytes) -> _Decoded:
        """Unpack a descriptor, or return what was unpacked before."""
        # Known by its bytes: a training runs the same descriptors in every step.
        found = self._decoded.get(data)
        if found is None:
            fields = unpack_descriptor(data)
            opcode = Opcode(fields["pre.opcode"])
            geometry = _geometry(opcode, fields)
            if len(self._decoded) >= _CACHE:
                self._decoded.clear()
            found = self._decoded[data] = _Decoded(opcode, fields, geometry)
        return found

    def _execute(self, offset: int, step_off: int) -> None:
        """Run the descriptor at byte offset ``offset`` and write its record."""
        memory = self._memory
        decoded = self._decode(memory.read("the descriptor", offset, DESCRIPTOR_BYTES))
        if decoded.opcode == Opcode.FENCE:
            return
        d = decoded.fields
        entry = memory.read("the step-block entry", step_off + PARAM_BYTES * d["gc.entry"],
                            PARAM_BYTES)
        params = unpack_params(decoded.opcode, entry)
        if decoded.geometry is not None and decoded.opcode == Opcode.GRADIENT:
            parts = decoded.geometry.m_tile_parts()
            sums = conv.weight_gradient(memory, parts[0], self._workers).reshape(-1)
            if len(parts) > 1:  # a call's sums are good until the next one
                sums = np.concatenate([sums.copy(), *(
                    conv.weight_gradient(memory, part, self._workers).flatten()
                    for part in parts[1:])])
            record = scalar.update_from(memory, d, params, sums, self._workers)
        elif decoded.geometry is not None:
            measure = saturations = 0
            for part in decoded.geometry.m_tile_parts():
                result = _PASSES[part.kind](memory, part, params, self._workers)
                measure |= result.measure
                saturations += result.saturations
            record = (measure, saturations)
        elif decoded.opcode == Opcode.UPDATE:
            record = scalar.update(memory, d, params, self._workers)
        elif decoded.opcode == Opcode.VECTOR:
            record = vector(memory, d, params, self._workers)
        elif decoded.opcode == Opcode.NORM:
            record = norm(memory, d, params)
        elif decoded.opcode == Opcode.POOL:
            record = pool(memory, d, params, self._workers)
        else:
            record = scalar.softmax(memory, d, params)
        memory.record(d["gc.record"], *record)
