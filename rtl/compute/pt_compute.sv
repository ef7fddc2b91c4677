// SPDX-License-Identifier: Apache-2.0
// The compute unit: pixel table, X tiles, S ring, issue and array. Wiring and slot bookkeeping only.
//
// Contract: the X loader claims a slot (x_take_i) when x_slot_free_o, fills it and announces it with x_tile_i; slots
// alternate from 0. The S loader
// pushes words while s_space_o. The store unit sees finished tiles (acc_tile_valid_o), asks for groups and
// gets them DrainLatency cycles after the grant.
module pt_compute #(
  // Words of one X bank, power of two.
  parameter int unsigned XBankWords = 4096,
  // Words of the S ring, power of two.
  parameter int unsigned SRingWords = 2048,
  // Accumulator groups, power of two.
  parameter int unsigned Groups = 512,
  // Rows of a pixel table, power of two.
  parameter int unsigned Rows = 512,
  // Longest tap table.
  parameter int unsigned MaxTaps = 121,
  // Shortest sweep period in cycles.
  parameter int unsigned SweepMin = 12,
  // Array shape.
  parameter int unsigned Tm = 16,
  parameter int unsigned Tr = 4,
  parameter int unsigned Tp = 3
) (
  input  logic                           clk_i,
  input  logic                           rst_ni,
  // configuration bus: pixel table and issue
  output logic                           pix_req_o,
  input  logic                           pix_cfg_valid_i,
  output logic                           pix_done_o,
  output logic                           c_req_o,
  input  logic                           c_cfg_valid_i,
  output logic                           c_done_o,
  input  logic [7:0]                     cfg_idx_i,
  input  logic [63:0]                    cfg_data_i,
  input  logic                           cfg_last_i,
  // X loader
  input  logic                           x_we_i,
  input  logic [1:0]                     x_bank_i,
  input  logic [$clog2(XBankWords)-2:0]  x_addr_i,
  input  logic                           x_slot_i,
  input  logic [63:0]                    x_data_i,
  input  logic                           x_take_i,
  input  logic                           x_tile_i,
  output logic                           x_slot_free_o,
  // S loader
  input  logic                           s_we_i,
  input  logic [63:0]                    s_data_i,
  input  logic [1:0]                     s_skip_i,
  output logic                           s_space_o,
  // store unit
  output logic                           acc_tile_valid_o,
  output logic                           acc_half_o,
  input  logic                           acc_release_i,
  input  logic                           drain_req_valid_i,
  output logic                           drain_req_ready_o,
  input  logic [$clog2(Groups)-2:0]      drain_group_i,
  output logic                           group_valid_o,
  output logic [Tp*Tm*48-1:0]            group_o,
  // counters
  output logic                           busy_o,
  output logic                           stall_x_o,
  output logic                           stall_s_o,
  output logic                           stall_acc_o,
  output logic                           stall_gap_o
);
  localparam int unsigned QW = $clog2(XBankWords);
  localparam int unsigned PairW = QW + 2;
  localparam int unsigned RowW = $clog2(Rows);
  localparam int unsigned AccW = $clog2(Groups);
  // From the release of an X tile by issue to its last read: the loader sees the slot free after that.
  localparam int unsigned ReleaseDelay = 6;

  logic                 table_ready, table_free;
  logic [RowW-1:0]      row;
  logic [Tp*PairW-1:0]  rows;
  logic [PairW-1:0]     offset;
  logic                 window, mute;
  logic [1:0]           quarter;
  logic [15:0]          chunk, s_offset, s_stride;
  logic                 s_go, s_free, s_col;
  logic [15:0]          s_words;
  logic [2:0]           s_live;
  logic                 step, drain, clear, swap, tile_done, tile_written, x_free;
  logic [AccW-1:0]      acc;
  logic [Tp*Tr*16-1:0]  v;
  logic [Tm*Tr*16-1:0]  s;

  // X slots: filled ones for issue, occupied ones for the loader.
  logic [1:0]              filled_q, occupied_q;
  logic [ReleaseDelay-1:0] release_q;
  assign x_slot_free_o = occupied_q != 2'd2;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      filled_q   <= 2'd0;
      occupied_q <= 2'd0;
      release_q  <= '0;
    end else begin
      filled_q   <= filled_q + 2'(x_tile_i) - 2'(x_free);
      occupied_q <= occupied_q + 2'(x_take_i) - 2'(release_q[ReleaseDelay-1]);
      release_q  <= {release_q[ReleaseDelay-2:0], x_free};
    end
  end

  pt_pixtab #(.Rows(Rows), .QW(QW), .Tp(Tp)) u_pixtab (
    .clk_i,
    .rst_ni,
    .cfg_req_o(pix_req_o),
    .cfg_valid_i(pix_cfg_valid_i),
    .cfg_idx_i,
    .cfg_data_i,
    .cfg_last_i,
    .done_o(pix_done_o),
    .table_ready_o(table_ready),
    .table_free_i(table_free),
    .row_i(row),
    .row_o(rows)
  );

  pt_issue #(
    .Rows(Rows),
    .QW(QW),
    .Groups(Groups),
    .MaxTaps(MaxTaps),
    .SweepMin(SweepMin)
  ) u_issue (
    .clk_i,
    .rst_ni,
    .cfg_req_o(c_req_o),
    .cfg_valid_i(c_cfg_valid_i),
    .cfg_idx_i,
    .cfg_data_i,
    .cfg_last_i,
    .done_o(c_done_o),
    .table_ready_i(table_ready),
    .table_free_o(table_free),
    .row_o(row),
    .x_ready_i(filled_q != 2'd0),
    .x_free_o(x_free),
    .offset_o(offset),
    .window_o(window),
    .mute_o(mute),
    .quarter_o(quarter),
    .chunk_o(chunk),
    .s_words_i(s_words),
    .s_go_o(s_go),
    .s_offset_o(s_offset),
    .s_free_o(s_free),
    .s_col_o(s_col),
    .s_stride_o(s_stride),
    .s_live_o(s_live),
    .step_o(step),
    .drain_o(drain),
    .clear_o(clear),
    .swap_o(swap),
    .tile_done_o(tile_done),
    .acc_o(acc),
    .tile_written_i(tile_written),
    .acc_tile_valid_o,
    .acc_half_o,
    .acc_release_i,
    .drain_req_valid_i,
    .drain_req_ready_o,
    .drain_group_i,
    .busy_o,
    .stall_x_o,
    .stall_s_o,
    .stall_acc_o,
    .stall_gap_o
  );

  // The X buffer works some cycles behind the steps, the S ring behind the start of a set.
  logic x_clk, s_clk;
  pt_clock_gate #(.Rest(24)) u_x_clock (
    .clk_i,
    .rst_ni,
    .active_i(x_we_i || busy_o),
    .clk_o(x_clk)
  );
  pt_clock_gate #(.Rest(20)) u_s_clock (
    .clk_i,
    .rst_ni,
    .active_i(s_we_i || s_go || s_free),
    .clk_o(s_clk)
  );

  pt_xbuf #(.BankWords(XBankWords), .Tp(Tp), .Tr(Tr)) u_xbuf (
    .clk_i(x_clk),
    .we_i(x_we_i),
    .wbank_i(x_bank_i),
    .waddr_i({x_slot_i, x_addr_i}),
    .wdata_i(x_data_i),
    .rows_i(rows),
    .offset_i(offset),
    .window_i(window),
    .mute_i(mute),
    .quarter_i(quarter),
    .v_o(v)
  );

  pt_sset #(.Depth(SRingWords), .Tm(Tm)) u_sset (
    .clk_i(s_clk),
    .rst_ni,
    .we_i(s_we_i),
    .data_i(s_data_i),
    .skip_i(s_skip_i),
    .space_o(s_space_o),
    .chunk_i(chunk),
    .words_o(s_words),
    .go_i(s_go),
    .offset_i(s_offset),
    .free_i(s_free),
    .col_i(s_col),
    .stride_i(s_stride),
    .live_i(s_live),
    .s_o(s)
  );

  pt_array #(.Tm(Tm), .Tp(Tp), .Tr(Tr), .Depth(Groups)) u_array (
    .clk_i,
    .rst_ni,
    .step_i(step),
    .drain_i(drain),
    .clear_i(clear),
    .swap_i(swap),
    .done_i(tile_done),
    .acc_i(acc),
    .v_i(v),
    .s_i(s),
    .done_o(tile_written),
    .group_valid_o,
    .group_o
  );
endmodule
