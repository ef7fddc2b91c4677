"""Planted bugs in GRADIENT descriptors: sums out of order, an update too early or too late."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import pytest
from scheduled import BOARD, Fields, Scheduled, all_kinds, with_taps

from pynq_train.errors import IllegalProgram
from pynq_train.graph.graph import Sequential
from pynq_train.hw.commands import Opcode, Pass, Semaphore, pack_descriptor, pair
from pynq_train.hw.words import LANES, SET_PIXELS
from pynq_train.program import verify_program
from pynq_train.program.gradients import check_gradient
from pynq_train.program.spans import strides_of, unpair

PLANNED = all_kinds()
WIDE = Scheduled.of(Sequential((20, 8, 8), "wide").dense(20).build(), 6)
"""Many features: several tiles of channels."""
KERNEL5 = Scheduled.of(Sequential((3, 9, 7), "kernel5").conv(20, 5, padding=2).dense(2).build(), 3)
"""Two taps for each kernel row, two m tiles."""


def refused(planned: Scheduled, number: int, changes: Fields, message: str) -> None:
    """The change is refused with a message that names the descriptor."""
    verify_program(planned.program())
    with pytest.raises(IllegalProgram, match=rf"descriptor {number} \(GRADIENT\):? .*{message}"):
        verify_program(planned.program({number: changes}))


def conv(planned: Scheduled) -> int:
    """Position of the first layer's GRADIENT."""
    return planned.number(Opcode.GRADIENT, 0)


FIELDS: list[tuple[Fields, str]] = [
    ({"g.g_w": 128}, "g_w: expected 0: the sums do not go to memory"),
    ({"y.raw": 0}, r"c\.wu and y\.raw: expected both set in GRADIENT descriptors only"),
    ({"u.u_count": 1024}, r"u_count: expected 1920, the weights of its geometry"),
    ({"y.ylim0": 4}, r"sums that the drain keeps: expected u_count \(1920\)"),
    ({"y.ylim0": 6}, r"sums that the drain keeps: expected u_count \(1920\)"),
    ({"c.s_col": 0}, r"c\.s_col: expected 1"),
    ({"c.s_step": 0}, r"c\.s_step: expected 4"),
    ({"c.s_stride": 0}, r"c\.s_stride"),
]


@pytest.mark.parametrize(("changes", "message"), FIELDS)
def test_fields_that_disagree_are_caught(changes: Fields, message: str) -> None:
    number = conv(KERNEL5)
    if "u.u_count" in changes or "y.ylim0" in changes:
        weights = KERNEL5.fields[number]["u.u_count"]
        assert weights % (64 * 25) == 0
        message = message.replace("1920", str(weights))
    refused(KERNEL5, number, changes, message)


def test_raw_drain_outside_a_gradient_is_caught() -> None:
    number = PLANNED.number(Opcode.CONV, 0, Pass.FORWARD)
    with pytest.raises(IllegalProgram, match=r"c\.wu and y\.raw: expected both set in GRADIENT"):
        verify_program(PLANNED.program({number: {"y.raw": 1}}))


def test_weight_gradient_without_update_is_caught() -> None:
    """A CONV whose sums nobody takes."""
    fields = list(PLANNED.fields)
    number = conv(PLANNED)
    fields[number] = {name: value for name, value in fields[number].items()
                      if not name.startswith(("u.", "gu."))} | {"pre.opcode": int(Opcode.CONV),
                                                       "pre.signal": int(Semaphore.CONV)}
    with pytest.raises(IllegalProgram, match=r"g_pass: expected the weight gradient in GRADIENT "
                                             r"descriptors only, found WEIGHT_GRADIENT in CONV"):
        verify_program(PLANNED.made(b"".join(map(pack_descriptor, fields))))


def test_queue_shorter_than_a_segment_is_caught() -> None:
    program, number = PLANNED.program(), conv(PLANNED)
    fields, taps = program.fields[number], program.tap_table(number)
    check_gradient("it", fields, taps, replace(BOARD.config, grad_words=256))
    # No configuration has a queue as short as this; the rule does not rely on it.
    short = copy(BOARD.config)
    object.__setattr__(short, "grad_words", 128)
    with pytest.raises(IllegalProgram, match="it: sums of a segment: expected at most 128"):
        check_gradient("it", fields, taps, short)
    # One that just holds a segment is long enough.
    segment = LANES * SET_PIXELS * BOARD.config.tm
    for words, fits in ((segment, True), (segment - 1, False)):
        object.__setattr__(short, "grad_words", words)
        if fits:
            check_gradient("it", fields, taps, short)
        else:
            with pytest.raises(IllegalProgram, match=f"at most {words}, the .* found {segment}"):
                check_gradient("it", fields, taps, short)


