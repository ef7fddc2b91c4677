// SPDX-License-Identifier: Apache-2.0
// One output lane m of the array: its accumulators (all pixel lanes in one memory) and their cascades.
//
// Contract (cycle numbers relative to v_i[0] of a step):
//   -1  read address of the step (racc_i); +1 the memory's output register holds it (group_o)
//   +1  clear_i: the sum starts from zero instead
//   +6  result; +7 written at wacc_i with we_i
// A read of an address sees the sum of a step whose read was at least 9 cycles earlier.
module pt_mac_row #(
  // Pixel lanes, 1..4.
  parameter int unsigned Tp = 3,
  // Reduction lanes, 1..8.
  parameter int unsigned Tr = 4,
  // Width of an operand in bits.
  parameter int unsigned OpW = 16,
  // Width of an accumulator in bits.
  parameter int unsigned AccW = 48,
  // Words of the accumulator memory, power of two.
  parameter int unsigned Depth = 512
) (
  input  logic                      clk_i,
  input  logic [Tp*Tr*OpW-1:0]      v_i,
  input  logic [Tr*OpW-1:0]         s_i,
  input  logic [Tr-1:0]             swap_i,
  input  logic                      re_i,
  input  logic [$clog2(Depth)-1:0]  racc_i,
  input  logic                      clear_i,
  input  logic                      we_i,
  input  logic [$clog2(Depth)-1:0]  wacc_i,
  output logic [Tp*AccW-1:0]        group_o
);
  if (Tp < 1 || Tp > 4) begin : g_check1
    $fatal(1, "pt_mac_row: Tp must be 1..4");
  end

  logic [Tp*AccW-1:0] sums;
  logic [Tp*AccW-1:0] sums_q;

  pt_ram_sdp #(
    .Depth(Depth),
    .Width(Tp * AccW),
    .OutReg(1'b1)
  ) u_acc (
    .clk_i,
    .we_i,
    .waddr_i(wacc_i),
    .wdata_i(sums_q),
    .re_i,
    .raddr_i(racc_i),
    .rdata_o(group_o)
  );

  for (genvar p = 0; p < Tp; p++) begin : g_lane
    pt_mac_chain #(
      .Taps(Tr),
      .OpW(OpW),
      .AccW(AccW)
    ) u_chain (
      .clk_i,
      .v_i(v_i[p*Tr*OpW+:Tr*OpW]),
      .s_i,
      .swap_i,
      .clear_i,
      .acc_i(group_o[p*AccW+:AccW]),
      .sum_o(sums[p*AccW+:AccW])
    );
  end

  always_ff @(posedge clk_i) sums_q <= sums;
endmodule
