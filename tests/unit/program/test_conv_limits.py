"""Limits of convolution descriptors: each rule at its border, on both sides."""

from __future__ import annotations

import re
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
from conv_needs import needs, numbers, pairs, read_positions, values
from reference_models.dag_nets import NETWORKS
from scheduled import BOARD, Fields, Scheduled, all_kinds

from pynq_train.errors import IllegalProgram
from pynq_train.graph.graph import Sequential
from pynq_train.hw.commands import Opcode, Pass, pair
from pynq_train.program.limits import Limits
from pynq_train.program.spans import unpair

ATTRIBUTES = ("tm", "m_blocks", "max_taps", "table_rows", "x_tile_words", "s_ring_words",
              "acc_tile_groups", "stage_segment_words", "flag_segment_words", "pool_columns")
FIRST, SECOND, BACK, WEIGHTS, POINT, SINGLE, GROUPED = (
    "first", "second", "back", "weights", "point", "single", "grouped")
"""Descriptors that are changed: a pooled and a plain forward pass, a masked gradient, a weight
gradient, a kernel of 1, a stride of 3, a grouped convolution."""
Taps = list[Fields]


@cache
def planned(name: str) -> Scheduled:
    """A training step of a network."""
    if name == "all kinds":
        return all_kinds()
    if name == "strides":
        net = Sequential((2, 13, 11), "strides").conv(5, 5, stride=3, padding=2).relu()
        return Scheduled.of(net.conv(18, 2, stride=4, padding=1).conv(7, 1).relu().dense(3).build(),
                            3)
    if name == "kernel5":
        return Scheduled.of(Sequential((3, 9, 7), "k5").conv(20, 5, padding=2).dense(2).build(), 3)
    return Scheduled.of(NETWORKS[name], 2)


def number(name: str) -> tuple[Scheduled, int]:
    """The step and position of a named descriptor."""
    kinds = planned("all kinds")
    if name in (FIRST, SECOND):
        return kinds, kinds.number(Opcode.CONV, name == SECOND, Pass.FORWARD)
    if name == BACK:
        return kinds, kinds.number(Opcode.CONV, 1, Pass.BACKWARD)
    if name == WEIGHTS:
        return kinds, kinds.number(Opcode.GRADIENT, 0)
    if name in (POINT, SINGLE):
        strides = planned("strides")
        return strides, strides.number(Opcode.CONV, 2 if name == POINT else 0, Pass.FORWARD)
    grouped = planned("depthwise")
    return grouped, next(k for k, f in enumerate(grouped.fields)
                         if f.get("g.g_group") and f["g.g_pass"] == Pass.FORWARD)


@cache
def _descriptor(name: str) -> tuple[Fields, tuple[Fields, ...]]:
    step, at = number(name)
    return step.fields[at], step.program().tap_table(at)


def descriptor(name: str) -> tuple[Fields, Taps]:
    """Fields and taps, to be changed."""
    fields, taps = _descriptor(name)
    return dict(fields), [dict(tap) for tap in taps]


def check(fields: Fields, taps: Taps, **config: int) -> None:
    """Check limits; ``config``: other attributes of the engine."""
    real = {name: getattr(BOARD.config, name) for name in ATTRIBUTES}
    engine: Any = SimpleNamespace(**{**real, **config})
    Limits("it", fields, taps, engine).check()


def refused(name: str, changes: Fields, text: str, taps: Taps | None = None,
            **config: int) -> None:
    """The changed descriptor is refused with a message that begins so."""
    fields, own = descriptor(name)
    with pytest.raises(IllegalProgram, match=rf"it: ({text})"):
        check(fields | changes, own if taps is None else taps, **config)


def allowed(name: str, changes: Fields, text: str, taps: Taps | None = None) -> None:
    """The change does not break the rule of ``text``, if perhaps another one."""
    fields, own = descriptor(name)
    try:
        check(fields | changes, own if taps is None else taps)
    except IllegalProgram as error:
        assert not re.match(rf"it: ({text})", str(error)), str(error)


def legal(name: str, changes: Fields, taps: Taps | None = None) -> None:
    """The changed descriptor is within all limits."""
    fields, own = descriptor(name)
    check(fields | changes, own if taps is None else taps)


@pytest.mark.parametrize("name", [FIRST, SECOND, BACK, WEIGHTS, POINT, SINGLE, GROUPED])
def test_unchanged_descriptors_are_legal(name: str) -> None:
    legal(name, {})


