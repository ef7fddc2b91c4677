// SPDX-License-Identifier: Apache-2.0
// Tile loader: fetches the tiles of a descriptor into the X banks (Kind 0) or the S ring (Kind 1),
// with padding, gradient of the activation, unpooling and, for S, the channel sums.
//
//   words -> queue -> address generator -> records -+-> runs -> read client
//                                                   +-> FIFO -> data side (<- data) -> x_* or s_*
//
// Contract: one word per cycle. Three descriptors may be inside: one waits in the queue, one has its
// rows generated, the one before has its last rows written. done_o pulses, in order, when the last word
// is written and the sums are acknowledged. X: a tile starts while slot_free_i is high and its
// predecessor is announced (ClaimAhead = 1: at once; the owner then counts tile_take_o as an
// occupied slot); tile_done_o pulses one cycle after a tile's last write; slots alternate from 0
// after reset. S: a word is written only in cycles with s_space_i; s_skip_o comes with the word
// before the gap.
module pt_tile_load #(
  // 0: X loader, 1: S loader.
  parameter int unsigned Kind = 0,
  // X: tiles may be claimed before their predecessor is complete.
  parameter bit ClaimAhead = 1'b0
) (
  input  logic        clk_i,
  input  logic        rst_ni,
  // configuration bus
  output logic        cfg_req_o,
  input  logic        cfg_valid_i,
  input  logic [7:0]  cfg_idx_i,
  input  logic [63:0] cfg_data_i,
  input  logic        cfg_last_i,
  output logic        done_o,
  // read client
  output logic        run_valid_o,
  input  logic        run_ready_i,
  output logic [31:0] run_off_o,
  output logic [15:0] run_len_o,
  output logic        run_last_o,
  input  logic        data_valid_i,
  output logic        data_ready_o,
  input  logic [63:0] data_i,
  // X banks (Kind 0)
  input  logic        slot_free_i,
  output logic        tile_take_o,
  output logic        tile_done_o,
  output logic        x_we_o,
  output logic        x_slot_o,
  output logic [1:0]  x_bank_o,
  output logic [13:0] x_addr_o,
  output logic [63:0] x_data_o,
  // S ring (Kind 1)
  input  logic        s_space_i,
  output logic        s_we_o,
  output logic [1:0]  s_skip_o,
  output logic [63:0] s_data_o,
  // write client of the channel sums (Kind 1)
  output logic        wrun_valid_o,
  input  logic        wrun_ready_i,
  output logic [31:0] wrun_off_o,
  output logic [15:0] wrun_len_o,
  output logic        wrun_last_o,
  output logic        wdata_valid_o,
  input  logic        wdata_ready_i,
  output logic [63:0] wdata_o,
  input  logic        wr_idle_i
);
  localparam bit IsS = Kind == 1;
  localparam int unsigned CfgFirst = IsS ? pt_abi_pkg::CfgSFirst : pt_abi_pkg::CfgXFirst;
  localparam int unsigned CfgWords = IsS ? pt_abi_pkg::CfgSWords : pt_abi_pkg::CfgXWords;
  // Rows between runs and data: covers the memory's latency for short rows.
  localparam int unsigned FifoRows = 32;

  if (Kind > 1) begin : g_check
    $fatal(1, "pt_tile_load: Kind must be 0 (X) or 1 (S)");
  end

  // ---- configuration ----------------------------------------------------------------------------
  // Words wait in a queue until the address generator is free, then take their places one by one.
  logic [64*CfgWords-1:0]               cfg_q;
  logic [64*pt_abi_pkg::ParamWords-1:0] param_unused;
  pt_abi_pkg::pre_t      pre;
  pt_abi_pkg::s_t        cfg;    // x_t differs only in the word of sum_off
  pt_abi_pkg::addr_gen_t addr_gen;
  logic                  request, receiving, queued, place, place_last, placed, tap_unused;
  logic [6:0]            tap_idx_unused;
  logic [7:0]            place_idx;
  logic [63:0]           place_word;
  logic                  complete_q, addr_gen_busy, start;
  logic                  to_data_q, in_data_q, flush_q, take, finished, settled;
  assign cfg = cfg_q;
  assign addr_gen = cfg_q[64*pt_abi_pkg::AddrGenWords-1:0];

  pt_cfg_queue #(
    .First(CfgFirst),
    .Words(CfgWords)
  ) u_queue (
    .clk_i,
    .rst_ni,
    .cfg_valid_i,
    .cfg_idx_i,
    .cfg_data_i,
    .cfg_last_i,
    .receiving_o(receiving),
    .queued_o(queued),
    .go_i(!complete_q && !addr_gen_busy && !to_data_q),
    .cfg_valid_o(place),
    .cfg_idx_o(place_idx),
    .cfg_data_o(place_word),
    .cfg_last_o(place_last)
  );
  pt_cfg_rx #(
    .First(CfgFirst),
    .Words(CfgWords),
    .Shift(1'b0),
    .Gate(1'b1)
  ) u_rx (
    .clk_i,
    .rst_ni,
    .req_o(request),
    .cfg_valid_i(place),
    .cfg_idx_i(place_idx),
    .cfg_data_i(place_word),
    .cfg_last_i(place_last),
    .hold_i(complete_q),
    .end_o(placed),
    .pre_o(pre),
    .section_o(cfg_q),
    .param_o(param_unused),
    .tap_o(tap_unused),
    .tap_idx_o(tap_idx_unused)
  );

  // Address generator: the configuration may change when all rows are in the FIFO and the data side
  // has taken over its part. Data side: one descriptor after the other, in_data_q until done_o.
  assign cfg_req_o = request && !receiving && !queued;
  assign start = complete_q && !receiving;
  assign take = to_data_q && !in_data_q;
  assign done_o = flush_q && settled;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      complete_q <= 1'b0;
      to_data_q  <= 1'b0;
      in_data_q  <= 1'b0;
      flush_q    <= 1'b0;
    end else begin
      if (start) complete_q <= 1'b0;
      else if (placed) complete_q <= 1'b1;
      if (start) to_data_q <= 1'b1;
      else if (take) to_data_q <= 1'b0;
      if (take) in_data_q <= 1'b1;
      else if (done_o) in_data_q <= 1'b0;
      if (finished) flush_q <= 1'b1;
      else if (done_o) flush_q <= 1'b0;
    end
  end

  // ---- taps -------------------------------------------------------------------------------------
  logic [7:0]  tap_idx;
  logic [15:0] tap_woff;
  if (IsS) begin : g_taps
    // Two tables: the next descriptor's taps arrive while rows are generated.
    localparam int unsigned TapW = 7;
    (* ram_style = "distributed" *)
    logic [15:0] taps [2**(TapW + 1)];
    logic        table_q;
    pt_abi_pkg::tap_t tap_in;
    assign tap_in = cfg_data_i;
    always_ff @(posedge clk_i) begin
      if (cfg_valid_i && cfg_idx_i >= 8'(pt_abi_pkg::TapIndex)) begin
        taps[{!table_q, TapW'(cfg_idx_i - 8'(pt_abi_pkg::TapIndex))}] <= tap_in.woff;
      end
      if (!rst_ni) table_q <= 1'b0;
      else table_q <= table_q ^ start;
    end
    assign tap_woff = taps[{table_q, tap_idx[TapW-1:0]}];
    logic unused_tap;
    assign unused_tap = &{1'b0, tap_in, tap_idx};
  end else begin : g_no_taps
    assign tap_woff = 16'd0;
    logic unused_tap;
    assign unused_tap = &{1'b0, tap_idx};
  end

  // ---- rows -------------------------------------------------------------------------------------
  logic        tile_valid, tile_ready;
  logic        row_valid, row_ready, row_odd, row_last, row_final;
  logic [31:0] row_off, flag_off;
  logic [15:0] row_words, n_before, n_valid, n_after, x_first;
  logic [6:0]  flag_words;
  logic [3:0]  idx3;
  logic [1:0]  next;
  logic [4:0]  tile_first, tile_last;

  pt_addr_gen #(.Flags(1'b1)) u_addr_gen (
    .clk_i,
    .rst_ni,
    .start_i(start),
    .busy_o(addr_gen_busy),
    .addr_gen_i(addr_gen),
    .count_i(pre.t),
    .faddr_i(cfg.faddr),
    .fdaddr_i(cfg.fdaddr),
    .fdrow_i(cfg.fdrow),
    .tap_idx_o(tap_idx),
    .tap_woff_i(tap_woff),
    .tile_valid_o(tile_valid),
    .tile_ready_i(tile_ready),
    .row_valid_o(row_valid),
    .row_ready_i(row_ready),
    .row_off_o(row_off),
    .row_words_o(row_words),
    .flag_off_o(flag_off),
    .flag_words_o(flag_words),
    .n_before_o(n_before),
    .n_valid_o(n_valid),
    .n_after_o(n_after),
    .x_first_o(x_first),
    .y_odd_o(row_odd),
    .idx3_o(idx3),
    .next_o(next),
    .row_last_o(row_last),
    .tile_first_o(tile_first),
    .tile_last_o(tile_last),
    .addr_gen_last_o(row_final)
  );
  assign tile_take_o = tile_valid && tile_ready;

  logic fifo_ready;
  pt_load_runs u_runs (
    .clk_i,
    .rst_ni,
    .row_valid_i(row_valid && fifo_ready),
    .row_ready_o(row_ready),
    .row_off_i(row_off),
    .row_words_i(row_words),
    .flag_off_i(flag_off),
    .flag_words_i(flag_words),
    .row_last_i(row_last),
    .run_valid_o,
    .run_ready_i,
    .run_off_o,
    .run_len_o,
    .run_last_o
  );

  // Tile levels of a weight gradient: row, column, image, n, m.
  logic row_sum, row_write;
  assign row_sum = IsS && addr_gen.sum[0] && tile_first[3];
  assign row_write = row_sum && tile_last[2:0] == 3'b111;

  localparam int unsigned RecW = 7 + 3 * 16 + 10 + 1 + 4 + 2 + 3;
  logic            rec_valid, rec_ready, rec_odd, rec_sum, rec_write, rec_final;
  logic [RecW-1:0] rec;
  logic [15:0]     rec_before, rec_words, rec_after;
  logic [9:0]      rec_x;
  logic [6:0]      rec_flag_words;
  logic [3:0]      rec_idx3;
  logic [1:0]      rec_next;
  logic [$clog2(FifoRows+1)-1:0] rec_count_unused;
  pt_fifo #(
    .Width(RecW),
    .Depth(FifoRows)
  ) u_records (
    .clk_i,
    .rst_ni,
    .valid_i(row_ready),
    .ready_o(fifo_ready),
    .data_i({flag_words, n_before, n_valid, n_after, x_first[9:0], row_odd, idx3, next, row_sum,
             row_write, row_final}),
    .valid_o(rec_valid),
    .ready_i(rec_ready),
    .data_o(rec),
    .count_o(rec_count_unused)
  );
  assign {rec_flag_words, rec_before, rec_words, rec_after, rec_x, rec_odd, rec_idx3, rec_next,
          rec_sum, rec_write, rec_final} = rec;

  // ---- elements ---------------------------------------------------------------------------------
  // The data side has its own settings, and stops behind a descriptor's last row until it is done.
  logic [1:0]  mode_q;
  pt_activation_pkg::activation_grad_t grad_q;
  logic [63:0] pos_q;
  logic        align_q, open_q;
  always_ff @(posedge clk_i) begin
    if (take) begin
      mode_q  <= addr_gen.mode;
      grad_q  <= pt_activation_pkg::of_load(addr_gen);
      pos_q   <= addr_gen.pos;
      align_q <= addr_gen.align[0];
    end
    if (!rst_ni) open_q <= 1'b0;
    else if (take) open_q <= 1'b1;
    else if (rec_valid && rec_ready && rec_final && rec_next == 2'd3) open_q <= 1'b0;
  end

  logic        out_valid, out_ready, out_fire, out_end, out_sum, out_write, out_final;
  logic        hold, write_soon, tile_end, data_ready;
  assign rec_ready = data_ready && open_q;
  logic [63:0] out_data;
  logic [15:0] out_pos;
  logic [1:0]  out_next;
  logic [3:0]  out_idx3;
  pt_load_data u_data (
    .clk_i,
    .rst_ni,
    .mode_i(mode_q),
    .grad_i(grad_q),
    .pos_i(pos_q),
    .rec_valid_i(rec_valid && open_q),
    .rec_ready_o(data_ready),
    .rec_flag_words_i(rec_flag_words),
    .rec_before_i(rec_before),
    .rec_valid_words_i(rec_words),
    .rec_after_i(rec_after),
    .rec_x_i(rec_x),
    .rec_y_odd_i(rec_odd),
    .rec_idx3_i(rec_idx3),
    .rec_next_i(rec_next),
    .rec_sum_i(rec_sum),
    .rec_write_i(rec_write),
    .rec_final_i(rec_final),
    .data_valid_i,
    .data_ready_o,
    .data_i,
    .hold_i(hold),
    .write_soon_o(write_soon),
    .out_valid_o(out_valid),
    .out_ready_i(out_ready),
    .out_data_o(out_data),
    .out_pos_o(out_pos),
    .out_end_o(out_end),
    .out_next_o(out_next),
    .out_idx3_o(out_idx3),
    .out_sum_o(out_sum),
    .out_write_o(out_write),
    .out_final_o(out_final)
  );
  assign out_fire = out_valid && out_ready;
  assign tile_end = out_fire && out_end && out_next == 2'd3;
  assign finished = tile_end && out_final;

  if (IsS) begin : g_s
    // Ring words modulo 4, for the alignment.
    logic [1:0] phase_q, phase_next;
    logic       aligns;
    assign out_ready = s_space_i;
    assign phase_next = phase_q + 2'd1;
    assign aligns = align_q && out_end && out_next >= 2'd2;
    assign s_we_o = out_fire;
    assign s_data_o = out_data;
    assign s_skip_o = out_fire && aligns ? 2'd0 - phase_next : 2'd0;

    // A tile's sums wait from its last element's entry until they are written.
    logic sum_busy, sum_done, wait_q;
    assign hold = wait_q;
    assign settled = !wait_q && !sum_busy && wr_idle_i;
    assign tile_ready = 1'b1;
    assign tile_done_o = 1'b0;
    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        phase_q <= 2'd0;
        wait_q  <= 1'b0;
      end else begin
        if (out_fire) phase_q <= aligns ? 2'd0 : phase_next;
        if (write_soon) wait_q <= 1'b1;
        else if (sum_done) wait_q <= 1'b0;
      end
    end

    pt_chan_sum #(.Groups(pt_spec_pkg::Tm / 4)) u_sum (
      .clk_i,
      .rst_ni,
      .load_i(take),
      .off_i(cfg.sum_off),
      .add_i(out_fire && out_sum),
      .group_i(out_idx3[$clog2(pt_spec_pkg::Tm / 4)-1:0]),
      .data_i(out_data),
      .write_i(tile_end && out_write),
      .busy_o(sum_busy),
      .done_o(sum_done),
      .run_valid_o(wrun_valid_o),
      .run_ready_i(wrun_ready_i),
      .run_off_o(wrun_off_o),
      .run_len_o(wrun_len_o),
      .run_last_o(wrun_last_o),
      .wdata_valid_o,
      .wdata_ready_i,
      .wdata_o
    );
    assign x_we_o = 1'b0;
    assign x_slot_o = 1'b0;
    assign x_bank_o = 2'd0;
    assign x_addr_o = 14'd0;
    assign x_data_o = 64'd0;
    logic unused_s;
    assign unused_s = &{1'b0, out_pos, slot_free_i, out_idx3};
  end else begin : g_x
    logic slot_q, filling_q;
    assign out_ready = 1'b1;
    assign hold = 1'b0;
    assign settled = 1'b1;
    assign tile_ready = slot_free_i && (ClaimAhead || !filling_q);
    assign x_we_o = out_valid;
    assign x_slot_o = slot_q;
    assign x_bank_o = out_pos[1:0];
    assign x_addr_o = out_pos[15:2];
    assign x_data_o = out_data;
    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        slot_q      <= 1'b0;
        filling_q   <= 1'b0;
        tile_done_o <= 1'b0;
      end else begin
        slot_q      <= slot_q ^ tile_end;
        tile_done_o <= tile_end;
        if (tile_take_o) filling_q <= 1'b1;
        else if (tile_done_o) filling_q <= 1'b0;
      end
    end
    assign s_we_o = 1'b0;
    assign s_skip_o = 2'd0;
    assign s_data_o = 64'd0;
    assign wrun_valid_o = 1'b0;
    assign wrun_off_o = 32'd0;
    assign wrun_len_o = 16'd0;
    assign wrun_last_o = 1'b0;
    assign wdata_valid_o = 1'b0;
    assign wdata_o = 64'd0;
    logic unused_x;
    assign unused_x = &{1'b0, s_space_i, wrun_ready_i, wdata_ready_i, wr_idle_i, write_soon,
                        out_idx3, out_sum, out_write, align_q};
  end

  logic unused;
  assign unused = &{1'b0, pre, cfg, addr_gen, tile_first, tile_last, x_first,
                    rec_count_unused, param_unused, tap_unused, tap_idx_unused};
endmodule
