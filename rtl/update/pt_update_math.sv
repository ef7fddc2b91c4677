// SPDX-License-Identifier: Apache-2.0
// SGD arithmetic of one element per cycle: momentum, weight decay, step, 16-bit copy.
//
//   g32 = sat(RNE((g << 16) >> g_shift))
//   v'  = sat(RNE((((momentum * v) << 8) + decay * w + (g32 << 24)) >> 24))
//   u   = v', or with nesterov sat(RNE((((momentum * v') << 8) + decay * w + (g32 << 24)) >> 24))
//   w'  = sat(w - sat(RNE((lr * u) >> lr_shift)))         copy = sat(RNE(w' >> w_shift))
//
// The most negative w, which saturation never yields, marks an absent weight: v', w' and copy are
// zero, and absent_o is set.
//
// Contract: a pipeline without stalls. master_valid_o comes 23 cycles after valid_i, copy_valid_o
// three later. Saturation is symmetric. The factors must be stable while elements are inside.
module pt_update_math (
  input  logic        clk_i,
  input  logic        rst_ni,
  input  logic [5:0]  g_shift_i,
  input  logic [5:0]  lr_shift_i,
  input  logic [4:0]  w_shift_i,
  input  logic [16:0] momentum_i,  // Q0.16, up to one
  input  logic [15:0] decay_i,     // Q0.20
  input  logic [15:0] lr_i,
  input  logic        nesterov_i,
  input  logic        valid_i,
  input  logic [47:0] grad_i,      // sum
  input  logic [31:0] v_i,         // Q7.24
  input  logic [31:0] w_i,         // Q3.28
  output logic        master_valid_o,
  output logic [31:0] v_o,
  output logic [31:0] w_o,
  output logic        absent_o,    // with w_o
  output logic        copy_valid_o,
  output logic [15:0] copy_o,
  output logic        copy_sat_o
);
  // Latency of pt_round_sat; the products of the first sum take as long.
  localparam int unsigned RoundStages = 3;
  // Cycles after valid_i in which the values stand in their registers.
  localparam int unsigned AtSum = 2 + RoundStages;
  localparam int unsigned AtV = AtSum + RoundStages;
  localparam int unsigned AtStep = AtV + 3 + RoundStages;
  localparam int unsigned AtDelta = AtStep + 2 + RoundStages;
  localparam int unsigned AtW = AtDelta + 1 + RoundStages;
  localparam int unsigned AtCopy = AtW + RoundStages;

  logic [AtCopy:1] valid_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= '0;
    else valid_q <= {valid_q[AtCopy-1:1], valid_i};
  end
  assign master_valid_o = valid_q[AtW];
  assign copy_valid_o = valid_q[AtCopy];

  // Delay lines of w (to the step) and v' (to the new w).
  logic [31:0] w_q [1:AtDelta];
  logic [31:0] v_q [AtV+1:AtW];
  logic [31:0] v_new, step, delta, g32;
  logic [31:0] v1_q;
  logic [47:0] grad_q;
  logic [AtW:2] absent_q;
  always_ff @(posedge clk_i) begin
    grad_q <= grad_i;
    v1_q   <= v_i;
    w_q[1] <= w_i;
    for (int unsigned k = 2; k <= AtDelta; k++) w_q[k] <= w_q[k-1];
    v_q[AtV+1] <= absent_q[AtV] ? '0 : v_new;
    for (int unsigned k = AtV + 2; k <= AtW; k++) v_q[k] <= v_q[k-1];
    absent_q <= {absent_q[AtW-1:2], w_q[1] == pt_abi_pkg::AbsentWeight};
  end
  assign v_o = v_q[AtW];
  assign absent_o = absent_q[AtW];

  logic [5:0] valid_unused;
  logic [4:0] sat_unused;

  pt_round_sat #(.InW(64), .OutW(32), .ShW(6), .Lanes(1)) u_grad (
    .clk_i,
    .rst_ni,
    .valid_i(valid_q[1]),
    .shift_i(g_shift_i),
    .data_i({grad_q, 16'd0}),
    .valid_o(valid_unused[0]),
    .data_o(g32),
    .sat_o(sat_unused[0])
  );

  // Products of 32-bit masters in two halves of 16 bit.
  logic signed [34:0] mv_lo_q, mv_hi_q, dw_lo_q, dw_hi_q;
  logic signed [49:0] mv_q, dw_q, dw1_q;
  logic signed [57:0] part_q, sum_q;
  // g + decay * w, kept for the step of Nesterov; without it zero.
  localparam int unsigned SlopeDelay = RoundStages + 3;
  logic signed [57:0] slope_q [1:SlopeDelay];
  always_ff @(posedge clk_i) begin
    mv_lo_q <= 35'($signed({1'b0, momentum_i}) * $signed({1'b0, v1_q[15:0]}));
    mv_hi_q <= 35'($signed({1'b0, momentum_i}) * $signed(v1_q[31:16]));
    dw_lo_q <= 35'($signed({1'b0, decay_i}) * $signed({1'b0, w_q[1][15:0]}));
    dw_hi_q <= 35'($signed({1'b0, decay_i}) * $signed(w_q[1][31:16]));
    mv_q    <= (50'(mv_hi_q) <<< 16) + 50'(mv_lo_q);
    dw_q    <= (50'(dw_hi_q) <<< 16) + 50'(dw_lo_q);
    part_q  <= (58'(mv_q) <<< 8) + 58'(dw_q);
    sum_q   <= part_q + (58'($signed(g32)) <<< 24);
    dw1_q   <= dw_q;
    slope_q[1] <= 58'(dw1_q) + (58'($signed(g32)) <<< 24);
    slope_q[2] <= nesterov_i ? slope_q[1] : 58'sd0;
    for (int unsigned k = 3; k <= SlopeDelay; k++) slope_q[k] <= slope_q[k-1];
  end

  pt_round_sat #(.InW(58), .OutW(32), .ShW(6), .Lanes(1)) u_momentum (
    .clk_i,
    .rst_ni,
    .valid_i(valid_q[AtSum]),
    .shift_i(6'd24),
    .data_i(sum_q),
    .valid_o(valid_unused[1]),
    .data_o(v_new),
    .sat_o(sat_unused[1])
  );

  // The step: factor * v' + slope. Factor one and slope zero leave v' as it is.
  logic        [16:0] factor_q;
  logic signed [34:0] fv_lo_q, fv_hi_q;
  logic signed [49:0] fv_q;
  logic signed [57:0] step_sum_q;
  always_ff @(posedge clk_i) begin
    factor_q   <= nesterov_i ? momentum_i : 17'h10000;
    fv_lo_q    <= 35'($signed({1'b0, factor_q}) * $signed({1'b0, v_new[15:0]}));
    fv_hi_q    <= 35'($signed({1'b0, factor_q}) * $signed(v_new[31:16]));
    fv_q       <= (50'(fv_hi_q) <<< 16) + 50'(fv_lo_q);
    step_sum_q <= (58'(fv_q) <<< 8) + slope_q[SlopeDelay];
  end

  pt_round_sat #(.InW(58), .OutW(32), .ShW(6), .Lanes(1)) u_step (
    .clk_i,
    .rst_ni,
    .valid_i(valid_q[AtV+3]),
    .shift_i(6'd24),
    .data_i(step_sum_q),
    .valid_o(valid_unused[5]),
    .data_o(step),
    .sat_o(sat_unused[4])
  );

  logic signed [33:0] lv_lo_q, lv_hi_q;
  logic signed [47:0] lv_q;
  always_ff @(posedge clk_i) begin
    lv_lo_q <= 34'($signed({1'b0, lr_i}) * $signed({1'b0, step[15:0]}));
    lv_hi_q <= 34'($signed({1'b0, lr_i}) * $signed(step[31:16]));
    lv_q    <= (48'(lv_hi_q) <<< 16) + 48'(lv_lo_q);
  end

  pt_round_sat #(.InW(48), .OutW(32), .ShW(6), .Lanes(1)) u_delta (
    .clk_i,
    .rst_ni,
    .valid_i(valid_q[AtStep+2]),
    .shift_i(lr_shift_i),
    .data_i(lv_q),
    .valid_o(valid_unused[2]),
    .data_o(delta),
    .sat_o(sat_unused[2])
  );

  logic signed [32:0] diff_q;
  always_ff @(posedge clk_i) begin
    diff_q <= absent_q[AtDelta] ? '0 : 33'($signed(w_q[AtDelta])) - 33'($signed(delta));
  end

  pt_round_sat #(.InW(33), .OutW(32), .ShW(6), .Lanes(1)) u_weight (
    .clk_i,
    .rst_ni,
    .valid_i(valid_q[AtDelta+1]),
    .shift_i(6'd0),
    .data_i(diff_q),
    .valid_o(valid_unused[3]),
    .data_o(w_o),
    .sat_o(sat_unused[3])
  );

  pt_round_sat #(.InW(32), .OutW(16), .ShW(5), .Lanes(1)) u_copy (
    .clk_i,
    .rst_ni,
    .valid_i(valid_q[AtW]),
    .shift_i(w_shift_i),
    .data_i(w_o),
    .valid_o(valid_unused[4]),
    .data_o(copy_o),
    .sat_o(copy_sat_o)
  );

  logic unused;
  assign unused = &{1'b0, valid_unused, sat_unused};
endmodule
