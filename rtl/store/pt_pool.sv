// SPDX-License-Identifier: Apache-2.0
// 2x2 maximum with its index over words of four channels, and the staging address of every word.
// The flag of a maximum is that of the element it comes from.
//
//   even row: maximum of a column pair -> line memory
//   odd row:  maximum of a column pair, then with the line memory -> out
//
// Contract: no stall; words come as all blocks of one pixel after another. out_* follow in_* by
// two cycles; without pooling every word passes. out_last_o marks the segment's last word, also
// when it leaves nothing (out_valid_o low).
module pt_pool #(
  // Widest tile in columns.
  parameter int unsigned Columns = 256,
  // Bits of a word address in a staging slot.
  parameter int unsigned StageW = 12,
  // Channel blocks of an m tile, power of two, 4..16.
  parameter int unsigned Blocks = 4
) (
  input  logic              clk_i,
  input  logic              rst_ni,
  input  logic              pool_i,
  input  logic [StageW-1:0] yblk_i,       // staging step from one channel block to the next
  input  logic              in_valid_i,
  input  logic [63:0]       in_data_i,
  input  logic [3:0]        in_flags_i,   // of the activation, a lane each
  input  logic [$clog2(Blocks)-1:0] in_block_i,
  input  logic [StageW-1:0] in_addr_i,    // staging position of block 0 (not pooled)
  input  logic              in_col_odd_i,
  input  logic              in_row_odd_i,
  input  logic              in_row_end_i,
  input  logic              in_stored_i,  // inside the stored tensor; else no flag is set
  input  logic              in_last_i,
  output logic              out_valid_o,
  output logic [63:0]       out_data_o,
  output logic [StageW-1:0] out_addr_o,
  output logic [$clog2(Blocks)-1:0] out_block_o,
  output logic              out_row_end_o,
  output pt_abi_pkg::pool_flag_t out_bits_o,  // without pooling the index is zero
  output logic              out_last_o
);
  // Pooled columns x channel blocks.
  localparam int unsigned Depth = Columns / 2 * Blocks;
  localparam int unsigned AddrW = $clog2(Depth);
  localparam int unsigned BlkW = $clog2(Blocks);

  if (Columns < pt_abi_pkg::PoolColumnsLeast || Columns > pt_abi_pkg::PoolColumnsMost) begin : g_check1
    $fatal(1, "pt_pool: Columns must be %0d..%0d", pt_abi_pkg::PoolColumnsLeast,
           pt_abi_pkg::PoolColumnsMost);
  end
  if (Blocks < 4 || Blocks > 16 || Blocks != 2 ** BlkW) begin : g_check2
    $fatal(1, "pt_pool: Blocks must be 4, 8 or 16");
  end

  // ---- column pairs -----------------------------------------------------------------------------
  logic [67:0]       hold [Blocks];  // even column of each block: flags, data
  logic [63:0]       even, data1_q, data1;
  logic [3:0]        even_flags, right, right1_q, flags1_q, flags1;
  logic [AddrW-BlkW-1:0] column_q;
  logic [AddrW-1:0]  addr1_q;
  logic              keep1_q, emit1_q, row_end1_q, last1_q, stored1_q;
  logic [BlkW-1:0]   block1_q;
  logic [StageW-1:0] pos1_q;
  assign {even_flags, even} = hold[in_block_i];
  always_comb begin
    for (int unsigned l = 0; l < 4; l++) begin
      right[l] = $signed(in_data_i[l*16+:16]) > $signed(even[l*16+:16]) || !pool_i;
      data1[l*16+:16] = right[l] ? in_data_i[l*16+:16] : even[l*16+:16];
      flags1[l] = right[l] ? in_flags_i[l] : even_flags[l];
    end
  end

  always_ff @(posedge clk_i) begin
    if (in_valid_i && !in_col_odd_i) hold[in_block_i] <= {in_flags_i, in_data_i};
    if (in_valid_i) begin
      data1_q    <= data1;
      flags1_q   <= flags1;
      right1_q   <= right;
      block1_q   <= in_block_i;
      pos1_q     <= in_addr_i;
      addr1_q    <= {column_q, in_block_i};
      row_end1_q <= in_row_end_i;
      stored1_q  <= in_stored_i;
    end
    if (!rst_ni) begin
      keep1_q  <= 1'b0;
      emit1_q  <= 1'b0;
      last1_q  <= 1'b0;
      column_q <= '0;
    end else begin
      keep1_q  <= in_valid_i && pool_i && in_col_odd_i && !in_row_odd_i;
      emit1_q  <= in_valid_i && (!pool_i || (in_col_odd_i && in_row_odd_i));
      last1_q  <= in_valid_i && in_last_i;
      if (in_valid_i && in_last_i) begin
        column_q <= '0;
      end else if (in_valid_i && pool_i && in_col_odd_i && (&in_block_i)) begin
        column_q <= in_row_end_i ? '0 : column_q + (AddrW - BlkW)'(1);
      end
    end
  end

  logic [63:0] line;
  logic [3:0]  line_flags, line_right;
  pt_ram_sdp #(.Depth(Depth), .Width(72), .OutReg(1'b0)) u_line (
    .clk_i,
    .we_i(keep1_q),
    .waddr_i(addr1_q),
    .wdata_i({right1_q, flags1_q, data1_q}),
    .re_i(in_valid_i && in_row_odd_i),
    .raddr_i({column_q, in_block_i}),
    .rdata_o({line_right, line_flags, line})
  );

  // ---- row pairs --------------------------------------------------------------------------------
  logic [63:0]       data2;
  logic [3:0]        below, mask;
  logic [3:0][1:0]   index;
  pt_abi_pkg::pool_flag_t bits;
  logic [StageW-1:0] count_q;    // pooled pixels so far
  always_comb begin
    for (int unsigned l = 0; l < 4; l++) begin
      below[l] = $signed(data1_q[l*16+:16]) > $signed(line[l*16+:16]) || !pool_i;
      data2[l*16+:16] = below[l] ? data1_q[l*16+:16] : line[l*16+:16];
      index[l] = {below[l], below[l] ? right1_q[l] : line_right[l]};
      mask[l] = below[l] ? flags1_q[l] : line_flags[l];
    end
    bits = '0;
    bits.index = pool_i && stored1_q ? index : '0;
    bits.mask = stored1_q ? mask : '0;
  end

  always_ff @(posedge clk_i) begin
    if (emit1_q) begin
      out_data_o    <= data2;
      out_block_o   <= block1_q;
      out_row_end_o <= row_end1_q;
      out_bits_o    <= bits;
      if (block1_q != '0) out_addr_o <= out_addr_o + yblk_i;
      else out_addr_o <= pool_i ? count_q : pos1_q;
    end
    if (!rst_ni) begin
      out_valid_o <= 1'b0;
      out_last_o  <= 1'b0;
      count_q     <= '0;
    end else begin
      out_valid_o <= emit1_q;
      out_last_o  <= last1_q;
      if (last1_q) count_q <= '0;
      else if (emit1_q && (&block1_q)) count_q <= count_q + StageW'(1);
    end
  end
endmodule
