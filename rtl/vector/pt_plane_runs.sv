// SPDX-License-Identifier: Apache-2.0
// Address generator of the vector unit: the planes of a map, block by block, each cut into runs of
// at most one burst.
//
//   for block: for image: words of one plane        image_step: from a plane to the next image's
//                                                   block_jump: from a block's last plane on
//
// Contract: start_i loads the scan; a run is offered when go_i is high for its length len_o and then
// stays until run_ready_i (go_i must not fall meanwhile). idle_o: all runs have been accepted.
module pt_plane_runs #(
  // Words of a run, a power of two.
  parameter int unsigned Burst = 16,
  // A plane is one run of this many words for each block, blocks follow each other, and words_i,
  // images_i and steps do not count; 0: they do. Up to Burst.
  parameter int unsigned Words = 0
) (
  input  logic                     clk_i,
  input  logic                     rst_ni,
  input  logic                     start_i,
  input  logic                     on_i,          // else there is nothing to do
  input  logic [31:0]              off_i,         // bytes
  input  logic [31:0]              words_i,       // of a plane, at least 1
  input  logic [15:0]              images_i,      // at least 1
  input  logic [15:0]              blocks_i,      // at least 1
  input  logic [31:0]              image_step_i,  // bytes
  input  logic [31:0]              block_jump_i,  // bytes
  input  logic                     go_i,
  output logic [$clog2(Burst):0]   len_o,         // words of the next run
  output logic                     accept_o,      // the run was taken
  output logic                     idle_o,
  output logic                     run_valid_o,
  input  logic                     run_ready_i,
  output logic [31:0]              run_off_o,
  output logic [15:0]              run_len_o
);
  localparam int unsigned LenW = $clog2(Burst) + 1;
  if (Burst < 2 || (Burst & (Burst - 1)) != 0) begin : g_check
    $fatal(1, "pt_plane_runs: Burst must be a power of two of 2 or more");
  end

  if (Words > Burst) begin : g_check_words
    $fatal(1, "pt_plane_runs: Words must be 0..Burst");
  end

  logic [31:0] off_q;
  logic [15:0] block_q;  // to come, this one included
  logic        busy_q, last;
  assign idle_o = !busy_q;
  assign run_valid_o = busy_q && go_i;
  assign run_off_o = off_q;
  assign run_len_o = 16'(len_o);
  assign accept_o = run_valid_o && run_ready_i;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) busy_q <= 1'b0;
    else if (start_i) busy_q <= on_i;
    else if (accept_o && last) busy_q <= 1'b0;
  end

  if (Words != 0) begin : g_lone
    assign len_o = LenW'(Words);
    assign last = block_q == 16'd1;
    always_ff @(posedge clk_i) begin
      if (start_i) begin
        off_q   <= off_i;
        block_q <= blocks_i;
      end else if (accept_o) begin
        off_q   <= off_q + 32'(8 * Words);
        block_q <= block_q - 16'd1;
      end
    end
    logic unused;
    assign unused = &{1'b0, words_i, images_i, image_step_i, block_jump_i};
  end else begin : g_planes
    logic [31:0] plane_q, left_q, step;
    logic [15:0] image_q;  // to come, this one included
    // The length of a run leads through two arbiters to the queue's counter: whether the run is a
    // plane's last is known a cycle before.
    logic        plane_end_q, block_end;
    assign block_end = image_q == 16'd1;
    assign last = plane_end_q && block_end && block_q == 16'd1;
    assign len_o = plane_end_q ? left_q[LenW-1:0] : LenW'(Burst);
    assign step = plane_q + (block_end ? block_jump_i : image_step_i);
    always_ff @(posedge clk_i) begin
      if (start_i) begin
        off_q   <= off_i;
        plane_q <= off_i;
        left_q  <= words_i;
        image_q <= images_i;
        block_q <= blocks_i;
        plane_end_q <= words_i <= 32'(Burst);
      end else if (accept_o) begin
        plane_end_q <= (plane_end_q ? words_i : left_q - 32'(Burst)) <= 32'(Burst);
        if (plane_end_q) begin
          off_q   <= step;
          plane_q <= step;
          left_q  <= words_i;
          image_q <= block_end ? images_i : image_q - 16'd1;
          if (block_end) block_q <= block_q - 16'd1;
        end else begin
          off_q  <= off_q + 32'(8 * Burst);
          left_q <= left_q - 32'(Burst);
        end
      end
    end
  end
endmodule
