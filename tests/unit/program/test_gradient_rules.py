"""GRADIENT descriptors of many networks: whatever moves a sum to another weight is refused."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from reference_models.dag_nets import NETWORKS
from scheduled import BOARD, Fields, Scheduled, all_kinds

from pynq_train.errors import IllegalProgram
from pynq_train.graph.graph import Sequential
from pynq_train.hw.commands import Opcode, pair
from pynq_train.hw.words import LANES
from pynq_train.program.gradients import _GradientChecks, check_gradient
from pynq_train.program.spans import unpair

NETS = ("all kinds", "kernel5", "strides", "wide", "depthwise", "residual", "multiplied")
Taps = list[Fields]


@cache
def planned(name: str) -> Scheduled:
    """A training step."""
    if name == "kernel5":
        return Scheduled.of(Sequential((3, 9, 7), "k5").conv(20, 5, padding=2).dense(2).build(), 3)
    if name == "strides":
        net = Sequential((6, 13, 11), "strides").conv(5, 5, stride=3, padding=2).relu().pool()
        return Scheduled.of(net.conv(18, 2, padding=1).conv(7, 1).relu().dense(3).build(), 3)
    if name == "wide":
        return Scheduled.of(Sequential((20, 8, 8), "wide").dense(20).build(), 6)
    return all_kinds() if name == "all kinds" else Scheduled.of(NETWORKS[name], 2)


def gradients(name: str) -> Iterator[tuple[Fields, Taps]]:
    """Fields and taps of each GRADIENT."""
    step = planned(name)
    program = step.program()
    for number, f in enumerate(step.fields):
        if f["pre.opcode"] == Opcode.GRADIENT:
            yield dict(f), [dict(tap) for tap in program.tap_table(number)]


def check(f: Fields, taps: Taps) -> None:
    check_gradient("it", f, taps, BOARD.config)


def refused(f: Fields, taps: Taps, changes: Fields, text: str = "") -> None:
    with pytest.raises(IllegalProgram, match=f"it: {text}"):
        check({**f, **changes}, taps)


def moved_geometry(f: Fields) -> dict[str, str]:
    """Fields of section g that move a weight's operands, with what is said if one is moved."""
    found = {"g_x": "drained sums: input of weight", "g_pad_top": "drained sums: input",
             "g_pad_left": "drained sums: input", "g_y": "drained sums: output gradient of weight"}
    pixels = "pixels of the drained sums"
    for field, axis in (("g_x_strides3", 0), ("g_x_strides2", 1), ("g_x_strides0", 2)):
        if f[f"pix.p{axis}"] > 1:
            found[field] = f"{pixels}|drained sums: input"
    if f["pix.p0"] * f["pix.p1"] > 1:
        found["g_stride"] = pixels
    if f["g.g_nb"] > 1 or (f["g.g_group"] and f["g.g_m"] > BOARD.config.tm):
        found["g_x_strides1"] = "drained sums: input of weight m tile [0-9]+, n block"
    found["g_y_strides1"] = "drained sums: output gradient of weight m tile"
    return found


@pytest.mark.parametrize("name", NETS)
def test_gradients_are_legal(name: str) -> None:
    found = list(gradients(name))
    assert found
    for f, taps in found:
        check(f, taps)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("more", [-1, 1])
def test_moved_geometry(name: str, more: int) -> None:
    """Operands of the descriptor stay: those of each weight would be others."""
    for f, taps in gradients(name):
        for field, text in moved_geometry(f).items():
            value = f[f"g.{field}"]
            step = 1 if field in ("g_pad_top", "g_pad_left", "g_stride") else 8
            if value + more * step >= (field == "g_stride"):
                refused(f, taps, {f"g.{field}": value + more * step}, f"({text})")


@pytest.mark.parametrize("name", NETS)
def test_moved_operands(name: str) -> None:
    """Start and moves of both operands from tile to tile."""
    for f, taps in gradients(name):
        for section, text in (("x", "drained sums: input"), ("s", "drained sums: output gradient")):
            for more in (-8, 8):
                refused(f, taps, {f"{section}.addr": f[f"{section}.addr"] + more}, text)
                for level in (3, 4):
                    if f[f"pre.t{level}"] > 1 and f[f"{section}.reuse"] <= level:
                        field = f"{section}.daddr{level}"
                        refused(f, taps, {field: f[field] + more}, text)
        if f["x.n1"] > 1 and f["g.g_kernel"] > 1:
            refused(f, taps, {"x.drow0": f["x.drow0"] + 8})
        if f["x.n2"] > 1 and f["pix.p2"] > 1:
            refused(f, taps, {"x.drow1": f["x.drow1"] + 8},
                    "(drained sums: input|pixels of the drained sums)")
        if f["s.n3"] > 1:
            for level in (0, 1, 2):
                if level == 2 or (f[f"s.n{level + 1}"] > 1 and (level or f["s.mode"] != 2
                                                             or f["s.n1"] > 2)):
                    field = f"s.drow{level}"
                    refused(f, taps, {field: f[field] + 8}, "drained sums: output gradient")


