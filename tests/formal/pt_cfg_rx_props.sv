// SPDX-License-Identifier: Apache-2.0
// Properties of pt_cfg_rx behind a bus that sends what the sequencer sends.
//
// A descriptor is prefix, section, step-block entry and up to two taps, in this order, with any
// pauses. The reference keeps each word by its index; the reset is free after the first cycle.
module pt_cfg_rx_props #(
  // As pt_cfg_rx.
  parameter int unsigned First = 5,
  // As pt_cfg_rx.
  parameter int unsigned Words = 3,
  // As pt_cfg_rx.
  parameter bit Shift = 1'b1,
  // As pt_cfg_rx.
  parameter bit Gate = 1'b0
) (
  input logic        clk_i,
  input logic        rst_ni,
  input logic        hold_i,
  input logic        cfg_valid_i,
  input logic        begin_i,
  input logic [1:0]  taps_i,
  input logic [63:0] cfg_data_i
);
  localparam int unsigned Pre = pt_abi_pkg::SecPreWords;
  localparam int unsigned Param = pt_abi_pkg::ParamWords;
  localparam int unsigned Fixed = Pre + Words + Param;  // words of a descriptor without taps

  // ---- the bus ----------------------------------------------------------------------------------
  logic       started_q, inside_q;
  logic [6:0] place_q;  // words of the descriptor that have come
  logic [1:0] taps_q, taps;
  logic [7:0] idx;
  logic       last;
  assign taps = inside_q ? taps_q : taps_i;
  assign last = 32'(place_q) + 1 == Fixed + 32'(taps);
  always_comb begin
    idx = 8'(pt_abi_pkg::TapIndex) + 8'(place_q) - 8'(Fixed);
    if (32'(place_q) < Pre) idx = 8'(place_q);
    else if (32'(place_q) < Pre + Words) idx = 8'(First) + 8'(place_q) - 8'(Pre);
    else if (32'(place_q) < Fixed) idx = 8'(pt_abi_pkg::ParamIndex) + 8'(place_q) - 8'(Pre + Words);
  end

  logic                 req, endd, tap;
  logic [6:0]           tap_idx;
  pt_abi_pkg::pre_t     pre;
  logic [64*Words-1:0]  section;
  logic [64*Param-1:0]  param;
  pt_cfg_rx #(.First(First), .Words(Words), .Shift(Shift), .Gate(Gate)) u_rx (
    .clk_i,
    .rst_ni,
    .req_o(req),
    .cfg_valid_i,
    .cfg_idx_i(idx),
    .cfg_data_i,
    .cfg_last_i(last),
    .hold_i,
    .end_o(endd),
    .pre_o(pre),
    .section_o(section),
    .param_o(param),
    .tap_o(tap),
    .tap_idx_o(tap_idx)
  );

  // ---- reference --------------------------------------------------------------------------------
  logic [64*Fixed-1:0] words_q;
  logic                ended_q;     // the last word came a cycle ago
  logic                complete_q;  // words_q is a whole descriptor
  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    ended_q <= rst_ni && cfg_valid_i && last;
    if (!rst_ni) begin
      inside_q <= 1'b0;
      place_q <= '0;
      complete_q <= 1'b0;
    end else if (cfg_valid_i) begin
      inside_q <= !last;
      place_q <= last ? '0 : place_q + 7'd1;
      taps_q <= taps;
      complete_q <= last;
    end
    if (cfg_valid_i) begin
      for (int unsigned w = 0; w < Fixed; w++) begin
        if (32'(place_q) == w) words_q[64*w+:64] <= cfg_data_i;
      end
    end
  end
  initial started_q = 1'b0;

  logic [64*Pre-1:0] pre_bits;
  assign pre_bits = pre;
  always_comb begin
    if (!started_q) assume (!rst_ni);
    assume (taps_i <= 2'd2);
    // A descriptor begins where the unit asks for one.
    assume (!cfg_valid_i || inside_q || (req && begin_i));
    if (started_q) begin
      assert (req == (!inside_q && !hold_i));
      assert (endd == (cfg_valid_i && last));
      assert (tap == (cfg_valid_i && 32'(place_q) >= Fixed));
      if (tap) assert (32'(tap_idx) == 32'(place_q) - Fixed);
      if (ended_q) assert (complete_q);
      // Each word stands at its place from the cycle behind it on, those of a descriptor to its end.
      for (int unsigned w = 0; w < Pre; w++) begin
        if (complete_q || 32'(place_q) > w) assert (pre_bits[64*w+:64] == words_q[64*w+:64]);
      end
      for (int unsigned w = 0; w < Words; w++) begin
        if (complete_q || 32'(place_q) >= Pre + Words) begin
          assert (section[64*w+:64] == words_q[64*(Pre+w)+:64]);
        end
      end
      for (int unsigned w = 0; w < Param; w++) begin
        if (complete_q || 32'(place_q) > Pre + Words + w) begin
          assert (param[64*w+:64] == words_q[64*(Pre+Words+w)+:64]);
        end
      end
      // Invariants: a section that is shifted in stands at the high end; places.
      assert (u_rx.receiving_q == inside_q);
      assert (inside_q == (place_q != '0));
      assert (!complete_q || !inside_q);
      if (inside_q) assert (taps_q <= 2'd2 && 32'(place_q) < Fixed + 32'(taps_q));
      for (int unsigned n = 1; n < Words; n++) begin
        if (Shift && 32'(place_q) == Pre + n) begin
          for (int unsigned w = 0; w < n; w++) begin
            assert (section[64*(Words-n+w)+:64] == words_q[64*(Pre+w)+:64]);
          end
        end
      end
      for (int unsigned w = 0; w < Words; w++) begin
        if (!Shift && 32'(place_q) > Pre + w) begin
          assert (section[64*w+:64] == words_q[64*(Pre+w)+:64]);
        end
      end
    end
  end
endmodule
