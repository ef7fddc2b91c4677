// SPDX-License-Identifier: Apache-2.0
// Simple dual-port memory: one write port, one read port, one clock.
//
// Contract: read data appears one cycle (OutReg = 0) or two cycles (OutReg = 1) after re_i; re_i
// low keeps it. A read in the cycle of a write to the same address returns the old word. Contents
// are undefined at start.
module pt_ram_sdp #(
  // Words, 2 or more.
  parameter int unsigned Depth = 512,
  // Bits of a word.
  parameter int unsigned Width = 64,
  // Second output register (the block RAM's own).
  parameter bit OutReg = 1'b1
) (
  input  logic                     clk_i,
  input  logic                     we_i,
  input  logic [$clog2(Depth)-1:0] waddr_i,
  input  logic [Width-1:0]         wdata_i,
  input  logic                     re_i,
  input  logic [$clog2(Depth)-1:0] raddr_i,
  output logic [Width-1:0]         rdata_o
);
  if (Depth < 2) begin : g_check
    $fatal(1, "pt_ram_sdp: Depth must be 2 or more");
  end

  // A block memory of more than 2048 words is best used nine bits wide (4096 words), half of one by
  // 16384 bits. What is left of the nines, where a half holds it, is a memory of its own: tools take
  // blocks of one shape for an array, and would fill none.
  localparam int unsigned Left = Width % 9;
  localparam bit Parted = Depth > 2048 && Width > 9 && Left * Depth <= 16384;
  localparam int unsigned Rest = Parted ? Left : 0;

  (* ram_style = "block" *)
  logic [Width-Rest-1:0] mem [Depth];
  logic [Width-1:0]      read_q;

  always_ff @(posedge clk_i) begin
    if (we_i) mem[waddr_i] <= wdata_i[Width-1:Rest];
    if (re_i) read_q[Width-1:Rest] <= mem[raddr_i];
  end
  if (Rest != 0) begin : g_rest
    (* ram_style = "block" *)
    logic [Rest-1:0] rest [Depth];
    always_ff @(posedge clk_i) begin
      if (we_i) rest[waddr_i] <= wdata_i[Rest-1:0];
      if (re_i) read_q[Rest-1:0] <= rest[raddr_i];
    end
  end

  if (OutReg) begin : g_out
    logic re_q;
    always_ff @(posedge clk_i) begin
      re_q <= re_i;
      if (re_q) rdata_o <= read_q;
    end
  end else begin : g_direct
    assign rdata_o = read_q;
  end
endmodule
