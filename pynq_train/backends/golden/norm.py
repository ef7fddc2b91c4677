"""Normalisations: coefficients of all channels, or groups, from sums (``docs/numerics.md`` 7)."""

from __future__ import annotations

import struct

import numpy as np

from pynq_train.arrays import Array
from pynq_train.backends.golden.memory import ArenaViews
from pynq_train.fixed import saturate, wrap
from pynq_train.fixed.soft_float import SoftFloats
from pynq_train.hw.layouts import COEFFICIENT
from pynq_train.hw.norm import (
    BACK,
    GROUPED,
    OUT_BITS,
    PROGRAMS,
    REGISTERS,
    Constant,
    Exponent,
    NormOp,
    NormProgram,
    Out,
    Scratch,
)
from pynq_train.hw.tables import ROOT_SEEDS
from pynq_train.hw.words import CHANNELS_PER_WORD, MASTER_EXPONENT, WORD_BYTES
from pynq_train.program.program import Fields

MEASURE_TOP = (1 << 47) - 1
_PROGRAMS = {(False, False): NormProgram.FORWARD, (False, True): NormProgram.FORWARD_FROZEN,
             (True, False): NormProgram.BACKWARD, (True, True): NormProgram.BACKWARD_FROZEN}
"""Micro-program by whether it is of the gradient, and of frozen statistics."""
_OF_GROUPS = {False: NormProgram.FORWARD_GROUP, True: NormProgram.BACKWARD_GROUP}
"""Likewise where each image and group of channels has statistics of its own."""


def norm(memory: ArenaViews, d: Fields, p: Fields) -> tuple[int, int]:
    """Run the normalisation unit on a NORM descriptor.

    Args:
        memory: the arena.
        d: fields of the descriptor.
        p: fields of the step-block entry.

    Returns:
        Its record: OR of the magnitudes of A and B, number of saturations.
    """
    program = _PROGRAMS[bool(d["gn.back"]), bool(d["gn.frozen"])]
    blocks = d["gn.blocks"]
    if d["gn.group"]:
        program = _OF_GROUPS[bool(d["gn.back"])]
        # A block for each image and group, or where a block holds several groups, for each of these
        # blocks.
        blocks = d["gc.count"] * blocks // max(d["gn.group"] // CHANNELS_PER_WORD, 1)
    shape = (blocks, CHANNELS_PER_WORD)
    back = program in BACK
    unit = _Unit(d, p, shape)
    for word, values in _inputs(memory, d, program, shape).items():
        unit.scratch[word] = values
    unit.run(program)
    out = unit.out
    table = memory.view("the coefficients", d["gn.coefs"], (*shape, 2), np.int64)
    table[...] = 0
    for name, number in (("a", Out.A), ("b", Out.B), ("c", Out.C)):
        place = COEFFICIENT.at(name)
        table[..., place.word] |= place.insert(out[number])
    if back and program not in GROUPED:
        for name, gradient in (("d_gamma", Out.D_GAMMA), ("d_beta", Out.D_BETA)):
            memory.view("the gradient", d[f"gn.{name}"], shape, np.int64)[...] = out[gradient]
    if not back:
        _pairs(memory, "the statistics", d["gn.kept"], shape, (out[Out.MEAN], out[Out.RECIPROCAL]))
    if program == NormProgram.FORWARD:
        _pairs(memory, "the running statistics", d["gn.running"], shape,
               (out[Out.RUN_MEAN], out[Out.RUN_VAR]))
    return unit.measure, unit.saturations


