// SPDX-License-Identifier: Apache-2.0
// Staging memory with two segment slots: filled by the pipeline, emptied by a writer.
//
// Contract: take_i reserves the next slot (only while free_o), last_i ends its filling (after or
// with its last we_i), release_i frees it after its last read. Slots alternate. Read data two
// cycles after re_i.
module pt_stage #(
  // Words of both slots, power of two.
  parameter int unsigned Words = 8192
) (
  input  logic                     clk_i,
  input  logic                     rst_ni,
  // filling
  output logic                     free_o,
  input  logic                     take_i,
  input  logic                     we_i,
  input  logic [$clog2(Words)-2:0] waddr_i,
  input  logic [63:0]              wdata_i,
  input  logic                     last_i,
  // emptying
  output logic                     full_o,
  input  logic                     re_i,
  input  logic [$clog2(Words)-2:0] raddr_i,
  output logic [63:0]              rdata_o,
  input  logic                     release_i
);
  if (Words < pt_abi_pkg::FlagWordsLeast || Words != 2 ** $clog2(Words)) begin : g_check
    $fatal(1, "pt_stage: Words must be a power of two, %0d or more",
           pt_abi_pkg::FlagWordsLeast);
  end

  logic [1:0] taken_q, full_q;
  logic       wslot_q, rslot_q;
  assign free_o = !taken_q[1];
  assign full_o = full_q != 2'd0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      taken_q <= 2'd0;
      full_q  <= 2'd0;
      wslot_q <= 1'b0;
      rslot_q <= 1'b0;
    end else begin
      taken_q <= taken_q + 2'(take_i) - 2'(release_i);
      full_q  <= full_q + 2'(last_i) - 2'(release_i);
      wslot_q <= wslot_q ^ last_i;
      rslot_q <= rslot_q ^ release_i;
    end
  end

  pt_ram_sdp #(.Depth(Words), .Width(64), .OutReg(1'b1)) u_ram (
    .clk_i,
    .we_i,
    .waddr_i({wslot_q, waddr_i}),
    .wdata_i,
    .re_i,
    .raddr_i({rslot_q, raddr_i}),
    .rdata_o
  );
endmodule
