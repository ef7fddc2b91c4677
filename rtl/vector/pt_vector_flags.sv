// SPDX-License-Identifier: Apache-2.0
// Flags of the vector unit's results: 16 pixels in a word, a plane's last word filled with zeros.
//
// A flag says that a result is positive and below the limit; with drop_i that its element was kept
// and, with relu_i, that too.
//
// Contract: keep_i belongs to the word that enters the arithmetic in this cycle; its result comes
// 8 cycles later as positive_i with valid_i. push_o: data_o is a whole word of flags, in the same
// cycle, without back-pressure.
module pt_vector_flags (
  input  logic        clk_i,
  input  logic        start_i,
  input  logic        on_i,     // flags are written
  input  logic        drop_i,
  input  logic        relu_i,
  input  logic [31:0] words_i,  // of a plane
  input  logic [3:0]  keep_i,
  input  logic        valid_i,
  input  logic [3:0]  positive_i,
  output logic        push_o,
  output logic [63:0] data_o
);
  // Cycles from a word to its result (pt_vector_math).
  localparam int unsigned MathCycles = 8;

  logic [MathCycles-1:0][3:0] keep_q;
  logic [3:0]                 pixel_q, flags;
  logic [31:0]                left_q;
  logic [63:0]                pack_q;
  logic                       plane_end;
  assign plane_end = left_q == 32'd1;
  assign push_o = valid_i && on_i && (plane_end || pixel_q == 4'd15);
  always_comb begin
    flags = positive_i;
    if (drop_i) flags = keep_q[MathCycles-1] & (positive_i | {4{!relu_i}});
    data_o = pack_q;
    data_o[4*pixel_q+:4] = flags;
  end
  always_ff @(posedge clk_i) begin
    keep_q <= {keep_q[MathCycles-2:0], keep_i};
    if (start_i) begin
      pixel_q <= 4'd0;
      left_q  <= words_i;
      pack_q  <= '0;
    end else if (valid_i && on_i) begin
      pixel_q <= plane_end ? 4'd0 : pixel_q + 4'd1;
      left_q  <= plane_end ? words_i : left_q - 32'd1;
      pack_q  <= push_o ? '0 : data_o;
    end
  end
endmodule
