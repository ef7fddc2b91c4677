// SPDX-License-Identifier: Apache-2.0
// A stream of words to memory: queues them and requests a run when its words are there.
//
// Contract: start_i starts a scan (see pt_plane_runs). The producer takes a slot with take_i before
// it pushes a word (valid_i, later, without back-pressure); room_o: a slot is free. idle_o: all runs
// of the scan have been accepted and all their words handed over.
module pt_vector_out #(
  // Words of the queue, a power of two, 32..256.
  parameter int unsigned Depth = 64,
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
  output logic        room_o,
  input  logic        take_i,
  input  logic        valid_i,
  input  logic [63:0] data_i,
  output logic        idle_o,
  output logic        run_valid_o,
  input  logic        run_ready_i,
  output logic [31:0] run_off_o,
  output logic [15:0] run_len_o,
  output logic        wdata_valid_o,
  input  logic        wdata_ready_i,
  output logic [63:0] wdata_o
);
  localparam int unsigned Burst = 16;
  localparam int unsigned CntW = $clog2(Depth + 1);
  logic [CntW-1:0]        held_q, open_q, count;  // open: words whose run has been accepted
  logic [$clog2(Burst):0] len;
  logic                   accept, space_unused, runs_idle, there, pop;

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
    .go_i(count - open_q >= CntW'(len)),
    .len_o(len),
    .accept_o(accept),
    .idle_o(runs_idle),
    .run_valid_o,
    .run_ready_i,
    .run_off_o,
    .run_len_o
  );
  pt_fifo #(.Width(64), .Depth(Depth)) u_queue (
    .clk_i,
    .rst_ni,
    .valid_i,
    .ready_o(space_unused),
    .data_i,
    .valid_o(there),
    .ready_i(pop),
    .data_o(wdata_o),
    .count_o(count)
  );
  assign room_o = !held_q[CntW-1];
  assign idle_o = runs_idle && open_q == '0;
  assign wdata_valid_o = there && open_q != '0;
  assign pop = wdata_valid_o && wdata_ready_i;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      held_q <= '0;
      open_q <= '0;
    end else begin
      held_q <= held_q + CntW'(take_i) - CntW'(pop);
      open_q <= open_q + (accept ? CntW'(len) : '0) - CntW'(pop);
    end
  end

  logic unused;
  assign unused = &{1'b0, space_unused};
endmodule
