// SPDX-License-Identifier: Apache-2.0
// Holds the prefix and the section of a descriptor until the unit has room for them: a unit that is
// still at work takes its next descriptor from the configuration bus at once.
//
//   configuration bus --> queue --> configuration bus of pt_cfg_rx, which sees these words only
//
// Contract: words pass while go_i is high, one per cycle. receiving_o: the bus in front is in the
// middle of a descriptor; queued_o: words wait. A descriptor enters when both are low.
module pt_cfg_queue #(
  // First word of the unit's section, and its words.
  parameter int unsigned First = 5,
  parameter int unsigned Words = 1
) (
  input  logic        clk_i,
  input  logic        rst_ni,
  input  logic        cfg_valid_i,
  input  logic [7:0]  cfg_idx_i,
  input  logic [63:0] cfg_data_i,
  input  logic        cfg_last_i,
  output logic        receiving_o,
  output logic        queued_o,
  input  logic        go_i,
  output logic        cfg_valid_o,
  output logic [7:0]  cfg_idx_o,
  output logic [63:0] cfg_data_o,
  output logic        cfg_last_o
);
  localparam int unsigned Depth = 32;
  localparam int unsigned All = pt_abi_pkg::SecPreWords + Words;
  localparam int unsigned PlaceW = $clog2(All);
  if (All > Depth) begin : g_check
    $fatal(1, "pt_cfg_queue: prefix and section must fit the queue of 32 words");
  end

  logic                 wanted, ready_unused;
  logic [$clog2(Depth):0] count_unused;
  logic [PlaceW-1:0]    place_q;  // words that have passed
  assign wanted = cfg_idx_i < 8'(pt_abi_pkg::SecPreWords) ||
                  (cfg_idx_i >= 8'(First) && cfg_idx_i < 8'(First + Words));
  pt_fifo #(
    .Width(64),
    .Depth(Depth)
  ) u_words (
    .clk_i,
    .rst_ni,
    .valid_i(cfg_valid_i && wanted),
    .ready_o(ready_unused),
    .data_i(cfg_data_i),
    .valid_o(queued_o),
    .ready_i(cfg_valid_o),
    .data_o(cfg_data_o),
    .count_o(count_unused)
  );
  assign cfg_valid_o = queued_o && go_i;
  assign cfg_last_o = place_q == PlaceW'(All - 1);
  assign cfg_idx_o = place_q < PlaceW'(pt_abi_pkg::SecPreWords) ? 8'(place_q) :
                     8'(place_q) + 8'(First - pt_abi_pkg::SecPreWords);
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      receiving_o <= 1'b0;
      place_q     <= '0;
    end else begin
      if (cfg_valid_i) receiving_o <= !cfg_last_i;
      if (cfg_valid_o) place_q <= cfg_last_o ? '0 : place_q + PlaceW'(1);
    end
  end

  logic unused;
  assign unused = &{1'b0, ready_unused, count_unused};
endmodule
