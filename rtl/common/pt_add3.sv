// SPDX-License-Identifier: Apache-2.0
// Sum of two ternary pairs {q, r}, positions 3q + r with r in 0..2; q wraps. Combinational.
module pt_add3 #(
  // Bits of q, 2..14.
  parameter int unsigned QW = 12
) (
  input  logic [QW+1:0] a_i,
  input  logic [QW+1:0] b_i,
  output logic [QW+1:0] sum_o
);
  if (QW < 2 || QW > 14) begin : g_check
    $fatal(1, "pt_add3: QW must be 2..14");
  end

  logic [2:0]    rest;
  logic          carry;
  logic [QW-1:0] quotient;
  logic [1:0]    remainder;
  assign rest = {1'b0, a_i[1:0]} + {1'b0, b_i[1:0]};
  assign carry = rest >= 3'd3;
  assign quotient = a_i[QW+1:2] + b_i[QW+1:2] + QW'(carry);
  assign remainder = carry ? 2'(rest - 3'd3) : rest[1:0];
  assign sum_o = {quotient, remainder};
endmodule