def test_lanes_that_are_no_weights_are_caught() -> None:
    """As many lanes as before are kept, but columns 1..5 of the kernel, not 0..4."""
    refused(KERNEL5, conv(KERNEL5), {"y.yc0": -1},
            r"X positions of the drained sums: expected loaded ones, found others, for weight")


def test_taps_out_of_order_are_caught() -> None:
    """Two kernel rows change places: all sums are right, at the wrong weights."""
    number = conv(KERNEL5)
    program = KERNEL5.program()
    taps = list(program.tap_table(number))
    taps[:2], taps[2:4] = taps[2:4], taps[:2]
    with pytest.raises(IllegalProgram, match=r"input of weight m tile 0, n block 0, row 0"):
        verify_program(with_taps(program, number, taps))


def test_mute_tap_is_caught() -> None:
    number, program = conv(KERNEL5), KERNEL5.program()
    taps = list(program.tap_table(number))
    taps[1] = {**taps[1], "mute": 1}
    with pytest.raises(IllegalProgram, match=r"taps: expected none is mute"):
        verify_program(with_taps(program, number, taps))


def test_tiles_of_channels_that_stand_still_are_caught() -> None:
    """Every tile of input channels reads the first one."""
    number = WIDE.gradient(lambda f: f["pre.t3"] > 1)
    refused(WIDE, number, {f"x.daddr{level}": 0 for level in range(5)},
            r"input of weight m tile 0, n block [1-9][0-9]*, row 0, column 0")


def test_m_tiles_from_behind_are_caught() -> None:
    """The last m tile first: the queue gives its sums to the weights of the first."""
    number = KERNEL5.gradient(lambda f: f["pre.t4"] == 2)
    fields = KERNEL5.fields[number]
    counts = [fields[f"pre.t{level}"] for level in range(5)]
    move = strides_of(counts, [fields[f"s.daddr{level}"] for level in range(5)])[4]
    blocks = strides_of(counts, [fields[f"s.dc{4 * level + 3}"] for level in range(5)])[4]
    assert move > 0 and blocks == 4 and fields["s.mode"] == 0
    refused(KERNEL5, number, {
        "s.addr": fields["s.addr"] + move, "s.daddr4": fields["s.daddr4"] - 2 * move,
        "s.c3": blocks, "s.dc19": fields["s.dc19"] - 2 * blocks,
    }, "output gradient of weight m tile 0")


def test_reduction_over_fewer_levels_is_caught() -> None:
    number = KERNEL5.gradient(lambda f: f["pre.t2"] == 1)
    refused(KERNEL5, number, {"c.red": 2}, r"c\.red: expected 3")


def test_pixels_of_the_gradient_in_another_order_are_caught() -> None:
    number = KERNEL5.gradient(lambda f: f["s.n0"] != f["s.n1"])
    fields = KERNEL5.fields[number]
    refused(KERNEL5, number, {"s.n0": fields["s.n1"], "s.n1": fields["s.n0"]}, r"s\.n0: expected")


def test_five_blocks_of_the_gradient_are_caught() -> None:
    number = conv(KERNEL5)
    chunk = KERNEL5.fields[number]["c.s_chunk"] // 4 * 5
    refused(KERNEL5, number, {"s.n3": 5, "c.s_chunk": chunk}, r"s\.n3: expected 4")


def test_kept_lanes_that_are_not_loaded_are_caught() -> None:
    """The X tile ends with the last column that lane 0 reads."""
    number = conv(PLANNED)
    fields = PLANNED.fields[number]
    changes = {"x.n0": fields["x.n0"] - 1}
    for level in (1, 2, 3):
        if fields[f"x.n{level}"] > 1:
            changes[f"x.pos{level}"] = pair(unpair(fields[f"x.pos{level}"]) + 1)
    refused(PLANNED, number, changes, "X positions of the drained sums: expected loaded ones, "
            "found others, for weight m tile 0, n block 0, row 0, column 2")


def test_pixels_of_the_input_that_are_not_next_are_caught() -> None:
    """The first row of a tile is right, the others start a column too early."""
    number = PLANNED.gradient(lambda f: f["pix.p1"] > 1)
    jump = unpair(PLANNED.fields[number]["pix.dpos1"])
    refused(PLANNED, number, {"pix.dpos1": pair(jump - 1)},
            "pixels of the drained sums: expected those of the geometry in every lane")


def test_semaphores_are_caught() -> None:
    """GRADIENT and UPDATE share a semaphore; convolutions have another."""
    number = conv(PLANNED)
    refused(PLANNED, number, {"pre.signal": int(Semaphore.CONV)},
            r"signal: expected a semaphore each for convolutions, updates, softmax and vector")