@pytest.mark.parametrize("name", ["all kinds", "strides", "kernel5", "depthwise", "pools"])
def test_buffers_to_the_last_word(name: str) -> None:
    """An engine with exactly what a descriptor needs takes it; with one less it does not."""
    step = planned(name)
    program = step.program()
    for k, f in enumerate(step.fields):
        if f["pre.opcode"] not in (Opcode.CONV, Opcode.GRADIENT):
            continue
        taps = list(program.tap_table(k))
        for attribute, (most, text) in needs(f, taps).items():
            check(f, taps, **{attribute: most})
            with pytest.raises(IllegalProgram, match=rf"it: ({text})"):
                check(f, taps, **{attribute: most - 1})


def test_flags_that_are_not_written_need_no_buffer() -> None:
    fields, taps = descriptor(BACK)
    check(fields | {"y.fblk": 4096}, taps, flag_segment_words=0)


# -- geometry
@pytest.mark.parametrize("name", ["kernel", "stride", "m", "n", "images", "nb", "in_rows",
                                  "in_cols", "out_rows", "out_cols"])
def test_sizes_of_the_geometry(name: str) -> None:
    refused(SECOND, {f"g.g_{name}": 0}, "sizes of the geometry: expected 1 or more")
    allowed(SECOND, {f"g.g_{name}": 1}, "sizes of the geometry")


@pytest.mark.parametrize(("name", "changes", "text"), [
    (SECOND, {"g.g_pass": 3}, "g_pass: expected a pass, found 3"),
    (SECOND, {"g.g_tile": 15}, "g_tile: expected 16, "), (SECOND, {"g.g_tile": 17}, "g_tile"),
    (SECOND, {"g.g_kernel": 12}, r"kernel: expected 1\.\.11, found 12"),
    (SECOND, {"g.g_stride": 5}, r"stride: expected 1\.\.4, found 5"),
    (SECOND, {"g.g_kernel": 1, "g.g_kernel_wider": 11}, r"kernel: expected 1\.\.11, found 12"),
    (SECOND, {"g.g_stride": 1, "g.g_stride_wider": 4}, r"stride: expected 1\.\.4, found 5"),
    (SECOND, {"g.g_kernel": 3, "g.g_kernel_wider": -3}, "sizes of the geometry: expected 1 or"),
    (SECOND, {"g.g_stride": 2, "g.g_stride_wider": -2}, "sizes of the geometry: expected 1 or"),
    (SECOND, {"g.g_phase": 1}, "row phase: expected below the stride, found 1"),
    (BACK, {"g.g_stride": 3, "g.g_phase": 3}, "row phase: expected below the stride, found 3"),
    (SECOND, {"g.g_pass": 2}, "g_pass: expected the weight gradient in GRADIENT descriptors only"),
    (WEIGHTS, {"g.g_pass": 1}, "g_pass: expected the weight gradient in GRADIENT"),
    (SECOND, {"c.wu": 1}, r"c\.wu and y\.raw: expected both set in GRADIENT descriptors only"),
    (SECOND, {"y.raw": 1}, r"c\.wu and y\.raw"),
    (SECOND, {"c.wu": 1, "y.raw": 1}, r"c\.wu and y\.raw"), (WEIGHTS, {"c.wu": 0}, r"c\.wu and"),
    (WEIGHTS, {"y.raw": 0}, r"c\.wu and"), (WEIGHTS, {"c.wu": 0, "y.raw": 0}, r"c\.wu and"),
    *((name, {mode: 3}, rf"{re.escape(mode)}: expected a load mode, found 3")
      for name in (SECOND, WEIGHTS) for mode in ("x.mode", "s.mode", "g.g_mode")),
    (SECOND, {"g.g_n": 32769, "g.g_kernel": 2}, "products in one sum: expected at most 131072, .* "
     "found 131076"),
    (BACK, {"g.g_m": 32769, "g.g_kernel": 2}, "products in one sum: .*found 131076"),
    (WEIGHTS, {"g.g_images": 2, "g.g_out_rows": 256, "g.g_out_cols": 257},
     "products in one sum: .*found 131584"),
    (GROUPED, {"g.g_group": 3}, "g_group: expected 0, or a divisor of 16, found 3"),
    (GROUPED, {"g.g_group": 32}, "g_group: expected 0, or a divisor of 16, found 32"),
    (GROUPED, {"g.g_n": 5}, r"g_n of a grouped convolution: expected g_m \(4\), found 5"),
    (GROUPED, {"g.g_nb": 3}, "g_nb of a grouped convolution: expected 4, .* found 3"),
    (GROUPED, {"g.g_nb": 5}, "g_nb of a grouped convolution: expected 4, .* found 5"),
])
def test_rules_of_the_geometry(name: str, changes: Fields, text: str) -> None:
    refused(name, changes, text)


