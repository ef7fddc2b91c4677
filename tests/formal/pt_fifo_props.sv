// SPDX-License-Identifier: Apache-2.0
// Properties of pt_fifo against a shift register: order, counts, and the rules of valid/ready.
//
// Each word enters with a free value; the reset is free after the first cycle. The last group of
// assertions ties the memory to the reference, which makes the others provable by induction.
module pt_fifo_props #(
  // Bits of a word.
  parameter int unsigned Width = 2,
  // Words, as pt_fifo.
  parameter int unsigned Depth = 4
) (
  input logic             clk_i,
  input logic             rst_ni,
  input logic             valid_i,
  input logic             ready_i,
  input logic [Width-1:0] data_i
);
  localparam int unsigned PtrW = $clog2(Depth);
  localparam int unsigned CountW = $clog2(Depth + 1);

  logic              ready, valid;
  logic [Width-1:0]  data;
  logic [CountW-1:0] count;
  pt_fifo #(.Width(Width), .Depth(Depth)) u_fifo (
    .clk_i,
    .rst_ni,
    .valid_i,
    .ready_o(ready),
    .data_i,
    .valid_o(valid),
    .ready_i,
    .data_o(data),
    .count_o(count)
  );

  // Reference: the oldest word at the low end.
  logic                   started_q;
  logic [CountW-1:0]      held_q, kept;
  logic [Depth*Width-1:0] words_q, shifted;
  logic                   push, pop;
  assign push = valid_i && ready;
  assign pop = valid && ready_i;
  assign kept = held_q - CountW'(pop);
  always_comb begin
    shifted = pop ? words_q >> Width : words_q;
    for (int unsigned k = 0; k < Depth; k++) begin
      if (push && kept == CountW'(k)) shifted[k*Width+:Width] = data_i;
    end
  end

  // What was offered and not taken.
  logic             out_stalled_q;
  logic [Width-1:0] out_data_q;
  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    if (!rst_ni) held_q <= '0;
    else held_q <= kept + CountW'(push);
    words_q <= shifted;
    out_stalled_q <= rst_ni && valid && !ready_i;
    out_data_q <= data;
  end
  initial started_q = 1'b0;

  always_comb begin
    if (!started_q) assume (!rst_ni);
    if (started_q) begin
      assert (count == held_q);
      assert (held_q <= CountW'(Depth));
      assert (valid == (held_q != '0));
      assert (ready == (held_q != CountW'(Depth)));
      if (valid) assert (data == words_q[Width-1:0]);
      if (out_stalled_q) assert (valid && data == out_data_q);
      // Invariants.
      assert (u_fifo.wptr_q == u_fifo.rptr_q + PtrW'(held_q));
      for (int unsigned k = 0; k < Depth; k++) begin
        if (CountW'(k) < held_q)
          assert (u_fifo.mem[u_fifo.rptr_q+PtrW'(k)] == words_q[k*Width+:Width]);
      end
    end
  end
endmodule
