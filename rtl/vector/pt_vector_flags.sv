// SPDX-License-Identifier: Apache-2.0
// Flags of the vector unit's results: 16 pixels in a word, a plane's last word filled with zeros;
// or argmax indices of the pooling pass, 4 pixels in a word.
//
// A flag is that of the activation; with drop_i only of elements that were kept.
//
// Contract: keep_i and last_i belong to the word that enters the arithmetic in this cycle; its
// result comes 8 cycles later as flags_i with valid_i (or, with pool_i, its argmax indices whenever
// argmax_valid_i is high). push_o: data_o is a whole word, in the same cycle, without
// back-pressure.
module pt_vector_flags (
  input  logic        clk_i,
  input  logic        start_i,
  input  logic        on_i,     // flags, or argmax indices, are written
  input  logic        drop_i,
  input  logic        pool_i,
  input  logic [3:0]  keep_i,
  input  logic        last_i,   // of a plane
  input  logic        valid_i,
  input  logic [3:0]  flags_i,
  input  logic        argmax_valid_i,
  input  logic        argmax_last_i,  // of a plane
  input  logic [3:0][3:0] argmax_i,
  output logic        push_o,
  output logic [63:0] data_o
);
  // Cycles from a word to its result (pt_vector_math).
  localparam int unsigned MathCycles = 8;

  logic [MathCycles-1:0][3:0] keep_q;
  logic [MathCycles-1:0]      last_q;
  logic [3:0]                 pixel_q, flags;  // the last of the four pixels of a pooled one
  logic [63:0]                pack_q;
  pt_abi_pkg::mask_flags_t    masks;
  pt_abi_pkg::argmax_t        indices;
  logic                       valid, plane_end;
  assign valid = on_i && (pool_i ? argmax_valid_i : valid_i);
  assign plane_end = pool_i ? argmax_last_i : last_q[MathCycles-1];
  assign push_o = valid && (plane_end || pixel_q == 4'd15);
  always_comb begin
    flags = flags_i;
    if (drop_i) flags = keep_q[MathCycles-1] & flags_i;
    masks = pack_q;
    masks.mask[pixel_q] = flags;
    indices = pack_q;
    indices.index[4*pixel_q[3:2]+:4] = argmax_i;
    data_o = pool_i ? indices : masks;
  end
  always_ff @(posedge clk_i) begin
    keep_q <= {keep_q[MathCycles-2:0], keep_i};
    last_q <= {last_q[MathCycles-2:0], last_i};
    if (start_i) begin
      pixel_q <= {2'd0, {2{pool_i}}};
      pack_q  <= '0;
    end else if (valid) begin
      if (push_o) pixel_q <= {2'd0, {2{pool_i}}};
      else pixel_q <= pixel_q + (pool_i ? 4'd4 : 4'd1);
      pack_q <= push_o ? '0 : data_o;
    end
  end
endmodule