@pytest.mark.parametrize(("name", "changes"), [
    (SECOND, {"g.g_kernel": 11}), (SECOND, {"g.g_stride": 4, "g.g_phase": 3}),
    (SECOND, {"g.g_n": 32768, "g.g_kernel": 2}), (BACK, {"g.g_m": 32768, "g.g_kernel": 2}),
    (WEIGHTS, {"g.g_images": 2, "g.g_out_rows": 256, "g.g_out_cols": 256}),
    # The products of a group are those of its m tile, however many channels there are.
    (GROUPED, {"g.g_m": 65535, "g.g_n": 65535}), (GROUPED, {"g.g_group": 16}),
])
def test_the_last_legal_geometry(name: str, changes: Fields) -> None:
    legal(name, changes)


@pytest.mark.parametrize("section", ["x", "s", "yw", "yf"])
@pytest.mark.parametrize("level", range(4))
def test_limits_of_coordinates(section: str, level: int) -> None:
    field = f"{section}.lim{level}"
    refused(SECOND, {field: 32768}, rf"{section}\.lim{level}: expected at most 32767, found 32768")
    allowed(SECOND, {field: 32767}, rf"{section}\.lim{level}")


def test_a_gradient_has_no_limits_of_a_store() -> None:
    assert "yw.lim0" not in descriptor(WEIGHTS)[0]


# -- counts and switches
COUNTS = [(SECOND, f"{name}{k}") for name, count in (
    ("pre.t", 5), ("pix.p", 3), ("c.l", 5), ("y.y", 5), ("x.n", 4), ("s.n", 4), ("yw.n", 4),
    ("yf.n", 4), ("y.q", 4)) for k in range(count)]


@pytest.mark.parametrize(("name", "field"), [
    *COUNTS, *((WEIGHTS, field) for _, field in COUNTS if field[:2] not in ("yw", "yf")
               and field[:3] != "y.q")])
def test_empty_loops(name: str, field: str) -> None:
    refused(name, {field: 0}, rf"counts {re.escape(field[:-1])}: expected 1 or more each, found")


def test_loops_of_flags_that_are_not_written_may_be_empty() -> None:
    fields, taps = descriptor(BACK)
    assert not fields["y.flags"] and not fields["yf.n0"]
    check(fields, taps)


@pytest.mark.parametrize(("name", "more"), [(SECOND, 1), (SECOND, -1), (WEIGHTS, 1), (POINT, -1)])
def test_taps_and_their_level_agree(name: str, more: int) -> None:
    _, taps = descriptor(name)
    refused(name, {}, rf"taps: expected c\.l2 of them, 1\.\.121, found {len(taps) + more} with "
            rf"c\.l2 = {len(taps)}", (taps + taps)[:len(taps) + more])


OFF = [f"{section}.{switch}" for section in ("x", "yw", "yf")
       for switch in ("mode", "reuse", "taps", "sum", "align")
       if (section, switch) not in (("x", "mode"), ("x", "reuse"))]


@pytest.mark.parametrize(("name", "field"), [(name, field) for name in (SECOND, WEIGHTS)
                                             for field in (*OFF, "s.reuse")
                                             if name == SECOND or field[0] in "xs"])
def test_switches_that_a_unit_lacks(name: str, field: str) -> None:
    refused(name, {field: 1}, rf"{re.escape(field)}: expected 0, found 1")


