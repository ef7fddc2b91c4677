// SPDX-License-Identifier: Apache-2.0
// Properties of pt_round_sat against the definition, for every value and shift of the width.
//
// The definition speaks of the result, it does not compute it: y is a rounded x / 2^shift if y is
// at most half a unit away, and even where it is exactly half a unit. It saturates where x / 2^shift
// lies half a unit or more beyond the largest result (which is odd, so that a tie leaves it).
module pt_round_sat_props #(
  // As pt_round_sat.
  parameter int unsigned InW = 16,
  // As pt_round_sat.
  parameter int unsigned OutW = 8,
  // As pt_round_sat.
  parameter int unsigned ShW = 4,
  // As pt_round_sat.
  parameter int unsigned Lanes = 2
) (
  input logic                 clk_i,
  input logic                 rst_ni,
  input logic                 valid_i,
  input logic [ShW-1:0]       shift_i,
  input logic [Lanes*InW-1:0] data_i
);
  // Room for twice a result that is shifted back, and a sign.
  localparam int unsigned WideW = InW + OutW + 4;
  localparam logic signed [WideW-1:0] Max = (WideW'(1) << (OutW - 1)) - WideW'(1);

  logic                  valid;
  logic [Lanes*OutW-1:0] data;
  logic [Lanes-1:0]      sat;
  pt_round_sat #(.InW(InW), .OutW(OutW), .ShW(ShW), .Lanes(Lanes)) u_round (
    .clk_i,
    .rst_ni,
    .valid_i,
    .shift_i,
    .data_i,
    .valid_o(valid),
    .data_o(data),
    .sat_o(sat)
  );

  // What came in, by age in cycles; how many cycles have passed, up to three.
  logic [2:0]                 valid_q;
  logic [2:0][ShW-1:0]        shift_q;
  logic [2:0][Lanes*InW-1:0]  data_q;
  logic [1:0]                 cycles_q;
  always_ff @(posedge clk_i) begin
    valid_q <= rst_ni ? {valid_q[1:0], valid_i} : 3'b000;
    shift_q <= {shift_q[1:0], shift_i};
    data_q <= {data_q[1:0], data_i};
    if (cycles_q != 2'd3) cycles_q <= cycles_q + 2'd1;
  end
  initial cycles_q = 2'd0;

  logic [ShW-1:0] shift;
  assign shift = shift_q[2];
  for (genvar l = 0; l < Lanes; l++) begin : g_lane
    logic signed [WideW-1:0] x, y, twice_off, unit, beyond;
    assign x = WideW'($signed(data_q[2][l*InW+:InW]));
    assign y = WideW'($signed(data[l*OutW+:OutW]));
    assign unit = WideW'(1) << shift;
    assign twice_off = ((y <<< shift) - x) <<< 1;
    assign beyond = ((Max <<< 1) + WideW'(1)) <<< shift;  // twice the first value that saturates
    always_comb begin
      if (cycles_q == 2'd3) begin
        assert (sat[l] == ((x <<< 1) >= beyond || (x <<< 1) <= -beyond));
        if (sat[l]) begin
          assert (y == (x < 0 ? -Max : Max));
        end else begin
          assert (twice_off <= unit && twice_off >= -unit);
          if (twice_off == unit || twice_off == -unit) assert (!y[0]);
        end
      end
    end
  end

  always_comb begin
    if (cycles_q == 2'd0) assume (!rst_ni);
    assume (32'(shift_i) < InW);
    if (cycles_q != 2'd0) assert (valid == valid_q[2]);
  end
endmodule
