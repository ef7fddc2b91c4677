// SPDX-License-Identifier: Apache-2.0
// Small memory in LUTs: one write port, one read port without a register.
//
// Contract: rdata_o follows raddr_i within the cycle; a write is seen from the next cycle on.
// Contents are undefined at start.
module pt_ram_lut #(
  // Words, 2..256.
  parameter int unsigned Depth = 64,
  // Bits of a word.
  parameter int unsigned Width = 64
) (
  input  logic                     clk_i,
  input  logic                     we_i,
  input  logic [$clog2(Depth)-1:0] waddr_i,
  input  logic [Width-1:0]         wdata_i,
  input  logic [$clog2(Depth)-1:0] raddr_i,
  output logic [Width-1:0]         rdata_o
);
  if (Depth < 2 || Depth > 256) begin : g_check
    $fatal(1, "pt_ram_lut: Depth must be 2..256");
  end

  (* ram_style = "distributed" *)
  logic [Width-1:0] mem [Depth];
  assign rdata_o = mem[raddr_i];
  always_ff @(posedge clk_i) begin
    if (we_i) mem[waddr_i] <= wdata_i;
  end
endmodule