@pytest.mark.parametrize(("name", "changes", "text"), [
    (SECOND, {"s.n2": 10}, r"s\.n2: expected at most the number of taps \(9\), found 10"),
    *((SECOND, {field: change}, rf"{re.escape(field)}: expected g\.g_.*found {change}")
      for field, change in (("y.relu", 0), ("y.clip", 1), ("y.pool", 1), ("y.flags", 0),
                            ("y.bias", 0))),
    (SECOND, {"y.clip": 1, "g.g_clip": 1, "y.relu": 0, "g.g_relu": 0},
     r"y\.clip: expected y\.relu with it, found none"),
    *((BACK, {f"y.{field}": 1, f"g.g_{field}": 1, **{f"yf.n{k}": 1 for k in range(4)}},
       "post-processing of a gradient: expected none, found some")
      for field in ("relu", "pool", "flags", "bias")),
    (BACK, {"y.relu": 1, "y.clip": 1, "g.g_relu": 1, "g.g_clip": 1}, "post-processing"),
    (WEIGHTS, {"y.relu": 1, "g.g_relu": 1}, "post-processing"),
    (WEIGHTS, {"y.bias": 1}, "post-processing"),
    (WEIGHTS, {"s.sum": 0}, r"s\.sum: expected g\.g_bias \(1\), found 0"),
    (SECOND, {"s.sum": 1}, r"s\.sum: expected set in the weight gradient only, found 1"),
    (BACK, {"s.sum": 1}, r"s\.sum: expected set in the weight gradient only, found 1"),
])
def test_rules_of_switches(name: str, changes: Fields, text: str) -> None:
    refused(name, changes, text)


def test_the_last_legal_switches() -> None:
    legal(SECOND, {"y.clip": 1, "g.g_clip": 1})
    legal(WEIGHTS, {"s.sum": 0, "g.g_bias": 0})
    assert descriptor(SECOND)[0]["s.n2"] == 9
    # Only with taps do rows of level 2 belong to taps.
    allowed(SECOND, {"s.taps": 0, "s.n2": 10}, r"s\.n2")


# -- levels
@pytest.mark.parametrize(("name", "changes", "text"), [
    *((SECOND, {field: 6}, rf"{re.escape(field)}: expected 0\.\.5, found 6")
      for field in ("c.red", "c.xreuse", "x.reuse", "y.segs")),
    (SECOND, {"c.xreuse": 1}, r"c\.xreuse: expected x\.reuse \(0\), found 1"),
    (FIRST, {"x.reuse": 1}, r"c\.xreuse: expected x\.reuse \(1\), found 2"),
    (SECOND, {"c.red": 0}, r"accumulator tiles .*: expected those that are computed \(20\)"),
    (SECOND, {"c.red": 2}, r"accumulator tiles .*: expected those that are computed \(2\)"),
    (SECOND, {"y.segs": 1}, r"accumulator tiles .*: .*computed \(4\), found 2"),
    (SECOND, {"y.y4": 2}, r"accumulator tiles .*: .*computed \(4\), found 8"),
    (SECOND, {"c.red": 2, "y.segs": 1}, "segments of a tile: expected 1, found 2"),
    (SECOND, {"pre.t0": 7282}, "products that the loops add to one sum: .* found 262152"),
    (WEIGHTS, {"pre.t2": 2622}, "products that the loops add to one sum: .* found 262200"),
    (BACK, {"c.l1": 32767}, "products that the loops add"),
    (BACK, {"c.l3": 32767}, "products that the loops add"),
])
def test_rules_of_levels(name: str, changes: Fields, text: str) -> None:
    refused(name, changes, text)


def test_the_last_legal_levels() -> None:
    legal(SECOND, {"pre.t0": 7281})
    legal(WEIGHTS, {"pre.t2": 2621})
    fields, _ = descriptor(POINT)
    assert fields["c.red"] == 1 and fields["c.l2"] == 1
    most = 262144 // (4 * fields["c.l1"] * fields["c.l3"])
    legal(POINT, {"pre.t0": most})
    refused(POINT, {"pre.t0": most + 1}, "products that the loops add to one sum: expected at most "
            "131072 without padding, found 2621")
    # Eight taps add to one region and one to another: the larger number counts.
    _, taps = descriptor(SECOND)
    taps[8] |= {"abase": 17, "first": 1}
    legal(SECOND, {"pre.t0": 8192}, taps)
    refused(SECOND, {"pre.t0": 8193}, "products that the loops add", taps)
    for field in ("c.red", "y.segs"):
        allowed(SECOND, {field: 5}, rf"{re.escape(field)}: expected 0")
    allowed(SECOND, {"x.reuse": 5, "c.xreuse": 5}, r"[cx]\.x?reuse")


