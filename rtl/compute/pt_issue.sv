// SPDX-License-Identifier: Apache-2.0
// Issue of sweeps: tile loop, compute loop, and the steps of the array with all their addresses.
//
//   cycle   0        1          2             ...            ControlDelay (11)      12
//           step     tap read   rows, offset  X fetch        array: accumulator     V
//
// Contract: the next descriptor is received while the present one runs; its first step follows the
// last one by three cycles, if all it needs is there. Tiles start when X (x_ready_i), an
// accumulator half and the table are there; sweeps when the S chunk has arrived and the shortest
// period has passed. drain requests take a step's slot (never inside a window of four); the period
// does not count these slots, so that a group's next step never comes too early.
module pt_issue #(
  // Rows of a pixel table.
  parameter int unsigned Rows = 512,
  // Bits of a word address in an X bank.
  parameter int unsigned QW = 12,
  // Accumulator groups, both halves.
  parameter int unsigned Groups = 512,
  // Longest tap table.
  parameter int unsigned MaxTaps = 121,
  // Shortest period of a sweep in cycles.
  parameter int unsigned SweepMin = 12
) (
  input  logic                        clk_i,
  input  logic                        rst_ni,
  output logic                        cfg_req_o,
  input  logic                        cfg_valid_i,
  input  logic [7:0]                  cfg_idx_i,
  input  logic [63:0]                 cfg_data_i,
  input  logic                        cfg_last_i,
  output logic                        done_o,
  // pixel table
  input  logic                        table_ready_i,
  output logic                        table_free_o,
  output logic [$clog2(Rows)-1:0]     row_o,
  // X slots
  input  logic                        x_ready_i,
  output logic                        x_free_o,
  // V fetch, two cycles after the step
  output logic [QW+1:0]               offset_o,
  output logic                        window_o,
  output logic                        mute_o,
  output logic [1:0]                  quarter_o,
  // S ring
  output logic [15:0]                 chunk_o,
  input  logic [15:0]                 s_words_i,
  output logic                        s_go_o,
  output logic [15:0]                 s_offset_o,
  output logic                        s_free_o,
  output logic                        s_col_o,
  output logic [15:0]                 s_stride_o,
  output logic [2:0]                  s_live_o,
  // array, ControlDelay cycles after the step
  output logic                        step_o,
  output logic                        drain_o,
  output logic                        clear_o,
  output logic                        swap_o,
  output logic                        tile_done_o,
  output logic [$clog2(Groups)-1:0]   acc_o,
  input  logic                        tile_written_i,
  // accumulator halves and drain
  output logic                        acc_tile_valid_o,
  output logic                        acc_half_o,
  input  logic                        acc_release_i,
  input  logic                        drain_req_valid_i,
  output logic                        drain_req_ready_o,
  input  logic [$clog2(Groups)-2:0]   drain_group_i,
  // counters: one pulse per cycle
  output logic                        busy_o,
  output logic                        stall_x_o,
  output logic                        stall_s_o,
  output logic                        stall_acc_o,
  output logic                        stall_gap_o
);
  localparam int unsigned RowW = $clog2(Rows);
  localparam int unsigned PairW = QW + 2;
  localparam int unsigned AccW = $clog2(Groups);
  localparam int unsigned TapW = $clog2(MaxTaps + 1);
  // From the step to the array's accumulator read.
  localparam int unsigned ControlDelay = 11;

  if (SweepMin < pt_abi_pkg::SweepMinCyclesLeast ||
      SweepMin > pt_abi_pkg::SweepMinCyclesMost) begin : g_check1
    $fatal(1, "pt_issue: SweepMin must be %0d..%0d (pt_sset, read-modify-write; gap_q)",
           pt_abi_pkg::SweepMinCyclesLeast, pt_abi_pkg::SweepMinCyclesMost);
  end

  // ---- configuration ----------------------------------------------------------------------------
  // The next descriptor arrives while the present one runs, and takes its place in one cycle.
  logic [64*pt_abi_pkg::CfgComputeWords-1:0] next_cfg, cfg_q;
  logic [64*pt_abi_pkg::ParamWords-1:0]      param_unused;
  logic [79:0]      count_q;  // iterations of the tile levels
  logic             next_valid_q, load, received, tap;
  logic [6:0]       tap_idx;
  pt_abi_pkg::pre_t next_pre;
  pt_abi_pkg::c_t   cfg;
  assign cfg = cfg_q;
  pt_cfg_rx #(
    .First(pt_abi_pkg::CfgComputeFirst),
    .Words(pt_abi_pkg::CfgComputeWords),
    .Shift(1'b0),
    .Gate(1'b1)
  ) u_rx (
    .clk_i,
    .rst_ni,
    .req_o(cfg_req_o),
    .cfg_valid_i,
    .cfg_idx_i,
    .cfg_data_i,
    .cfg_last_i,
    .hold_i(next_valid_q),
    .end_o(received),
    .pre_o(next_pre),
    .section_o(next_cfg),
    .param_o(param_unused),
    .tap_o(tap),
    .tap_idx_o(tap_idx)
  );

  // Taps: {mute, first, abase, voff}, read with one cycle of latency; two tables.
  localparam int unsigned TapBits = PairW + (AccW - 1) + 2;
  (* ram_style = "distributed" *)
  logic [TapBits-1:0]  taps [2**(TapW + 1)];
  logic [TapBits-1:0]  tap_q;
  logic                table_q;  // taps of the present descriptor
  pt_abi_pkg::tap_t   tap_in;
  assign tap_in = cfg_data_i;

  logic cfg_clk;
  pt_clock_gate u_cfg_clock (
    .clk_i,
    .rst_ni,
    .active_i(tap || load),
    .clk_o(cfg_clk)
  );
  always_ff @(posedge cfg_clk) begin
    if (tap) begin
      taps[{!table_q, tap_idx[TapW-1:0]}] <=
          {tap_in.mute, tap_in.first, tap_in.abase[AccW-2:0], tap_in.voff[PairW-1:0]};
    end
    if (load) begin
      count_q <= next_pre.t;
      cfg_q   <= next_cfg;
    end
  end
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      next_valid_q <= 1'b0;
      table_q      <= 1'b0;
    end else begin
      if (received) next_valid_q <= 1'b1;
      else if (load) next_valid_q <= 1'b0;
      table_q <= table_q ^ load;
    end
  end

  typedef enum logic [1:0] {StIdle, StStart, StRun} state_e;
  state_e state_q;
  logic   running;
  assign running = state_q == StRun;
  assign load = state_q == StIdle && next_valid_q && table_ready_i;

  // ---- loops ------------------------------------------------------------------------------------
  logic        begin_pass, begin_tile, step, tile_end, pass_end;
  logic [4:0]  t_first, t_last, l_first, l_last;
  logic [2:0]  t_level_unused, l_level;
  logic [79:0] t_idx_unused, l_idx;

  pt_loop #(.Levels(5), .CntW(16)) u_tiles (
    .clk_i,
    .rst_ni,
    .start_i(begin_pass),
    .step_i(tile_end),
    .count_i(count_q),
    .idx_o(t_idx_unused),
    .first_o(t_first),
    .last_o(t_last),
    .level_o(t_level_unused)
  );
  pt_loop #(.Levels(5), .CntW(16)) u_steps (
    .clk_i,
    .rst_ni,
    .start_i(begin_tile),
    .step_i(step),
    .count_i(cfg.l),
    .idx_o(l_idx),
    .first_o(l_first),
    .last_o(l_last),
    .level_o(l_level)
  );
  assign tile_end = step && (&l_last);
  assign pass_end = tile_end && (&t_last);
  assign begin_pass = state_q == StStart;
  assign begin_tile = begin_pass || (tile_end && !pass_end);

  // Tile flags: levels below reuse / red all at their first or last index.
  logic x_first, x_last, red_first, red_last;
  always_comb begin
    x_first = 1'b1;
    x_last = 1'b1;
    red_first = 1'b1;
    red_last = 1'b1;
    for (int unsigned l = 0; l < 5; l++) begin
      if (3'(l) < cfg.xreuse) begin
        x_first = x_first & t_first[l];
        x_last = x_last & t_last[l];
      end
      if (3'(l) < cfg.red) begin
        red_first = red_first & t_first[l];
        red_last = red_last & t_last[l];
      end
    end
  end

  // ---- affine variables -------------------------------------------------------------------------
  logic [5*RowW-1:0]  row_jumps;
  logic [5*PairW-1:0] offset_jumps;
  for (genvar l = 0; l < 5; l++) begin : g_jump
    assign row_jumps[l*RowW+:RowW] = cfg.dj[l][RowW-1:0];
    assign offset_jumps[l*PairW+:PairW] = cfg.dx[l][PairW-1:0];
  end
  pt_affine #(.Levels(5), .W(RowW)) u_row (
    .clk_i,
    .load_i(begin_tile),
    .base_i({RowW{1'b0}}),
    .step_i(step),
    .level_i(l_level),
    .delta_i(row_jumps),
    .value_o(row_o)
  );
  logic [PairW-1:0] offset, slot_base;
  logic             slot_q;
  // Loaded at the end of a tile or in front of the first one, so x_last alone tells the next slot.
  assign slot_base = {slot_q ^ (running && x_last), {(QW - 1) {1'b0}}, 2'b00};
  pt_affine3 #(.Levels(5), .QW(QW)) u_offset (
    .clk_i,
    .load_i(begin_tile),
    .base_i(slot_base),
    .step_i(step),
    .level_i(l_level),
    .delta_i(offset_jumps),
    .value_o(offset)
  );

  // ---- conditions -------------------------------------------------------------------------------
  logic [15:0]      set_q, set_offset_q, live_left_q;
  logic [3:0]       gap_q;
  logic             sweep_first, tile_first, sweep_ok, tile_ok, half_ok, quad_first;
  logic [1:0]       halves_q;   // halves that hold a finished tile
  logic [1:0]       written_q;  // tiles issued but not yet written
  logic             half_q, rhalf_q, chunk_first, avail_q;
  assign sweep_first = cfg.wu ? (&l_first[3:0]) : l_first[0];
  assign tile_first = &l_first;
  assign quad_first = !cfg.wu || l_first[0];
  assign chunk_first = set_q == 16'd0;
  assign half_ok = halves_q + written_q < 2'd2;
  assign tile_ok = !tile_first || ((!x_first || x_ready_i) && (!red_first || half_ok));
  assign sweep_ok = !sweep_first || ((!chunk_first || avail_q) && gap_q == 4'd0);

  // The chunk has arrived: compared a cycle ahead, for both of what s_free_o may do in this one.
  logic [16:0] chunk_twice;
  assign chunk_twice = {cfg.s_chunk, 1'b0};
  always_ff @(posedge clk_i) begin
    avail_q <= s_free_o ? {1'b0, s_words_i} >= chunk_twice : s_words_i >= cfg.s_chunk;
  end

  logic drain_slot;
  assign drain_slot = drain_req_valid_i && (!running || quad_first);
  assign drain_req_ready_o = !running || quad_first;
  assign step = running && tile_ok && sweep_ok && !drain_slot;
  assign busy_o = step;
  assign stall_x_o = running && !drain_slot && tile_first && x_first && !x_ready_i;
  assign stall_acc_o = running && !drain_slot && !stall_x_o && !tile_ok;
  assign stall_s_o = running && !drain_slot && tile_ok && sweep_first && chunk_first && !avail_q;
  assign stall_gap_o = running && !drain_slot && tile_ok && !stall_s_o && !sweep_ok;

  // ---- S sets -----------------------------------------------------------------------------------
  logic set_last;
  assign set_last = set_q + 16'd1 == cfg.s_sets;
  assign chunk_o = cfg.s_chunk;
  assign s_go_o = step && sweep_first;
  assign s_free_o = s_go_o && set_last;
  assign s_offset_o = set_offset_q;
  assign s_col_o = cfg.s_col;
  assign s_stride_o = cfg.s_stride;
  assign s_live_o = (cfg.s_valid == 16'd0 || live_left_q >= 16'd4) ? 3'd4 : live_left_q[2:0];

  // ---- state ------------------------------------------------------------------------------------
  assign table_free_o = pass_end;
  assign x_free_o = tile_end && x_last;
  assign done_o = pass_end;
  assign acc_tile_valid_o = halves_q != 2'd0;
  assign acc_half_o = rhalf_q;

  logic hand_over;
  assign hand_over = tile_end && red_last;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q   <= StIdle;
      slot_q    <= 1'b0;
      half_q    <= 1'b0;
      rhalf_q   <= 1'b0;
      halves_q  <= 2'd0;
      written_q <= 2'd0;
      gap_q     <= 4'd0;
    end else begin
      unique case (state_q)
        StIdle:  if (load) state_q <= StStart;
        StStart: state_q <= StRun;
        StRun:   if (pass_end) state_q <= StIdle;
        default: state_q <= StIdle;
      endcase
      if (x_free_o) slot_q <= ~slot_q;
      if (hand_over) half_q <= ~half_q;
      if (acc_release_i) rhalf_q <= ~rhalf_q;
      halves_q  <= halves_q + 2'(tile_written_i) - 2'(acc_release_i);
      written_q <= written_q + 2'(hand_over) - 2'(tile_written_i);
      if (s_go_o) gap_q <= 4'(SweepMin - 1);
      else if (gap_q != 4'd0 && !drain_slot) gap_q <= gap_q - 4'd1;
    end
    if (begin_pass) begin
      set_q        <= 16'd0;
      set_offset_q <= 16'd0;
      live_left_q  <= cfg.s_valid;
    end else if (s_go_o) begin
      set_q        <= set_last ? 16'd0 : set_q + 16'd1;
      set_offset_q <= set_last ? 16'd0 : set_offset_q + cfg.s_step;
      live_left_q  <= set_last ? cfg.s_valid : live_left_q - 16'd4;
    end
  end

  // ---- pipeline ---------------------------------------------------------------------------------
  // Stage 1: tap. Stage 2: offset with tap; accumulator address.
  logic             clear_wu;
  logic             s1_step, s1_drain, s1_sweep, s1_wu, s1_clear, s1_clear_wu, s1_done, s1_half;
  logic [1:0]       s1_quarter;
  logic [PairW-1:0] s1_offset, s2_offset;
  logic [AccW-2:0]  s1_group, run_q, acc_low;
  logic             tap_mute, tap_first;
  logic [AccW-2:0]  tap_base;
  assign {tap_mute, tap_first, tap_base} = tap_q[TapBits-1:PairW];
  assign clear_wu = l_first[4] && red_first;

  always_ff @(posedge clk_i) begin
    tap_q       <= taps[{table_q, l_idx[32+:TapW]}];
    s1_sweep    <= sweep_first;
    s1_wu       <= cfg.wu;
    s1_clear    <= l_first[1] && l_first[3] && red_first;
    s1_clear_wu <= clear_wu;
    s1_done     <= hand_over;
    s1_quarter  <= l_idx[1:0];
    s1_offset   <= offset;
    s1_group    <= drain_group_i;
    s1_half     <= drain_slot ? rhalf_q : half_q;
    if (!rst_ni) begin
      s1_step  <= 1'b0;
      s1_drain <= 1'b0;
    end else begin
      s1_step  <= step;
      s1_drain <= drain_slot;
    end
  end

  pt_add3 #(.QW(QW)) u_tap (
    .a_i(s1_offset),
    .b_i(tap_q[PairW-1:0]),
    .sum_o(s2_offset)
  );
  assign acc_low = s1_sweep ? (s1_wu ? (AccW - 1)'(0) : tap_base) : run_q + (AccW - 1)'(1);

  // Control bits of stages 2 .. ControlDelay.
  logic [ControlDelay:2] step_q, drain_q, clear_q, swap_q, done_q;
  logic [AccW-1:0]       acc_q [ControlDelay+1];
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      step_q  <= '0;
      drain_q <= '0;
    end else begin
      step_q  <= {step_q[ControlDelay-1:2], s1_step};
      drain_q <= {drain_q[ControlDelay-1:2], s1_drain};
    end
    clear_q <= {clear_q[ControlDelay-1:2], s1_wu ? s1_clear_wu : (s1_clear && tap_first)};
    swap_q  <= {swap_q[ControlDelay-1:2], s1_sweep};
    done_q  <= {done_q[ControlDelay-1:2], s1_done};
    if (s1_step) run_q <= acc_low;
    acc_q[2] <= {s1_half, s1_drain ? s1_group : acc_low};
    for (int unsigned k = 3; k <= ControlDelay; k++) acc_q[k] <= acc_q[k-1];
    offset_o  <= s2_offset;
    window_o  <= s1_wu;
    mute_o    <= tap_mute && !s1_wu;
    quarter_o <= s1_quarter;
  end

  assign step_o = step_q[ControlDelay];
  assign drain_o = drain_q[ControlDelay];
  assign clear_o = clear_q[ControlDelay];
  assign swap_o = swap_q[ControlDelay];
  assign tile_done_o = done_q[ControlDelay];
  assign acc_o = acc_q[ControlDelay];

  logic unused;
  assign unused = &{1'b0, t_level_unused, t_idx_unused, l_idx, next_pre, cfg, tap_in};
endmodule