def test_update_before_the_backward_pass_is_caught() -> None:
    """The new 16-bit weights overtake a backward pass that still needs the old ones."""
    count = len(PLANNED.fields)
    backward = PLANNED.number(Opcode.CONV, 1, Pass.BACKWARD)
    gradient = PLANNED.number(Opcode.GRADIENT, 1)
    assert backward < gradient
    order = [k for k in range(count) if k != backward]
    order.insert(order.index(gradient) + 1, backward)
    with pytest.raises(IllegalProgram, match=r"hazard at .*\.w16.* \(GRADIENT\) writes its 16-bit "
                                             r"copy.* reads its S operand"):
        verify_program(PLANNED.reordered(order))
    updates = sum(PLANNED.fields[k]["pre.opcode"] in (Opcode.GRADIENT, Opcode.UPDATE)
                  for k in order[:order.index(backward)])
    wait = {"pre.wait_s": updates, "pre.wait_s_sem": int(Semaphore.UPDATE)}
    verify_program(PLANNED.reordered(order, {backward: wait}))


def without_biases() -> tuple[Scheduled, int, int]:
    """A program, and two GRADIENT descriptors of it with no UPDATE in between."""
    net = Sequential((3, 6, 6), "bare").conv(8, 3, bias=False).conv(20, 3, bias=False)
    planned = Scheduled.of(net.dense(3, bias=False).build(), 2)
    first, second = planned.number(Opcode.GRADIENT, 1), conv(planned)
    assert first < second
    return planned, first, second


def test_masters_of_another_gradient_are_caught() -> None:
    """The update unit reads ahead: it may still write the masters of its last descriptor."""
    planned, first, second = without_biases()
    masters = planned.fields[first]["u.wv_off"]
    shared = {"u.wv_off": masters, "gu.masters": masters}
    message = "reads its masters, and nothing orders them; let the UPDATE unit of the second wait"
    refused(planned, second, shared, message)
    updates = sum(f["pre.opcode"] == Opcode.GRADIENT for f in planned.fields[:second])
    sem = int(Semaphore.UPDATE)
    refused(planned, second, {**shared, "pre.wait_y": updates, "pre.wait_y_sem": sem}, message)
    wait = {"pre.wait_x": updates, "pre.wait_x_sem": sem}
    verify_program(planned.program({second: {**shared, **wait}}))


def test_copy_over_the_masters_of_another_gradient_is_caught() -> None:
    """Copies and masters go through different ports."""
    planned, first, second = without_biases()
    verify_program(planned.program())
    with pytest.raises(IllegalProgram, match=r"hazard at .*\.wv.* writes its masters, .* writes "
                                             r"its 16-bit copy, and nothing orders them"):
        verify_program(planned.program({second: {"u.w16_off": planned.fields[first]["u.wv_off"]}}))


def test_masters_with_momentum_in_the_place_of_plain_ones_are_caught() -> None:
    """Masters without momentum take half the bytes."""
    number = conv(PLANNED)
    wv = PLANNED.fields[number]["u.wv_off"]
    program = PLANNED.program({number: {"u.u_plain": 1, "gu.plain": 1}})
    half = tuple(replace(r, nbytes=4 * PLANNED.fields[number]["u.u_count"]) if r.offset == wv else r
                 for r in program.regions)
    verify_program(replace(program, regions=half))
    with pytest.raises(IllegalProgram, match=r"reads its masters: expected bytes of .*\.wv alone"):
        verify_program(replace(PLANNED.program({number: {"u.u_plain": 0}}), regions=half))


def test_update_over_the_operands_of_its_own_gradient_is_caught() -> None:
    """First weights are written while the last tiles are still loaded."""
    number = conv(PLANNED)
    for name in ("g.g_x", "g.g_y"):
        refused(PLANNED, number, {"u.w16_off": PLANNED.fields[number][name]},
                "writes its 16-bit copy at .*: they must not overlap")


def test_update_from_memory_that_overtakes_loads_is_caught() -> None:
    """Only the sums of a GRADIENT come behind the array: an UPDATE needs a wait.

    It waits for its own GRADIENT, which says nothing of a BACKWARD behind that.
    """
    update = PLANNED.number(Opcode.UPDATE, 2)
    backward = PLANNED.number(Opcode.CONV, 1, Pass.BACKWARD)
    order = list(range(len(PLANNED.fields)))
    assert backward == update + 1
    order[update], order[backward] = backward, update
    weights = PLANNED.fields[PLANNED.number(Opcode.GRADIENT, 1)]["u.w16_off"]
    with pytest.raises(IllegalProgram, match=rf"hazard at .*\.w16.*BACKWARD.* reads its S operand, "
                                             rf"descriptor {backward} .* writes its 16-bit copy"):
        verify_program(PLANNED.reordered(order, {update: {"u.u_copy": 1, "u.w16_off": weights}}))
