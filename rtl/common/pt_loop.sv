// SPDX-License-Identifier: Apache-2.0
// The loop engine: nested counters whose flags and incrementing level drive affine variables.
//
// Contract: start_i (wins over step_i) sets all indices to zero; each step_i advances one
// iteration. level_o is the level that increments with the next step (lower ones wrap), Levels in
// the last iteration, after which the indices wrap to zero. Outputs are registers or depend on
// registers only. Counts must be stable from start.
module pt_loop #(
  // Nested levels, 1..8; level 0 is the innermost.
  parameter int unsigned Levels = 5,
  // Bits of a count; counts are 1..2^CntW-1.
  parameter int unsigned CntW = 16
) (
  input  logic                        clk_i,
  input  logic                        rst_ni,
  input  logic                        start_i,
  input  logic                        step_i,
  input  logic [Levels*CntW-1:0]      count_i,
  output logic [Levels*CntW-1:0]      idx_o,
  output logic [Levels-1:0]           first_o,
  output logic [Levels-1:0]           last_o,
  output logic [$clog2(Levels+1)-1:0] level_o
);
  if (Levels < 1 || Levels > 8) begin : g_check
    $fatal(1, "pt_loop: Levels must be 1..8");
  end

  localparam int unsigned LevelW = $clog2(Levels + 1);

  always_comb begin
    level_o = LevelW'(Levels);
    for (int unsigned l = Levels; l > 0; l--) begin
      if (!last_o[l-1]) level_o = LevelW'(l - 1);
    end
  end

  for (genvar l = 0; l < Levels; l++) begin : g_level
    logic [CntW-1:0] count, idx_q, next;
    logic            first_q, last_q, wrap, move, one;
    assign count = count_i[l*CntW+:CntW];
    assign next = idx_q + CntW'(1);
    assign one = count == CntW'(1);
    assign wrap = level_o > LevelW'(l);
    assign move = level_o == LevelW'(l);
    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        idx_q   <= '0;
        first_q <= 1'b1;
        last_q  <= 1'b0;
      end else if (start_i || (step_i && wrap)) begin
        idx_q   <= '0;
        first_q <= 1'b1;
        last_q  <= one;
      end else if (step_i && move) begin
        idx_q   <= next;
        first_q <= 1'b0;
        last_q  <= next + CntW'(1) == count;
      end
    end
    assign idx_o[l*CntW+:CntW] = idx_q;
    assign first_o[l] = first_q;
    assign last_o[l] = last_q;
  end
endmodule
