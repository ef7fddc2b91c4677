// SPDX-License-Identifier: Apache-2.0
// Properties of pt_burst: bursts keep the rules of AXI and of the arena, and are the runs' words.
//
//   words of runs that were taken in:   AtOut, offered | AtCut, being cut | AtIn, checked
//
// Runs, the master and clear_i are free; runs begin at words, the limit stays. The words are shown
// for one, any one: watch_i picks a run and word_i a word of it.
module pt_burst_props (
  input logic        clk_i,
  input logic        rst_ni,
  input logic        clear_i,
  input logic [31:0] limit_i,
  input logic        run_valid_i,
  input logic [31:0] run_off_i,
  input logic [15:0] run_len_i,
  input logic        run_last_i,
  input logic        burst_ready_i,
  input logic        watch_i,
  input logic [15:0] word_i
);
  logic        run_ready, valid, endd, outside, empty, active_unused;
  logic [31:0] off;
  logic [4:0]  beats;
  pt_burst u_burst (
    .clk_i,
    .rst_ni,
    .clear_i,
    .limit_i,
    .run_valid_i,
    .run_ready_o(run_ready),
    .run_off_i,
    .run_len_i,
    .run_last_i,
    .burst_valid_o(valid),
    .burst_ready_i,
    .burst_off_o(off),
    .burst_beats_o(beats),
    .burst_end_o(endd),
    .outside_o(outside),
    .empty_o(empty),
    .active_o(active_unused)
  );

  logic [33:0] run_end;
  logic        fits, take, gone;
  assign run_end = {2'b00, run_off_i} + {15'd0, run_len_i, 3'b000};
  assign fits = run_end <= {2'b00, limit_i};
  assign take = run_valid_i && run_ready;
  assign gone = valid && burst_ready_i;

  // ---- reference --------------------------------------------------------------------------------
  typedef enum logic [1:0] {AtNone, AtIn, AtCut, AtOut} at_e;
  logic        started_q, outside_q, stalled_q;
  logic [31:0] limit_q, off_q;
  logic [4:0]  beats_q;
  logic        endd_q;
  logic [20:0] inside_q, kept;      // words inside
  at_e         at_q;                // where the watched word stands
  logic [31:0] address_q;           // of it
  logic        ends_q, closes_q;    // it ends its run; and that run is a last one
  logic [32:0] cut_end;             // byte behind the burst that is cut
  assign kept = inside_q - (gone ? 21'(beats) : 21'd0);
  assign cut_end = {1'b0, u_burst.off_q} + {25'd0, u_burst.beats, 3'b000};
  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    limit_q <= limit_i;
    stalled_q <= rst_ni && valid && !burst_ready_i;
    off_q <= off;
    beats_q <= beats;
    endd_q <= endd;
    if (!rst_ni) begin
      outside_q <= 1'b0;
      inside_q <= '0;
      at_q <= AtNone;
    end else if (clear_i) begin
      // What is held is dropped, but for the burst that is offered.
      inside_q <= valid && !burst_ready_i ? 21'(beats) : '0;
      if (at_q != AtOut || burst_ready_i) at_q <= AtNone;
    end else begin
      outside_q <= outside_q || (take && !fits);
      inside_q <= kept + (take && fits ? 21'(run_len_i) : 21'd0);
      unique case (at_q)
        AtNone: if (watch_i && take && fits) at_q <= AtIn;
        AtIn:   if (u_burst.take_in) at_q <= AtCut;
        AtCut:  if (u_burst.cut && {1'b0, address_q} < cut_end) at_q <= AtOut;
        AtOut:  if (burst_ready_i) at_q <= AtNone;
      endcase
    end
    if (at_q == AtNone) begin
      address_q <= run_off_i + {13'd0, word_i, 3'b000};
      ends_q <= word_i == run_len_i - 16'd1;
      closes_q <= word_i == run_len_i - 16'd1 && run_last_i;
    end
  end
  initial started_q = 1'b0;

  // Words of the three stages, and the bytes behind them.
  logic [20:0] out_words, cut_words, in_words;
  logic [32:0] out_end, in_end, next, held_end;
  assign out_words = valid ? 21'(beats) : '0;
  assign cut_words = u_burst.have_q ? 21'(u_burst.left_q) : '0;
  assign in_words = u_burst.in_valid_q ? 21'(u_burst.in_len_q) : '0;
  assign out_end = {1'b0, off} + {25'd0, beats, 3'b000};
  assign in_end = {1'b0, u_burst.in_off_q} + {14'd0, u_burst.in_len_q, 3'b000};
  assign held_end = {1'b0, u_burst.off_q} + {10'd0, u_burst.left_q, 3'b000};
  assign next = {1'b0, address_q} + 33'd8;

  always_comb begin
    if (!started_q) assume (!rst_ni);
    assume (run_off_i[2:0] == 3'd0 && run_len_i != 16'd0 && word_i < run_len_i);
    if (started_q) assume (limit_i == limit_q);
    if (started_q) begin
      // Rules of AXI and of the arena.
      if (valid) begin
        assert (beats >= 5'd1 && beats <= 5'd16);
        assert (off[2:0] == 3'd0 && 13'(off[11:0]) + {5'd0, beats, 3'b000} <= 13'd4096);
        assert (out_end <= {1'b0, limit_i});
      end
      // A burst that is offered stays, also while everything else is dropped.
      if (stalled_q) assert (valid && off == off_q && beats == beats_q && endd == endd_q);
      // Every word of a run inside the arena leaves in one burst, at its address, and there are no
      // others: as many words are inside as came and did not leave.
      assert (inside_q == out_words + cut_words + in_words);
      assert (empty == (inside_q == '0));
      if (at_q == AtOut) begin
        assert (valid && address_q >= off && {1'b0, address_q} < out_end && address_q[2:0] == 3'd0);
        // An end is told with the last burst of a last run, and never within a run.
        if (closes_q) assert (endd && next == out_end);
        if (endd && next == out_end) assert (ends_q);
      end
      assert (outside == outside_q);
      // No standstill: where bursts are taken, what is due moves on.
      if (burst_ready_i && !clear_i && u_burst.have_q && (u_burst.last_q || u_burst.in_valid_q)) begin
        assert (u_burst.cut || u_burst.take_in);
      end
      if (!u_burst.have_q && u_burst.in_valid_q) assert (u_burst.take_in);
      if (!u_burst.in_valid_q) assert (run_ready);
      // Invariants.
      if (u_burst.have_q) begin
        assert (u_burst.off_q[2:0] == 3'd0 && u_burst.left_q != '0 && u_burst.left_q < 20'd131072);
        assert (held_end == {1'b0, u_burst.end_q});
        assert (u_burst.end_q <= limit_i);
      end
      if (u_burst.in_valid_q) begin
        assert (u_burst.in_off_q[2:0] == 3'd0 && u_burst.in_len_q != '0);
        assert (in_end <= {1'b0, limit_i});
      end
      assert (address_q[2:0] == 3'd0 || at_q == AtNone);
      if (at_q == AtCut) begin
        assert (u_burst.have_q && address_q >= u_burst.off_q && address_q < u_burst.end_q);
        if (next == {1'b0, u_burst.end_q}) assert (ends_q && closes_q == u_burst.last_q);
        else assert (!closes_q);
      end
      if (at_q == AtIn) begin
        assert (u_burst.in_valid_q && address_q >= u_burst.in_off_q && {1'b0, address_q} < in_end);
        assert (ends_q == (next == in_end) && closes_q == (ends_q && u_burst.in_last_q));
      end
    end
  end
endmodule
