// SPDX-License-Identifier: Apache-2.0
// One affine variable of a loop in ternary pairs {q, r}: 3q + r += delta[level] at every step.
//
// Contract: load_i (wins over step_i) sets the base; step_i with level_i = Levels keeps the value.
module pt_affine3 #(
  // Levels of the loop, 1..8.
  parameter int unsigned Levels = 5,
  // Bits of q; q wraps.
  parameter int unsigned QW = 12
) (
  input  logic                        clk_i,
  input  logic                        load_i,
  input  logic [QW+1:0]               base_i,
  input  logic                        step_i,
  input  logic [$clog2(Levels+1)-1:0] level_i,
  input  logic [Levels*(QW+2)-1:0]    delta_i,
  output logic [QW+1:0]               value_o
);
  localparam int unsigned LevelW = $clog2(Levels + 1);
  localparam int unsigned PairW = QW + 2;

  logic [PairW-1:0] delta, sum;
  always_comb begin
    delta = '0;
    for (int unsigned l = 0; l < Levels; l++) begin
      if (level_i == LevelW'(l)) delta = delta_i[l*PairW+:PairW];
    end
  end
  pt_add3 #(.QW(QW)) u_add (.a_i(value_o), .b_i(delta), .sum_o(sum));

  always_ff @(posedge clk_i) begin
    if (load_i) value_o <= base_i;
    else if (step_i) value_o <= sum;
  end
endmodule