def _inputs(memory: ArenaViews, d: Fields, program: NormProgram,
            shape: tuple[int, int]) -> dict[Scratch, Array]:
    """Return the input words of all channels, int64 ``[block, channel]``.

    Those that a program does not read are left out.
    """
    blocks, lanes = shape
    back = program in BACK
    found: dict[Scratch, Array] = {}
    if program != NormProgram.FORWARD_FROZEN:
        parts = [memory.view("the sums", d["gn.sums"] + part * d["gn.part_bytes"],
                             (blocks, 2, lanes), np.int64) for part in range(d["gn.parts"])]
        # Parts of the mini-batch have been summed by descriptors of their own; int64 wraps as the
        # adder of the engine does.
        total = np.stack(parts).sum(axis=0, dtype=np.int64)
        if d["gn.group"]:
            # The channels of a group that stand in one word; each of them gets the sum.
            own = min(d["gn.group"], lanes)
            total = total.reshape(blocks, 2, lanes // own, own).sum(axis=3, dtype=np.int64)
            total = np.repeat(total, own, axis=2)
        found[Scratch.SUM1], found[Scratch.SUM2] = total[:, 0], total[:, 1]
    if program == NormProgram.FORWARD_GROUP:
        return found
    for name, word in (("gamma", Scratch.GAMMA), ("beta", Scratch.BETA)):
        if program in GROUPED:
            continue
        masters = memory.view("the masters", d[f"gn.{name}"], (*shape, 2), np.int32)
        found[word] = masters[..., 0].astype(np.int64)
    name, offset = (("the statistics", d["gn.kept"]) if back
                    else ("the running statistics", d["gn.running"]))
    pair = memory.view(name, offset, (blocks, 2, lanes), np.int64)
    words = (Scratch.MEAN, Scratch.RECIPROCAL) if back else (Scratch.RUN_MEAN, Scratch.RUN_VAR)
    if d["gn.group"]:
        # The channels of a group that stand in one word have the statistics of the first of them.
        own = min(d["gn.group"], lanes)
        pair = np.repeat(pair[:, :, ::own], own, axis=2)
    found[words[0]], found[words[1]] = pair[:, 0], pair[:, 1]
    return found


def _pairs(memory: ArenaViews, name: str, offset: int, shape: tuple[int, int],
           values: tuple[Array, Array]) -> None:
    """Write two int64 ``[block, channel]`` arrays as pairs of four words per block."""
    view = memory.view(name, offset, (shape[0], 2, shape[1]), np.int64)
    view[:, 0], view[:, 1] = values


class _Unit:
    """Registers, scratch and output words of all channels at once.

    Args:
        d: fields of the descriptor.
        p: fields of the step-block entry.
        shape: channel blocks, channels of a block.

    Attributes:
        scratch: input words, int64 of ``shape``.
        out: output words, likewise.
        measure: OR of the magnitudes of A and B so far.
        saturations: output words that saturated so far.
    """

    def __init__(self, d: Fields, p: Fields, shape: tuple[int, int]) -> None:
        zero = np.zeros(shape, np.int64)
        self.scratch: dict[Scratch, Array] = dict.fromkeys(Scratch, zero)
        self.out: dict[Out, Array] = dict.fromkeys(Out, zero)
        self.measure = self.saturations = 0
        self._registers = [SoftFloats(zero, zero, zero)] * REGISTERS
        self._table = np.array(ROOT_SEEDS, np.int64)
        z, g = p["z_exp"], p["g_exp"]
        self._exponents = {
            Exponent.Z: z, Exponent.Z_TWICE: 2 * z, Exponent.G: g, Exponent.G_AND_Z: g + z,
            Exponent.MASTER: MASTER_EXPONENT, Exponent.A: p["a_exp"], Exponent.B: p["b_exp"],
            Exponent.C: p["c_exp"]}

        # The statistics are those of all pixels of all images, or of all channels of a group. A
        # variance of one element is 0.
        count = (d["gn.group"] or d["gc.count"]) * d["gn.pixels"]
        if count < 1:
            raise ValueError(f"elements of the statistics: expected 1 or more, found {count}")
        (eps,) = struct.unpack("<d", d["gn.eps"].to_bytes(WORD_BYTES, "little"))
        self._constants = {
            Constant.PER_ELEMENT: SoftFloats.of_float(1 / count, shape),
            Constant.UNBIASED: SoftFloats.of_float(count / (count - 1) if count > 1 else 0.0,
                                                   shape),
            Constant.EPS: SoftFloats.of_float(eps, shape),
            Constant.ALPHA: SoftFloats.of_int(np.full(shape, p["alpha"], np.int64), -16),
            Constant.HALF: SoftFloats.of_float(0.5, shape),
            Constant.THREE_HALVES: SoftFloats.of_float(1.5, shape)}

    def run(self, program: NormProgram) -> None:
        """Execute a micro-program (:data:`pynq_train.hw.norm.PROGRAMS`)."""
        r = self._registers
        for i in PROGRAMS[program]:
            if i.op == NormOp.INT:
                r[i.dst] = SoftFloats.of_int(self.scratch[Scratch(i.a)],
                                          self._exponents[Exponent(i.sel)])
            elif i.op == NormOp.NUMBER:
                r[i.dst] = SoftFloats.unpack(self.scratch[Scratch(i.a)])
            elif i.op == NormOp.CONST:
                r[i.dst] = self._constants[Constant(i.sel)]
            elif i.op == NormOp.MUL:
                r[i.dst] = r[i.a] * r[i.b]
            elif i.op == NormOp.ADD:
                r[i.dst] = r[i.a] + r[i.b]
            elif i.op == NormOp.SUB:
                r[i.dst] = r[i.a] - r[i.b]
            elif i.op == NormOp.POSITIVE:
                r[i.dst] = r[i.a].positive()
            elif i.op == NormOp.ROOT:
                r[i.dst] = r[i.a].root_seed(self._table)
            elif i.op == NormOp.FIX:
                self._fix(Out(i.dst), r[i.a], self._exponents[Exponent(i.sel)])
            elif i.op == NormOp.PUT:
                self.out[Out(i.dst)] = r[i.a].pack()

    def _fix(self, word: Out, value: SoftFloats, exponent: int) -> None:
        """Write ``value`` to an output word: an integer in units of ``2**exponent``, saturated."""
        exact, over = value.to_int(exponent)
        top = (1 << OUT_BITS[word] - 1) - 1
        # Where the number is too large for int64, its integer has no meaning: the sign says which
        # limit it is.
        limited = np.where(over, np.where(value.sign > 0, -top, top),
                           saturate(exact, OUT_BITS[word]))
        self.saturations += int(np.count_nonzero(over | (limited != exact)))
        # The measure is that before saturation: from it the policy chooses exponents for the next
        # step, and must see how far a coefficient is out of range.
        if word in (Out.A, Out.B):
            size = np.where(over, MEASURE_TOP, np.minimum(np.abs(exact), MEASURE_TOP))
            self.measure |= int(np.bitwise_or.reduce(size, axis=None))
        self.out[word] = wrap(limited, 64)