@pytest.mark.parametrize("name", NETS)
def test_moved_taps_and_lanes(name: str) -> None:
    for f, taps in gradients(name):
        for at in range(len(taps)):
            other = [dict(tap) for tap in taps]
            other[at]["mute"] = 1
            refused(f, other, {}, "taps: expected none is mute, found some")
            for more in (-1, 1):
                other = [dict(tap) for tap in taps]
                other[at]["voff"] = pair(unpair(taps[at]["voff"]) + more)
                refused(f, other, {}, "(X positions of|pixels of)? ?(the )?drained sums")
        for field, more in (("y.yc0", 1), ("y.yc0", -1), ("y.ylim0", 1), ("y.ylim0", -1)):
            # Where all lanes of the last segment are weights there are none beside them.
            if f["y.ylim0"] % LANES or (field, more) != ("y.ylim0", 1):
                refused(f, taps, {field: f[field] + more}, "(sums that|X positions|drained)")
        for axis in range(3):
            if f[f"pix.p{axis}"] > 1:
                jump = unpair(f[f"pix.dpos{axis}"])
                for more in (-3, 3):
                    refused(f, taps, {f"pix.dpos{axis}": pair(jump + more)})


@pytest.mark.parametrize("name", NETS)
def test_rows_of_an_update(name: str) -> None:
    """Rows of an m tile that are updated: all that are weights, and no more than there are."""
    tm = BOARD.config.tm
    for f, taps in gradients(name):
        least = min(f["g.g_m"], tm)
        for rows in (least, tm):
            check({**f, "u.u_rows": rows}, taps)
        for rows in (0, least - 1, tm + 1):
            refused(f, taps, {"u.u_rows": rows}, rf"u_rows: expected {least}\.\.{tm}: every weight "
                    f"is updated, found {rows}")


@pytest.mark.parametrize("name", NETS)
def test_fields_that_a_gradient_fixes(name: str) -> None:
    for f, taps in gradients(name):
        refused(f, taps, {"g.g_w": 8}, "g_w: expected 0: the sums do not go to memory, found 8")
        for red in (2, 4):
            refused(f, taps, {"c.red": red}, r"c\.red: expected 3, .*found")
        for more in (-1, 1, 4):
            refused(f, taps, {"u.u_count": f["u.u_count"] + more},
                    f"u_count: expected {f['u.u_count']}, the weights of its geometry")
        for field in ("s.n0", "s.n1", "s.n2", "s.n3", "c.s_col", "c.s_stride", "c.s_step"):
            refused(f, taps, {field: f[field] + 1}, rf"{field.replace('.', '[.]')}: expected "
                    rf"{f[field]}, as the pixels of a tile stand in the S ring, found")
        segment = 3 * 4 * BOARD.config.tm
        check_gradient("it", f, taps, replace(BOARD.config, grad_words=256))
        # No configuration has a queue as short as this; the rule does not rely on it.
        short = copy(BOARD.config)
        object.__setattr__(short, "grad_words", 128)
        with pytest.raises(IllegalProgram, match="it: sums of a segment: expected at most 128, the "
                                                 f"gradient queue, found {segment}"):
            check_gradient("it", f, taps, short)


def test_groups_along_the_diagonal() -> None:
    """An m tile of a grouped convolution reads its own channels, of a plain one all."""
    found = [(f, taps) for f, taps in gradients("multiplied") if f["g.g_group"]]
    found += [(f, taps) for f, taps in gradients("depthwise") if f["g.g_group"]]
    assert found
    for f, taps in found:
        check(f, taps)


@pytest.mark.parametrize("reuse", range(6))
def test_an_operand_moves_only_with_the_loops_that_load_it(reuse: int) -> None:
    """By what the address moves when the inner loops begin anew, and the loop goes on."""
    fields = {**{f"pre.t{t}": count for t, count in enumerate((2, 3, 1, 4, 5))},
              **{f"pix.p{i}": 1 for i in range(3)}, "x.reuse": reuse,
              **{f"x.daddr{t}": value for t, value in enumerate((8, 100, 0, 1000, 30000))}}
    checks = _GradientChecks("one", fields, (), BOARD.config)
    chunk, m_tile = np.arange(4), np.full(4, 2)
    # A jump takes the way back of the loops inside with it: 1 x 8, 2 x 108 and 3 x 1224 bytes.
    strides = 1000 + 8 + 2 * 108, 30000 + 8 + 2 * 108 + 3 * 1224
    want = (strides[0] if reuse <= 3 else 0) * chunk + (strides[1] if reuse <= 4 else 0) * m_tile
    assert checks._moved("x", chunk, m_tile).tolist() == want.tolist()
