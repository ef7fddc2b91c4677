// SPDX-License-Identifier: Apache-2.0
// Gradient queue: sums of drained segments, four per cycle in, one per cycle out in weight order.
//
//   row {lane p, block b, ch}:  | m 4b | m 4b+1 | m 4b+2 | m 4b+3 |   48 bit each
//   out: p, then m = 4b + i, then ch: row {p, b, ch}, sum i
//
// Contract: take_i (only while room_o) reserves room for a segment of all lanes; push_i writes a row
// of it; end_i (with or after the last push_i) commits its first lanes_i lanes and gives the rest
// back. One segment at a time between take_i and end_i. data_o moves with valid_o and ready_i.
module pt_grad_queue #(
  // Sums in the queue, power of two.
  parameter int unsigned Sums = 16384,
  // Channel blocks of an m tile, power of two, 4..16.
  parameter int unsigned Blocks = 4
) (
  input  logic                        clk_i,
  input  logic                        rst_ni,
  // segments
  output logic                        room_o,
  input  logic                        take_i,
  input  logic                        push_i,
  input  logic [$clog2(Blocks)+3:0]   push_row_i,  // {p, b, ch}
  input  logic [191:0]                push_data_i,
  input  logic                        end_i,
  input  logic [1:0]                  lanes_i,     // 0..3
  // sums
  output logic                        valid_o,
  input  logic                        ready_i,
  output logic [47:0]                 data_o
);
  localparam int unsigned BlkW = $clog2(Blocks);
  // Rows of a lane, and of the memory.
  localparam int unsigned LaneRows = 4 * Blocks;
  localparam int unsigned LaneW = BlkW + 2;
  localparam int unsigned Rows = Sums / 4;
  localparam int unsigned RowW = $clog2(Rows);
  // Lanes that the memory holds.
  localparam int unsigned Slots = Rows / LaneRows;
  localparam int unsigned SlotW = $clog2(Slots);
  // Sums read ahead of the consumer.
  localparam int unsigned Ahead = 8;
  localparam int unsigned CreditW = $clog2(Ahead) + 1;

  if (Blocks < 4 || Blocks > 16 || Blocks != 2 ** BlkW) begin : g_check1
    $fatal(1, "pt_grad_queue: Blocks must be 4, 8 or 16");
  end
  if (Sums != 2 ** $clog2(Sums) || Sums < 64 * Blocks) begin : g_check2
    $fatal(1, "pt_grad_queue: Sums must be a power of two that holds a segment");
  end

  // ---- lanes ------------------------------------------------------------------------------------
  logic [SlotW:0]   used_q;     // reserved or committed
  logic [SlotW:0]   ready_q;    // committed and not read
  logic [SlotW-1:0] wslot_q, rslot_q;
  logic             lane_read;
  assign room_o = used_q <= (SlotW + 1)'(Slots - 3);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      used_q  <= '0;
      ready_q <= '0;
      wslot_q <= '0;
      rslot_q <= '0;
    end else begin
      used_q  <= used_q + (take_i ? (SlotW + 1)'(3) : '0)
                 - (end_i ? (SlotW + 1)'(2'd3 - lanes_i) : '0) - (SlotW + 1)'(lane_read);
      ready_q <= ready_q + (end_i ? (SlotW + 1)'(lanes_i) : '0) - (SlotW + 1)'(lane_read);
      wslot_q <= wslot_q + (end_i ? SlotW'(lanes_i) : '0);
      rslot_q <= rslot_q + SlotW'(lane_read);
    end
  end

  // ---- rows -------------------------------------------------------------------------------------
  logic             read, sent;
  logic [LaneW+1:0] sum_q;      // next sum of the lane: {b, i, ch}
  logic [RowW-1:0]  wrow;
  logic [191:0]     row;
  logic [1:0]       sel1_q, sel2_q, arrive_q;
  logic [CreditW-1:0] credit_q;
  assign wrow = {wslot_q, {LaneW{1'b0}}} + RowW'(push_row_i);
  assign read = ready_q != '0 && credit_q != '0;
  assign lane_read = read && (&sum_q);
  assign sent = valid_o && ready_i;

  pt_ram_sdp #(.Depth(Rows), .Width(192), .OutReg(1'b1)) u_rows (
    .clk_i,
    .we_i(push_i),
    .waddr_i(wrow),
    .wdata_i(push_data_i),
    .re_i(read),
    .raddr_i({rslot_q, sum_q[LaneW+1:4], sum_q[1:0]}),
    .rdata_o(row)
  );

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      sum_q    <= '0;
      arrive_q <= 2'b00;
      credit_q <= CreditW'(Ahead);
    end else begin
      sum_q    <= sum_q + (LaneW + 2)'(read);
      arrive_q <= {arrive_q[0], read};
      credit_q <= credit_q + CreditW'(sent) - CreditW'(read);
    end
    sel1_q <= sum_q[3:2];
    sel2_q <= sel1_q;
  end

  // ---- consumer ---------------------------------------------------------------------------------
  logic [47:0] chosen;
  logic        space_unused;
  logic [CreditW-1:0] count_unused;
  always_comb begin
    unique case (sel2_q)
      2'd0:    chosen = row[47:0];
      2'd1:    chosen = row[95:48];
      2'd2:    chosen = row[143:96];
      default: chosen = row[191:144];
    endcase
  end
  pt_fifo #(.Width(48), .Depth(Ahead)) u_ahead (
    .clk_i,
    .rst_ni,
    .valid_i(arrive_q[1]),
    .ready_o(space_unused),
    .data_i(chosen),
    .valid_o,
    .ready_i,
    .data_o,
    .count_o(count_unused)
  );

  logic unused;
  assign unused = &{1'b0, space_unused, count_unused};
endmodule
