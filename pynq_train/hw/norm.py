"""Micro-programs of normalisations: what the normalisation unit does for every channel.

Golden executes the same instructions that the generator puts into the ROM of ``pt_norm``; the
arithmetic is that of ``fixed.soft_float``. Every instruction works on the four channels of a
block. With z the map, N its elements in a channel, g the gradient behind ReLU:

    mean = S1 / N        variance = S2 / N - mean**2       r = 1 / sqrt(variance + eps)
    forward    y  = A z + C               A = gamma r      C = beta - mean A
    backward   dz = A g + B z + C         A = gamma r      B = -A r dgamma / N
               C = -mean B - A dbeta / N  dgamma = r (Sgz - mean Sg)      dbeta = Sg

Where an image and a group of channels have statistics of their own there is neither gamma nor
beta: the same formulas with gamma 1, beta 0. Sums of the channels of a word that share statistics
are added up as integers before a program begins (field ``n_join``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

REGISTERS = 16
FIELDS = ("op", "dst", "a", "b", "sel")
"""Fields of an instruction, from its highest bits down."""

FIELD_BITS = 4
INSTRUCTION_BITS = FIELD_BITS * len(FIELDS)


class NormProgram(IntEnum):
    """Which micro-program a NORM descriptor runs."""

    FORWARD = 0
    """Batch statistics; running values move; mean and 1 / deviation are kept for the backward."""
    FORWARD_FROZEN = 1
    """Running statistics: evaluation, and training of a frozen normalisation."""
    BACKWARD = 2
    BACKWARD_FROZEN = 3
    FORWARD_GROUP = 4
    """Statistics of an image and a group of channels; no gamma, beta and running values."""
    BACKWARD_GROUP = 5


class NormOp(IntEnum):
    """Operations; ``a``, ``b`` and ``dst`` are registers unless said otherwise."""

    END = 0
    INT = 1
    """dst = integer in scratch word a, times 2**exponent[sel]."""
    NUMBER = 2
    """dst = packed number in scratch word a."""
    CONST = 3
    """dst = constant[sel]."""
    MUL = 4
    ADD = 5
    SUB = 6
    POSITIVE = 7
    """dst = max(a, 0)."""
    ROOT = 8
    """dst = seed of 1 / sqrt(a)."""
    FIX = 9
    """output word dst = a as an integer in units of 2**exponent[sel], saturated to its width."""
    PUT = 10
    """output word dst = a, packed."""


class Scratch(IntEnum):
    """Input words of a channel."""

    SUM1 = 0
    SUM2 = 1
    GAMMA = 2
    BETA = 3
    RUN_MEAN = 4
    RUN_VAR = 5
    MEAN = 6
    RECIPROCAL = 7


class Out(IntEnum):
    """Output words of a channel."""

    A = 0
    B = 1
    C = 2
    D_GAMMA = 3
    D_BETA = 4
    RUN_MEAN = 5
    RUN_VAR = 6
    MEAN = 7
    RECIPROCAL = 8


OUT_BITS = {Out.A: 24, Out.B: 24, Out.C: 48, Out.D_GAMMA: 63, Out.D_BETA: 63}
"""Widths to which FIX saturates, symmetrically."""


class Exponent(IntEnum):
    """Exponents that INT and FIX choose from."""

    Z = 0
    Z_TWICE = 1
    G = 2
    G_AND_Z = 3
    MASTER = 4
    A = 5
    B = 6
    C = 7


class Constant(IntEnum):
    """Numbers that CONST chooses from."""

    PER_ELEMENT = 0
    """1 / N."""
    UNBIASED = 1
    """N / (N - 1)."""
    EPS = 2
    ALPHA = 3
    """Part by which running values move: an integer of the step block times 2**-16."""
    HALF = 4
    THREE_HALVES = 5


@dataclass(frozen=True)
class Instruction:
    """One instruction; fields that an operation does not use are 0."""

    op: NormOp
    dst: int = 0
    a: int = 0
    b: int = 0
    sel: int = 0

    @property
    def word(self) -> int:
        """The instruction as the ROM holds it: :data:`FIELDS` side by side."""
        word = 0
        for name in FIELDS:
            word = word << FIELD_BITS | int(getattr(self, name))
        return word


def _root(x: int, y: int, t: int) -> list[Instruction]:
    """y = 1 / sqrt(x) by two steps of Newton; x becomes x / 2; registers 14 and 15 are used."""
    code = [Instruction(NormOp.ROOT, y, x), Instruction(NormOp.CONST, 14, sel=Constant.HALF),
            Instruction(NormOp.CONST, 15, sel=Constant.THREE_HALVES),
            Instruction(NormOp.MUL, x, x, 14)]
    for _ in range(2):
        code += [Instruction(NormOp.MUL, t, y, y), Instruction(NormOp.MUL, t, t, x),
                 Instruction(NormOp.SUB, t, 15, t), Instruction(NormOp.MUL, y, y, t)]
    return code


_MEAN, _VAR, _R, _GAMMA, _A, _T, _U = range(7)
_S1, _S2, _PER, _K = 7, 8, 9, 10


def _statistics() -> list[Instruction]:
    """Mean and variance of the batch."""
    return [Instruction(NormOp.INT, _S1, Scratch.SUM1, sel=Exponent.Z),
            Instruction(NormOp.INT, _S2, Scratch.SUM2, sel=Exponent.Z_TWICE),
            Instruction(NormOp.CONST, _PER, sel=Constant.PER_ELEMENT),
            Instruction(NormOp.MUL, _MEAN, _S1, _PER),
            Instruction(NormOp.MUL, _VAR, _S2, _PER),
            Instruction(NormOp.MUL, _T, _MEAN, _MEAN),
            Instruction(NormOp.SUB, _VAR, _VAR, _T),
            Instruction(NormOp.POSITIVE, _VAR, _VAR)]


def _running_statistics() -> list[Instruction]:
    return [Instruction(NormOp.NUMBER, _MEAN, Scratch.RUN_MEAN),
            Instruction(NormOp.NUMBER, _VAR, Scratch.RUN_VAR),
            Instruction(NormOp.POSITIVE, _VAR, _VAR)]


def _reciprocal() -> list[Instruction]:
    """1 / deviation."""
    return [Instruction(NormOp.CONST, _K, sel=Constant.EPS),
            Instruction(NormOp.ADD, _U, _VAR, _K),
            *_root(_U, _R, _T)]


def _keep() -> list[Instruction]:
    """Mean and reciprocal deviation, for the backward pass."""
    return [Instruction(NormOp.PUT, Out.MEAN, _MEAN),
            Instruction(NormOp.PUT, Out.RECIPROCAL, _R)]


def _coefficients() -> list[Instruction]:
    """A and C of the forward pass; mean and reciprocal deviation are kept."""
    return [*_reciprocal(),
            Instruction(NormOp.INT, _GAMMA, Scratch.GAMMA, sel=Exponent.MASTER),
            Instruction(NormOp.MUL, _A, _GAMMA, _R),
            Instruction(NormOp.FIX, Out.A, _A, sel=Exponent.A),
            Instruction(NormOp.MUL, _T, _MEAN, _A),
            Instruction(NormOp.INT, _U, Scratch.BETA, sel=Exponent.MASTER),
            Instruction(NormOp.SUB, _U, _U, _T),
            Instruction(NormOp.FIX, Out.C, _U, sel=Exponent.C),
            *_keep()]


def _plain_coefficients() -> list[Instruction]:
    """A and C of the forward pass without gamma and beta; register 11 stays zero."""
    return [*_reciprocal(),
            Instruction(NormOp.FIX, Out.A, _R, sel=Exponent.A),
            Instruction(NormOp.MUL, _T, _MEAN, _R),
            Instruction(NormOp.SUB, _U, 11, _T),
            Instruction(NormOp.FIX, Out.C, _U, sel=Exponent.C),
            *_keep()]


def _move_running() -> list[Instruction]:
    code = [Instruction(NormOp.CONST, _K, sel=Constant.ALPHA),
            Instruction(NormOp.CONST, _T, sel=Constant.UNBIASED),
            Instruction(NormOp.MUL, _VAR, _VAR, _T)]
    for new, scratch, out in ((_MEAN, Scratch.RUN_MEAN, Out.RUN_MEAN),
                              (_VAR, Scratch.RUN_VAR, Out.RUN_VAR)):
        code += [Instruction(NormOp.NUMBER, _T, scratch), Instruction(NormOp.SUB, _U, new, _T),
                 Instruction(NormOp.MUL, _U, _U, _K), Instruction(NormOp.ADD, _T, _T, _U),
                 Instruction(NormOp.PUT, out, _T)]
    return code


def _gradient_sums() -> list[Instruction]:
    """Sum of the gradient (register _S1), and of its products with the normalised map (_U)."""
    return [Instruction(NormOp.INT, _S1, Scratch.SUM1, sel=Exponent.G),
            Instruction(NormOp.INT, _S2, Scratch.SUM2, sel=Exponent.G_AND_Z),
            Instruction(NormOp.NUMBER, _MEAN, Scratch.MEAN),
            Instruction(NormOp.NUMBER, _R, Scratch.RECIPROCAL),
            Instruction(NormOp.MUL, _T, _MEAN, _S1),
            Instruction(NormOp.SUB, _U, _S2, _T),
            Instruction(NormOp.MUL, _U, _U, _R)]


def _gradients() -> list[Instruction]:
    """Gradients of gamma (register _U) and beta; A."""
    return [*_gradient_sums(),
            Instruction(NormOp.FIX, Out.D_GAMMA, _U, sel=Exponent.G),
            Instruction(NormOp.FIX, Out.D_BETA, _S1, sel=Exponent.G),
            Instruction(NormOp.INT, _GAMMA, Scratch.GAMMA, sel=Exponent.MASTER),
            Instruction(NormOp.MUL, _A, _GAMMA, _R),
            Instruction(NormOp.FIX, Out.A, _A, sel=Exponent.A)]


def _through_statistics(a: int = _A) -> list[Instruction]:
    """B and C of the backward pass; register 11 stays zero, ``a`` has A."""
    return [Instruction(NormOp.CONST, _PER, sel=Constant.PER_ELEMENT),
            Instruction(NormOp.MUL, _U, _U, _PER),
            Instruction(NormOp.MUL, _U, _U, _R),
            Instruction(NormOp.MUL, _U, _U, a),
            Instruction(NormOp.SUB, _K, 11, _U),
            Instruction(NormOp.FIX, Out.B, _K, sel=Exponent.B),
            Instruction(NormOp.MUL, _T, _S1, _PER),
            Instruction(NormOp.MUL, _T, _T, a),
            Instruction(NormOp.MUL, _U, _U, _MEAN),
            Instruction(NormOp.SUB, _U, _U, _T),
            Instruction(NormOp.FIX, Out.C, _U, sel=Exponent.C)]


GROUPED = frozenset({NormProgram.FORWARD_GROUP, NormProgram.BACKWARD_GROUP})
"""Programs without gamma, beta and running statistics."""
BACK = frozenset({NormProgram.BACKWARD, NormProgram.BACKWARD_FROZEN, NormProgram.BACKWARD_GROUP})
"""Programs of the backward pass."""

_END = [Instruction(NormOp.END)]
PROGRAMS: Mapping[NormProgram, tuple[Instruction, ...]] = {
    NormProgram.FORWARD: (*_statistics(), *_coefficients(), *_move_running(), *_END),
    NormProgram.FORWARD_FROZEN: (*_running_statistics(), *_coefficients(), *_END),
    NormProgram.BACKWARD: (*_gradients(), *_through_statistics(), *_END),
    NormProgram.BACKWARD_FROZEN: (*_gradients(), *_END),
    NormProgram.FORWARD_GROUP: (*_statistics(), *_plain_coefficients(), *_END),
    NormProgram.BACKWARD_GROUP: (*_gradient_sums(),
                                 Instruction(NormOp.FIX, Out.A, _R, sel=Exponent.A),
                                 *_through_statistics(_R), *_END),
}
"""The micro-programs. Registers begin as zero for every block; so do output words."""


def rom() -> tuple[int, ...]:
    """All programs one behind the other, as words."""
    return tuple(i.word for code in PROGRAMS.values() for i in code)


def starts() -> tuple[int, ...]:
    """First word of each program."""
    lengths = [len(code) for code in PROGRAMS.values()]
    return tuple(sum(lengths[:index]) for index in range(len(lengths)))
