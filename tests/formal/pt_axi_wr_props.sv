// SPDX-License-Identifier: Apache-2.0
// Properties of pt_axi_wr: what it asks for, what it sends, and what it takes for an answer.
//
// Runs, words, the memory's readiness, its answers (also those that nobody asked for) and the reset
// are free; a halt ends with a reset. Words and the answer of a burst are shown for one, any one
// that watch_i picks. Addresses, 4 KB and the arena are those of pt_burst, which has its own proof.
module pt_axi_wr_props #(
  // As pt_axi_wr.
  parameter int unsigned Depth = 32
) (
  input logic        clk_i,
  input logic        rst_ni,
  input logic        halt_i,
  input logic [31:0] limit_i,
  input logic        run_valid_i,
  input logic [31:0] run_off_i,
  input logic [15:0] run_len_i,
  input logic        run_last_i,
  input logic        data_valid_i,
  input logic [63:0] data_i,
  input logic        awready_i,
  input logic        wready_i,
  input logic [1:0]  bresp_i,
  input logic        bvalid_i,
  input logic        watch_i
);
  // Bursts without answer at most: as many as the queues of bursts hold here (the test says how).
  localparam int unsigned MaxOutstanding = 2;
  localparam int unsigned CountW = $clog2(Depth + 1);

  logic        run_ready, data_ready, idle, run_done, beat, stray, awvalid, wlast, wvalid, bready;
  logic [1:0]  err;
  logic [39:0] awaddr;
  logic [7:0]  awlen;
  logic [63:0] wdata;
  pt_axi_wr #(.Depth(Depth), .MaxOutstanding(MaxOutstanding)) u_wr (
    .clk_i,
    .rst_ni,
    .halt_i,
    .base_i(40'h12_3456_7000),
    .limit_i,
    .run_valid_i,
    .run_ready_o(run_ready),
    .run_off_i,
    .run_len_i,
    .run_last_i,
    .data_valid_i,
    .data_ready_o(data_ready),
    .data_i,
    .err_o(err),
    .idle_o(idle),
    .run_done_o(run_done),
    .beat_o(beat),
    .stray_o(stray),
    .awaddr_o(awaddr),
    .awlen_o(awlen),
    .awvalid_o(awvalid),
    .awready_i,
    .wdata_o(wdata),
    .wlast_o(wlast),
    .wvalid_o(wvalid),
    .wready_i,
    .bresp_i,
    .bvalid_i,
    .bready_o(bready)
  );

  // ---- reference --------------------------------------------------------------------------------
  logic        started_q, stop_q, aw_stalled_q, w_stalled_q, stray_q;
  logic [47:0] aw_q;
  logic [64:0] w_q;
  logic [7:0]  owed_q;       // words of announced bursts that the memory has not taken
  logic [3:0]  unsent_q;     // announced bursts whose last word it has not taken
  logic [3:0]  answers_q;    // answers that it owes
  logic        watched_q;    // a burst is watched and has not got its answer
  logic [7:0]  to_last_q;    // words up to its last one
  logic [4:0]  beats_q;      // all of it
  logic        end_q;        // it ends a run
  logic [1:0]  place_q;      // bursts in front of it whose words wait; 3: its own are gone
  logic [3:0]  ahead_q;      // answers before its own
  logic        announce, sent, answered;
  assign announce = u_wr.issue;
  assign sent = wvalid && wready_i;
  assign answered = bvalid_i && answers_q != '0;
  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    stop_q <= rst_ni && u_wr.stop;
    aw_stalled_q <= rst_ni && awvalid && !awready_i;
    w_stalled_q <= rst_ni && wvalid && !wready_i;
    stray_q <= rst_ni && bvalid_i && answers_q == '0;
    aw_q <= {awaddr, awlen};
    w_q <= {wdata, wlast};
    if (!rst_ni) begin
      owed_q <= '0;
      unsent_q <= '0;
      answers_q <= '0;
      watched_q <= 1'b0;
    end else begin
      owed_q <= owed_q + (announce ? 8'(u_wr.burst_beats) : 8'd0) - 8'(sent);
      unsent_q <= unsent_q + 4'(announce) - 4'(sent && wlast);
      answers_q <= answers_q + 4'(sent && wlast) - 4'(answered);
      if (watched_q) begin
        if (sent && to_last_q != '0) to_last_q <= to_last_q - 8'd1;
        if (u_wr.len_pop && place_q != 2'd3) place_q <= place_q - 2'd1;
        if (answered) begin
          ahead_q <= ahead_q - 4'd1;
          watched_q <= ahead_q != '0;
        end
      end else if (watch_i && announce) begin
        watched_q <= 1'b1;
        to_last_q <= owed_q - 8'(sent) + 8'(u_wr.burst_beats);
        beats_q <= u_wr.burst_beats;
        end_q <= u_wr.burst_end;
        place_q <= 2'(u_wr.u_lens.count_q) - 2'(u_wr.len_pop);
        ahead_q <= unsent_q + answers_q - 4'(answered);
      end
    end
  end
  initial started_q = 1'b0;

  // Words of the oldest burst that waits, and of both.
  logic [7:0] one, all;
  always_comb begin
    one = u_wr.u_lens.count_q > 2'd0 ? 8'(u_wr.u_lens.mem[u_wr.u_lens.rptr_q]) : 8'd0;
    all = one;
    if (u_wr.u_lens.count_q > 2'd1) all = one + 8'(u_wr.u_lens.mem[u_wr.u_lens.rptr_q+1'd1]);
  end

  always_comb begin
    if (!started_q) assume (!rst_ni);
    assume (run_len_i != 16'd0);
    // A halt ends with a reset.
    if (started_q && rst_ni && stop_q) assume (u_wr.stop);
    if (started_q) begin
      // What is offered stands still; nothing is announced when the port has stopped.
      if (aw_stalled_q) assert (awvalid && {awaddr, awlen} == aw_q);
      if (w_stalled_q) assert (wvalid && {wdata, wlast} == w_q);
      if (stop_q) assert (!awvalid || aw_stalled_q);
      if (u_wr.stop) assert (!announce && data_ready);
      if (awvalid) assert (awlen < 8'd16);
      // No word without a burst, and every word of an announced burst is there.
      if (wvalid) assert (owed_q != '0);
      if (u_wr.len_valid) assert (u_wr.fifo_valid);
      if (owed_q != '0) assert (wvalid || u_wr.send);
      // WLAST with the last word of a burst, and with no other.
      if (watched_q && wvalid && to_last_q == 8'd1) assert (wlast);
      if (watched_q && wvalid && to_last_q > 8'd1 && to_last_q <= 8'(beats_q)) assert (!wlast);
      // Answers: as many as are owed, others are dropped and told of; that of a run's last burst.
      assert (bready);
      assert (unsent_q <= 4'(MaxOutstanding) && unsent_q + answers_q <= 4'(MaxOutstanding));
      assert (stray == stray_q);
      if (!answered) assert (!run_done);
      if (watched_q && ahead_q == '0 && answered) assert (run_done == end_q);
      // It ends idle, and is not idle before.
      if (idle) assert (owed_q == '0 && unsent_q == '0 && answers_q == '0 && !awvalid);
      if (idle && !u_wr.stop) assert (u_wr.empty && !u_wr.fifo_valid);
      if (owed_q == '0 && unsent_q == '0 && answers_q == '0 && !awvalid &&
          (u_wr.stop || (u_wr.empty && !u_wr.fifo_valid))) begin
        assert (idle);
      end
      // Invariants.
      if (u_wr.burst_valid) assert (u_wr.burst_beats != '0 && u_wr.burst_beats <= 5'd16);
      if (u_wr.u_burst.have_q) assert (u_wr.u_burst.left_q != '0);
      if (u_wr.u_burst.in_valid_q) assert (u_wr.u_burst.in_len_q != '0);
      assert (u_wr.outstanding_q == unsent_q + answers_q);
      assert (u_wr.owed_q == answers_q && answers_q <= 4'(MaxOutstanding));
      assert (u_wr.u_ends.count_q == u_wr.outstanding_q && u_wr.u_lens.count_q <= unsent_q);
      assert (u_wr.u_ends.wptr_q == u_wr.u_ends.rptr_q + 1'(u_wr.u_ends.count_q));
      assert (u_wr.u_lens.wptr_q == u_wr.u_lens.rptr_q + 1'(u_wr.u_lens.count_q));
      assert (unsent_q == u_wr.u_lens.count_q + 4'(wvalid && wlast));
      for (int unsigned k = 0; k < 2; k++) begin
        if (2'(k) < u_wr.u_lens.count_q) begin
          assert (u_wr.u_lens.mem[u_wr.u_lens.rptr_q+1'(k)] != '0 &&
                  u_wr.u_lens.mem[u_wr.u_lens.rptr_q+1'(k)] <= 5'd16);
        end
      end
      if (u_wr.len_valid) assert (u_wr.beat_q < u_wr.len);
      else assert (u_wr.beat_q == '0);
      if (wvalid) assert (wlast == (u_wr.beat_q == '0));
      if (u_wr.beat_q != '0 && !wvalid) assert (u_wr.len_valid);
      assert (owed_q + 8'(u_wr.beat_q) == all + 8'(wvalid));
      assert (8'(u_wr.free_words_q) + all == 8'(u_wr.u_data.count_q) + 8'(u_wr.beat_q));
      assert (8'(u_wr.free_words_q) <= 8'(u_wr.u_data.count_q));
      assert (u_wr.u_data.count_q <= CountW'(Depth));
      if (watched_q) begin
        assert (ahead_q < unsent_q + answers_q);
        assert (u_wr.u_ends.mem[u_wr.u_ends.rptr_q+1'(ahead_q)] == end_q);
        if (place_q == 2'd3) begin
          assert (to_last_q == '0 ? ahead_q < answers_q
                  : to_last_q == 8'd1 && wvalid && wlast && ahead_q == answers_q);
        end else begin
          assert (place_q < u_wr.u_lens.count_q);
          assert (u_wr.u_lens.mem[u_wr.u_lens.rptr_q+1'(place_q)] == beats_q);
          assert (to_last_q + 8'(u_wr.beat_q) ==
                  (place_q == 2'd0 ? one : all) + 8'(wvalid));
          assert (ahead_q == answers_q + 4'(wvalid && wlast) + 4'(place_q));
        end
      end
    end
  end
endmodule
