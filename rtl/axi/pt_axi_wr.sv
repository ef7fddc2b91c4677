// SPDX-License-Identifier: Apache-2.0
// AXI write master: runs of words and their data in; bursts of 16 beats, several outstanding.
//
// Contract: base_i is a multiple of 4096. Upstream gives exactly the words of its runs, in order. A
// burst is announced only when all its words are in the data queue, so it always completes. err_o
// as pt_axi_rd. halt_i: no new bursts, runs and words are swallowed; so does a run outside the
// arena, by itself. Only a reset ends either. idle_o: all written and acknowledged (stopped:
// nothing outstanding). run_done_o: a run_last_i run is acknowledged, in the order of the runs
// (answers of one id come in order); not if it is swallowed. An answer that comes while the memory
// owes none is dropped; stray_o is high in the cycle after.
module pt_axi_wr #(
  // Words of the data queue, power of two, 32..256.
  parameter int unsigned Depth = 64,
  // Bursts without answer, 1..8.
  parameter int unsigned MaxOutstanding = 8
) (
  input  logic        clk_i,
  input  logic        rst_ni,
  input  logic        halt_i,
  input  logic [39:0] base_i,
  input  logic [31:0] limit_i,
  input  logic        run_valid_i,
  output logic        run_ready_o,
  input  logic [31:0] run_off_i,
  input  logic [15:0] run_len_i,
  input  logic        run_last_i,
  input  logic        data_valid_i,
  output logic        data_ready_o,
  input  logic [63:0] data_i,
  output logic [1:0]  err_o,
  output logic        idle_o,
  output logic        run_done_o,
  output logic        beat_o,
  output logic        stray_o,
  output logic [39:0] awaddr_o,
  output logic [7:0]  awlen_o,
  output logic        awvalid_o,
  input  logic        awready_i,
  output logic [63:0] wdata_o,
  output logic        wlast_o,
  output logic        wvalid_o,
  input  logic        wready_i,
  input  logic [1:0]  bresp_i,
  input  logic        bvalid_i,
  output logic        bready_o
);
  // Clock of all registers below.
  logic clk, active;

  localparam int unsigned CountW = $clog2(Depth + 1);

  if (Depth < 32) begin : g_check
    $fatal(1, "pt_axi_wr: Depth must be 32 or more");
  end

  logic        burst_valid, burst_ready, burst_end, outside, empty, stop, burst_active;
  logic [31:0] burst_off;
  logic [4:0]  burst_beats;
  assign stop = halt_i || outside;
  pt_burst #(.MaxBeats(16)) u_burst (
    .clk_i(clk),
    .rst_ni,
    .clear_i(stop),
    .limit_i,
    .run_valid_i,
    .run_ready_o,
    .run_off_i,
    .run_len_i,
    .run_last_i,
    .burst_valid_o(burst_valid),
    .burst_ready_i(burst_ready),
    .burst_off_o(burst_off),
    .burst_beats_o(burst_beats),
    .burst_end_o(burst_end),
    .outside_o(outside),
    .empty_o(empty),
    .active_o(burst_active)
  );

  // Data queue, and the words in it that no burst has claimed.
  logic              fifo_valid, fifo_ready, fifo_pop, fifo_push;
  logic [63:0]       fifo_word;
  logic [CountW-1:0] fifo_count_unused, free_words_q;
  pt_fifo #(.Width(64), .Depth(Depth)) u_data (
    .clk_i(clk),
    .rst_ni,
    .valid_i(data_valid_i && !stop),
    .ready_o(fifo_ready),
    .data_i(data_i),
    .valid_o(fifo_valid),
    .ready_i(fifo_pop),
    .data_o(fifo_word),
    .count_o(fifo_count_unused)
  );
  assign data_ready_o = fifo_ready || stop;
  assign fifo_push = data_valid_i && fifo_ready && !stop;

  // Bursts announced, waiting for their data.
  logic       len_ready, len_valid, len_pop;
  logic [4:0] len;
  logic [3:0] len_count_unused;
  logic [3:0] outstanding_q;
  logic       issue, accept;
  assign accept = !awvalid_o || awready_i;
  assign burst_ready = stop || (accept && len_ready && outstanding_q != 4'(MaxOutstanding) &&
                                free_words_q >= CountW'(burst_beats));
  assign issue = burst_valid && burst_ready && !stop;
  pt_fifo #(.Width(5), .Depth(8)) u_lens (
    .clk_i(clk),
    .rst_ni,
    .valid_i(issue),
    .ready_o(len_ready),
    .data_i(burst_beats),
    .valid_o(len_valid),
    .ready_i(len_pop),
    .data_o(len),
    .count_o(len_count_unused)
  );

  // Answers that the memory owes: those of bursts whose last word it has taken.
  logic [3:0] owed_q;
  logic       answer;
  assign answer = bvalid_i && owed_q != 4'd0;

  // Bursts without answer: which of them end a run.
  logic       ends_ready_unused, ends_valid_unused, ends;
  logic [3:0] ends_count_unused;
  pt_fifo #(.Width(1), .Depth(8)) u_ends (
    .clk_i(clk),
    .rst_ni,
    .valid_i(issue),
    .ready_o(ends_ready_unused),
    .data_i(burst_end),
    .valid_o(ends_valid_unused),
    .ready_i(answer),
    .data_o(ends),
    .count_o(ends_count_unused)
  );
  assign run_done_o = answer && ends;

  // W channel: a register loaded from the queue.
  logic [4:0] beat_q;
  logic       send;
  assign send = len_valid && fifo_valid && (!wvalid_o || wready_i);
  assign fifo_pop = send;
  assign len_pop = send && beat_q + 5'd1 == len;
  assign bready_o = 1'b1;
  assign beat_o = wvalid_o && wready_i;

  logic [1:0] resp_err_q;
  assign err_o = outside ? 2'(pt_abi_pkg::ErrOutsideArena) : resp_err_q;
  assign idle_o = !awvalid_o && !wvalid_o && !len_valid && outstanding_q == 4'd0 &&
                  (stop || (empty && !fifo_valid));

  always_ff @(posedge clk) begin
    if (!rst_ni) begin
      awvalid_o     <= 1'b0;
      wvalid_o      <= 1'b0;
      beat_q        <= 5'd0;
      outstanding_q <= 4'd0;
      free_words_q  <= '0;
      owed_q        <= 4'd0;
      stray_o       <= 1'b0;
      resp_err_q    <= 2'd0;
    end else begin
      if (accept) awvalid_o <= issue;
      if (!wvalid_o || wready_i) wvalid_o <= send;
      if (send) beat_q <= len_pop ? 5'd0 : beat_q + 5'd1;
      outstanding_q <= outstanding_q + 4'(issue) - 4'(answer);
      owed_q        <= owed_q + 4'(wvalid_o && wready_i && wlast_o) - 4'(answer);
      stray_o       <= bvalid_i && !answer;
      free_words_q  <= free_words_q + CountW'(fifo_push)
                       - (issue ? CountW'(burst_beats) : CountW'(0));
      if (answer && bresp_i[1] && resp_err_q == 2'd0) begin
        resp_err_q <= bresp_i[0] ? 2'(pt_abi_pkg::ErrDecodeError)
                                 : 2'(pt_abi_pkg::ErrSlaveError);
      end
    end
    if (accept) begin
      awaddr_o <= base_i + {8'd0, burst_off};
      awlen_o  <= {3'd0, burst_beats} - 8'd1;
    end
    if (send) begin
      wdata_o <= fifo_word;
      wlast_o <= len_pop;
    end
  end
  // ---- clock ------------------------------------------------------------------------------------
  assign active = stop || burst_active || (accept && (issue || awvalid_o)) || fifo_push || send ||
                  (wvalid_o && wready_i) || bvalid_i || stray_o;
  pt_clock_gate u_clock (
    .clk_i,
    .rst_ni,
    .active_i(active),
    .clk_o(clk)
  );

  logic unused;
  assign unused = &{1'b0, fifo_count_unused, len_count_unused, ends_ready_unused,
                    ends_valid_unused, ends_count_unused, bresp_i[0]};
endmodule
