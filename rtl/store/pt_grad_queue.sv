// SPDX-License-Identifier: Apache-2.0
// Gradient queue: sums of the weight gradient from the drain to the update unit, kept lanes only.
//
//   4 sums (m = 4b..4b+3) of lane p, ch --> bank m mod 4, word {slot, b, ch} --> p, m, ch in order
//
// Contract: a segment is 3 lanes x Blocks x 4 ch words of four sums in any order; push_keep_i is
// the same for all of them, push_last_i marks the last. A segment may begin while room_o is high,
// two cycles or more after the first word of the one before; pushes are never stalled. Sums of a
// whole segment come out in the order of the weights, one per cycle, on a valid/ready stream.
module pt_grad_queue #(
  // Sums held, a power of two of 64 * Blocks or more.
  parameter int unsigned Sums = 16384,
  // Channel blocks of an m tile, power of two, 4..16.
  parameter int unsigned Blocks = 4
) (
  input  logic         clk_i,
  input  logic         rst_ni,
  // from the drain
  output logic         room_o,         // for all lanes of a segment
  input  logic         push_valid_i,
  input  logic [191:0] push_sums_i,    // four 48-bit sums
  input  logic [1:0]   push_lane_i,    // 0..2
  input  logic [$clog2(Blocks)-1:0] push_block_i,
  input  logic [1:0]   push_ch_i,
  input  logic [2:0]   push_keep_i,    // lanes of the segment that are kept
  input  logic         push_last_i,
  // to the update unit
  output logic         valid_o,
  input  logic         ready_i,
  output logic [47:0]  data_o
);
  localparam int unsigned BlkW = $clog2(Blocks);
  // A slot holds the sums of a kept lane: lanes that are not kept take no place.
  localparam int unsigned Slots = Sums / (16 * Blocks);
  localparam int unsigned SlotW = $clog2(Slots);
  // Sums read ahead of the update unit: covers the two cycles of the memory.
  localparam int unsigned Ahead = 8;
  localparam int unsigned CreditW = $clog2(Ahead + 1);

  if (Sums < pt_abi_pkg::GradWordsPerLane * 4 * Blocks || Sums != 2 ** $clog2(Sums)) begin : g_check1
    $fatal(1, "pt_grad_queue: Sums must be a power of two, %0d or more for each output lane",
           pt_abi_pkg::GradWordsPerLane);
  end
  if (Blocks < 4 || Blocks > 16 || Blocks != 2 ** BlkW) begin : g_check2
    $fatal(1, "pt_grad_queue: Blocks must be 4, 8 or 16");
  end

  // ---- slots ------------------------------------------------------------------------------------
  logic [SlotW-1:0] wslot_q, rslot_q, write_slot;
  logic [SlotW:0]   used_q;    // kept lanes of segments that have begun
  logic [SlotW:0]   full_q;    // kept lanes of segments that are complete
  logic [SlotW:0]   begun, completed;
  logic [1:0]       kept, rank;
  logic             first_q, slot_read;
  assign kept = 2'(push_keep_i[0]) + 2'(push_keep_i[1]) + 2'(push_keep_i[2]);
  assign rank = push_lane_i == 2'd0 ? 2'd0 :
                push_lane_i == 2'd1 ? 2'(push_keep_i[0]) :
                2'(push_keep_i[0]) + 2'(push_keep_i[1]);
  assign write_slot = wslot_q + SlotW'(rank);
  assign begun = push_valid_i && first_q ? (SlotW + 1)'(kept) : '0;
  assign completed = push_valid_i && push_last_i ? (SlotW + 1)'(kept) : '0;
  assign room_o = used_q <= (SlotW + 1)'(Slots - 3);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      first_q <= 1'b1;
      used_q  <= '0;
      full_q  <= '0;
      wslot_q <= '0;
      rslot_q <= '0;
    end else begin
      if (push_valid_i) first_q <= push_last_i;
      used_q  <= used_q + begun - (SlotW + 1)'(slot_read);
      full_q  <= full_q + completed - (SlotW + 1)'(slot_read);
      wslot_q <= wslot_q + completed[SlotW-1:0];
      rslot_q <= rslot_q + SlotW'(slot_read);
    end
  end

  // ---- reads ------------------------------------------------------------------------------------
  logic [BlkW+3:0]    index_q;   // m, ch
  logic [CreditW-1:0] credit_q;
  logic               re, sent, arrive1_q, arrive2_q;
  logic [1:0]         bank1_q, bank2_q;
  assign re = full_q != '0 && credit_q != '0;
  assign slot_read = re && (&index_q);
  assign sent = valid_o && ready_i;

  always_ff @(posedge clk_i) begin
    bank1_q <= index_q[3:2];
    bank2_q <= bank1_q;
    if (!rst_ni) begin
      index_q   <= '0;
      credit_q  <= CreditW'(Ahead);
      arrive1_q <= 1'b0;
      arrive2_q <= 1'b0;
    end else begin
      index_q   <= index_q + (BlkW + 4)'(re);
      credit_q  <= credit_q + CreditW'(sent) - CreditW'(re);
      arrive1_q <= re;
      arrive2_q <= arrive1_q;
    end
  end

  // ---- banks ------------------------------------------------------------------------------------
  logic [47:0] banks [4];
  for (genvar j = 0; j < 4; j++) begin : g_bank
    pt_ram_sdp #(.Depth(Sums / 4), .Width(48), .OutReg(1'b1)) u_ram (
      .clk_i,
      .we_i(push_valid_i && push_keep_i[push_lane_i]),
      .waddr_i({write_slot, push_block_i, push_ch_i}),
      .wdata_i(push_sums_i[48*j+:48]),
      .re_i(re && index_q[3:2] == 2'(j)),
      .raddr_i({rslot_q, index_q[BlkW+3:4], index_q[1:0]}),
      .rdata_o(banks[j])
    );
  end

  logic               in_ready_unused;
  logic [CreditW-1:0] count_unused;
  pt_fifo #(.Width(48), .Depth(Ahead)) u_ahead (
    .clk_i,
    .rst_ni,
    .valid_i(arrive2_q),
    .ready_o(in_ready_unused),
    .data_i(banks[bank2_q]),
    .valid_o,
    .ready_i,
    .data_o,
    .count_o(count_unused)
  );

  logic unused;
  assign unused = &{1'b0, in_ready_unused, count_unused};
endmodule
