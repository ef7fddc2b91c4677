// SPDX-License-Identifier: Apache-2.0
// Test harness: the leaves of rtl/common side by side, each with ports of its own.
module pt_tb_leaves #(
  // Words of the queue in block memory.
  parameter int unsigned BramDepth = 16
) (
  input  logic         clk_i,
  input  logic         rst_ni,
  // Queues: 0 depth 2, 1 depth 8, 2 block memory.
  input  logic [2:0]   fifo_valid_i,
  output logic [2:0]   fifo_ready_o,
  input  logic [63:0]  fifo_data_i,
  output logic [2:0]   fifo_valid_o,
  input  logic [2:0]   fifo_ready_i,
  output logic [191:0] fifo_data_o,
  output logic [23:0]  fifo_count_o,
  // Memory, with and without output register; deep ones, parted: the addresses are their first and
  // last 16, the words spread over all bits.
  input  logic         ram_we_i,
  input  logic [4:0]   ram_waddr_i,
  input  logic [15:0]  ram_wdata_i,
  input  logic         ram_re_i,
  input  logic [4:0]   ram_raddr_i,
  output logic [15:0]  ram_direct_o,
  output logic [15:0]  ram_reg_o,
  output logic [47:0]  ram_deep48_o,
  output logic [63:0]  ram_deep64_o,
  // Rounding: small 10 -> 6, wide 2 x 48 -> 16.
  input  logic         small_valid_i,
  input  logic [3:0]   small_shift_i,
  input  logic [9:0]   small_data_i,
  output logic         small_valid_o,
  output logic [5:0]   small_data_o,
  output logic         small_sat_o,
  input  logic         wide_valid_i,
  input  logic [5:0]   wide_shift_i,
  input  logic [95:0]  wide_data_i,
  output logic         wide_valid_o,
  output logic [31:0]  wide_data_o,
  output logic [1:0]   wide_sat_o,
  // Loop of 5 levels with an affine variable of each kind.
  input  logic         loop_start_i,
  input  logic         loop_step_i,
  input  logic [79:0]  loop_count_i,
  output logic [79:0]  loop_idx_o,
  output logic [4:0]   loop_first_o,
  output logic [4:0]   loop_last_o,
  output logic [2:0]   loop_level_o,
  input  logic [31:0]  affine_base_i,
  input  logic [159:0] affine_delta_i,
  output logic [31:0]  affine_value_o,
  input  logic [13:0]  ternary_base_i,
  input  logic [69:0]  ternary_delta_i,
  output logic [13:0]  ternary_value_o
);
  logic [1:0] count2;
  logic [3:0] count8;
  logic [$clog2(BramDepth+1)-1:0] count_bram;
  assign fifo_count_o = {8'(count_bram), 8'(count8), 8'(count2)};
  pt_fifo #(.Width(64), .Depth(2)) u_fifo2 (
    .clk_i, .rst_ni,
    .valid_i(fifo_valid_i[0]), .ready_o(fifo_ready_o[0]), .data_i(fifo_data_i),
    .valid_o(fifo_valid_o[0]), .ready_i(fifo_ready_i[0]), .data_o(fifo_data_o[63:0]),
    .count_o(count2)
  );
  pt_fifo #(.Width(64), .Depth(8)) u_fifo8 (
    .clk_i, .rst_ni,
    .valid_i(fifo_valid_i[1]), .ready_o(fifo_ready_o[1]), .data_i(fifo_data_i),
    .valid_o(fifo_valid_o[1]), .ready_i(fifo_ready_i[1]), .data_o(fifo_data_o[127:64]),
    .count_o(count8)
  );
  pt_fifo_bram #(.Width(64), .Depth(BramDepth)) u_fifo_bram (
    .clk_i, .rst_ni,
    .valid_i(fifo_valid_i[2]), .ready_o(fifo_ready_o[2]), .data_i(fifo_data_i),
    .valid_o(fifo_valid_o[2]), .ready_i(fifo_ready_i[2]), .data_o(fifo_data_o[191:128]),
    .count_o(count_bram)
  );

  pt_ram_sdp #(.Depth(32), .Width(16), .OutReg(1'b0)) u_ram_direct (
    .clk_i, .we_i(ram_we_i), .waddr_i(ram_waddr_i), .wdata_i(ram_wdata_i),
    .re_i(ram_re_i), .raddr_i(ram_raddr_i), .rdata_o(ram_direct_o)
  );
  pt_ram_sdp #(.Depth(32), .Width(16), .OutReg(1'b1)) u_ram_reg (
    .clk_i, .we_i(ram_we_i), .waddr_i(ram_waddr_i), .wdata_i(ram_wdata_i),
    .re_i(ram_re_i), .raddr_i(ram_raddr_i), .rdata_o(ram_reg_o)
  );

  logic [63:0] deep_word;
  assign deep_word = 64'(ram_wdata_i) * 64'h9E37_79B9_7F4A_7C15;
  pt_ram_sdp #(.Depth(4096), .Width(48), .OutReg(1'b0)) u_ram_deep48 (
    .clk_i, .we_i(ram_we_i), .waddr_i(12'($signed(ram_waddr_i))), .wdata_i(deep_word[47:0]),
    .re_i(ram_re_i), .raddr_i(12'($signed(ram_raddr_i))), .rdata_o(ram_deep48_o)
  );
  pt_ram_sdp #(.Depth(8192), .Width(64), .OutReg(1'b1)) u_ram_deep64 (
    .clk_i, .we_i(ram_we_i), .waddr_i(13'($signed(ram_waddr_i))), .wdata_i(deep_word),
    .re_i(ram_re_i), .raddr_i(13'($signed(ram_raddr_i))), .rdata_o(ram_deep64_o)
  );

  pt_round_sat #(.InW(10), .OutW(6), .ShW(4)) u_small (
    .clk_i, .rst_ni, .valid_i(small_valid_i), .shift_i(small_shift_i), .data_i(small_data_i),
    .valid_o(small_valid_o), .data_o(small_data_o), .sat_o(small_sat_o)
  );
  pt_round_sat #(.InW(48), .OutW(16), .ShW(6), .Lanes(2)) u_wide (
    .clk_i, .rst_ni, .valid_i(wide_valid_i), .shift_i(wide_shift_i), .data_i(wide_data_i),
    .valid_o(wide_valid_o), .data_o(wide_data_o), .sat_o(wide_sat_o)
  );

  pt_loop #(.Levels(5), .CntW(16)) u_loop (
    .clk_i, .rst_ni, .start_i(loop_start_i), .step_i(loop_step_i), .count_i(loop_count_i),
    .idx_o(loop_idx_o), .first_o(loop_first_o), .last_o(loop_last_o), .level_o(loop_level_o)
  );
  pt_affine #(.Levels(5), .W(32)) u_affine (
    .clk_i, .load_i(loop_start_i), .base_i(affine_base_i), .step_i(loop_step_i),
    .level_i(loop_level_o), .delta_i(affine_delta_i), .value_o(affine_value_o)
  );
  pt_affine3 #(.Levels(5), .QW(12)) u_affine3 (
    .clk_i, .load_i(loop_start_i), .base_i(ternary_base_i), .step_i(loop_step_i),
    .level_i(loop_level_o), .delta_i(ternary_delta_i), .value_o(ternary_value_o)
  );
endmodule
