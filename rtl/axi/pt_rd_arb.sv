// SPDX-License-Identifier: Apache-2.0
// Several read clients share one read master: runs in turn, words back in the order of the runs.
//
// Contract: round robin over clients with a run; each run is passed on with run_last (no client
// waits for another). Words are routed by a queue of (client, length).
module pt_rd_arb #(
  // Clients, 2..4.
  parameter int unsigned Clients = 2
) (
  input  logic                    clk_i,
  input  logic                    rst_ni,
  input  logic [Clients-1:0]      run_valid_i,
  output logic [Clients-1:0]      run_ready_o,
  input  logic [Clients*32-1:0]   run_off_i,
  input  logic [Clients*16-1:0]   run_len_i,
  output logic [Clients-1:0]      data_valid_o,
  input  logic [Clients-1:0]      data_ready_i,
  output logic [63:0]             data_o,
  output logic                    run_valid_o,
  input  logic                    run_ready_i,
  output logic [31:0]             run_off_o,
  output logic [15:0]             run_len_o,
  output logic                    run_last_o,
  input  logic                    data_valid_i,
  output logic                    data_ready_o,
  input  logic [63:0]             data_i
);
  logic [1:0]  pick;
  logic        grant_ready, order_valid, order_pop;
  logic [17:0] order;
  pt_run_arb #(.Clients(Clients)) u_arb (
    .clk_i,
    .rst_ni,
    .run_valid_i,
    .run_ready_o,
    .run_off_i,
    .run_len_i,
    .run_valid_o,
    .run_ready_i,
    .run_off_o,
    .run_len_o,
    .order_valid_o(order_valid),
    .order_o(order),
    .order_pop_i(order_pop)
  );
  assign run_last_o = 1'b1;
  assign pick = order[17:16];

  logic [15:0] count_q;
  logic        move;
  // Valid and ready apart: an arbiter may be the client of another one.
  always_comb begin
    data_valid_o = '0;
    for (int unsigned c = 0; c < Clients; c++) begin
      if (pick == 2'(c)) data_valid_o[c] = data_valid_i && order_valid;
    end
  end
  always_comb begin
    grant_ready = 1'b0;
    for (int unsigned c = 0; c < Clients; c++) begin
      if (pick == 2'(c)) grant_ready = data_ready_i[c];
    end
  end
  assign data_o = data_i;
  assign data_ready_o = order_valid && grant_ready;
  assign move = data_valid_i && data_ready_o;
  assign order_pop = move && count_q + 16'd1 == order[15:0];
  always_ff @(posedge clk_i) begin
    if (!rst_ni) count_q <= 16'd0;
    else if (move) count_q <= order_pop ? 16'd0 : count_q + 16'd1;
  end
endmodule
