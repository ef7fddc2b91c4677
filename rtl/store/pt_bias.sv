// SPDX-License-Identifier: Apache-2.0
// Bias: fetches the masters of a segment (four per channel block) ahead of time and aligns them to the accumulators.
//
// Contract: start_i (idle) begins; configuration stays stable until the last segment is released.
// Two segments are held; ready_o: the oldest one is complete (always, without bias). bias_o follows
// pick_i, block_i by one cycle; release_i (with or after the last pick_i) frees the segment.
module pt_bias #(
  // Channel blocks of an m tile, power of two, 4..16.
  parameter int unsigned Blocks = 4
) (
  input  logic         clk_i,
  input  logic         rst_ni,
  input  logic         start_i,
  input  logic         enable_i,     // add the bias; else bias_o is zero
  input  logic [7:0]   shift_i,      // signed: left if positive, right with rounding if negative
  input  logic [31:0]  off_i,
  input  logic [159:0] doff_i,       // jump of the offset at store level 0..4
  input  logic [79:0]  count_i,      // iterations of store level 0..4
  output logic         ready_o,
  input  logic         pick_i,
  input  logic [$clog2(Blocks)-1:0] block_i,
  output logic [191:0] bias_o,       // four 48-bit values
  input  logic         release_i,
  // read client
  output logic         run_valid_o,
  input  logic         run_ready_i,
  output logic [31:0]  run_off_o,
  output logic [15:0]  run_len_o,
  output logic         run_last_o,
  input  logic         data_valid_i,
  output logic         data_ready_o,
  input  logic [63:0]  data_i
);
  localparam int unsigned BlkW = $clog2(Blocks);
  if (Blocks < 4 || Blocks > 16 || Blocks != 2 ** BlkW) begin : g_check
    $fatal(1, "pt_bias: Blocks must be 4, 8 or 16");
  end

  // ---- segments ---------------------------------------------------------------------------------
  logic [4:0]  y_first_unused, y_last;
  logic [2:0]  y_level;
  logic [79:0] y_idx_unused;
  logic        step, active_q;
  logic [1:0]  taken_q;     // segments asked for and not released
  assign run_valid_o = active_q && !taken_q[1];
  assign run_len_o = 16'(4 * Blocks);
  assign run_last_o = 1'b1;
  assign step = run_valid_o && run_ready_i;

  pt_loop #(.Levels(5), .CntW(16)) u_segments (
    .clk_i,
    .rst_ni,
    .start_i,
    .step_i(step),
    .count_i,
    .idx_o(y_idx_unused),
    .first_o(y_first_unused),
    .last_o(y_last),
    .level_o(y_level)
  );
  pt_affine #(.Levels(5), .W(32)) u_off (
    .clk_i,
    .load_i(start_i),
    .base_i(off_i),
    .step_i(step),
    .level_i(y_level),
    .delta_i(doff_i),
    .value_o(run_off_o)
  );

  // ---- alignment --------------------------------------------------------------------------------
  logic [7:0]  minus;
  logic [5:0]  left_q, right_q;
  logic        gone_q;      // a left shift by 48 or more
  logic        round_valid, aligned_valid, sat_unused;
  logic [33:0] rounded;
  logic [47:0] aligned;
  assign minus = 8'd0 - shift_i;
  assign data_ready_o = 1'b1;

  always_ff @(posedge clk_i) begin
    left_q  <= shift_i[7] ? 6'd0 : shift_i[5:0];
    right_q <= !shift_i[7] ? 6'd0 : minus > 8'd33 ? 6'd33 : minus[5:0];
    gone_q  <= !shift_i[7] && shift_i > 8'd47;
    aligned <= gone_q ? 48'd0 : 48'($signed(rounded)) << left_q;
    if (!rst_ni) aligned_valid <= 1'b0;
    else aligned_valid <= round_valid;
  end

  // Two bits more than a master: nothing saturates, and a shift by 33 leaves nothing.
  pt_round_sat #(.InW(34), .OutW(34), .ShW(6), .Lanes(1)) u_round (
    .clk_i,
    .rst_ni,
    .valid_i(data_valid_i),
    .data_i({{2{data_i[31]}}, data_i[31:0]}),
    .shift_i(right_q),
    .valid_o(round_valid),
    .data_o(rounded),
    .sat_o(sat_unused)
  );

  // ---- two segments of Blocks x 4 lanes -------------------------------------------------------
  logic [BlkW+1:0] word_q;
  logic [1:0] full_q;
  logic       wslot_q, rslot_q, filled;
  assign filled = aligned_valid && (&word_q);
  assign ready_o = !enable_i || full_q != 2'd0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      active_q <= 1'b0;
      taken_q  <= 2'd0;
      full_q   <= 2'd0;
      word_q   <= '0;
      wslot_q  <= 1'b0;
      rslot_q  <= 1'b0;
    end else begin
      if (start_i) active_q <= enable_i;
      else if (step && (&y_last)) active_q <= 1'b0;
      taken_q <= taken_q + 2'(step) - 2'(release_i && enable_i);
      full_q  <= full_q + 2'(filled) - 2'(release_i && enable_i);
      word_q  <= word_q + (BlkW + 2)'(aligned_valid);
      wslot_q <= wslot_q ^ filled;
      rslot_q <= rslot_q ^ (release_i && enable_i);
    end
  end

  for (genvar l = 0; l < 4; l++) begin : g_lane
    (* ram_style = "distributed" *)
    logic [47:0] mem [2*Blocks];
    always_ff @(posedge clk_i) begin
      if (aligned_valid && word_q[1:0] == 2'(l)) mem[{wslot_q, word_q[BlkW+1:2]}] <= aligned;
      if (pick_i) bias_o[l*48+:48] <= enable_i ? mem[{rslot_q, block_i}] : 48'd0;
    end
  end

  logic unused;
  assign unused = &{1'b0, y_idx_unused, y_first_unused, data_i[63:32], sat_unused};
endmodule
