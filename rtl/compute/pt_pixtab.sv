// SPDX-License-Identifier: Apache-2.0
// Pixel table, an address generator whose results are kept: it goes through the pixels of a tile
// once per descriptor and stores the X positions of each table row.
//
//   row = {lane 2: q[11:0] r[1:0], lane 1, lane 0}      position = 3*q + r, bank = r, word = q
//
// Contract: two tables are held. table_ready_o: the oldest filled table may be read (row_i, answer after two
// cycles); table_free_i releases it. A descriptor's table is filled as soon as a table is free.
module pt_pixtab #(
  // Rows of one table, power of two, 16..4096.
  parameter int unsigned Rows = 512,
  // Bits of a word address in an X bank, 4..14.
  parameter int unsigned QW = 12,
  // Pixel lanes: 3 (positions are ternary pairs).
  parameter int unsigned Tp = 3
) (
  input  logic                      clk_i,
  input  logic                      rst_ni,
  output logic                      cfg_req_o,
  input  logic                      cfg_valid_i,
  input  logic [7:0]                cfg_idx_i,
  input  logic [63:0]               cfg_data_i,
  input  logic                      cfg_last_i,
  output logic                      done_o,
  output logic                      table_ready_o,
  input  logic                      table_free_i,
  input  logic [$clog2(Rows)-1:0]   row_i,
  output logic [Tp*(QW+2)-1:0]      row_o
);
  localparam int unsigned RowW = $clog2(Rows);
  localparam int unsigned PairW = QW + 2;

  if (Tp != 3) begin : g_check1
    $fatal(1, "pt_pixtab: Tp must be 3");
  end
  if (QW < $clog2(pt_abi_pkg::XBankWordsLeast) ||
      QW > $clog2(pt_abi_pkg::XBankWordsMost)) begin : g_check2
    $fatal(1, "pt_pixtab: 2**QW must be %0d..%0d", pt_abi_pkg::XBankWordsLeast,
           pt_abi_pkg::XBankWordsMost);
  end

  // Everything but the table's reads rests between fillings.
  logic clk, active;
  pt_clock_gate #(.Rest(2)) u_clock (
    .clk_i,
    .rst_ni,
    .active_i(active),
    .clk_o(clk)
  );

  // Configuration: the unit's own section only.
  logic [64*pt_abi_pkg::ParamWords-1:0]  param_unused;
  pt_abi_pkg::pre_t pre_unused;
  pt_abi_pkg::pix_t cfg;
  logic                        received, tap_unused;
  logic [6:0]                  tap_idx_unused;

  typedef enum logic [1:0] {StIdle, StStart, StFill} state_e;
  state_e state_q;

  assign active = cfg_valid_i || state_q != StIdle || table_free_i;

  // Tables: filled and released in turn.
  logic       wslot_q, rslot_q;
  logic [1:0] used_q;
  logic       filled;
  assign table_ready_o = used_q != 2'd0;
  pt_cfg_rx #(
    .First(pt_abi_pkg::CfgPixFirst),
    .Words(pt_abi_pkg::CfgPixWords)
  ) u_rx (
    .clk_i(clk),
    .rst_ni,
    .req_o(cfg_req_o),
    .cfg_valid_i,
    .cfg_idx_i,
    .cfg_data_i,
    .cfg_last_i,
    .hold_i(state_q != StIdle || used_q == 2'd2),
    .end_o(received),
    .pre_o(pre_unused),
    .section_o(cfg),
    .param_o(param_unused),
    .tap_o(tap_unused),
    .tap_idx_o(tap_idx_unused)
  );
  assign done_o = filled;

  // Pixel scan.
  logic                 start, step, last;
  logic [2:0]           first_unused, last_level;
  logic [1:0]           level;
  logic [3*16-1:0]      idx_unused;
  logic [PairW-1:0]     pos;
  assign start = state_q == StStart;
  assign step = state_q == StFill;
  assign last = &last_level;

  pt_loop #(
    .Levels(3),
    .CntW(16)
  ) u_loop (
    .clk_i(clk),
    .rst_ni,
    .start_i(start),
    .step_i(step),
    .count_i(cfg.p),
    .idx_o(idx_unused),
    .first_o(first_unused),
    .last_o(last_level),
    .level_o(level)
  );

  logic [3*PairW-1:0] jumps;
  for (genvar l = 0; l < 3; l++) begin : g_jump
    assign jumps[l*PairW+:PairW] = cfg.dpos[l][PairW-1:0];
  end

  pt_affine3 #(
    .Levels(3),
    .QW(QW)
  ) u_pos (
    .clk_i(clk),
    .load_i(start),
    .base_i({PairW{1'b0}}),
    .step_i(step),
    .level_i(level),
    .delta_i(jumps),
    .value_o(pos)
  );

  // Lanes.
  logic             window, groups;
  logic [1:0]       lane_q;
  logic [PairW-1:0] lane_step, pos1, pos2, hold0_q, hold1_q;
  assign window = cfg.pmode == 2'(pt_abi_pkg::PixWindow);
  assign groups = cfg.pmode == 2'(pt_abi_pkg::PixGroups);
  assign lane_step = cfg.lane[PairW-1:0];
  pt_add3 #(.QW(QW)) u_lane1 (.a_i(pos), .b_i(lane_step), .sum_o(pos1));
  pt_add3 #(.QW(QW)) u_lane2 (.a_i(pos1), .b_i(lane_step), .sum_o(pos2));

  logic                  row_done;
  logic [RowW-1:0]       row_q;
  logic [Tp*PairW-1:0]   row;
  assign row_done = step && (!groups || lane_q == 2'd2 || last);
  assign filled = step && last;

  always_comb begin
    row = {pos, pos, pos};
    if (window) row = {pos2, pos1, pos};
    else if (groups && lane_q == 2'd1) row = {hold0_q, pos, hold0_q};
    else if (groups && lane_q == 2'd2) row = {pos, hold1_q, hold0_q};
  end

  always_ff @(posedge clk) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      used_q  <= 2'd0;
      wslot_q <= 1'b0;
      rslot_q <= 1'b0;
    end else begin
      unique case (state_q)
        StIdle:   if (received) state_q <= StStart;
        StStart:  state_q <= StFill;
        StFill:   if (last) state_q <= StIdle;
        default:  state_q <= StIdle;
      endcase
      used_q  <= used_q + 2'(filled) - 2'(table_free_i);
      wslot_q <= wslot_q ^ filled;
      rslot_q <= rslot_q ^ table_free_i;
    end
    if (start) begin
      row_q  <= '0;
      lane_q <= 2'd0;
    end else if (step) begin
      lane_q <= row_done ? 2'd0 : lane_q + 2'd1;
      if (row_done) row_q <= row_q + RowW'(1);
      if (lane_q == 2'd0) hold0_q <= pos;
      if (lane_q == 2'd1) hold1_q <= pos;
    end
  end

  pt_ram_sdp #(
    .Depth(2 * Rows),
    .Width(Tp * PairW),
    .OutReg(1'b1)
  ) u_table (
    .clk_i,
    .we_i(row_done),
    .waddr_i({wslot_q, row_q}),
    .wdata_i(row),
    .re_i(1'b1),
    .raddr_i({rslot_q, row_i}),
    .rdata_o(row_o)
  );

  logic unused;
  assign unused = &{1'b0, first_unused, idx_unused, cfg, pre_unused, param_unused, tap_unused,
                    tap_idx_unused};
endmodule
