// SPDX-License-Identifier: Apache-2.0
// Post-processing of four sums per cycle: bias, measure, requantisation to 16 bit, activation.
//
// Contract: no stall; valid_o, data_o, flags_o, meta_o follow their inputs by five cycles. clear_i
// zeroes measure and saturation count; both are final once busy_o has fallen, and until the next
// clear_i.
module pt_post #(
  // Bits of the data that accompany a word.
  parameter int unsigned MetaW = 16
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             clear_i,
  input  logic [5:0]       shift_i,    // 0..47
  input  pt_activation_pkg::activation_t act_i,
  input  logic             valid_i,
  input  logic [191:0]     acc_i,
  input  logic [191:0]     bias_i,
  input  logic             stored_i,   // counts for measure and saturations
  input  logic [MetaW-1:0] meta_i,
  output logic             busy_o,     // words or counts on their way
  output logic             valid_o,
  output logic [63:0]      data_o,
  output logic [3:0]       flags_o,    // of the activation, a lane each
  output logic [MetaW-1:0] meta_o,
  output logic             stored_o,   // stored_i of this word
  output logic [47:0]      measure_o,
  output logic [31:0]      saturations_o
);
  // Cycles of pt_round_sat.
  localparam int unsigned RoundLatency = 3;

  // ---- bias -------------------------------------------------------------------------------------
  logic [191:0]     sum_q;
  logic             valid_q, stored_q;
  logic [MetaW-1:0] meta_q [RoundLatency+2];
  logic [RoundLatency+1:1] stored_d;
  logic [RoundLatency+2:0] busy_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= 1'b0;
    else valid_q <= valid_i;
    if (valid_i) begin
      for (int unsigned l = 0; l < 4; l++) begin
        sum_q[l*48+:48] <= acc_i[l*48+:48] + bias_i[l*48+:48];
      end
      stored_q  <= stored_i;
      meta_q[0] <= meta_i;
    end
    for (int unsigned k = 1; k <= RoundLatency + 1; k++) meta_q[k] <= meta_q[k-1];
    stored_d <= {stored_d[RoundLatency:1], stored_q};
  end
  assign busy_o = valid_q || (|busy_q);
  always_ff @(posedge clk_i) begin
    if (!rst_ni) busy_q <= '0;
    else busy_q <= {busy_q[RoundLatency+1:0], valid_q};
  end

  // ---- measure ----------------------------------------------------------------------------------
  logic [47:0] measure_d, word_q;
  always_comb begin
    measure_d = '0;
    for (int unsigned l = 0; l < 4; l++) begin
      measure_d |= sum_q[l*48+:48] ^ {48{sum_q[l*48+47]}};
    end
  end
  always_ff @(posedge clk_i) begin
    if (clear_i) word_q <= '0;
    else if (valid_q && stored_q) word_q <= measure_d;
    if (clear_i) measure_o <= '0;
    else measure_o <= measure_o | word_q;
  end

  // ---- requantisation ---------------------------------------------------------------------------
  logic        round_valid;
  logic [63:0] round;
  logic [3:0]  sat, sat_q;
  logic [2:0]  sats;
  pt_round_sat #(.InW(48), .OutW(16), .ShW(6), .Lanes(4)) u_round (
    .clk_i,
    .rst_ni,
    .valid_i(valid_q),
    .data_i(sum_q),
    .shift_i,
    .valid_o(round_valid),
    .data_o(round),
    .sat_o(sat)
  );
  assign meta_o = meta_q[RoundLatency+1];
  assign stored_o = stored_d[RoundLatency+1];
  always_comb begin
    sats = '0;
    for (int unsigned l = 0; l < 4; l++) sats += 3'(sat_q[l]);
  end
  always_ff @(posedge clk_i) begin
    sat_q <= round_valid && stored_d[RoundLatency] && !clear_i ? sat : 4'd0;
    if (clear_i) saturations_o <= '0;
    else saturations_o <= saturations_o + 32'(sats);
  end

  // ---- activation -------------------------------------------------------------------------------
  pt_activation u_activation (
    .clk_i,
    .act_i,
    .data_i(round),
    .data_o,
    .flags_o
  );
  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_o <= 1'b0;
    else valid_o <= round_valid;
  end
endmodule
