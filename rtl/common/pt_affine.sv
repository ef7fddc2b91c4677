// SPDX-License-Identifier: Apache-2.0
// One affine variable of a loop: value += delta[level] at every step (jump deltas).
//
// Contract: load_i (wins over step_i) sets the base; step_i with level_i = Levels (end of the loop)
// keeps the value.
module pt_affine #(
  // Levels of the loop, 1..8.
  parameter int unsigned Levels = 5,
  // Bits of the value; sums wrap.
  parameter int unsigned W = 32
) (
  input  logic                        clk_i,
  input  logic                        load_i,
  input  logic [W-1:0]                base_i,
  input  logic                        step_i,
  input  logic [$clog2(Levels+1)-1:0] level_i,
  input  logic [Levels*W-1:0]         delta_i,
  output logic [W-1:0]                value_o
);
  localparam int unsigned LevelW = $clog2(Levels + 1);

  if (Levels < 1 || Levels > 8) begin : g_check
    $fatal(1, "pt_affine: Levels must be 1..8");
  end

  logic [W-1:0] delta;
  always_comb begin
    delta = '0;
    for (int unsigned l = 0; l < Levels; l++) begin
      if (level_i == LevelW'(l)) delta = delta_i[l*W+:W];
    end
  end

  always_ff @(posedge clk_i) begin
    if (load_i) value_o <= base_i;
    else if (step_i) value_o <= value_o + delta;
  end
endmodule
