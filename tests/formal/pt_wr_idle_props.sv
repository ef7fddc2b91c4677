// SPDX-License-Identifier: Apache-2.0
// Properties of pt_wr_idle against a queue of the clients whose runs are open, the oldest first.
//
// Grants, answers, the end of everything and the reset are free, as the contract allows them: one
// grant in a cycle, answers only for open runs, fewer open runs than Runs. The last group of
// assertions ties the counters to the queue, which makes the others provable by induction.
module pt_wr_idle_props #(
  // As pt_wr_idle.
  parameter int unsigned Clients = 2,
  // As pt_wr_idle.
  parameter int unsigned Runs = 4
) (
  input logic               clk_i,
  input logic               rst_ni,
  input logic [Clients-1:0] grant_i,
  input logic               done_i,
  input logic               drained_i
);
  localparam int unsigned CountW = $clog2(Runs);
  // Open runs at most.
  localparam int unsigned Most = Runs - 1;

  logic [Clients-1:0] idle;
  pt_wr_idle #(.Clients(Clients), .Runs(Runs)) u_idle (
    .clk_i,
    .rst_ni,
    .grant_i,
    .done_i,
    .drained_i,
    .idle_o(idle)
  );

  // Reference: the clients of the open runs, one bit each, the oldest run at the low end.
  logic                           started_q;
  logic [CountW-1:0]              held_q, kept;
  logic [Most-1:0][Clients-1:0]   open_q, open_d;
  assign kept = drained_i ? '0 : held_q - CountW'(done_i);
  always_comb begin
    open_d = drained_i ? '0 : done_i ? open_q >> Clients : open_q;
    for (int unsigned k = 0; k < Most; k++) begin
      if (kept == CountW'(k)) open_d[k] = grant_i;
    end
  end
  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    held_q <= rst_ni ? kept + CountW'(|grant_i) : '0;
    open_q <= rst_ni ? open_d : '0;
  end
  initial started_q = 1'b0;

  // The last open run of each client: its distance from those acknowledged.
  logic [Clients-1:0]             any;
  logic [Clients-1:0][CountW-1:0] last;
  always_comb begin
    any = '0;
    last = '0;
    for (int unsigned k = 0; k < Most; k++) begin
      for (int unsigned c = 0; c < Clients; c++) begin
        if (open_q[k][c]) begin
          any[c] = 1'b1;
          last[c] = CountW'(k + 1);
        end
      end
    end
  end

  always_comb begin
    if (!started_q) assume (!rst_ni);
    assume ((grant_i & (grant_i - 1'b1)) == '0);
    if (started_q) begin
      assume (!done_i || held_q != '0);
      assume (grant_i == '0 || kept != CountW'(Most));
      assert (idle == ~any);
      // Invariants.
      assert (u_idle.granted_q == u_idle.done_q + held_q);
      for (int unsigned k = 0; k < Most; k++) begin
        assert ((open_q[k] != '0) == (CountW'(k) < held_q));
        assert ((open_q[k] & (open_q[k] - 1'b1)) == '0);
      end
      for (int unsigned c = 0; c < Clients; c++) begin
        if (any[c]) assert (u_idle.open_q[c] && u_idle.last_q[c] == u_idle.done_q + last[c]);
        else if (u_idle.open_q[c]) assert (u_idle.last_q[c] == u_idle.done_q);
      end
    end
  end
endmodule
