// SPDX-License-Identifier: Apache-2.0
// Properties of pt_rd_arb: the words of a run go to the client that asked for it, and all of them.
//
// Clients and master are free: the master answers with as many words as it was asked for, since one
// run is watched, any one that watch_i picks, in front of which others wait.
module pt_rd_arb_props #(
  // As pt_rd_arb.
  parameter int unsigned Clients = 3,
  // Orders that pt_run_arb holds, a power of two.
  parameter int unsigned Orders = 4
) (
  input logic                  clk_i,
  input logic                  rst_ni,
  input logic [Clients-1:0]    run_valid_i,
  input logic [Clients*32-1:0] run_off_i,
  input logic [Clients*16-1:0] run_len_i,
  input logic [Clients-1:0]    data_ready_i,
  input logic                  run_ready_i,
  input logic                  data_valid_i,
  input logic [63:0]           data_i,
  input logic                  watch_i
);
  localparam int unsigned OrderW = $clog2(Orders);

  logic [Clients-1:0] run_ready, data_valid;
  logic [63:0]        data;
  logic               run_valid, run_last, data_ready;
  logic [31:0]        run_off;
  logic [15:0]        run_len;
  pt_rd_arb #(.Clients(Clients)) u_arb (
    .clk_i,
    .rst_ni,
    .run_valid_i,
    .run_ready_o(run_ready),
    .run_off_i,
    .run_len_i,
    .data_valid_o(data_valid),
    .data_ready_i,
    .data_o(data),
    .run_valid_o(run_valid),
    .run_ready_i,
    .run_off_o(run_off),
    .run_len_o(run_len),
    .run_last_o(run_last),
    .data_valid_i,
    .data_ready_o(data_ready),
    .data_i
  );

  logic [15:0]        len;
  logic [1:0]         client;
  logic [Clients-1:0] move;   // a word goes to the client
  assign move = data_valid & data_ready_i;
  always_comb begin
    len = '0;
    client = '0;
    for (int unsigned c = 0; c < Clients; c++) begin
      if (run_ready[c]) begin
        len = run_len_i[16*c+:16];
        client = 2'(c);
      end
    end
  end

  // ---- reference: words in front of the watched run, words of it --------------------------------
  logic        started_q, watched_q;
  logic [1:0]  client_q;
  logic [OrderW-1:0] ahead_q;    // runs in front of it
  logic [15:0] left_q;     // words of it that have not come
  logic [OrderW:0] open_q;     // granted runs with words to come
  logic        ends;       // the last word of the oldest run
  assign ends = u_arb.order_pop;
  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    if (!rst_ni) begin
      watched_q <= 1'b0;
      open_q <= '0;
    end else begin
      open_q <= open_q + (OrderW+1)'(|run_ready) - (OrderW+1)'(ends);
      if (watched_q) begin
        if (ahead_q != OrderW'(0)) begin
          ahead_q <= ahead_q - OrderW'(ends);
        end else if (move != '0) begin
          left_q <= left_q - 16'd1;
          watched_q <= left_q != 16'd1;
        end
      end else if (watch_i && |run_ready) begin
        watched_q <= 1'b1;
        client_q <= client;
        left_q <= len;
        ahead_q <= OrderW'(open_q - (OrderW+1)'(ends));
      end
    end
  end
  initial started_q = 1'b0;

  always_comb begin
    if (!started_q) assume (!rst_ni);
    for (int unsigned c = 0; c < Clients; c++) assume (run_len_i[16*c+:16] != 16'd0);
    if (started_q) begin
      // Each word goes to one client, and none without a run; a client that takes is served.
      assert ((data_valid & (data_valid - 1'b1)) == '0);
      assert ((|move) == (data_valid_i && data_ready));
      assert (!data_ready || open_q != (OrderW+1)'(0));
      if (data_valid_i && open_q != (OrderW+1)'(0)) assert (|data_valid);
      assert (data == data_i);
      assert (!run_valid || run_last);
      if (watched_q && ahead_q == OrderW'(0)) begin
        // Its words, and no others, go to its client, and the run ends with the last one.
        assert (data_valid == (data_valid_i ? Clients'(1) << client_q : '0));
        assert (ends == (move != '0 && left_q == 16'd1));
      end
      // Invariants.
      assert (u_arb.u_arb.u_order.count_q == open_q && open_q <= (OrderW+1)'(Orders));
      assert (u_arb.u_arb.u_order.wptr_q == u_arb.u_arb.u_order.rptr_q + OrderW'(open_q));
      for (int unsigned k = 0; k < Orders; k++) begin
        if ((OrderW+1)'(k) < open_q) begin
          assert (u_arb.u_arb.u_order.mem[u_arb.u_arb.u_order.rptr_q+OrderW'(k)][15:0] != 16'd0);
          assert (32'(u_arb.u_arb.u_order.mem[u_arb.u_arb.u_order.rptr_q+OrderW'(k)][17:16]) < Clients);
        end
      end
      if (open_q == (OrderW+1)'(0)) assert (u_arb.count_q == 16'd0);
      else assert (u_arb.count_q < u_arb.order[15:0]);
      assert (32'(u_arb.u_arb.last_q) < Clients);
      if (watched_q) begin
        assert ((OrderW+1)'(ahead_q) < open_q && left_q != 16'd0);
        assert (u_arb.u_arb.u_order.mem[u_arb.u_arb.u_order.rptr_q+ahead_q] ==
                {client_q, left_q + (ahead_q == OrderW'(0) ? u_arb.count_q : 16'd0)});
      end
    end
  end
endmodule
