"""Fields of address generators: rows of a tile, tile loops, and the jumps that the engine adds.

Counts and strides stand inner to outer here; :func:`jumps` makes the engine's jump deltas of
strides (``docs/engine.md`` 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pynq_train.hw.commands import LoadMode, pair
from pynq_train.program.program import Fields
from pynq_train.schedule.lower.activation import Loading

_ZERO4 = (0, 0, 0, 0)


def jumps(counts: Sequence[int], strides: Sequence[int]) -> list[int]:
    """Return the jump deltas of an affine variable: what is added when level ``l`` increments.

    A delta takes back what the levels inside it have moved: the engine only ever adds. ``counts``:
    iterations of the levels, inner to outer; ``strides``: moves per index of each.
    """
    back, result = 0, []
    for count, stride in zip(counts, strides):
        result.append(stride - back)
        back += (count - 1) * stride
    return result


def put(fields: Fields, name: str, values: Sequence[int], bits: int = 0) -> None:
    """Store ``values`` as elements 0.. of a field; ``bits``: wrap to an unsigned field."""
    for index, value in enumerate(values):
        fields[f"{name}{index}"] = value & ((1 << bits) - 1) if bits else value


@dataclass(frozen=True)
class TileMove:
    """What one tile level moves per index: byte addresses of data and flags, four coordinates."""

    addr: int = 0
    coords: tuple[int, int, int, int] = _ZERO4
    faddr: int = 0


@dataclass(frozen=True)
class Rows:
    """Rows of a tile as an address generator steps through them.

    ``n``: elements of a row, rows at levels 1 to 3. ``strides``, ``flag_strides``: bytes per row of
    each level. ``start``: first coordinates; outside 0 .. ``lim`` - 1 is padding.
    """

    n: tuple[int, int, int, int]
    strides: tuple[int, int, int]
    start: tuple[int, int, int, int]
    lim: tuple[int, int, int, int]
    flag_strides: tuple[int, int, int] = (0, 0, 0)


def row_jumps(n: Sequence[int], strides: Sequence[int], start: int, unpool: bool) -> list[int]:
    """Return the jumps at row levels 1..3; unpooling takes that of level 1 after odd rows only."""
    if not unpool:
        return jumps(n[1:], strides)
    # So the way back of levels 2 and 3 is that of the jumps really taken. ``start``: coordinate of
    # the first row, whose parity is that of every tile, since row tiles are even.
    taken = sum((start + i) % 2 for i in range(n[1] - 1))
    one, two, three = strides
    return [one, two - taken * one, three - (n[2] - 1) * two - taken * one]


def address_generator(fields: Fields, name: str, *, addr: int, counts: Sequence[int],
                      moves: Sequence[TileMove], rows: Rows, pos: Sequence[int] | None,
                      banked: bool = False, loading: Loading | None = None, faddr: int = 0,
                      reuse: int = 0, taps: bool = False, align: bool = False) -> None:
    """Write the fields of one address generator, section ``name``.

    ``addr``, ``faddr``: of element 0 of the first row, also where it is padding, and of its flag
    row. ``counts``, ``moves``: the tile loop. ``pos``: strides of the buffer position, ``banked``
    in the X banks; None for the S ring, which takes words as they come. ``loading``: how a loader
    reads, None as it stands. ``reuse``: inner tile levels over which a tile stays. ``taps``: add
    their weight offsets at row level 2. ``align``: channel blocks start at multiples of 4 in the
    ring.
    """
    loading = loading or Loading()
    unpool = loading.mode == LoadMode.UNPOOL
    fields[f"{name}.addr"] = addr & 0xFFFF_FFFF
    put(fields, f"{name}.daddr", jumps(counts, [m.addr for m in moves]))
    put(fields, f"{name}.n", rows.n)
    put(fields, f"{name}.drow", row_jumps(rows.n, rows.strides, rows.start[1], unpool))
    fields.update(loading.fields(name))
    fields[f"{name}.reuse"] = reuse
    fields[f"{name}.taps"] = int(taps)
    fields[f"{name}.align"] = int(align)
    put(fields, f"{name}.c", rows.start)
    put(fields, f"{name}.lim", rows.lim)
    for level in range(4):
        for t, jump in enumerate(jumps(counts, [m.coords[level] for m in moves])):
            fields[f"{name}.dc{4 * t + level}"] = jump
    if pos is not None:
        deltas = jumps(rows.n, pos)
        put(fields, f"{name}.pos", [pair(d) for d in deltas] if banked else deltas, 16)
    if loading.mode != LoadMode.PLAIN:
        fields[f"{name}.faddr"] = faddr & 0xFFFF_FFFF
        put(fields, f"{name}.fdaddr", jumps(counts, [m.faddr for m in moves]))
        put(fields, f"{name}.fdrow",
             row_jumps(rows.n, rows.flag_strides, rows.start[1], unpool))
