// SPDX-License-Identifier: Apache-2.0
// First-word-fall-through queue in distributed memory; Depth 2 is a skid buffer.
//
// Contract: valid/ready on both sides; ready does not depend on valid, valid not on ready. A word
// appears one cycle after its push. count_o = words held.
module pt_fifo #(
  // Bits of a word.
  parameter int unsigned Width = 64,
  // Words, power of two, 2..256.
  parameter int unsigned Depth = 2
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

  if (Depth < 2 || Depth > 256 || (Depth & (Depth - 1)) != 0) begin : g_check
    $fatal(1, "pt_fifo: Depth must be a power of two of 2..256");
  end

  (* ram_style = "distributed" *)
  logic [Width-1:0]  mem [Depth];
  logic [PtrW-1:0]   wptr_q, rptr_q;
  logic [CountW-1:0] count_q;
  logic              push, pop;

  assign ready_o = count_q != CountW'(Depth);
  assign valid_o = count_q != '0;
  assign push = valid_i && ready_o;
  assign pop = valid_o && ready_i;
  assign data_o = mem[rptr_q];
  assign count_o = count_q;

  always_ff @(posedge clk_i) begin
    if (push) mem[wptr_q] <= data_i;
    if (!rst_ni) begin
      wptr_q  <= '0;
      rptr_q  <= '0;
      count_q <= '0;
    end else begin
      if (push) wptr_q <= wptr_q + PtrW'(1);
      if (pop) rptr_q <= rptr_q + PtrW'(1);
      count_q <= count_q + CountW'(push) - CountW'(pop);
    end
  end
endmodule
