// SPDX-License-Identifier: Apache-2.0
// Arithmetic of soft floats (docs/numerics.md 7).
//
//   level 1 operands | 2 compare, subtract exponents, products | 3 align by bytes | 4 align by bits
//         | 5 add | 6 normalise by bytes, saturate | normalise by bits, out
//
//   All operations run through the same levels. An integer, a number and the seed of a root are
//   aligned by nothing and added to zero; a product is the sum of its parts; FIX leaves behind the
//   alignment.
//
// Contract: results come 6 cycles after the operands, one operation per cycle, no stall. op_i is a
// NormOp. For INT word_i times 2**(exponent of b_i - 32) is the operand; for FIX the result counts
// units of 2**(exponent of b_i - 32). Significands are zero or have their top bit set; zero has
// exponent and sign 0.
module pt_soft_float_alu (
  input  logic        clk_i,
  input  logic [3:0]  op_i,
  input  pt_abi_pkg::number_t a_i,
  input  pt_abi_pkg::number_t b_i,
  input  logic [63:0] word_i,    // INT: above -2**63
  input  logic [1:0]  width_i,   // FIX: saturate to 24 (0), 48 (1), 63 (2) bits
  output pt_abi_pkg::number_t number_o,
  output logic [63:0] value_o,   // FIX
  output logic        sat_o,     // FIX: the value saturated
  output logic [46:0] size_o     // FIX: magnitude before saturation, 2**47 - 1 at most
);
  // ---- level 1: operands ------------------------------------------------------------------------
  logic        mul1_q, add1_q, int1_q, fix1_q, root1_q, pos1_q, a_sign1_q, b_sign1_q;
  logic [1:0]  width1_q;
  logic [15:0] a_exp1_q, b_exp1_q;
  logic [30:0] a_sig1_q, b_sig1_q;
  logic [63:0] word1_q;
  always_ff @(posedge clk_i) begin
    mul1_q    <= op_i == 4'(pt_abi_pkg::NormOpMul);
    add1_q    <= op_i == 4'(pt_abi_pkg::NormOpAdd) || op_i == 4'(pt_abi_pkg::NormOpSub);
    int1_q    <= op_i == 4'(pt_abi_pkg::NormOpInt);
    fix1_q    <= op_i == 4'(pt_abi_pkg::NormOpFix);
    root1_q   <= op_i == 4'(pt_abi_pkg::NormOpRoot);
    pos1_q    <= op_i == 4'(pt_abi_pkg::NormOpPositive);
    width1_q  <= width_i;
    a_exp1_q  <= a_i.exponent;
    a_sign1_q <= a_i.sign;
    a_sig1_q  <= a_i.significand;
    b_exp1_q  <= b_i.exponent;
    b_sign1_q <= b_i.sign;
    b_sig1_q  <= b_i.significand;
    if (op_i == 4'(pt_abi_pkg::NormOpSub)) b_sign1_q <= !b_i.sign;
    word1_q   <= word_i;
  end

  // ---- level 2: which is smaller, differences of exponents, magnitudes --------------------------
  logic        mul2_q, add2_q, int2_q, fix2_q, root2_q, b_sign2_q, sign2_q, less2_q;
  logic [1:0]  width2_q;
  logic [15:0] a_exp2_q, b_exp2_q, sum_exp2_q, total;
  logic [16:0] down2_q, up2_q;  // exponent of a minus that of b, and the other way round
  logic [30:0] a_sig2_q, b_sig2_q, found;
  logic [62:0] plain2_q;
  logic [7:0]  seed;
  assign total = a_exp1_q + 16'd30;  // exponent of a, were it in [1, 2)
  assign seed = pt_abi_pkg::root_seed_rom({2'd0, total[0], a_sig1_q[29:24]});
  always_comb begin
    found = a_sig1_q;
    if (pos1_q && a_sign1_q) found = 31'd0;
    if (root1_q) found = {a_sig1_q[30] ? seed : 8'd0, 23'd0};
  end
  always_ff @(posedge clk_i) begin
    {mul2_q, add2_q, int2_q, fix2_q, root2_q} <= {mul1_q, add1_q, int1_q, fix1_q, root1_q};
    width2_q   <= width1_q;
    a_exp2_q   <= a_exp1_q;
    b_exp2_q   <= b_exp1_q;
    a_sig2_q   <= a_sig1_q;
    b_sig2_q   <= b_sig1_q;
    b_sign2_q  <= b_sign1_q;
    sum_exp2_q <= root1_q ? 16'hffe1 - {total[15], total[15:1]} : a_exp1_q + b_exp1_q;
    down2_q    <= {a_exp1_q[15], a_exp1_q} - {b_exp1_q[15], b_exp1_q};
    up2_q      <= {b_exp1_q[15], b_exp1_q} - {a_exp1_q[15], a_exp1_q};
    less2_q    <= b_sig1_q[30] && (!a_sig1_q[30] ||
                  {!a_exp1_q[15], a_exp1_q[14:0], a_sig1_q} <
                  {!b_exp1_q[15], b_exp1_q[14:0], b_sig1_q});
    plain2_q   <= {32'd0, found};
    sign2_q    <= a_sign1_q && !pos1_q && !root1_q;
    if (mul1_q) sign2_q <= a_sign1_q ^ b_sign1_q;
    if (int1_q) begin
      plain2_q <= (word1_q[62:0] ^ {63{word1_q[63]}}) + 63'(word1_q[63]);
      sign2_q  <= word1_q[63];
    end
  end

  // ---- products: {a1, a0} * {b1, b0} of 14 and 17, 7 and 24 bits, registered twice ---------------
  logic [40:0] p00_2_q, p00_3_q;
  logic [37:0] p10_2_q, p10_3_q;
  logic [23:0] p01_2_q, p01_3_q;
  logic [20:0] p11_2_q, p11_3_q;
  always_ff @(posedge clk_i) begin
    p00_2_q <= 41'(a_sig1_q[16:0]) * 41'(b_sig1_q[23:0]);
    p10_2_q <= 38'(a_sig1_q[30:17]) * 38'(b_sig1_q[23:0]);
    p01_2_q <= 24'(a_sig1_q[16:0]) * 24'(b_sig1_q[30:24]);
    p11_2_q <= 21'(a_sig1_q[30:17]) * 21'(b_sig1_q[30:24]);
    p00_3_q <= p00_2_q;
    p10_3_q <= p10_2_q;
    p01_3_q <= p01_2_q;
    p11_3_q <= p11_2_q;
  end

  // ---- level 3: choose the larger, align the smaller by bytes; FIX begins 32 bits up ------------
  logic        mul3_q, int3_q, sub3_q, sign3_q, over3_q;
  logic [1:0]  width3_q;
  logic [15:0] base3_q;
  logic [2:0]  fine3_q;
  logic [30:0] big3_q;
  logic [62:0] moved3_q, moving;
  logic [16:0] distance;
  logic [5:0]  by;
  always_comb begin
    distance = less2_q || fix2_q ? up2_q : down2_q;
    by = distance[5:0];
    if (distance[16:6] != 11'd0) by = 6'd63;
    if (distance[16] || !(add2_q || fix2_q)) by = 6'd0;
    moving = plain2_q;
    if (fix2_q) moving = {a_sig2_q, 32'd0};
    if (add2_q) moving = {32'd0, less2_q ? a_sig2_q : b_sig2_q};
  end
  always_ff @(posedge clk_i) begin
    mul3_q   <= mul2_q;
    int3_q   <= int2_q;
    width3_q <= width2_q;
    fine3_q  <= by[2:0];
    moved3_q <= moving >> {by[5:3], 3'd0};
    big3_q   <= add2_q ? (less2_q ? b_sig2_q : a_sig2_q) : 31'd0;
    sub3_q   <= add2_q && (sign2_q ^ b_sign2_q);
    sign3_q  <= add2_q && less2_q ? b_sign2_q : sign2_q;
    over3_q  <= fix2_q && up2_q[16] && a_sig2_q[30];
    base3_q  <= a_exp2_q;
    if (mul2_q || root2_q) base3_q <= sum_exp2_q;
    if (int2_q || (add2_q && less2_q)) base3_q <= b_exp2_q;
  end

  // ---- level 4: align by bits ---------------------------------------------------------------------
  logic        sub4_q, sign4_q, over4_q;
  logic [1:0]  width4_q;
  logic [15:0] base4_q;  // plus 32
  logic [62:0] x4_q, y4_q;
  logic [38:0] middle;
  assign middle = {1'b0, p10_3_q} + {8'd0, p01_3_q, 7'd0};
  always_ff @(posedge clk_i) begin
    sub4_q   <= sub3_q;
    sign4_q  <= sign3_q;
    over4_q  <= over3_q;
    width4_q <= width3_q;
    base4_q  <= int3_q ? base3_q : base3_q + 16'd32;
    x4_q     <= mul3_q ? {1'b0, p11_3_q, p00_3_q} : {32'd0, big3_q};
    y4_q     <= mul3_q ? {7'd0, middle, 17'd0} : moved3_q >> fine3_q;
  end

  // ---- level 5: add; bits beyond the width -------------------------------------------------------
  logic        sign5_q, sat5_q, large5_q;
  logic [1:0]  width5_q;
  logic [15:0] base5_q;
  logic [62:0] sum5_q;
  logic        beyond;
  always_comb begin
    unique case (width4_q)
      2'd0:    beyond = |y4_q[62:23];
      2'd1:    beyond = |y4_q[62:47];
      default: beyond = y4_q[62];
    endcase
  end
  always_ff @(posedge clk_i) begin
    sign5_q  <= sign4_q;
    width5_q <= width4_q;
    base5_q  <= base4_q;
    sum5_q   <= sub4_q ? x4_q - y4_q : x4_q + y4_q;
    sat5_q   <= over4_q || beyond;
    large5_q <= over4_q || (|y4_q[62:47]);
  end

  // ---- level 6: saturate; normalise by bytes ------------------------------------------------------
  logic        sign6_q, sat6_q;
  logic [15:0] base6_q;
  logic [63:0] frame, near6_q, value6_q, limited;
  logic [46:0] size6_q;
  logic [2:0]  bytes;
  assign frame = {sum5_q, 1'b0};
  always_comb begin
    bytes = 3'd7;
    for (int unsigned k = 1; k < 8; k++) begin
      if (frame[8*k+:8] != 8'd0) bytes = 3'(7 - k);
    end
  end
  always_comb begin
    limited = {1'b0, sum5_q};
    if (sat5_q) begin
      unique case (width5_q)
        2'd0:    limited = (64'd1 << 23) - 64'd1;
        2'd1:    limited = (64'd1 << 47) - 64'd1;
        default: limited = (64'd1 << 62) - 64'd1;
      endcase
    end
  end
  always_ff @(posedge clk_i) begin
    sign6_q  <= sign5_q;
    near6_q  <= frame << {bytes, 3'd0};
    base6_q  <= base5_q - {10'd0, bytes, 3'd0};
    value6_q <= (limited ^ {64{sign5_q}}) + 64'(sign5_q);
    sat6_q   <= sat5_q;
    size6_q  <= large5_q ? {47{1'b1}} : sum5_q[46:0];
  end
  assign value_o = value6_q;
  assign sat_o = sat6_q;
  assign size_o = size6_q;

  // ---- out: normalise by bits ---------------------------------------------------------------------
  logic [2:0]  zeros;
  logic [30:0] significand;
  always_comb begin
    zeros = 3'd0;
    for (int unsigned k = 1; k < 8; k++) begin
      if (near6_q[63-:8] < (8'd1 << (8 - k))) zeros = 3'(k);
    end
    significand = 31'((near6_q << zeros) >> 33);
    number_o = '0;
    if (significand[30]) begin
      number_o.exponent = base6_q - 16'(zeros);
      number_o.sign = sign6_q;
      number_o.significand = significand;
    end
  end

  logic unused;
  assign unused = &{1'b0, near6_q[25:0]};
endmodule
