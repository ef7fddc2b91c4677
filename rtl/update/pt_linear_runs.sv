// SPDX-License-Identifier: Apache-2.0
// Address generator of the update unit: a range of memory in runs of at most one burst, of each
// period of words the first few.
//
// Contract: start_i loads the range; a run is offered when go_i is high for its length len_o and
// then stays until run_ready_i (go_i must not fall meanwhile). The cycle behind start_i or a taken
// run settles the next one's length. idle_o: all runs have been accepted.
module pt_linear_runs #(
  // Words of a run, a power of two.
  parameter int unsigned Burst = 16
) (
  input  logic                     clk_i,
  input  logic                     rst_ni,
  input  logic                     start_i,
  input  logic [31:0]              off_i,    // bytes
  input  logic [31:0]              words_i,  // the skipped ones included
  input  logic [7:0]               period_i,  // words
  input  logic [7:0]               live_i,    // words of a period that are taken, 1..period
  input  logic                     go_i,
  output logic [$clog2(Burst):0]   len_o,    // words of the next run
  output logic                     accept_o,  // the run was taken
  output logic                     idle_o,
  output logic                     run_valid_o,
  input  logic                     run_ready_i,
  output logic [31:0]              run_off_o,
  output logic [15:0]              run_len_o,
  output logic                     run_last_o
);
  localparam int unsigned LenW = $clog2(Burst) + 1;
  if (Burst < 2 || (Burst & (Burst - 1)) != 0) begin : g_check
    $fatal(1, "pt_linear_runs: Burst must be a power of two of 2 or more");
  end

  logic [31:0]      off_q;
  logic [31:0]      left_q;
  logic [7:0]       room_q;       // words of the period to come
  logic [7:0]       gap_q;        // words of a period that are skipped
  logic             busy_q, settled_q, last_q, period_end_q, period_end;
  logic [LenW-1:0]  len, len_q;
  logic [8:0]       used, used_q;  // words up to the next run
  always_comb begin
    len = LenW'(Burst);
    if (room_q < 8'(Burst)) len = room_q[LenW-1:0];
    if (left_q < 32'(len)) len = left_q[LenW-1:0];
  end
  assign period_end = room_q == 8'(len);
  assign used = 9'(len) + (period_end ? 9'(gap_q) : 9'd0);
  assign len_o = len_q;
  assign idle_o = !busy_q;
  assign run_valid_o = busy_q && settled_q && go_i;
  assign run_off_o = off_q;
  assign run_len_o = 16'(len_q);
  assign run_last_o = 1'b1;
  assign accept_o = run_valid_o && run_ready_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) busy_q <= 1'b0;
    else if (start_i) busy_q <= words_i != 32'd0;
    else if (accept_o && last_q) busy_q <= 1'b0;
    settled_q    <= !start_i && !accept_o;
    len_q        <= len;
    used_q       <= used;
    period_end_q <= period_end;
    last_q       <= left_q <= 32'(used);
    if (start_i) begin
      off_q  <= off_i;
      left_q <= words_i;
      room_q <= live_i;
      gap_q  <= period_i - live_i;
    end else if (accept_o) begin
      off_q  <= off_q + {20'd0, used_q, 3'd0};
      left_q <= left_q - 32'(used_q);
      room_q <= period_end_q ? live_i : room_q - 8'(len_q);
    end
  end
endmodule
