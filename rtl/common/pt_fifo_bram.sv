// SPDX-License-Identifier: Apache-2.0
// First-word-fall-through queue in block memory; one word per cycle sustained.
//
// Contract: as pt_fifo; a word appears at the output four cycles after its push.
module pt_fifo_bram #(
  // Bits of a word.
  parameter int unsigned Width = 64,
  // Words in block memory, power of two, 16..4096.
  parameter int unsigned Depth = 256
) (
  input  logic                       clk_i,
  input  logic                       rst_ni,
  input  logic                       valid_i,
  output logic                       ready_o,
  input  logic [Width-1:0]           data_i,
  output logic                       valid_o,
  input  logic                       ready_i,
  output logic [Width-1:0]           data_o,
  output logic [$clog2(Depth+1)-1:0] count_o
);
  localparam int unsigned PtrW = $clog2(Depth);
  localparam int unsigned CountW = $clog2(Depth + 1);

  if (Depth < 16 || Depth > 4096 || (Depth & (Depth - 1)) != 0) begin : g_check
    $fatal(1, "pt_fifo_bram: Depth must be a power of two of 16..4096");
  end

  // Words in memory, words on the way to or in the output queue of 4.
  logic [PtrW-1:0]   wptr_q, rptr_q;
  logic [CountW-1:0] stored_q, count_q;
  logic [2:0]        ahead_q;
  logic [1:0]        fetch_q;
  logic              push, pop, fetch, out_ready_unused;
  logic [2:0]        out_count_unused;
  logic [Width-1:0]  word;

  assign ready_o = count_q != CountW'(Depth);
  assign push = valid_i && ready_o;
  assign pop = valid_o && ready_i;
  assign fetch = stored_q != '0 && ahead_q < 3'd4;
  assign count_o = count_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      wptr_q   <= '0;
      rptr_q   <= '0;
      stored_q <= '0;
      count_q  <= '0;
      ahead_q  <= '0;
      fetch_q  <= '0;
    end else begin
      if (push) wptr_q <= wptr_q + PtrW'(1);
      if (fetch) rptr_q <= rptr_q + PtrW'(1);
      stored_q <= stored_q + CountW'(push) - CountW'(fetch);
      count_q  <= count_q + CountW'(push) - CountW'(pop);
      ahead_q  <= ahead_q + 3'(fetch) - 3'(pop);
      fetch_q  <= {fetch_q[0], fetch};
    end
  end

  pt_ram_sdp #(.Depth(Depth), .Width(Width), .OutReg(1'b1)) u_ram (
    .clk_i,
    .we_i(push),
    .waddr_i(wptr_q),
    .wdata_i(data_i),
    .re_i(fetch),
    .raddr_i(rptr_q),
    .rdata_o(word)
  );
  pt_fifo #(.Width(Width), .Depth(4)) u_out (
    .clk_i,
    .rst_ni,
    .valid_i(fetch_q[1]),
    .ready_o(out_ready_unused),
    .data_i(word),
    .valid_o,
    .ready_i,
    .data_o,
    .count_o(out_count_unused)
  );
endmodule