# -- pixel table and X tile
def test_modes_of_the_pixel_table() -> None:
    refused(SECOND, {"pix.pmode": 3}, r"pix\.pmode: expected a pixel mode, found 3")
    refused(SECOND, {"pix.pmode": 2}, r"pix\.pmode: expected WINDOW in the weight gradient only")
    for mode in (0, 1):
        refused(WEIGHTS, {"pix.pmode": mode}, r"pix\.pmode: expected WINDOW in the weight gradient")
    refused(SECOND, {"pix.pmode": 1},
            r"X positions|pixel table|y\.single: expected as the pixel table has it \(1\), found 0")
    refused(SECOND, {"y.single": 1}, r"accumulator groups drained|y\.single: expected as the pixel "
            r"table has it \(0\), found 1")
    refused(SINGLE, {"y.single": 0}, r"y\.single: expected as the pixel table has it \(1\), "
            "found 0")


@pytest.mark.parametrize(("name", "field"), [
    *((SECOND, f"pix.dpos{k}") for k in range(3)), *((SECOND, f"x.pos{k}") for k in range(4)),
    *((SECOND, f"c.dx{k}") for k in range(5)), (WEIGHTS, "pix.lane")])
def test_pairs_with_remainder_3(name: str, field: str) -> None:
    refused(name, {field: 3}, "(ternary pair|pix.dpos|x.pos|c.dx): a ternary pair has remainder")


def test_offsets_of_taps_are_pairs() -> None:
    _, taps = descriptor(SECOND)
    taps[4]["voff"] = 7
    refused(SECOND, {}, "ternary pair: a ternary pair has remainder", taps)


@pytest.mark.parametrize(("changes", "text"), [
    ({"pix.dpos0": pair(3)}, "lanes 0 and 1 of pixel table row 0: .*found 0 and 3"),
    ({"pix.p0": 2, "pix.dpos1": pair(5)}, "lanes 0 and 2 of pixel table row 0: .*found 0 and 6"),
    ({"pix.p0": 2, "pix.p1": 2, "pix.p2": 1, "pix.dpos1": pair(3)},
     "lanes 1 and 2 of pixel table row 0: .*found 1 and 4"),
    ({"pix.p0": 5, "pix.p1": 2, "pix.p2": 1, "pix.dpos1": pair(6)},
     "lanes 1 and 2 of pixel table row 1: .*found 4 and 10"),
])
def test_bank_rule(changes: Fields, text: str) -> None:
    refused(SECOND, changes, f"bank rule: {text}")


def test_lanes_behind_the_last_pixel_have_no_bank() -> None:
    """The last group repeats lane 0: only what is there must differ."""
    allowed(SECOND, {"pix.p0": 1, "pix.p1": 1, "pix.p2": 1}, "bank rule")
    allowed(SECOND, {"pix.p0": 2, "pix.p1": 1, "pix.p2": 1}, "bank rule")


def test_lanes_of_a_window_have_banks() -> None:
    refused(WEIGHTS, {"pix.lane": pair(3)}, "bank rule: lanes 0 and 1")
    refused(WEIGHTS, {"pix.lane": 0}, "bank rule: lanes 0 and 1")


def test_positions_of_the_x_tile() -> None:
    fields, _ = descriptor(SECOND)
    # The innermost jump goes back: the first row begins at 0, the others before it.
    refused(SECOND, {"x.pos0": pair(-1)}, "X positions: expected 0 or more, found -")
    refused(SECOND, {"x.pos0": pair(0)}, "X positions of the elements of a tile: expected one each")
    jump = unpair(fields["x.pos1"])
    refused(SECOND, {"x.pos1": pair(jump - 2)},
            "X positions of the elements of a tile: expected one each, found .* written twice")


def test_words_of_the_x_tile_that_nothing_reads() -> None:
    """A second plane that ends with the memory, or one word behind it."""
    fields, _ = descriptor(SECOND)
    last = max(values(numbers(fields, "x.n", 4), pairs(fields, "x.pos", 4)))
    end = BOARD.config.x_tile_words - 2 * last - 1
    legal(SECOND, {"x.n3": 2, "x.pos3": pair(end)})
    refused(SECOND, {"x.n3": 2, "x.pos3": pair(end + 1)}, "words of an X tile: expected at most ")


