// SPDX-License-Identifier: Apache-2.0
// The only rounding and saturation of the design: y = sat(RNE(x >> shift)), Lanes values at once.
//
//   RNE: round half to even.   sat: symmetric, to +-(2^(OutW-1) - 1).
//
// Contract: 3 cycles from valid_i to valid_o, one value per lane and cycle, no stall; data_i and
// shift_i count with valid_i. sat_o[l]: lane l saturated.
module pt_round_sat #(
  // Bits of a value, 8..64.
  parameter int unsigned InW = 48,
  // Bits of a result, 4..InW.
  parameter int unsigned OutW = 16,
  // Bits of the shift; shifts are 0..InW-1.
  parameter int unsigned ShW = 6,
  // Values side by side.
  parameter int unsigned Lanes = 1
) (
  input  logic                  clk_i,
  input  logic                  rst_ni,
  input  logic                  valid_i,
  input  logic [ShW-1:0]        shift_i,
  input  logic [Lanes*InW-1:0]  data_i,
  output logic                  valid_o,
  output logic [Lanes*OutW-1:0] data_o,
  output logic [Lanes-1:0]      sat_o
);
  if (InW < 8 || InW > 64) begin : g_check_in
    $fatal(1, "pt_round_sat: InW must be 8..64");
  end
  if (OutW < 4 || OutW > InW) begin : g_check_out
    $fatal(1, "pt_round_sat: OutW must be 4..InW");
  end
  if ((1 << ShW) < InW) begin : g_check_shift
    $fatal(1, "pt_round_sat: ShW must hold shifts up to InW-1");
  end

  localparam logic signed [OutW-1:0] Max = {1'b0, {(OutW - 1) {1'b1}}};

  logic [2:0] valid_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= 3'b000;
    else valid_q <= {valid_q[1:0], valid_i};
  end
  assign valid_o = valid_q[2];

  // Stage 1 shifts by multiples of 8, stage 2 by the rest and rounds, stage 3 saturates. Eight
  // fraction bits and a sticky bit carry what is below the result.
  logic [2:0] fine_q;
  always_ff @(posedge clk_i) fine_q <= shift_i[2:0];

  for (genvar l = 0; l < Lanes; l++) begin : g_lane
    logic signed [InW-1:0] x;
    assign x = $signed(data_i[l*InW+:InW]);

    // Stage 1: {value, 8 fraction bits}, and whether a one was lost below.
    logic signed [InW+7:0] coarse, coarse_q;
    logic [ShW-1:0]        by;
    logic                  lost, lost_q;
    assign by = {shift_i[ShW-1:3], 3'b000};
    assign coarse = $signed({x, 8'd0}) >>> by;
    always_comb begin
      lost = 1'b0;
      for (int unsigned k = 0; k < InW; k++) begin
        if (32'(by) > k + 32'd8) lost = lost | x[k];
      end
    end

    // Stage 2.
    logic signed [InW+7:0] fine;
    logic signed [InW-1:0] whole;
    logic [7:0]            fraction, fine_lost_mask;
    logic                  guard, sticky;
    logic signed [OutW:0]  rounded_q;
    logic                  sign_q, fits, fits_q;  // whole is a result, but for the last rounding
    assign fine = coarse_q >>> fine_q;
    assign whole = fine[InW+7:8];
    assign fraction = fine[7:0];
    assign fine_lost_mask = ~(8'hff << fine_q);
    assign guard = fraction[7];
    assign sticky = (|fraction[6:0]) | (|(coarse_q[7:0] & fine_lost_mask)) | lost_q;

    // The carry of rounding runs through the bits of a result only: what lies above them tells
    // whether the value is one at all.
    assign fits = whole[InW-1:OutW-1] == {(InW - OutW + 1) {whole[InW-1]}};

    // Stage 3.
    logic                  high, low;
    logic [OutW-1:0]       result_q;
    logic                  sat_q;
    assign high = fits_q ? rounded_q > (OutW + 1)'(Max) : !sign_q;
    assign low = fits_q ? rounded_q < -(OutW + 1)'(Max) : sign_q;

    always_ff @(posedge clk_i) begin
      coarse_q  <= coarse;
      lost_q    <= lost;
      rounded_q <= (OutW + 1)'($signed(whole[OutW-1:0])) +
                   $signed({{OutW{1'b0}}, guard & (sticky | whole[0])});
      sign_q    <= whole[InW-1];
      fits_q    <= fits;
      if (high) result_q <= Max;
      else if (low) result_q <= -Max;
      else result_q <= rounded_q[OutW-1:0];
      sat_q <= high | low;
    end
    assign data_o[l*OutW+:OutW] = result_q;
    assign sat_o[l] = sat_q;
  end
endmodule
