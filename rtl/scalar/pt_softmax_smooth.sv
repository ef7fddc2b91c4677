// SPDX-License-Identifier: Apache-2.0
// Label smoothing of one loss: floor((all_factor * all - own_factor * own) / 2^16), a bit a cycle.
//
// Contract: start_i takes the operands; valid_o pulses 19 cycles later with the signed result.
// start_i is not repeated before that. busy_o is high in between. The factors are stable.
module pt_softmax_smooth #(
  // Bits of all_i, 35..46.
  parameter int unsigned AllW = 44,
  // Bits of own_i, below AllW.
  parameter int unsigned OwnW = 34
) (
  input  logic            clk_i,
  input  logic            rst_ni,
  input  logic [16:0]     all_factor_i,
  input  logic [16:0]     own_factor_i,
  input  logic            start_i,
  input  logic [AllW-1:0] all_i,
  input  logic [OwnW-1:0] own_i,
  output logic            busy_o,
  output logic            valid_o,
  output logic [47:0]     result_o
);
  if (AllW < 35 || AllW > 46 || OwnW >= AllW) begin : g_check
    $fatal(1, "pt_softmax_smooth: AllW must be 35..46, OwnW below it");
  end

  localparam int unsigned FactorW = 17;
  logic [FactorW-1:0]   all_bits_q, own_bits_q;  // the next bit on top
  logic [AllW-1:0]      all_q;
  logic [OwnW-1:0]      own_q;
  logic [4:0]           left_q;
  logic                 step_q, last_q;
  logic signed [AllW:0] part_q;
  logic signed [63:0]   sum_q;
  assign busy_o = left_q != 5'd0 || step_q || valid_o;
  assign result_o = sum_q[63:16];

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      left_q  <= 5'd0;
      step_q  <= 1'b0;
      last_q  <= 1'b0;
      valid_o <= 1'b0;
    end else begin
      if (start_i) left_q <= 5'(FactorW);
      else if (left_q != 5'd0) left_q <= left_q - 5'd1;
      step_q  <= left_q != 5'd0;
      last_q  <= left_q == 5'd1;
      valid_o <= last_q;
    end
    if (start_i) begin
      all_bits_q <= all_factor_i;
      own_bits_q <= own_factor_i;
      all_q      <= all_i;
      own_q      <= own_i;
      sum_q      <= 64'sd0;
    end else begin
      all_bits_q <= {all_bits_q[FactorW-2:0], 1'b0};
      own_bits_q <= {own_bits_q[FactorW-2:0], 1'b0};
      if (step_q) sum_q <= {sum_q[62:0], 1'b0} + 64'(part_q);
    end
    part_q <= $signed({1'b0, all_bits_q[FactorW-1] ? all_q : AllW'(0)}) -
              $signed((AllW + 1)'(own_bits_q[FactorW-1] ? own_q : OwnW'(0)));
  end
endmodule