def test_rows_of_the_pixel_table_that_are_read() -> None:
    """Rows behind the last pixel are read only in the sets of a weight gradient."""
    rows = descriptor(SECOND)[0]["c.l0"]
    text = rf"pixel table rows that compute reads: expected 0\.\.{rows - 1}"
    refused(SECOND, {"c.l0": rows + 1, **{f"c.dj{k}": -rows for k in range(1, 5)}},
            rf"{text}, found 0\.\.{rows}")
    refused(SECOND, {f"c.dj{k}": -rows for k in range(1, 5)},
            rf"{text}, found -[0-9]+\.\.{rows - 1}")
    # 50 pixels in 13 sets: rows 50 and 51 are there to be multiplied with zero.
    few = {"pix.p0": 10, "pix.p1": 5, "s.n1": 5, "c.s_valid": 50, "c.s_stride": 52, "c.s_sets": 13,
           "c.s_chunk": 208, "c.l4": 13}
    legal(WEIGHTS, few)
    refused(WEIGHTS, few | {"c.dj4": 2}, r"pixel table rows that compute reads: expected 0\.\.51")


def highest(name: str) -> int:
    """Highest position that compute reads with a tap at offset 0."""
    fields, taps = descriptor(name)
    return read_positions(fields, [{**taps[0], "voff": 0}])[-1]


def test_what_compute_reads_was_loaded() -> None:
    """A mute tap may read what was not loaded, but nothing outside the memory."""
    _, taps = descriptor(SECOND)
    last = unpair(taps[-1]["voff"])
    words = BOARD.config.x_tile_words
    for mute in (0, 1):
        for voff in (-1, words):
            changed = [*taps[:-1], {**taps[-1], "voff": pair(voff), "mute": mute}]
            refused(SECOND, {}, rf"X positions that compute reads: expected 0\.\.{words - 1}, "
                    "found ", changed)
        changed = [*taps[:-1], {**taps[-1], "voff": pair(last + 1), "mute": mute}]
        if mute:
            legal(SECOND, {}, changed)
        else:
            refused(SECOND, {}, "X positions that compute reads: expected loaded ones, found .* "
                    "others, the first is", changed)
    # The lowest and the highest position of the memory, and one beside each.
    for mute, voff, good in ((1, 0, True), (1, words - 1 - highest(SECOND), True),
                             (1, words - highest(SECOND), False)):
        changed = [*taps[:-1], {**taps[-1], "voff": pair(voff), "mute": mute}]
        if good:
            legal(SECOND, {}, changed)
        else:
            refused(SECOND, {}, rf"X positions that compute reads: expected 0\.\.{words - 1}, "
                    rf"found [0-9]+\.\.{words}", changed)


# -- S ring
@pytest.mark.parametrize(("name", "changes", "text"), [
    (SECOND, {"c.s_sets": 0}, r"c\.s_sets: expected a divisor of the 9 sweeps of a tile, found 0"),
    (SECOND, {"c.s_sets": 2}, r"c\.s_sets: expected a divisor of the 9 sweeps of a tile, found 2"),
    (BACK, {"c.s_sets": 5}, r"c\.s_sets: expected a divisor of the 72 sweeps"),
    (WEIGHTS, {"c.s_sets": 7}, r"c\.s_sets: expected a divisor of the 25 sweeps"),
    (SECOND, {"s.n0": 15}, "words of an S tile: expected a multiple of 4, found 135"),
    (SECOND, {"c.s_chunk": 15}, "words of an S tile: expected 9 chunks of 15, found 144"),
    (SECOND, {"c.s_chunk": 17}, "words of an S tile: expected 9 chunks of 17, found 144"),
    (BACK, {"s.n1": 3}, "words of an S tile: expected 18 chunks of 64, found 864"),
    (BACK, {"s.n3": 1}, "words of an S tile: expected 18 chunks of 64, found 576"),
    (WEIGHTS, {"s.align": 0, "s.n0": 9}, "words of an S tile: expected 1 chunks of 400, found 360"),
    (SECOND, {"s.n0": 12, "c.s_chunk": 12, "c.s_stride": 3},
     r"words of an S chunk that its sets read: expected 0\.\.11, found 0\.\.12"),
    (SECOND, {"c.s_stride": 5}, "words of an S chunk that its sets read: .*found 0..18"),
    (BACK, {"c.s_step": 5}, r"words of an S chunk that its sets read: .*found 0\.\.66"),
    (BACK, {"c.s_stride": 17}, r"words of an S chunk that its sets read: .*found 0\.\.66"),
    (WEIGHTS, {"c.l0": 5, "c.dj1": -4, "c.dj2": -4, "c.dj3": -4, "c.dj4": -1},
     r"weight gradient: c\.l0 and c\.l1: expected 4 and 1, found \[5, 1\]"),
    (WEIGHTS, {"c.l1": 2}, r"weight gradient: c\.l0 and c\.l1: expected 4 and 1, found \[4, 2\]"),
    (WEIGHTS, {"c.s_valid": 99}, r"c\.s_valid: expected the tile's 100 pixels, .* found 99"),
    (WEIGHTS, {"c.s_valid": 101}, r"c\.s_valid: expected the tile's 100 pixels, .* found 101"),
    (WEIGHTS, {"c.l4": 24, "c.s_sets": 24}, r"c\.s_valid: expected the tile's 100 pixels, in "
     r"c\.l4 sets of 4, found 100"),
])
def test_rules_of_the_s_ring(name: str, changes: Fields, text: str) -> None:
    refused(name, changes, text)


