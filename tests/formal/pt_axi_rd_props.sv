// SPDX-License-Identifier: Apache-2.0
// Properties of pt_axi_rd about words that the memory owes, whatever the memory answers.
//
// Runs, the memory's readiness, its answers (also those that nobody asked for, with any RLAST), the
// client and the reset are free. Never more words reach the client than were asked for; a word is
// dropped, and told of, exactly when none is owed; the queue never overflows; no burst is asked for
// beyond MaxOutstanding. The invariants make this provable by induction.
module pt_axi_rd_props #(
  // As pt_axi_rd.
  parameter int unsigned Depth = 64,
  // As pt_axi_rd.
  parameter int unsigned MaxOutstanding = 2
) (
  input logic        clk_i,
  input logic        rst_ni,
  input logic        halt_i,
  input logic        run_valid_i,
  input logic [31:0] run_off_i,
  input logic [15:0] run_len_i,
  input logic        run_last_i,
  input logic        data_ready_i,
  input logic        arready_i,
  input logic [63:0] rdata_i,
  input logic [1:0]  rresp_i,
  input logic        rlast_i,
  input logic        rvalid_i
);
  localparam int unsigned CountW = $clog2(Depth + 1);

  logic        run_ready, data_valid, idle, beat, stray, arvalid, rready;
  logic [63:0] data;
  logic [1:0]  err;
  logic [39:0] araddr;
  logic [7:0]  arlen;
  pt_axi_rd #(.Depth(Depth), .MaxOutstanding(MaxOutstanding)) u_rd (
    .clk_i,
    .rst_ni,
    .halt_i,
    .base_i(40'd0),
    .limit_i(32'hffff_f000),
    .run_valid_i,
    .run_ready_o(run_ready),
    .run_off_i,
    .run_len_i,
    .run_last_i,
    .data_valid_o(data_valid),
    .data_ready_i,
    .data_o(data),
    .err_o(err),
    .idle_o(idle),
    .beat_o(beat),
    .stray_o(stray),
    .araddr_o(araddr),
    .arlen_o(arlen),
    .arvalid_o(arvalid),
    .arready_i,
    .rdata_i,
    .rresp_i,
    .rlast_i,
    .rvalid_i,
    .rready_o(rready)
  );

  // Reference: words asked for that did not come, words that came and were not taken by the client.
  logic        started_q, stray_q, stop_q, stalled_q;
  logic [9:0]  owed_q, waiting_q;
  logic [47:0] request_q;
  logic        come, kept;
  assign come = rvalid_i && owed_q != 10'd0;
  assign kept = come && !u_rd.stop;
  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    owed_q <= !rst_ni ? 10'd0 :
              owed_q + (arvalid && arready_i ? {2'd0, arlen} + 10'd1 : 10'd0) - 10'(come);
    waiting_q <= !rst_ni ? 10'd0 : waiting_q + 10'(kept) - 10'(data_valid && data_ready_i);
    stray_q <= rst_ni && rvalid_i && owed_q == 10'd0;
    stop_q <= rst_ni && u_rd.stop;
    stalled_q <= rst_ni && arvalid && !arready_i;
    request_q <= {araddr, arlen};
  end
  initial started_q = 1'b0;

  always_comb begin
    if (!started_q) assume (!rst_ni);
    assume (run_len_i != 16'd0);
    // A halt ends with a reset.
    if (started_q && rst_ni && stop_q) assume (u_rd.stop);
    if (started_q) begin
      // Data only as asked for, strays told of, and nothing waits for ever.
      if (data_valid) assert (waiting_q != 10'd0);
      assert (stray == stray_q);
      assert (rready);
      assert (beat == come);
      if (idle) assert (owed_q == 10'd0 && !arvalid);
      if (owed_q == 10'd0 && !arvalid && u_rd.u_burst.empty_o) assert (idle);
      // A request stands still until it is taken.
      if (stalled_q) assert (arvalid && {araddr, arlen} == request_q);
      if (arvalid) assert (arlen < 8'd16);
      // Room for all that was asked for.
      assert (owed_q + waiting_q + (arvalid ? {2'd0, arlen} + 10'd1 : 10'd0) <= 10'(Depth));
      // Invariants.
      assert (owed_q == 10'(u_rd.owed_q));
      assert (waiting_q == 10'(u_rd.u_data.count_q));
      if (!u_rd.stop && !stop_q)
        assert (10'(u_rd.credit_q) + owed_q + waiting_q +
                (arvalid ? {2'd0, arlen} + 10'd1 : 10'd0) == 10'(Depth));
      else
        assert (10'(u_rd.credit_q) + owed_q + waiting_q +
                (arvalid ? {2'd0, arlen} + 10'd1 : 10'd0) <= 10'(Depth));
      assert (u_rd.outstanding_q <= 4'(MaxOutstanding));
      if (u_rd.burst_valid) assert (u_rd.burst_beats != 5'd0 && u_rd.burst_beats <= 5'd16);
      if (u_rd.u_burst.have_q) assert (u_rd.u_burst.left_q != 20'd0);
      if (u_rd.u_burst.in_valid_q) assert (u_rd.u_burst.in_len_q != 16'd0);
      assert (u_rd.u_data.count_q == u_rd.u_data.stored_q + CountW'(u_rd.u_data.ahead_q));
      assert ({1'b0, u_rd.u_data.ahead_q} == 4'(u_rd.u_data.fetch_q[0]) +
              4'(u_rd.u_data.fetch_q[1]) + {1'b0, u_rd.u_data.u_out.count_q});
      assert (u_rd.u_data.ahead_q <= 3'd4 && u_rd.u_data.stored_q <= CountW'(Depth));
    end
  end

  logic unused;
  assign unused = &{1'b0, run_ready, data, err};
endmodule
