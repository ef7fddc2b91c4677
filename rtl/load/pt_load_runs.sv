// SPDX-License-Identifier: Apache-2.0
// Runs of a loader: turns row records into memory runs, flag row before data row, and joins runs
// that continue each other.
//
// Contract: a record is consumed (row_ready_o) in the cycle in which its last run is taken over. A
// run is held back until it is known what follows; it is emitted when the next run does not
// continue it, when it is long, after HoldRows records, or at the end of a tile. The consumer of
// the records must buffer more than 2 * HoldRows of them, so that a held run never blocks the
// records before it.
module pt_load_runs #(
  // A run of this many words is not extended any more.
  parameter int unsigned HoldWords = 64,
  // Records after which a held run is emitted.
  parameter int unsigned HoldRows = 15
) (
  input  logic        clk_i,
  input  logic        rst_ni,
  // records
  input  logic        row_valid_i,
  output logic        row_ready_o,
  input  logic [31:0] row_off_i,
  input  logic [15:0] row_words_i,
  input  logic [31:0] flag_off_i,
  input  logic [6:0]  flag_words_i,
  input  logic        row_last_i,
  // read client
  output logic        run_valid_o,
  input  logic        run_ready_i,
  output logic [31:0] run_off_o,
  output logic [15:0] run_len_o,
  output logic        run_last_o
);
  // Clock of all registers below.
  logic clk, active;

  localparam int unsigned RowsW = $clog2(HoldRows + 1);

  if (HoldWords < 1 || HoldWords > 1024) begin : g_check1
    $fatal(1, "pt_load_runs: HoldWords must be 1..1024");
  end
  if (HoldRows < 1 || HoldRows > 64) begin : g_check2
    $fatal(1, "pt_load_runs: HoldRows must be 1..64");
  end

  // The run that the record wants next.
  logic        flags_done_q, want_flags, want, take, finish;
  logic [28:0] off;    // words
  logic [15:0] len;
  assign want_flags = flag_words_i != 7'd0 && !flags_done_q;
  assign want = want_flags || row_words_i != 16'd0;
  assign off = want_flags ? flag_off_i[31:3] : row_off_i[31:3];
  assign len = want_flags ? 16'(flag_words_i) : row_words_i;

  // The held run.
  logic             held_q, flush_q, joins, forced, out_free;
  logic [28:0]      off_q, end_q, run_q;
  logic [15:0]      len_q;
  logic [RowsW-1:0] rows_q;
  logic             emit, join_run, start_run;
  assign joins = off == end_q && len[15:10] == 6'd0;
  assign forced = flush_q || len_q >= 16'(HoldWords) || rows_q == RowsW'(HoldRows);
  assign out_free = !run_valid_o || run_ready_i;

  always_comb begin
    take      = 1'b0;
    join_run  = 1'b0;
    start_run = 1'b0;
    emit      = held_q && forced && out_free;
    if (row_valid_i) begin
      if (!held_q || emit) begin
        take      = 1'b1;
        start_run = want;
      end else if (!forced) begin
        if (!want) begin
          take = 1'b1;
        end else if (joins) begin
          take     = 1'b1;
          join_run = 1'b1;
        end else begin
          emit      = out_free;
          take      = out_free;
          start_run = out_free;
        end
      end
    end
  end
  assign finish = take && !(want_flags && row_words_i != 16'd0);
  assign row_ready_o = finish;

  always_ff @(posedge clk) begin
    if (!rst_ni) begin
      held_q       <= 1'b0;
      flush_q      <= 1'b0;
      flags_done_q <= 1'b0;
      run_valid_o  <= 1'b0;
    end else begin
      if (start_run) held_q <= 1'b1;
      else if (emit) held_q <= 1'b0;
      if (finish && row_last_i) flush_q <= start_run || (held_q && !emit);
      else if (emit) flush_q <= 1'b0;
      if (take) flags_done_q <= want_flags && row_words_i != 16'd0;
      if (emit) run_valid_o <= 1'b1;
      else if (run_ready_i) run_valid_o <= 1'b0;
    end
    if (emit) begin
      run_q     <= off_q;
      run_len_o <= len_q;
    end
    if (start_run) begin
      off_q <= off;
      len_q <= len;
    end else if (join_run) begin
      len_q <= len_q + len;
    end
    if (start_run || join_run) end_q <= off + 29'(len);
    if (start_run) rows_q <= RowsW'(0);
    else if (finish && held_q && rows_q != RowsW'(HoldRows)) rows_q <= rows_q + RowsW'(1);
  end
  assign run_off_o = {run_q, 3'd0};
  assign run_last_o = 1'b1;

  // ---- clock ------------------------------------------------------------------------------------
  assign active = take || emit || (run_valid_o && run_ready_i);
  pt_clock_gate u_clock (
    .clk_i,
    .rst_ni,
    .active_i(active),
    .clk_o(clk)
  );

  logic unused;
  assign unused = &{1'b0, row_off_i[2:0], flag_off_i[2:0]};
endmodule