def test_the_last_legal_chunk() -> None:
    legal(SECOND, {"s.n0": 12, "c.s_chunk": 12, "c.s_stride": 2})
    legal(SECOND, {"c.s_sets": 3, "c.s_chunk": 48})
    legal(SECOND, {"c.s_sets": 9, "c.s_chunk": 144})
    # Aligned blocks: each is filled up to whole sets.
    legal(WEIGHTS, {"s.n0": 9, "s.n1": 11})


# -- accumulators and drain
def tap_changes(name: str, at: int, **changes: int) -> Taps:
    """The taps, one of them changed."""
    _, taps = descriptor(name)
    taps[at] |= changes
    return taps


@pytest.mark.parametrize(("taps", "text"), [
    (tap_changes(SECOND, 0, first=0), "tap 0: accumulators: expected started by exactly one tap"),
    (tap_changes(SECOND, 1, first=1), "tap 1: accumulators: expected started by exactly one tap"),
    (tap_changes(SECOND, 8, first=1), "tap 8: accumulators"),
    (tap_changes(SECOND, 8, abase=1), "tap 8: accumulators: .*found groups that were never"),
    (tap_changes(SECOND, 0, abase=17), "tap 1: accumulators"),
])
def test_accumulators_are_started_once(taps: Taps, text: str) -> None:
    refused(SECOND, {}, text, taps)


def test_a_region_that_is_not_drained() -> None:
    """A second region of accumulators is legal; draining one that was not started is not."""
    legal(SECOND, {}, tap_changes(SECOND, 8, first=1, abase=17))
    phases = {"y.q3": 2}
    refused(SECOND, phases, "accumulator groups drained: expected started ones, found 34 groups")
    allowed(SECOND, phases, "accumulator groups drained", tap_changes(SECOND, 8, first=1, abase=17))
    refused(SECOND, phases, "accumulator groups drained: expected started ones, found 34 groups",
            tap_changes(SECOND, 8, first=1, abase=18))
    refused(SECOND, {"y.q3": 16}, "accumulator groups drained: expected started ones, found 272")


@pytest.mark.parametrize(("name", "changes", "text"), [
    *((WEIGHTS, {"y.groups": groups}, f"y.groups: expected 4, found {groups}")
      for groups in (3, 5)),
    (WEIGHTS, {"y.y1": 2}, r"accumulator groups drained: expected .*computed \(12\), found 8"),
    (WEIGHTS, {"y.y1": 4}, r"accumulator groups drained: expected .*computed \(12\), found 16"),
    *((SECOND, {"y.q0": a, "y.q1": b, "y.q2": c}, r"pixels drained: expected those of the tile "
       r"\[5, 5, 2\], found") for a, b, c in ((5, 2, 5), (4, 5, 2), (5, 5, 1), (2, 5, 5))),
])
def test_rules_of_the_drain(name: str, changes: Fields, text: str) -> None:
    refused(name, changes, text)


FOUR_ROWS = {"c.l0": 4, **{f"c.dj{k}": -3 for k in range(1, 5)}}
"""Compute takes four rows of the pixel table."""


