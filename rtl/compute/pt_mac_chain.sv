// SPDX-License-Identifier: Apache-2.0
// One accumulator's multiply-add: acc + sum over t of S[t] * V[t], a cascade of Taps DSPs.
//
// Contract: lane t takes v_i of its skewed column t (one cycle later than column t-1) and keeps S in
// its input register until swap_i[t]. acc_i is sampled two cycles after v_i[0], as zero with
// clear_i; sum_o appears Taps + 2 cycles after v_i[0]. No handshake: values flow every cycle.
(* keep_hierarchy *)
module pt_mac_chain #(
  // Multipliers in the cascade, 1..8.
  parameter int unsigned Taps = 4,
  // Width of an operand in bits, 8..18.
  parameter int unsigned OpW = 16,
  // Width of an accumulator in bits: the DSP's 48.
  parameter int unsigned AccW = 48
) (
  input  logic                clk_i,
  input  logic [Taps*OpW-1:0] v_i,
  input  logic [Taps*OpW-1:0] s_i,
  input  logic [Taps-1:0]     swap_i,
  input  logic                clear_i,
  input  logic [AccW-1:0]     acc_i,
  output logic [AccW-1:0]     sum_o
);
  if (Taps < 1 || Taps > 8) begin : g_check1
    $fatal(1, "pt_mac_chain: Taps must be 1..8");
  end
  if (OpW < 8 || OpW > 18) begin : g_check2
    $fatal(1, "pt_mac_chain: OpW must be 8..18");
  end
  if (AccW != 48) begin : g_check3
    $fatal(1, "pt_mac_chain: AccW must be 48");
  end

  logic [AccW-1:0] acc_q;
  logic [AccW-1:0] chain [Taps+1];

  // The DSP's C register with its reset: clearing takes no LUT.
  always_ff @(posedge clk_i) begin
    if (clear_i) acc_q <= '0;
    else acc_q <= acc_i;
  end
  assign chain[0] = acc_q;

  for (genvar t = 0; t < Taps; t++) begin : g_tap
    logic signed [OpW-1:0]   a_q;
    logic signed [OpW-1:0]   b_q;
    logic signed [2*OpW-1:0] m_q;
    logic signed [AccW-1:0]  p_q;
    always_ff @(posedge clk_i) begin
      a_q <= $signed(v_i[t*OpW+:OpW]);
      if (swap_i[t]) b_q <= $signed(s_i[t*OpW+:OpW]);
      m_q <= a_q * b_q;
      p_q <= $signed(chain[t]) + AccW'(m_q);
    end
    assign chain[t+1] = p_q;
  end

  assign sum_o = chain[Taps];
endmodule
