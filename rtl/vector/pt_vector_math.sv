// SPDX-License-Identifier: Apache-2.0
// Arithmetic of the vector unit: one word of four channels per cycle.
//
//   total = A*a + B*b + C     (reduce: added up from first_i to last_i, C once); A and C are the
//                             coefficients, or with a factor those of the word (pt_vector_curve)
//   total = value + more      of the pooling pass, A = B = C = 0
//   y     = activation(sat(RNE(total >> shift)))
//   sums  : S1 += a, S2 += a*b or a*a
//
//   cycle 0 operands | 1 products | 2 A*a + B*b | 3 total | 4..6 round | 7 activation | out
//
// Contract: a pipeline without stalls; coefficients and modes are stable while words are inside.
// valid_o comes 8 cycles after valid_i, with a factor 11 (reduce: after the plane's last). clear_i
// zeroes the sums. load_i: word_i is the next segment of a curve's table.
module pt_vector_math (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             start_i,   // zeroes measure and saturations
  input  logic             clear_i,
  input  logic [1:0]       factor_i,  // Factor
  input  logic [3:0]       log_i,     // binary logarithm of the segments of a curve
  input  logic             load_i,
  input  logic [63:0]      word_i,
  input  logic [3:0]       live_i,    // lanes that hold channels
  input  logic [3:0][23:0] scale_a_i,
  input  logic [3:0][23:0] scale_b_i,
  input  logic [3:0][47:0] offset_i,
  input  logic [5:0]       shift_i,
  input  logic             reduce_i,
  input  logic             square_i,
  input  pt_activation_pkg::activation_t act_i,
  input  logic             write_i,   // results count in measure and saturations
  input  logic             valid_i,
  input  logic             first_i,   // of a plane
  input  logic             last_i,
  input  logic [63:0]      a_i,
  input  logic [63:0]      b_i,
  input  logic [3:0][18:0] value_i,   // unsigned, 2 cycles after valid_i; else 0
  input  logic [3:0][19:0] more_i,    // signed, 3 cycles after valid_i; else 0
  output logic             valid_o,
  output logic [63:0]      data_o,
  output logic [3:0]       flags_o,   // of the activation
  output logic [3:0][47:0] sum1_o,
  output logic [3:0][47:0] sum2_o,
  output logic [47:0]      measure_o,
  output logic [31:0]      saturations_o
);
  logic             valid, first, last;
  logic [63:0]      a, b;
  logic [3:0][23:0] factor, scale_a;
  logic [3:0][47:0] factor_offset, offset;
  pt_vector_curve u_curve (
    .clk_i,
    .rst_ni,
    .start_i,
    .factor_i,
    .log_i,
    .load_i,
    .word_i,
    .valid_i,
    .first_i,
    .last_i,
    .live_i,
    .a_i,
    .b_i,
    .valid_o(valid),
    .first_o(first),
    .last_o(last),
    .a_o(a),
    .b_o(b),
    .factor_o(factor),
    .offset_o(factor_offset)
  );
  assign scale_a = factor_i != '0 ? factor : scale_a_i;
  assign offset = factor_i != '0 ? factor_offset : offset_i;

  logic [3:0] valid_q, first_q, last_q;
  logic       total_valid_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= '0;
    else valid_q <= {valid_q[2:0], valid};
    first_q <= {first_q[2:0], first};
    last_q  <= {last_q[2:0], last};
    total_valid_q <= rst_ni && valid_q[2] && (!reduce_i || last_q[2]);
  end

  logic [3:0][47:0] total_q;
  logic [3:0]       sat;
  logic [63:0]      code;
  logic             code_valid;
  for (genvar l = 0; l < 4; l++) begin : g_lane
    logic signed [15:0] a_q, b_q, s_q;
    logic signed [39:0] pa_q, pb_q;
    logic signed [31:0] ps_q;
    logic signed [40:0] part_q;
    logic signed [47:0] sum1_q, sum2_q;
    logic        [47:0] base;
    always_comb begin
      base = offset[l];
      if (reduce_i && !first_q[2]) base = total_q[l];
      base |= 48'($signed(more_i[l]));  // not added: one of both is 0
    end
    always_ff @(posedge clk_i) begin
      a_q    <= a[16*l+:16];
      b_q    <= b[16*l+:16];
      s_q    <= square_i ? a[16*l+:16] : b[16*l+:16];  // a register: one multiplier, not two
      pa_q   <= 40'(a_q) * 40'($signed(scale_a[l]));
      pb_q   <= 40'(b_q) * 40'($signed(scale_b_i[l]));
      ps_q   <= 32'(a_q) * 32'(s_q);
      part_q <= 41'(pa_q) + (41'(pb_q) | 41'(value_i[l]));
      if (valid_q[2]) total_q[l] <= 48'(part_q) + base;
      if (clear_i) sum1_q <= '0;
      else if (valid_q[0]) sum1_q <= sum1_q + 48'(a_q);
      if (clear_i) sum2_q <= '0;
      else if (valid_q[1]) sum2_q <= sum2_q + 48'(ps_q);
    end
    assign sum1_o[l] = sum1_q;
    assign sum2_o[l] = sum2_q;
  end

  pt_round_sat #(.InW(48), .OutW(16), .ShW(6), .Lanes(4)) u_round (
    .clk_i,
    .rst_ni,
    .valid_i(total_valid_q),
    .shift_i,
    .data_i(total_q),
    .valid_o(code_valid),
    .data_o(code),
    .sat_o(sat)
  );
  pt_activation u_activation (
    .clk_i,
    .act_i,
    .data_i(code),
    .data_o,
    .flags_o
  );
  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_o <= 1'b0;
    else valid_o <= code_valid;
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      measure_o     <= '0;
      saturations_o <= '0;
    end else begin
      if (total_valid_q && write_i) begin
        measure_o <= measure_o | (total_q[0] ^ {48{total_q[0][47]}})
                   | (total_q[1] ^ {48{total_q[1][47]}}) | (total_q[2] ^ {48{total_q[2][47]}})
                   | (total_q[3] ^ {48{total_q[3][47]}});
      end
      if (code_valid && write_i) begin
        saturations_o <= saturations_o + 32'(sat[0]) + 32'(sat[1]) + 32'(sat[2]) + 32'(sat[3]);
      end
    end
  end

  logic unused;
  assign unused = &{1'b0, first_q[3], last_q[3], valid_q[3]};
endmodule
