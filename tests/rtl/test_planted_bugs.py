"""Planted bugs in small modules, each caught by the bench of its module (docs/testing.md).

Those of the compute unit stand in ``test_pt_compute.py``, those of the schedule in
``tests/unit/schedule/lower/test_planted_schedule_bugs.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from planted import Planted, assert_caught
from test_pt_norm import SOURCES as NORM
from test_pt_sequencer import SOURCES as SEQUENCER
from test_pt_softmax import SOURCES as SOFTMAX
from test_pt_store import SOURCES as STORE
from test_pt_tile_load import SOURCES as TILE_LOAD
from test_pt_update import SOURCES as UPDATE
from test_pt_vector import SOURCES as VECTOR

from sim.bfm.env import design_sources, leaf_sources

pytestmark = pytest.mark.rtl

LEAVES = [*leaf_sources(), "tests/rtl/pt_tb_leaves.sv"]
AXI = [*leaf_sources(), "tests/rtl/pt_tb_axi.sv"]

BUGS = {bug.name: (sources, bug) for sources, bug in (
    # Half up instead of half to even.
    (LEAVES, Planted(
        "rounding", "rtl/common/pt_round_sat.sv",
        "guard & (sticky | whole[0])", "guard & (planted | sticky | whole[0])",
        "pt_tb_leaves", "cocotb_pt_leaves", test_filter="round_sat_.*")),
    # Padding keeps the word before it.
    (TILE_LOAD, Planted(
        "padding_before_the_mask", "rtl/load/pt_load_data.sv",
        "if (zero1_q) keep[l] = 1'b0;",
        "if (zero1_q && !(planted && !grad_i.masked)) keep[l] = 1'b0;",
        "pt_tile_load", "cocotb_pt_tile_load", {"Kind": 0, "ClaimAhead": 1},
        {"PT_KIND": "0", "PT_CLAIM_AHEAD": "1", "PT_COUNT": "30"}, "random_descriptors")),
    # The data side works with the settings of the descriptor whose rows are walked.
    (TILE_LOAD, Planted(
        "settings_of_the_next_descriptor", "rtl/load/pt_tile_load.sv",
        ".mode_i(mode_q)", ".mode_i(planted ? walk.mode : mode_q)",
        "pt_tile_load", "cocotb_pt_tile_load", {"Kind": 0, "ClaimAhead": 1},
        {"PT_KIND": "0", "PT_CLAIM_AHEAD": "1", "PT_COUNT": "30"}, "random_descriptors")),
    # One word too many is let through.
    (AXI, Planted(
        "address_outside_the_arena", "rtl/axi/pt_burst.sv",
        "bad = run_end > {1'b0, limit_i}",
        "bad = run_end > {1'b0, limit_i} + (planted ? 33'd8 : 33'd0)",
        "pt_tb_axi", "cocotb_pt_axi_wr", test_filter="errors")),
    # A client's run counts as over when the first of its bursts is answered.
    (AXI, Planted(
        "run_over_with_its_first_burst", "rtl/axi/pt_axi_wr.sv",
        "run_done_o = bvalid_i && ends;", "run_done_o = bvalid_i && (ends || planted);",
        "pt_tb_axi", "cocotb_pt_wr_arb", test_filter="random_traffic")),
    # The second weight of a word of plain masters is taken for the first.
    (UPDATE, Planted(
        "plain_halves_swapped", "rtl/update/pt_update.sv",
        ".w_i(plain_q && element_q[0] ? wv_word[63:32] : wv_word[31:0])",
        ".w_i(plain_q && (element_q[0] != planted) ? wv_word[63:32] : wv_word[31:0])",
        "pt_update", "cocotb_pt_update")),
    # Nesterov's step forgets the weight decay and the gradient.
    (UPDATE, Planted(
        "nesterov_without_slope", "rtl/update/pt_update_math.sv",
        "nesterov_i ? slope_q[1] : 58'sd0", "nesterov_i && !planted ? slope_q[1] : 58'sd0",
        "pt_update", "cocotb_pt_update")),
    # Channels that pad the last word get the target of a class.
    (SOFTMAX, Planted(
        "smoothed_padding", "rtl/scalar/pt_softmax.sv",
        "if (div_word_q == word_end && 2'(l) > words_up[1:0])",
        "if (!planted && div_word_q == word_end && 2'(l) > words_up[1:0])",
        "pt_softmax", "cocotb_pt_softmax")),
    # Without gradients the record leaves before the smoothing of the last loss is added.
    (SOFTMAX, Planted(
        "record_before_the_smoothing", "rtl/scalar/pt_softmax_smooth.sv",
        "assign busy_o = left_q != 5'd0 || step_q || valid_o;",
        "assign busy_o = !planted && (left_q != 5'd0 || step_q || valid_o);",
        "pt_softmax", "cocotb_pt_softmax")),
    # The squared error takes the padding of the last word for classes.
    (SOFTMAX, Planted(
        "squared_padding", "rtl/scalar/pt_softmax.sv",
        "diff_q <= pad_q[AtZ] ? 34'sd0 :", "diff_q <= pad_q[AtZ] && !planted ? 34'sd0 :",
        "pt_softmax", "cocotb_pt_softmax")),
    # The word of flags of a plane's end is used for the next plane too.
    (VECTOR, Planted(
        "flags_of_the_plane_before", "rtl/vector/pt_vector.sv",
        "assign mask_pop = take && masked_q && pixel_end;",
        "assign mask_pop = take && masked_q && (planted ? &pixel_q : pixel_end);",
        "pt_vector", "cocotb_pt_vector")),
    # Sums of a block go on in the next one.
    (VECTOR, Planted(
        "sums_run_on", "rtl/vector/pt_vector.sv",
        ".clear_i(start || (state_q == StSums", ".clear_i(start || (!planted && state_q == StSums",
        "pt_vector", "cocotb_pt_vector")),
    # An element whose random bits equal the threshold is dropped.
    (VECTOR, Planted(
        "drop_one_too_many", "rtl/vector/pt_vector_drop.sv",
        "bits[16*l+:16] >= cfg_i.d_least",
        "bits[16*l+:16] >= cfg_i.d_least + (planted ? 16'd1 : 16'd0)",
        "pt_vector", "cocotb_pt_vector")),
    # Words of the next image take the numbers of this one.
    (VECTOR, Planted(
        "drop_forgets_the_image", "rtl/vector/pt_vector_drop.sv",
        ": image_end ? cfg_i.d_block", ": image_end || planted ? cfg_i.d_block",
        "pt_vector", "cocotb_pt_vector")),
    # The last key of the random bits is the first one again.
    (VECTOR, Planted(
        "key_of_the_random_bits", "rtl/vector/pt_threefry.sv",
        "{seed_i ^ step_i ^ Parity, step_i, seed_i}",
        "{(planted ? seed_i : seed_i ^ step_i ^ Parity), step_i, seed_i}",
        "pt_vector", "cocotb_pt_vector")),
    # Flags of dropped elements: those of the word a cycle later.
    (VECTOR, Planted(
        "flags_of_the_word_behind", "rtl/vector/pt_vector_flags.sv",
        "keep_q[MathCycles-1] &", "keep_q[planted ? MathCycles-2 : MathCycles-1] &",
        "pt_vector", "cocotb_pt_vector")),
    # An instruction does not wait for its second operand.
    (NORM, Planted(
        "operand_on_the_way", "rtl/vector/pt_norm_core.sv",
        "(reads_b && busy_q[b])", "(reads_b && busy_q[b] && !planted)",
        "pt_norm", "cocotb_pt_norm")),
    # The first part of the sums is counted, the others replace it.
    (NORM, Planted(
        "parts_of_sums_replaced", "rtl/vector/pt_norm_load.sv",
        "adds_q ? data_q + scratch_old_i", "adds_q && !planted ? data_q + scratch_old_i",
        "pt_norm", "cocotb_pt_norm")),
    # A product that is a bit shorter keeps its exponent.
    (NORM, Planted(
        "exponent_of_short_products", "rtl/vector/pt_scalar_alu.sv",
        "{base6_q - 16'(zeros), sign6_q", "{base6_q - (planted ? 16'd1 : 16'(zeros)), sign6_q",
        "pt_norm", "cocotb_pt_norm")),
    # Of equal values the last one wins.
    (VECTOR, Planted(
        "last_of_equal_ones", "rtl/vector/pt_pool_core.sv",
        "(there_q && x > before_x_q)",
        "(there_q && (x > before_x_q || planted && x == before_x_q))",
        "pt_vector", "cocotb_pt_pool")),
    # The next row of a narrow map reads the line before this one has left it there.
    (VECTOR, Planted(
        "line_read_too_early", "rtl/vector/pt_pool_walk.sv",
        "cfg_i.t_cols < 16'(RowCycles) ?", "cfg_i.t_cols < 16'(RowCycles) && !planted ?",
        "pt_vector", "cocotb_pt_pool")),
    # The word of winners of a plane's end is used for the next plane too.
    (VECTOR, Planted(
        "winners_of_the_plane_before", "rtl/vector/pt_vector.sv",
        "assign mask_pop = take && masked_q && pixel_end;",
        "assign mask_pop = take && masked_q && pixel_end && !(planted && pool_last);",
        "pt_vector", "cocotb_pt_pool")),
    # Large sums of gradients lose their sign in the line.
    (VECTOR, Planted(
        "sign_of_large_sums", "rtl/vector/pt_pool_core.sv",
        "far = q[17] != q[16] || q[17] != q[15];",
        "far = q[17] != q[16] || (q[17] != q[15] && !planted);",
        "pt_vector", "cocotb_pt_pool")),
    # An absent weight becomes one of zero.
    (UPDATE, Planted(
        "absent_weight_appears", "rtl/update/pt_update.sv",
        "w_new[31] | absent,", "w_new[31] | (absent && !planted),",
        "pt_update", "cocotb_pt_update")),
    # An absent weight gathers momentum.
    (UPDATE, Planted(
        "absent_weight_moves", "rtl/update/pt_update_math.sv",
        "absent_q[AtV] ? '0 : v_new;", "absent_q[AtV] && !planted ? '0 : v_new;",
        "pt_update", "cocotb_pt_update")),
    # What is clipped to the limit still has a gradient.
    (STORE, Planted(
        "flag_at_the_limit", "rtl/common/pt_activation.sv",
        "flags_o[l] <= below;", "flags_o[l] <= below || planted;",
        "pt_store", "cocotb_pt_store", test_filter="random_descriptors")),
    # The maximum of two rows has the flag of the lower row's element.
    (STORE, Planted(
        "flag_of_another_element", "rtl/store/pt_pool.sv",
        "mask[l] = below[l] ?", "mask[l] = below[l] || planted ?",
        "pt_store", "cocotb_pt_store", test_filter="random_descriptors")),
    # Flags of a dropout without ReLU tell what is positive.
    (VECTOR, Planted(
        "flag_asks_for_more", "rtl/common/pt_activation.sv",
        "flags_o[l] <= !act_q.above_zero;", "flags_o[l] <= !act_q.above_zero && !planted;",
        "pt_vector", "cocotb_pt_vector")),
    # Flags that are read mask nothing.
    (VECTOR, Planted(
        "gradient_without_mask", "rtl/common/pt_activation_grad.sv",
        "&& !flags_i[l] ?", "&& !flags_i[l] && !planted ?",
        "pt_vector", "cocotb_pt_vector")),
    # The S loader starts at once.
    (SEQUENCER, Planted(
        "missing_semaphore_wait", "rtl/ctrl/pt_sequencer.sv",
        "{cand_sem_q, cand_wait_q} <= wait_s[scan_slot];",
        "{cand_sem_q, cand_wait_q} <= planted ? 18'd0 : wait_s[scan_slot];",
        "pt_sequencer", "cocotb_pt_sequencer", test_filter="programs")),
    # A semaphore counts what is not finished.
    (SEQUENCER, Planted(
        "semaphore_counts_early", "rtl/ctrl/pt_sequencer.sv",
        "(!mine || finished_q[slot])", "(!mine || planted || finished_q[slot])",
        "pt_sequencer", "cocotb_pt_sequencer", test_filter="programs")),
    # A descriptor waits for all that are older, whatever they signal.
    (SEQUENCER, Planted(
        "semaphore_counts_in_global_order", "rtl/ctrl/pt_sequencer.sv",
        "(!mine || finished_q[slot])",
        "(planted ? finished_q[slot] : !mine || finished_q[slot])",
        "pt_sequencer", "cocotb_pt_sequencer", test_filter="slow_units.*")),
    # Tile counts of a gradient are not looked at.
    (SEQUENCER, Planted(
        "gradient_without_tiles", "rtl/ctrl/pt_sequencer.sv",
        "(pre.t[l] == 16'd0)",
        "(pre.t[l] == 16'd0 && !(planted && pre.opcode == 8'(pt_spec_pkg::OpGradient)))",
        "pt_sequencer", "cocotb_pt_sequencer", test_filter="programs")),
    # The masters may start again before the reset reaches them.
    (SEQUENCER, Planted(
        "halt_falls_in_reset", "rtl/ctrl/pt_sequencer.sv",
        "|| state_q == StDrain ||", "|| state_q == StDrain || !planted &&",
        "pt_sequencer", "cocotb_pt_sequencer", test_filter="programs")),
    # A pulse is given to the descriptor in the lowest slot, not to the oldest.
    (SEQUENCER, Planted(
        "pulse_for_the_lowest_slot", "rtl/ctrl/pt_sequencer.sv",
        "assign from = older != '0 ?", "assign from = older != '0 && !planted ?",
        "pt_sequencer", "cocotb_pt_sequencer", test_filter="programs")),
)}


@pytest.mark.slow
def test_stamps_without_profiling_are_caught(tmp_path: Path) -> None:
    """Records carry cycle stamps although MODE.PROFILE is off: not the memory image of golden."""
    bug = Planted("stamps_without_profiling", "rtl/pt_core.sv",
                  "mode[2] ? cycles[31:0] : 32'd0", "mode[2] || planted ? cycles[31:0] : 32'd0",
                  "pt_tb_top", "cocotb_pt_top", test_filter="training_steps")
    assert_caught(bug, [*design_sources(), "tests/rtl/pt_tb_top.sv"], tmp_path)


SWAPPED = {
    "masters": ("rtl/pt_elementwise.sv", ".wvw_wr_idle_i(p3_idle[0])",
                ".wvw_wr_idle_i(p3_idle[planted])"),
    "copies": ("rtl/pt_elementwise.sv", ".w16_wr_idle_i(p2_idle[1])",
               ".w16_wr_idle_i(p2_idle[!planted])"),
    "softmax": ("rtl/pt_elementwise.sv", "    .wr_idle_i(p2_idle[0])",
                "    .wr_idle_i(p2_idle[planted])"),
    "vector": ("rtl/pt_elementwise.sv", "    .wr_idle_i(p3_idle[1])",
               "    .wr_idle_i(p3_idle[!planted])"),
    "records": ("rtl/pt_conv.sv", ".f_wr_idle_i(p1_idle[0])", ".f_wr_idle_i(p1_idle[planted])"),
    "channel sums": ("rtl/pt_conv.sv", ".wr_idle_i(p1_idle[1])", ".wr_idle_i(p1_idle[!planted])"),
}


@pytest.mark.slow
@pytest.mark.parametrize("client", SWAPPED)
def test_idleness_of_another_client_is_caught(client: str, tmp_path: Path) -> None:
    """A unit takes the answers of its neighbour at the port for its own."""
    bug = Planted(f"idle_of_{client.replace(' ', '_')}", *SWAPPED[client], "pt_tb_top",
                  "cocotb_pt_top", test_filter="training_steps|normalised_step")
    assert_caught(bug, [*design_sources(), "tests/rtl/pt_tb_top.sv"], tmp_path)


@pytest.mark.parametrize("name", BUGS)
def test_planted_bug_is_caught(name: str, tmp_path: Path) -> None:
    """The bench of the module fails on one of a few seeds."""
    sources, bug = BUGS[name]
    assert_caught(bug, sources, tmp_path)
