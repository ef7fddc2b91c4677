// SPDX-License-Identifier: Apache-2.0
// Packs flags of the channel blocks into words of 16 pixels (4 bits) or 4 pooled pixels (16 bits).
//
// Contract: no stall; entries come as all blocks of one pixel after another. A word ends when full
// or at the row's end; we_o, addr_o, data_o follow its last entry by one cycle, last_o follows
// last_i likewise.
module pt_flag_pack #(
  // Bits of a word address in a flag slot.
  parameter int unsigned FlagW = 10,
  // Channel blocks of an m tile, power of two, 4..16.
  parameter int unsigned Blocks = 4
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             pool_i,
  input  logic [FlagW-1:0] fblk_i,     // staging step from one channel block to the next
  input  logic             valid_i,
  input  pt_abi_pkg::pool_flag_t bits_i,
  input  logic [$clog2(Blocks)-1:0] block_i,
  input  logic             row_end_i,
  input  logic             last_i,     // the segment ends (with or without valid_i)
  output logic             we_o,
  output logic [FlagW-1:0] addr_o,
  output logic [63:0]      data_o,
  output logic             last_o
);
  if (Blocks < 4 || Blocks > 16 || Blocks != 2 ** $clog2(Blocks)) begin : g_check
    $fatal(1, "pt_flag_pack: Blocks must be 4, 8 or 16");
  end

  logic [63:0]      words [Blocks];
  logic [63:0]      word;
  pt_abi_pkg::mask_flags_t      masks;
  pt_abi_pkg::pool_flag_t [3:0] pooled;
  logic [3:0]       pixel_q;
  logic [FlagW-1:0] count_q;   // finished words so far
  logic             full;
  assign full = row_end_i || (pool_i ? &pixel_q[1:0] : &pixel_q);

  always_comb begin
    word = pixel_q == 4'd0 ? 64'd0 : words[block_i];
    masks = word;
    masks.mask[pixel_q] = bits_i.mask;
    pooled = word;
    pooled[pixel_q[1:0]] = bits_i;
    word = pool_i ? pooled : masks;
  end

  always_ff @(posedge clk_i) begin
    if (valid_i) words[block_i] <= word;
    if (valid_i && full) begin
      data_o <= word;
      addr_o <= block_i == '0 ? count_q : addr_o + fblk_i;
    end
    if (!rst_ni) begin
      we_o    <= 1'b0;
      last_o  <= 1'b0;
      pixel_q <= 4'd0;
      count_q <= '0;
    end else begin
      we_o   <= valid_i && full;
      last_o <= last_i;
      if (last_i) begin
        pixel_q <= 4'd0;
        count_q <= '0;
      end else if (valid_i && (&block_i)) begin
        pixel_q <= full ? 4'd0 : pixel_q + 4'd1;
        if (full) count_q <= count_q + FlagW'(1);
      end
    end
  end
endmodule
