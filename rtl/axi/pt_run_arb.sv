// SPDX-License-Identifier: Apache-2.0
// Round robin over runs of several clients, with a queue of {client, length} of granted runs.
//
// Contract: run_valid_o/ready as a stream; a run is granted only when the order queue has room.
module pt_run_arb #(
  // Clients, 2..4.
  parameter int unsigned Clients = 2
) (
  input  logic                  clk_i,
  input  logic                  rst_ni,
  input  logic [Clients-1:0]    run_valid_i,
  output logic [Clients-1:0]    run_ready_o,
  input  logic [Clients*32-1:0] run_off_i,
  input  logic [Clients*16-1:0] run_len_i,
  output logic                  run_valid_o,
  input  logic                  run_ready_i,
  output logic [31:0]           run_off_o,
  output logic [15:0]           run_len_o,
  output logic                  order_valid_o,
  output logic [17:0]           order_o,
  input  logic                  order_pop_i
);
  if (Clients < 2 || Clients > 4) begin : g_check
    $fatal(1, "pt_run_arb: Clients must be 2..4");
  end

  logic [1:0]  last_q, pick;
  logic        any, order_ready, grant;
  logic [3:0]  order_count_unused;
  logic [31:0] off;
  logic [15:0] len;

  // The next client after the last one that has a run.
  always_comb begin
    pick = last_q;
    any = |run_valid_i;
    for (int unsigned l = 0; l < Clients; l++) begin
      for (int unsigned k = Clients; k > 0; k--) begin
        if (last_q == 2'(l) && run_valid_i[(l+k)%Clients]) pick = 2'((l + k) % Clients);
      end
    end
    off = run_off_i[31:0];
    len = run_len_i[15:0];
    for (int unsigned c = 0; c < Clients; c++) begin
      if (pick == 2'(c)) begin
        off = run_off_i[c*32+:32];
        len = run_len_i[c*16+:16];
      end
    end
  end

  assign grant = any && order_ready && (!run_valid_o || run_ready_i);
  for (genvar c = 0; c < Clients; c++) begin : g_ready
    assign run_ready_o[c] = grant && pick == 2'(c);
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      run_valid_o <= 1'b0;
      last_q      <= 2'd0;
    end else begin
      if (!run_valid_o || run_ready_i) run_valid_o <= grant;
      if (grant) last_q <= pick;
    end
    if (grant) begin
      run_off_o <= off;
      run_len_o <= len;
    end
  end

  pt_fifo #(.Width(18), .Depth(8)) u_order (
    .clk_i,
    .rst_ni,
    .valid_i(grant),
    .ready_o(order_ready),
    .data_i({pick, len}),
    .valid_o(order_valid_o),
    .ready_i(order_pop_i),
    .data_o(order_o),
    .count_o(order_count_unused)
  );
  logic unused;
  assign unused = &{1'b0, order_count_unused};
endmodule