@pytest.mark.parametrize(("name", "changes", "text"), [
    (FIRST, {"y.yc0": 1}, "first column of a pooled tile: expected even, found"),
    (FIRST, {"y.yc1": 1}, "first row of a pooled tile: expected even, found"),
    (FIRST, {"y.yc1": -1}, "first row of a pooled tile: expected even, found"),
    (FIRST, {"y.ydc0": 3}, "first column of a pooled tile: expected even, found"),
    (FIRST, {"y.ydc13": 3}, "first row of a pooled tile: expected even, found"),
    (FIRST, {"pix.p0": 1, "y.q0": 1, "pix.dpos1": pair(14), **FOUR_ROWS},
     "pooled pixels of a segment: expected 1 or more, found 0"),
    (FIRST, {"pix.p1": 1, "y.q1": 1, **FOUR_ROWS},
     "pooled pixels of a segment: expected 1 or more, found 0"),
    (FIRST, {"y.yblk": 24}, "staged words of a segment: expected a position for each, found 3"),
    (FIRST, {"y.yblk": 26}, "staged words that the writer reads: expected staged ones, found"),
    (FIRST, {"y.fblk": 11}, "staged flag words that the writer reads: expected staged ones"),
    (FIRST, {"yw.n0": 26, "yw.lim0": 26}, "staged words that the writer reads"),
    (FIRST, {"yf.n0": 11, "yf.lim0": 11}, "staged flag words that the writer reads"),
    (SECOND, {"y.yblk": 49}, "staged words of a segment: expected a position for each"),
    (SECOND, {"y.yblk": 0}, "staged words of a segment: expected a position for each"),
    (SECOND, {"y.ypos0": 0}, "staged words of a segment: expected a position for each"),
    (SECOND, {"y.ypos0": 0xFFFF, "y.ypos1": 0xFFFF, "y.ypos2": 0xFFFF},
     "staged words: expected 0 or more, found -49"),
    (SECOND, {"y.fblk": 11}, "staged flag words that the writer reads"),
    (SECOND, {"yf.pos2": 2}, "staged flag words that the writer reads"),
    (SECOND, {"yf.pos2": 0xFFF0}, "staged flag words that the writer reads"),
    (SECOND, {"yw.n2": 3}, "staged words that the writer reads"),
    (SECOND, {"yw.pos0": 2}, "staged words that the writer reads"),
    (BACK, {"y.yblk": 99}, "staged words of a segment: expected a position for each"),
])
def test_rules_of_staging(name: str, changes: Fields, text: str) -> None:
    refused(name, changes, text)


def test_the_last_legal_staging() -> None:
    """Words that are not valid in any tile are not read."""
    legal(FIRST, {"yw.n0": 26, "yw.pos3": 0})
    legal(FIRST, {"yf.n0": 11, "yf.pos3": 0})
    legal(FIRST, {"y.yc0": 2, "y.yc1": -2})
    # Of a plane that the writer does not read there may be gaps.
    legal(FIRST, {"y.yblk": 26, "yw.pos3": descriptor(FIRST)[0]["yw.pos3"] + 1})


# -- flags that loaders read
@pytest.mark.parametrize(("section", "mode", "most"), [
    ("x", 1, 1024), ("x", 2, 512), ("s", 1, 1024), ("s", 2, 512)])
def test_columns_with_flags(section: str, mode: int, most: int) -> None:
    name = BACK if section == "x" else WEIGHTS
    fields, _ = descriptor(name)
    level = next(t for t in range(5) if fields[f"pre.t{t}"] > 1)
    changes = {f"{section}.mode": mode, f"{section}.lim0": most,
               **{f"{section}.dc{4 * t}": 0 for t in range(5)}, f"{section}.reuse": 0,
               "c.xreuse": 0, "x.reuse": 0}
    legal(name, changes)
    refused(name, changes | {f"{section}.lim0": most + 1},
            f"columns of {section} with flags: expected at most {most}, found {most + 1}")
    text = f"first column of a tile of {section} with flags: expected 0 or less, or a multiple of"
    for start, move, good in ((1, 0, False), (15, 0, False), (16, 0, True), (17, 0, False),
                              (-1, 0, True), (-5, 0, True), (0, 16, True), (0, 15, False),
                              (-16, 17, False)):
        moved = changes | {f"{section}.c0": start, f"{section}.dc{4 * level}": move}
        if good:
            legal(name, moved)
        else:
            refused(name, moved, text)
    legal(name, changes | {f"{section}.mode": 0, f"{section}.lim0": 1025, f"{section}.c0": 1})
