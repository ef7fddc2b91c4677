// SPDX-License-Identifier: Apache-2.0
// Receives the words of a descriptor from the configuration bus: prefix, section, step-block entry.
//
//   bus: prefix 0.. | section First.. | step-block entry ParamIndex.. | taps TapIndex..
//
// Contract: req_o asks for a descriptor while none is on the bus and hold_i is low: the unit has no
// room for another. end_o marks the last word. A word stands at its place a cycle after it came,
// and stays until the same word of the next descriptor. Taps are kept by the unit: tap_o, tap_idx_o.
module pt_cfg_rx #(
  // First word of the unit's section, and its words.
  parameter int unsigned First = 5,
  parameter int unsigned Words = 1,
  // The section is shifted in: few enables. Else word by word: bits that nobody reads cost nothing.
  parameter bit Shift = 1'b1,
  // Words have a clock of their own; not where the whole unit has one.
  parameter bit Gate = 1'b0
) (
  input  logic                                 clk_i,
  input  logic                                 rst_ni,
  output logic                                 req_o,
  input  logic                                 cfg_valid_i,
  input  logic [7:0]                           cfg_idx_i,
  input  logic [63:0]                          cfg_data_i,
  input  logic                                 cfg_last_i,
  input  logic                                 hold_i,
  output logic                                 end_o,
  output pt_abi_pkg::pre_t                     pre_o,
  output logic [64*Words-1:0]                  section_o,
  output logic [64*pt_abi_pkg::ParamWords-1:0] param_o,
  output logic                                 tap_o,
  output logic [6:0]                           tap_idx_o
);
  if (pt_abi_pkg::TapIndex + pt_abi_pkg::MaxTapsMost > 256) begin : g_check
    $fatal(1, "pt_cfg_rx: all taps must have an index of 8 bits");
  end

  // ---- handshake --------------------------------------------------------------------------------
  logic receiving_q;
  assign req_o = !receiving_q && !hold_i;
  assign end_o = cfg_valid_i && cfg_last_i;
  assign tap_o = cfg_valid_i && cfg_idx_i >= 8'(pt_abi_pkg::TapIndex);
  assign tap_idx_o = 7'(cfg_idx_i - 8'(pt_abi_pkg::TapIndex));
  always_ff @(posedge clk_i) begin
    if (!rst_ni) receiving_q <= 1'b0;
    else if (cfg_valid_i) receiving_q <= !cfg_last_i;
  end

  // ---- words ------------------------------------------------------------------------------------
  logic word_clk;
  if (Gate) begin : g_gate
    pt_clock_gate u_clock (
      .clk_i,
      .rst_ni,
      .active_i(cfg_valid_i),
      .clk_o(word_clk)
    );
  end else begin : g_plain
    assign word_clk = clk_i;
  end

  logic [64*pt_abi_pkg::SecPreWords-1:0] pre_q;
  assign pre_o = pre_q;
  always_ff @(posedge word_clk) begin
    if (cfg_valid_i) begin
      for (int unsigned w = 0; w < pt_abi_pkg::SecPreWords; w++) begin
        if (cfg_idx_i == 8'(pt_abi_pkg::SecPreFirst + w)) pre_q[64*w+:64] <= cfg_data_i;
      end
      for (int unsigned w = 0; w < pt_abi_pkg::ParamWords; w++) begin
        if (cfg_idx_i == 8'(pt_abi_pkg::ParamIndex + w)) param_o[64*w+:64] <= cfg_data_i;
      end
    end
  end
  if (Shift && Words > 1) begin : g_shift
    always_ff @(posedge word_clk) begin
      if (cfg_valid_i && cfg_idx_i >= 8'(First) && cfg_idx_i < 8'(First + Words)) begin
        section_o <= {cfg_data_i, section_o[64*Words-1:64]};
      end
    end
  end else begin : g_place
    always_ff @(posedge word_clk) begin
      if (cfg_valid_i) begin
        for (int unsigned w = 0; w < Words; w++) begin
          if (cfg_idx_i == 8'(First + w)) section_o[64*w+:64] <= cfg_data_i;
        end
      end
    end
  end
endmodule
