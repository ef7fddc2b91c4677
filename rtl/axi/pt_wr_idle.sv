// SPDX-License-Identifier: Apache-2.0
// Which clients of a shared write port have all their writes acknowledged, each by itself.
//
//   runs granted    0 1 2 3 4 5 ...        client 0 at run 4, client 1 at run 5: when 5 runs are
//   acknowledged    0 1 2 ->               acknowledged client 0 is idle, when 6 are client 1 too
//
// Contract: grant_i: a run of the client is granted in this cycle (one client at most); done_i: the
// port acknowledges the oldest run, in the order of the grants. drained_i: all runs granted before
// this cycle are over, acknowledged or (the port has stopped) swallowed. idle_o: no run of the
// client is open; falls in the cycle after a grant, rises in that after done_i or drained_i.
module pt_wr_idle #(
  // Clients, 2..4.
  parameter int unsigned Clients = 2,
  // Runs granted and not acknowledged, power of two, more than there can be: 8 outstanding bursts
  // of pt_axi_wr, three stages of pt_burst and one of the arbiter.
  parameter int unsigned Runs = 16
) (
  input  logic               clk_i,
  input  logic               rst_ni,
  input  logic [Clients-1:0] grant_i,
  input  logic               done_i,
  input  logic               drained_i,
  output logic [Clients-1:0] idle_o
);
  if (Clients < 2 || Clients > 4 || Runs < 4 || (Runs & (Runs - 1)) != 0) begin : g_check
    $fatal(1, "pt_wr_idle: Clients must be 2..4, Runs a power of two of 4 or more");
  end
  localparam int unsigned CountW = $clog2(Runs);

  // Numbers of runs modulo Runs; the last one of each client, and whether it is open.
  logic [CountW-1:0]              granted_q, granted_d, done_q;
  logic [Clients-1:0][CountW-1:0] last_q;
  logic [Clients-1:0]             open_q;
  assign granted_d = granted_q + CountW'(|grant_i);
  always_comb begin
    idle_o = '0;
    for (int unsigned c = 0; c < Clients; c++) idle_o[c] = !open_q[c] || done_q == last_q[c];
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      granted_q <= '0;
      done_q    <= '0;
      open_q    <= '0;
    end else begin
      granted_q <= granted_d;
      done_q    <= drained_i ? granted_q : done_q + CountW'(done_i);
      open_q    <= grant_i | (drained_i ? '0 : ~idle_o);
    end
    for (int unsigned c = 0; c < Clients; c++) if (grant_i[c]) last_q[c] <= granted_d;
  end
endmodule
