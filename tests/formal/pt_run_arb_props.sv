// SPDX-License-Identifier: Apache-2.0
// Properties of pt_run_arb: one grant, none starves, runs and their order reach the other side.
//
// Clients keep a run until it is taken; the master and the end of orders are free. The order is
// shown for one granted run, any one: watch_i picks it.
module pt_run_arb_props #(
  // As pt_run_arb.
  parameter int unsigned Clients = 3
) (
  input logic                  clk_i,
  input logic                  rst_ni,
  input logic [Clients-1:0]    run_valid_i,
  input logic [Clients*32-1:0] run_off_i,
  input logic [Clients*16-1:0] run_len_i,
  input logic                  run_ready_i,
  input logic                  order_pop_i,
  input logic                  watch_i
);
  logic [Clients-1:0] ready;
  logic               valid, order_valid;
  logic [31:0]        off;
  logic [15:0]        len;
  logic [17:0]        order;
  pt_run_arb #(.Clients(Clients)) u_arb (
    .clk_i,
    .rst_ni,
    .run_valid_i,
    .run_ready_o(ready),
    .run_off_i,
    .run_len_i,
    .run_valid_o(valid),
    .run_ready_i,
    .run_off_o(off),
    .run_len_o(len),
    .order_valid_o(order_valid),
    .order_o(order),
    .order_pop_i
  );

  // ---- what is granted --------------------------------------------------------------------------
  logic [31:0] grant_off;
  logic [15:0] grant_len;
  logic [1:0]  grant_client;
  always_comb begin
    grant_off = '0;
    grant_len = '0;
    grant_client = '0;
    for (int unsigned c = 0; c < Clients; c++) begin
      if (ready[c]) begin
        grant_off = run_off_i[32*c+:32];
        grant_len = run_len_i[16*c+:16];
        grant_client = 2'(c);
      end
    end
  end

  // ---- reference --------------------------------------------------------------------------------
  logic                    started_q, stalled_q;
  logic [Clients-1:0]      waiting_q;          // offered in the cycle before, and not taken
  logic [Clients-1:0][1:0] passed_q;           // grants to others while the client waits
  logic                    open_q;             // the master's run has not been taken
  logic [31:0]             off_q;
  logic [15:0]             len_q;
  logic [3:0]              orders_q;           // granted runs whose order waits
  logic                    watched_q;          // a run is watched and its order waits
  logic [17:0]             watched_order_q;
  logic [2:0]              ahead_q;            // orders in front of it
  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    if (!rst_ni) begin
      waiting_q <= '0;
      passed_q <= '0;
      open_q <= 1'b0;
      orders_q <= '0;
      watched_q <= 1'b0;
    end else begin
      waiting_q <= run_valid_i & ~ready;
      for (int unsigned c = 0; c < Clients; c++) begin
        if (ready[c] || !run_valid_i[c]) passed_q[c] <= '0;
        else passed_q[c] <= passed_q[c] + 2'(|ready);
      end
      open_q <= |ready || (open_q && !run_ready_i);
      orders_q <= orders_q + 4'(|ready) - 4'(order_pop_i);
      if (watched_q) begin
        watched_q <= !(order_pop_i && ahead_q == 3'd0);
        ahead_q <= ahead_q - 3'(order_pop_i);
      end else if (watch_i && |ready) begin
        watched_q <= 1'b1;
        watched_order_q <= {grant_client, grant_len};
        ahead_q <= 3'(orders_q - 4'(order_pop_i));
      end
    end
    if (|ready) begin
      off_q <= grant_off;
      len_q <= grant_len;
    end
  end
  initial started_q = 1'b0;

  always_comb begin
    if (!started_q) assume (!rst_ni);
    // A run that is offered stays until it is taken; orders leave where there are some.
    if (started_q) assume ((waiting_q & ~run_valid_i) == '0);
    if (started_q) assume (!order_pop_i || order_valid);
    if (started_q) begin
      // One grant, only of what is offered, and always where there is room.
      assert ((ready & (ready - 1'b1)) == '0);
      assert ((ready & ~run_valid_i) == '0);
      assert ((|ready) == (|run_valid_i && orders_q != 4'd8 && (!open_q || run_ready_i)));
      // No client sees more than one run of each other client before its own.
      for (int unsigned c = 0; c < Clients; c++) assert (32'(passed_q[c]) < Clients);
      // The granted run goes out, and stays until it is taken.
      assert (valid == open_q);
      if (valid) assert (off == off_q && len == len_q);
      assert (order_valid == (orders_q != 4'd0));
      if (watched_q && ahead_q == 3'd0) assert (order_valid && order == watched_order_q);
      // Invariants.
      assert (u_arb.u_order.count_q == orders_q && orders_q <= 4'd8);
      assert (u_arb.u_order.wptr_q == u_arb.u_order.rptr_q + 3'(orders_q));
      if (watched_q) begin
        assert (4'(ahead_q) < orders_q);
        assert (u_arb.u_order.mem[u_arb.u_order.rptr_q+ahead_q] == watched_order_q);
      end
      assert (32'(u_arb.last_q) < Clients);
      for (int unsigned c = 0; c < Clients; c++) begin
        // The turns up to the client, and the grants that it has seen, are a round at most.
        assert (32'(passed_q[c]) + (32'(u_arb.last_q) < c ? c - 32'(u_arb.last_q)
                                    : c + Clients - 32'(u_arb.last_q)) <= Clients);
        if (!waiting_q[c]) assert (passed_q[c] == '0);
      end
    end
  end
endmodule
