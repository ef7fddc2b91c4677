"""What a convolution descriptor needs of each buffer of the engine, from its loops, literally."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reference_models.engine_parts import Affine, nest, sign16, unpair

from pynq_train.hw.commands import Opcode, PixelMode

Fields = dict[str, int]
OUTPUT_BLOCKS, RING_MARGIN = 4, 8


def numbers(f: Fields, name: str, count: int) -> list[int]:
    """Elements of a field."""
    return [f[f"{name}{k}"] for k in range(count)]


def values(counts: list[int], deltas: list[int]) -> Iterator[int]:
    """Values of a variable in each turn of a loop nest."""
    at = Affine(0, deltas)
    for _, level in nest(counts):
        yield at.value
        if level >= 0:
            at.step(level)


def pairs(f: Fields, name: str, count: int) -> list[int]:
    """Positions of a field's ternary pairs."""
    return [unpair(value) for value in numbers(f, name, count)]


def table(f: Fields) -> list[list[int]]:
    """Positions of the lanes of each row of the pixel table."""
    places = list(values(numbers(f, "pix.p", 3), pairs(f, "pix.dpos", 3)))
    if f["pix.pmode"] == PixelMode.GROUPS:
        return [places[k:k + 3] for k in range(0, len(places), 3)]
    if f["pix.pmode"] == PixelMode.SINGLE:
        return [[place] for place in places]
    return [[place + lane * unpair(f["pix.lane"]) for lane in range(3)] for place in places]


def read_positions(f: Fields, taps: Sequence[Fields]) -> list[int]:
    """Positions of the X tile that compute reads, sorted."""
    moves = set(values(numbers(f, "c.l", 5), pairs(f, "c.dx", 5)))
    places = {place for row in table(f) for place in row}
    return sorted({place + move + unpair(tap["voff"])
                   for place in places for move in moves for tap in taps})


def x_tile_words(f: Fields, taps: Sequence[Fields]) -> int:
    """Words of an X tile that are written or read."""
    places = values(numbers(f, "x.n", 4), pairs(f, "x.pos", 4))
    return 1 + max(*places, *read_positions(f, taps))


def staged(f: Fields) -> int:
    """Staged words of a segment."""
    q = numbers(f, "y.q", 4)
    if f["y.pool"]:
        return (OUTPUT_BLOCKS - 1) * f["y.yblk"] + (q[0] // 2) * (q[1] // 2) * q[2]
    deltas = [sign16(value) for value in numbers(f, "y.ypos", 4)]
    return (OUTPUT_BLOCKS - 1) * f["y.yblk"] + 1 + max(values(q, deltas))


def staged_flags(f: Fields) -> int:
    """Staged flag words of a segment."""
    cols, rows, images, _ = numbers(f, "y.q", 4)
    line = -(-(cols // 2) // 4) * (rows // 2) if f["y.pool"] else -(-cols // 16) * rows
    return (OUTPUT_BLOCKS - 1) * f["y.fblk"] + line * images


def needs(f: Fields, taps: Sequence[Fields]) -> dict[str, tuple[int, str]]:
    """What of each attribute of the configuration is used, and what is said if less is there."""
    gradient = f["pre.opcode"] == Opcode.GRADIENT
    groups = max(tap["abase"] for tap in taps) + f["c.l0"]
    kind = "accumulator groups of tap [0-9]+: expected at most"
    if gradient:
        kind = "accumulator groups: expected at most"
        groups = f["c.l0"] * f["c.l1"] * f["c.l2"] * f["c.l3"]
    found = {
        "max_taps": (len(taps), "taps: expected c.l2 of them"),
        "table_rows": (len(table(f)), "pixel table rows: expected at most"),
        "x_tile_words": (x_tile_words(f, taps), "words of an X tile|X positions that compute"),
        "s_ring_words": (f["c.s_chunk"] + RING_MARGIN, "words of an S chunk: expected at most"),
        "acc_tile_groups": (groups, kind),
    }
    if not gradient:
        found["stage_segment_words"] = staged(f), "staged words: expected at most"
        if f["y.pool"]:
            found["pool_columns"] = f["y.q0"], "columns of a pooled tile: expected at most"
        if f["y.flags"]:
            found["flag_segment_words"] = staged_flags(f), "staged flag words: expected at most"
    return found
