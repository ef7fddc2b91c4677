// SPDX-License-Identifier: Apache-2.0
// A stream of words from memory: requests the planes of a map ahead and queues what comes.
//
// Contract: start_i starts a scan (see pt_plane_runs); valid_o/ready_i as a stream. Never more words
// are requested than the queue has room for, so data_ready_o is always high.
module pt_vector_in #(
  // Words of the queue, a power of two, 32..4096.
  parameter int unsigned Depth = 256,
  // Words of a plane that is one run (pt_plane_runs); 0: words_i.
  parameter int unsigned Words = 0
) (
  input  logic        clk_i,
  input  logic        rst_ni,
  input  logic        start_i,
  input  logic        on_i,
  input  logic [31:0] off_i,
  input  logic [31:0] words_i,
  input  logic [15:0] images_i,
  input  logic [15:0] blocks_i,
  input  logic [31:0] image_step_i,
  input  logic [31:0] block_jump_i,
  output logic        run_valid_o,
  input  logic        run_ready_i,
  output logic [31:0] run_off_o,
  output logic [15:0] run_len_o,
  input  logic        data_valid_i,
  output logic        data_ready_o,
  input  logic [63:0] data_i,
  output logic        valid_o,
  input  logic        ready_i,
  output logic [63:0] data_o
);
  if (Depth < 32 || Depth > 4096 || (Depth & (Depth - 1)) != 0) begin : g_check
    $fatal(1, "pt_vector_in: Depth must be a power of two of 32..4096");
  end
  localparam int unsigned Burst = 16;
  localparam int unsigned CntW = $clog2(Depth + 1);
  logic [CntW-1:0]        held_q, count_unused;  // requested and not yet taken
  logic [$clog2(Burst):0] len;
  logic                   accept, idle_unused, space_unused;

  pt_plane_runs #(.Burst(Burst), .Words(Words)) u_runs (
    .clk_i,
    .rst_ni,
    .start_i,
    .on_i,
    .off_i,
    .words_i,
    .images_i,
    .blocks_i,
    .image_step_i,
    .block_jump_i,
    .go_i(held_q <= CntW'(Depth - Burst)),
    .len_o(len),
    .accept_o(accept),
    .idle_o(idle_unused),
    .run_valid_o,
    .run_ready_i,
    .run_off_o,
    .run_len_o
  );
  if (Depth <= 128) begin : g_small  // block memories are scarcer than LUTs
    pt_fifo #(.Width(64), .Depth(Depth)) u_queue (
      .clk_i,
      .rst_ni,
      .valid_i(data_valid_i),
      .ready_o(space_unused),
      .data_i,
      .valid_o,
      .ready_i,
      .data_o,
      .count_o(count_unused)
    );
  end else begin : g_large
    pt_fifo_bram #(.Width(64), .Depth(Depth)) u_queue (
      .clk_i,
      .rst_ni,
      .valid_i(data_valid_i),
      .ready_o(space_unused),
      .data_i,
      .valid_o,
      .ready_i,
      .data_o,
      .count_o(count_unused)
    );
  end
  assign data_ready_o = 1'b1;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) held_q <= '0;
    else held_q <= held_q + (accept ? CntW'(len) : '0) - CntW'(valid_o && ready_i);
  end

  logic unused;
  assign unused = &{1'b0, count_unused, idle_unused, space_unused};
endmodule
