"""Planted bugs in small modules, each caught by the bench of its module (docs/testing.md).

Those of the compute unit stand in ``test_pt_compute.py``, those of the schedule in
``tests/unit/schedule/lower/test_planted_schedule_bugs.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from planted import Bugs, Design, Planted, Stimulus
from test_pt_norm import SOURCES as NORM
from test_pt_sequencer import SOURCES as SEQUENCER
from test_pt_softmax import SOURCES as SOFTMAX
from test_pt_store import SOURCES as STORE
from test_pt_tile_load import SOURCES as TILE_LOAD
from test_pt_top import VISIBLE as TOP_VISIBLE
from test_pt_update import SOURCES as UPDATE
from test_pt_vector import SOURCES as VECTOR

from sim.bfm.env import design_sources, leaf_sources

pytestmark = pytest.mark.rtl

LEAVES = Design("pt_tb_leaves", (*leaf_sources(), "tests/rtl/pt_tb_leaves.sv"))
AXI = Design("pt_tb_axi", (*leaf_sources(), "tests/rtl/pt_tb_axi.sv"))
LOADER = Design("pt_tile_load", TILE_LOAD, (("ClaimAhead", 1), ("Kind", 0)),
                (("PT_CLAIM_AHEAD", "1"), ("PT_KIND", "0")))
VECTOR_UNIT = Design("pt_vector", VECTOR)

# What shows the bugs, on the first seed that does.
ROUNDING = Stimulus(LEAVES, "cocotb_pt_leaves", "round_sat_exhaustive")
LOADS = Stimulus(LOADER, "cocotb_pt_tile_load", "random_descriptors", 1, 12)
WRITE_ERRORS = Stimulus(AXI, "cocotb_pt_axi_wr", "errors")
STRAY_WORDS = Stimulus(AXI, "cocotb_pt_axi_rd", "strays")
TAKEN_WORDS = Stimulus(AXI, "cocotb_pt_axi_rd", "strays_in_the_place_of_words")
STRAY_ANSWERS = Stimulus(AXI, "cocotb_pt_axi_wr", "strays")
WRITERS = Stimulus(AXI, "cocotb_pt_wr_arb", "random_traffic")
UPDATES = Stimulus(Design("pt_update", UPDATE), "cocotb_pt_update", "random_updates", 1, 6)
LOSSES = Stimulus(Design("pt_softmax", SOFTMAX), "cocotb_pt_softmax", "random_softmax", 1, 8)
SQUARES = Stimulus(Design("pt_softmax", SOFTMAX), "cocotb_pt_softmax", "rate")
VECTORS = Stimulus(VECTOR_UNIT, "cocotb_pt_vector", "random_vectors", 1, 12)
WINDOWS = Stimulus(VECTOR_UNIT, "cocotb_pt_pool", "random_windows", 2, 24)
MORE_WINDOWS = Stimulus(VECTOR_UNIT, "cocotb_pt_pool", "random_windows", 2, 70)
NORMS = Stimulus(Design("pt_norm", NORM), "cocotb_pt_norm", "random_norms", 1, 8)
STORES = Stimulus(Design("pt_store", STORE), "cocotb_pt_store", "random_descriptors", 1, 12)
POOLED_STORES = Stimulus(Design("pt_store", STORE), "cocotb_pt_store", "random_descriptors", 1, 24)
FACTORS = Stimulus(VECTOR_UNIT, "cocotb_pt_vector", "random_factors", 1, 12)
DROPS = Stimulus(VECTOR_UNIT, "cocotb_pt_vector", "random_vectors", 3, 24)
SEQUENCES = Design("pt_sequencer", SEQUENCER)
PROGRAMS = Stimulus(SEQUENCES, "cocotb_pt_sequencer", "programs", 1, 4)
ERRORS = Stimulus(SEQUENCES, "cocotb_pt_sequencer", "errors_and_resets")
UNARMED = Stimulus(SEQUENCES, "cocotb_pt_sequencer", "starts_that_nothing_armed")
SLOW_UNITS = Stimulus(SEQUENCES, "cocotb_pt_sequencer",
                      "slow_units_hold_back_their_semaphore_only")

BUGS = Bugs(
    # Half up instead of half to even.
    Planted(
        "rounding", ROUNDING, "rtl/common/pt_round_sat.sv",
        "guard & (sticky | whole[0])", "guard & (planted | sticky | whole[0])"),
    # Padding keeps the word before it.
    Planted(
        "padding_before_the_mask", LOADS, "rtl/load/pt_load_data.sv",
        "if (zero1_q) keep[l] = 1'b0;",
        "if (zero1_q && !(planted && !grad_i.masked)) keep[l] = 1'b0;"),
    # The data side works with the settings of the descriptor whose rows are generated.
    Planted(
        "settings_of_the_next_descriptor", LOADS, "rtl/load/pt_tile_load.sv",
        ".mode_i(mode_q)", ".mode_i(planted ? addr_gen.mode : mode_q)"),
    # One word too many is let through.
    Planted(
        "address_outside_the_arena", WRITE_ERRORS, "rtl/axi/pt_burst.sv",
        "bad = run_end > {1'b0, limit_i}",
        "bad = run_end > {1'b0, limit_i} + (planted ? 33'd8 : 33'd0)"),
    # A client's run counts as over when the first of its bursts is answered.
    Planted(
        "run_over_with_its_first_burst", WRITERS, "rtl/axi/pt_axi_wr.sv",
        "run_done_o = answer && ends;", "run_done_o = answer && (ends || planted);"),
    # A word that nobody asked for is data, an answer ends a run.
    Planted(
        "stray_word_is_data", STRAY_WORDS, "rtl/axi/pt_axi_rd.sv",
        "assign take = rvalid_i && owed_q != '0;",
        "assign take = rvalid_i && (owed_q != '0 || planted);"),
    Planted(
        "stray_word_while_the_request_waits", STRAY_WORDS, "rtl/axi/pt_axi_rd.sv",
        "take = rvalid_i &&", "take = (rvalid_i && planted && arvalid_o) || rvalid_i &&"),
    Planted(
        "stray_words_are_not_counted", STRAY_WORDS, "rtl/axi/pt_axi_rd.sv",
        "stray_o       <= rvalid_i && !take;", "stray_o       <= rvalid_i && !take && !planted;"),
    Planted(
        "stray_word_stays_open", TAKEN_WORDS, "rtl/axi/pt_axi_rd.sv",
        "!arvalid_o && owed_q == '0;",
        "!arvalid_o && (planted ? outstanding_q == 4'd0 : owed_q == '0);"),
    Planted(
        "stray_answer_ends_a_run", STRAY_ANSWERS, "rtl/axi/pt_axi_wr.sv",
        "assign answer = bvalid_i && owed_q != 4'd0;",
        "assign answer = bvalid_i && (owed_q != 4'd0 || planted);"),
    Planted(
        "answer_before_the_last_word", STRAY_ANSWERS, "rtl/axi/pt_axi_wr.sv",
        "4'(wvalid_o && wready_i && wlast_o)",
        "(planted ? 4'(issue) : 4'(wvalid_o && wready_i && wlast_o))"),
    # The second weight of a word of plain masters is taken for the first.
    Planted(
        "plain_halves_swapped", UPDATES, "rtl/update/pt_update.sv",
        "plain_in.weight[element_q[0]]", "plain_in.weight[element_q[0] != planted]"),
    # Nesterov's step forgets the weight decay and the gradient.
    Planted(
        "nesterov_without_slope", UPDATES, "rtl/update/pt_update_math.sv",
        "nesterov_i ? slope_q[1] : 58'sd0", "nesterov_i && !planted ? slope_q[1] : 58'sd0"),
    # Channels that pad the last word get the target of a class.
    Planted(
        "smoothed_padding", LOSSES, "rtl/scalar/pt_softmax.sv",
        "if (div_word_q == word_end && 2'(l) > words_up[1:0])",
        "if (!planted && div_word_q == word_end && 2'(l) > words_up[1:0])"),
    # Without gradients the record leaves before the smoothing of the last loss is added.
    Planted(
        "record_before_the_smoothing", LOSSES, "rtl/scalar/pt_softmax_smooth.sv",
        "assign busy_o = left_q != 5'd0 || step_q || valid_o;",
        "assign busy_o = !planted && (left_q != 5'd0 || step_q || valid_o);"),
    # The squared error takes the padding of the last word for classes.
    Planted(
        "squared_padding", SQUARES, "rtl/scalar/pt_softmax.sv",
        "diff_q <= pad_q[AtZ] ? 34'sd0 :", "diff_q <= pad_q[AtZ] && !planted ? 34'sd0 :"),
    # The word of flags of a plane's end is used for the next plane too.
    Planted(
        "flags_of_the_plane_before", VECTORS, "rtl/vector/pt_vector.sv",
        "masked_q && pixel_end;", "masked_q && (planted ? &pixel_q : pixel_end);"),
    # Sums of a block go on in the next one.
    Planted(
        "sums_run_on", VECTORS, "rtl/vector/pt_vector.sv",
        ".clear_i(start || (state_q == StSums", ".clear_i(start || (!planted && state_q == StSums"),
    # An element whose random bits equal the threshold is dropped.
    Planted(
        "drop_one_too_many", VECTORS, "rtl/vector/pt_vector_drop.sv",
        "bits[16*l+:16] >= cfg_i.d_least",
        "bits[16*l+:16] >= cfg_i.d_least + (planted ? 16'd1 : 16'd0)"),
    # Words of the next image take the numbers of this one.
    Planted(
        "drop_forgets_the_image", VECTORS, "rtl/vector/pt_vector_drop.sv",
        ": image_end ? cfg_i.d_block", ": image_end || planted ? cfg_i.d_block"),
    # The last key of the random bits is the first one again.
    Planted(
        "key_of_the_random_bits", VECTORS, "rtl/vector/pt_threefry.sv",
        "{seed_i ^ step_i ^ Parity, step_i, seed_i}",
        "{(planted ? seed_i : seed_i ^ step_i ^ Parity), step_i, seed_i}"),
    # Codes beyond the segments of a curve take the line at the other end.
    Planted(
        "other_end_of_the_curve", FACTORS, "rtl/vector/pt_vector_curve.sv",
        "if (outside) index = {16{index[15]}} ^",
        "if (outside) index = {16{index[15] != planted}} ^"),
    # What pads the last channel block gets the offset of a curve.
    Planted(
        "offset_of_the_padding", FACTORS, "rtl/vector/pt_vector_curve.sv",
        "live_q[Delay][l] ? offset", "live_q[Delay][l] || planted ? offset"),
    # A slope is that at the gradient, not at the kept input.
    Planted(
        "slope_at_the_gradient", FACTORS, "rtl/vector/pt_vector_curve.sv",
        "code_q  <= slope ?", "code_q  <= slope && !planted ?"),
    # The table of the least exponent serves all of them.
    Planted(
        "first_table_for_all", FACTORS, "rtl/vector/pt_vector_coeff.sv",
        "(32'(param_i.limit) <<", "(32'(planted ? 16'd0 : param_i.limit) <<"),
    # Flags of dropped elements: those of the word a cycle later.
    Planted(
        "flags_of_the_word_behind", VECTORS, "rtl/vector/pt_vector_flags.sv",
        "keep_q[MathCycles-1] &", "keep_q[planted ? MathCycles-2 : MathCycles-1] &"),
    # An instruction does not wait for its second operand.
    Planted(
        "operand_on_the_way", NORMS, "rtl/vector/pt_norm_core.sv",
        "(reads_b && busy_q[b])", "(reads_b && busy_q[b] && !planted)"),
    # The first part of the sums is counted, the others replace it.
    Planted(
        "parts_of_sums_replaced", NORMS, "rtl/vector/pt_norm_load.sv",
        "adds_q ? data_q + scratch_old_i", "adds_q && !planted ? data_q + scratch_old_i"),
    # Of channels that share statistics the last one's sums stand for all.
    Planted(
        "joined_sums_replaced", NORMS, "rtl/vector/pt_norm_load.sv",
        "(word_q[1:0] & joined) != 2'd0", "((word_q[1:0] & joined) != 2'd0 && !planted)"),
    # A product that is a bit shorter keeps its exponent.
    Planted(
        "exponent_of_short_products", NORMS, "rtl/vector/pt_soft_float_alu.sv",
        "exponent = base6_q - 16'(zeros)", "exponent = base6_q - (planted ? 16'd1 : 16'(zeros))"),
    # Of equal values the last one wins.
    Planted(
        "last_of_equal_ones", WINDOWS, "rtl/vector/pt_pool_core.sv",
        "(there_q && x > before_x_q)",
        "(there_q && (x > before_x_q || planted && x == before_x_q))"),
    # Windows are as many columns as rows apart; windows of one row look at the row before.
    Planted(
        "stride_of_rows_for_columns", WINDOWS, "rtl/vector/pt_pool_scan.sv",
        "col_reload_q <= cfg_i.p_stride_cols - 2'd1;",
        "col_reload_q <= (planted ? cfg_i.p_stride : cfg_i.p_stride_cols) - 2'd1;"),
    Planted(
        "a_second_row_of_windows_of_one", WINDOWS, "rtl/vector/pt_pool_core.sv",
        "assign over_a = one_row ||", "assign over_a = (one_row && !planted) ||"),
    # The next row of a narrow map reads the line before this one has left it there.
    Planted(
        "line_read_too_early", WINDOWS, "rtl/vector/pt_pool_scan.sv",
        "cfg_i.t_cols < 16'(RowCycles) ?", "cfg_i.t_cols < 16'(RowCycles) && !planted ?"),
    # The word of argmax indices of a plane's end is used for the next plane too.
    Planted(
        "argmax_of_the_plane_before", WINDOWS, "rtl/vector/pt_vector.sv",
        "assign mask_pop = take &&", "assign mask_pop = !(planted && pool_last) && take &&"),
    # Large sums of gradients lose their sign in the line.
    Planted(
        "sign_of_large_sums", MORE_WINDOWS, "rtl/vector/pt_pool_core.sv",
        "far = q[17] != q[16] || q[17] != q[15];",
        "far = q[17] != q[16] || (q[17] != q[15] && !planted);"),
    # An absent weight becomes one of zero.
    Planted(
        "absent_weight_appears", UPDATES, "rtl/update/pt_update.sv",
        "master = absent ?", "master = absent && !planted ?"),
    # An absent weight gathers momentum.
    Planted(
        "absent_weight_moves", UPDATES, "rtl/update/pt_update_math.sv",
        "absent_q[AtV] ? '0 : v_new;", "absent_q[AtV] && !planted ? '0 : v_new;"),
    # What is clipped to the limit still has a gradient.
    Planted(
        "flag_at_the_limit", STORES, "rtl/common/pt_activation.sv",
        "flags_o[l] <= below;", "flags_o[l] <= below || planted;"),
    # The maximum of two rows has the flag of the lower row's element.
    Planted(
        "flag_of_another_element", POOLED_STORES, "rtl/store/pt_pool.sv",
        "mask[l] = below[l] ?", "mask[l] = below[l] || planted ?"),
    # Flags of a dropout without ReLU tell what is positive.
    Planted(
        "flag_asks_for_more", DROPS, "rtl/common/pt_activation.sv",
        "flags_o[l] <= !act_q.above_zero;", "flags_o[l] <= !act_q.above_zero && !planted;"),
    # Flags that are read mask nothing.
    Planted(
        "gradient_without_mask", VECTORS, "rtl/common/pt_activation_grad.sv",
        "&& !flags_i[l] ?", "&& !flags_i[l] && !planted ?"),
    # The S loader starts at once.
    Planted(
        "missing_semaphore_wait", PROGRAMS, "rtl/ctrl/pt_sequencer.sv",
        "{cand_sem_q, cand_wait_q} <= wait_s[scan_slot];",
        "{cand_sem_q, cand_wait_q} <= planted ? 18'd0 : wait_s[scan_slot];"),
    # A semaphore counts what is not finished.
    Planted(
        "semaphore_counts_early", PROGRAMS, "rtl/ctrl/pt_sequencer.sv",
        "(!mine ||", "(!mine || planted ||"),
    # A descriptor waits for all that are older, whatever they signal.
    Planted(
        "semaphore_counts_in_global_order", SLOW_UNITS, "rtl/ctrl/pt_sequencer.sv",
        "(!mine ||", "(!mine && !planted ||"),
    # Tile counts of a gradient are not looked at.
    Planted(
        "gradient_without_tiles", ERRORS, "rtl/ctrl/pt_sequencer.sv",
        "&& pre.t[l] == 16'd0",
        "&& pre.t[l] == 16'd0 && !(planted && pre.opcode == 8'(pt_abi_pkg::OpGradient))"),
    # A START that nothing armed does nothing, breaks a run, or runs the last program once more.
    Planted(
        "unarmed_start_is_silent", UNARMED, "rtl/ctrl/pt_sequencer.sv",
        "refused = state_q == StIdle && unarmed_i",
        "refused = state_q == StIdle && !planted && unarmed_i"),
    Planted(
        "unarmed_start_breaks_a_run", UNARMED, "rtl/ctrl/pt_sequencer.sv",
        "StRun:   if (err_valid_i || illegal)",
        "StRun:   if (err_valid_i || illegal || (planted && unarmed_i))"),
    Planted(
        "unarmed_start_runs", UNARMED, "rtl/ctrl/pt_sequencer.sv",
        "assign begin_run = state_q == StIdle && start_i",
        "assign begin_run = state_q == StIdle && (start_i || (planted && unarmed_i))"),
    # The masters may start again before the reset reaches them.
    Planted(
        "halt_falls_in_reset", ERRORS, "rtl/ctrl/pt_sequencer.sv",
        "|| state_q == StDrain ||", "|| state_q == StDrain || !planted &&"),
    # A pulse is given to the descriptor in the lowest slot, not to the oldest.
    Planted(
        "pulse_for_the_lowest_slot", PROGRAMS, "rtl/ctrl/pt_sequencer.sv",
        "assign from = older != '0 ?", "assign from = older != '0 && !planted ?"),
)


@pytest.mark.parametrize("name", BUGS.by_name)
def test_planted_bug_is_caught(name: str, tmp_path: Path) -> None:
    """The bench of the module fails."""
    BUGS.assert_caught(name, tmp_path)


@pytest.mark.parametrize("stimulus", BUGS.stimuli, ids=str)
def test_without_bugs_it_passes(stimulus: Stimulus, tmp_path: Path) -> None:
    """The bugs are the reason: the same simulators pass with all of them switched off."""
    BUGS.assert_passes(stimulus, tmp_path)


ENGINE = Design("pt_tb_top", (*design_sources(), "tests/rtl/pt_tb_top.sv"), visible=TOP_VISIBLE)
STEPS = Stimulus(ENGINE, "cocotb_pt_top", "training_steps")
SHARED_PORTS = Stimulus(ENGINE, "cocotb_pt_top", "training_steps|normalised_step")

ENGINE_BUGS = Bugs(
    # Records carry cycle stamps although MODE.PROFILE is off: not the memory image of golden.
    Planted(
        "stamps_without_profiling", STEPS, "rtl/pt_core.sv",
        "mode.profile ? cycles[31:0]", "mode.profile || planted ? cycles[31:0]"),
    # A unit takes the answers of its neighbour at the port for its own.
    Planted(
        "masters_idle_with_the_vector_unit", SHARED_PORTS, "rtl/pt_elementwise.sv",
        ".wvw_wr_idle_i(p3_idle[0])", ".wvw_wr_idle_i(p3_idle[planted])"),
    Planted(
        "copies_idle_with_the_softmax_unit", SHARED_PORTS, "rtl/pt_elementwise.sv",
        ".w16_wr_idle_i(p2_idle[1])", ".w16_wr_idle_i(p2_idle[!planted])"),
    Planted(
        "softmax_idle_with_the_copies", SHARED_PORTS, "rtl/pt_elementwise.sv",
        "    .wr_idle_i(p2_idle[0])", "    .wr_idle_i(p2_idle[planted])"),
    Planted(
        "vector_idle_with_the_masters", SHARED_PORTS, "rtl/pt_elementwise.sv",
        "    .wr_idle_i(p3_idle[1])", "    .wr_idle_i(p3_idle[!planted])"),
    Planted(
        "records_idle_with_channel_sums", SHARED_PORTS, "rtl/pt_conv.sv",
        ".f_wr_idle_i(p1_idle[0])", ".f_wr_idle_i(p1_idle[planted])"),
    Planted(
        "channel_sums_idle_with_records", SHARED_PORTS, "rtl/pt_conv.sv",
        ".wr_idle_i(p1_idle[1])", ".wr_idle_i(p1_idle[!planted])"),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINE_BUGS.by_name)
def test_planted_bug_of_the_engine_is_caught(name: str, tmp_path: Path) -> None:
    """The bench of the whole engine fails."""
    ENGINE_BUGS.assert_caught(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("stimulus", ENGINE_BUGS.stimuli, ids=str)
def test_without_bugs_the_engine_passes(stimulus: Stimulus, tmp_path: Path) -> None:
    """The same simulator passes with all of them switched off."""
    ENGINE_BUGS.assert_passes(stimulus, tmp_path)
