// SPDX-License-Identifier: Apache-2.0
// The store unit: drains accumulators, post-processes, pools, stages and writes segments and the
// result record.
//
//   groups -> drain -> post (+ bias) -> pool -+-> data staging -> writer -> write client 0
//                 `- raw -> gradient queue      `-> packing -> flag staging -> writer -> client 1
//
// Contract: done_o once per descriptor, in order, all its writes acknowledged, the record last; raw:
// when its last sum is pushed, without a record. Segments overlap: one is drained while the previous
// one is written, also across descriptors (pt_store_ctrl). The record uses write client 1. Pushes
// are as pt_grad_queue asks for.
module pt_store #(
  // Words of the data staging memory, power of two; two segments are held.
  parameter int unsigned StageWords = 8192,
  // Words of the flag staging memory, power of two; two segments are held.
  parameter int unsigned FlagWords = 2048,
  // Widest pooled tile in columns, power of two.
  parameter int unsigned PoolColumns = 256,
  // Accumulator groups, both halves.
  parameter int unsigned Groups = 512,
  // Channel blocks of an m tile, power of two, 4..16.
  parameter int unsigned Blocks = 4
) (
  input  logic                        clk_i,
  input  logic                        rst_ni,
  // configuration bus
  output logic                        cfg_req_o,
  input  logic                        cfg_valid_i,
  input  logic [7:0]                  cfg_idx_i,
  input  logic [63:0]                 cfg_data_i,
  input  logic                        cfg_last_i,
  output logic                        done_o,
  // cycle for the record, zero without profiling
  input  logic [31:0]                 stamp_i,
  // accumulators
  input  logic                        acc_tile_valid_i,
  output logic                        acc_release_o,
  output logic                        drain_req_valid_o,
  input  logic                        drain_req_ready_i,
  output logic [$clog2(Groups)-2:0]   drain_group_o,
  input  logic                        group_valid_i,
  input  logic [Blocks*576-1:0]       group_i,
  // read client: bias masters
  output logic                        b_run_valid_o,
  input  logic                        b_run_ready_i,
  output logic [31:0]                 b_run_off_o,
  output logic [15:0]                 b_run_len_o,
  output logic                        b_run_last_o,
  input  logic                        b_data_valid_i,
  output logic                        b_data_ready_o,
  input  logic [63:0]                 b_data_i,
  // write client 0: data
  output logic                        w_run_valid_o,
  input  logic                        w_run_ready_i,
  output logic [31:0]                 w_run_off_o,
  output logic [15:0]                 w_run_len_o,
  output logic                        w_run_last_o,
  output logic                        w_wdata_valid_o,
  input  logic                        w_wdata_ready_i,
  output logic [63:0]                 w_wdata_o,
  input  logic                        w_wr_idle_i,
  // write client 1: flags and record
  output logic                        f_run_valid_o,
  input  logic                        f_run_ready_i,
  output logic [31:0]                 f_run_off_o,
  output logic [15:0]                 f_run_len_o,
  output logic                        f_run_last_o,
  output logic                        f_wdata_valid_o,
  input  logic                        f_wdata_ready_i,
  output logic [63:0]                 f_wdata_o,
  input  logic                        f_wr_idle_i,
  // gradient queue
  input  logic                        gq_room_i,
  output logic                        gq_push_valid_o,
  output logic [191:0]                gq_push_sums_o,
  output logic [1:0]                  gq_push_lane_o,
  output logic [$clog2(Blocks)-1:0]   gq_push_block_o,
  output logic [1:0]                  gq_push_ch_o,
  output logic [2:0]                  gq_push_keep_o,
  output logic                        gq_push_last_o,
  // one pulse per cycle in which a word is drained
  output logic                        drain_busy_o
);
  localparam int unsigned BlkW = $clog2(Blocks);
  localparam int unsigned StageW = $clog2(StageWords) - 1;
  localparam int unsigned FlagW = $clog2(FlagWords) - 1;

  // ---- order ------------------------------------------------------------------------------------
  logic               start, back_start, back_raw, back_flags, drain_active, post_busy;
  logic               writer_active, flags_active, in_record, in_words, record_wait;
  logic [79:0]        back_count;
  logic [31:0]        record_off;
  logic [63:0]        record_data;
  logic [47:0]        measure;
  logic [31:0]        saturations;
  pt_abi_pkg::y_t    y;
  pt_abi_pkg::addr_gen_t yw, yf;
  pt_abi_pkg::conv_param_t       param;
  pt_activation_pkg::activation_t act;
  logic               raw, pool, flags;
  assign raw = y.raw[0];
  assign pool = y.pool[0] && !raw;
  assign flags = y.flags[0] && !raw;
  assign act = pt_activation_pkg::of_store(y, param);

  pt_store_ctrl u_ctrl (
    .clk_i,
    .rst_ni,
    .cfg_req_o,
    .cfg_valid_i,
    .cfg_idx_i,
    .cfg_data_i,
    .cfg_last_i,
    .done_o,
    .stamp_i,
    .front_start_o(start),
    .front_idle_i(!drain_active && !post_busy),
    .y_o(y),
    .param_o(param),
    .measure_i(measure),
    .saturations_i(saturations),
    .back_start_o(back_start),
    .back_idle_i(!writer_active && !flags_active),
    .raw_o(back_raw),
    .flags_o(back_flags),
    .count_o(back_count),
    .yw_o(yw),
    .yf_o(yf),
    .wr_idle_i(w_wr_idle_i && f_wr_idle_i),
    .record_idle_i(f_wr_idle_i),
    .record_wait_o(record_wait),
    .record_run_o(in_record),
    .record_ready_i(f_run_ready_i),
    .record_off_o(record_off),
    .record_word_o(in_words),
    .record_taken_i(f_wdata_ready_i),
    .record_data_o(record_data)
  );

  // ---- clock of everything from the accumulators to the staging slots ---------------------------
  logic pipe_clk, pipe_active, room_q;
  pt_clock_gate #(.Rest(20)) u_pipe_clock (
    .clk_i,
    .rst_ni,
    .active_i(pipe_active),
    .clk_o(pipe_clk)
  );

  // ---- drain ------------------------------------------------------------------------------------
  logic              seg_ok, seg_take, pick_last, bias_ready, data_free, flag_free;
  logic [BlkW-1:0]   pick_block, word_block;
  logic              word_valid, word_stored, word_col_odd, word_row_odd, word_row_end, word_last;
  logic [191:0]      word_acc, word_bias;
  logic [StageW-1:0] word_addr;
  assign seg_ok = raw ? gq_room_i : bias_ready && data_free && (flag_free || !flags);

  pt_drain #(.GroupW($clog2(Groups) - 1), .StageW(StageW), .Blocks(Blocks)) u_drain (
    .clk_i(pipe_clk),
    .rst_ni,
    .start_i(start),
    .busy_o(drain_active),
    .cfg_i(y),
    .acc_tile_valid_i,
    .acc_release_o,
    .drain_req_valid_o,
    .drain_req_ready_i,
    .drain_group_o,
    .group_valid_i,
    .group_i,
    .seg_ok_i(seg_ok),
    .seg_take_o(seg_take),
    .pick_o(drain_busy_o),
    .pick_block_o(pick_block),
    .pick_last_o(pick_last),
    .word_valid_o(word_valid),
    .word_acc_o(word_acc),
    .word_block_o(word_block),
    .word_lane_o(gq_push_lane_o),
    .word_ch_o(gq_push_ch_o),
    .word_keep_o(gq_push_keep_o),
    .word_stored_o(word_stored),
    .word_addr_o(word_addr),
    .word_col_odd_o(word_col_odd),
    .word_row_odd_o(word_row_odd),
    .word_row_end_o(word_row_end),
    .word_last_o(word_last)
  );

  assign gq_push_valid_o = word_valid && raw;
  assign gq_push_sums_o = word_acc;
  assign gq_push_block_o = word_block;
  assign gq_push_last_o = word_last;

  pt_bias #(.Blocks(Blocks)) u_bias (
    .clk_i(pipe_clk),
    .rst_ni,
    .start_i(start),
    .enable_i(y.bias[0] && !raw),
    .shift_i(param.bias_shift),
    .off_i(y.bias_off),
    .doff_i(y.dbias),
    .count_i(y.y),
    .ready_o(bias_ready),
    .pick_i(drain_busy_o),
    .block_i(pick_block),
    .bias_o(word_bias),
    .release_i(pick_last),
    .run_valid_o(b_run_valid_o),
    .run_ready_i(b_run_ready_i),
    .run_off_o(b_run_off_o),
    .run_len_o(b_run_len_o),
    .run_last_o(b_run_last_o),
    .data_valid_i(b_data_valid_i),
    .data_ready_o(b_data_ready_o),
    .data_i(b_data_i)
  );

  // ---- post-processing --------------------------------------------------------------------------
  localparam int unsigned MetaW = StageW + BlkW + 4;
  logic [MetaW-1:0]  meta, post_meta;
  logic              post_valid;
  logic [63:0]       post_data;
  logic [3:0]        post_flags;
  logic [BlkW-1:0]   post_block;
  logic [StageW-1:0] post_addr;
  logic              post_col_odd, post_row_odd, post_row_end, post_last, post_stored;
  assign meta = {word_last, word_row_end, word_row_odd, word_col_odd, word_block, word_addr};
  assign {post_last, post_row_end, post_row_odd, post_col_odd, post_block, post_addr} = post_meta;

  pt_post #(.MetaW(MetaW)) u_post (
    .clk_i(pipe_clk),
    .rst_ni,
    .clear_i(start),
    .shift_i(param.shift[5:0]),
    .act_i(act),
    .valid_i(word_valid && !raw),
    .acc_i(word_acc),
    .bias_i(word_bias),
    .stored_i(word_stored),
    .meta_i(meta),
    .busy_o(post_busy),
    .valid_o(post_valid),
    .data_o(post_data),
    .flags_o(post_flags),
    .meta_o(post_meta),
    .stored_o(post_stored),
    .measure_o(measure),
    .saturations_o(saturations)
  );

  logic              pool_valid, pool_row_end, pool_last;
  logic [63:0]       pool_data;
  logic [StageW-1:0] pool_addr;
  logic [BlkW-1:0]   pool_block;
  pt_abi_pkg::pool_flag_t pool_bits;
  pt_pool #(.Columns(PoolColumns), .StageW(StageW), .Blocks(Blocks)) u_pool (
    .clk_i(pipe_clk),
    .rst_ni,
    .pool_i(pool),
    .yblk_i(y.yblk[StageW-1:0]),
    .in_valid_i(post_valid),
    .in_data_i(post_data),
    .in_flags_i(post_flags),
    .in_block_i(post_block),
    .in_addr_i(post_addr),
    .in_col_odd_i(post_col_odd),
    .in_row_odd_i(post_row_odd),
    .in_row_end_i(post_row_end),
    .in_stored_i(post_stored),
    .in_last_i(post_last),
    .out_valid_o(pool_valid),
    .out_data_o(pool_data),
    .out_addr_o(pool_addr),
    .out_block_o(pool_block),
    .out_row_end_o(pool_row_end),
    .out_bits_o(pool_bits),
    .out_last_o(pool_last)
  );

  // ---- data -------------------------------------------------------------------------------------
  logic              stage_full, stage_re, stage_release;
  logic [StageW-1:0] stage_raddr;
  logic [63:0]       stage_rdata;
  pt_stage #(.Words(StageWords)) u_stage (
    .clk_i(pipe_clk),
    .rst_ni,
    .free_o(data_free),
    .take_i(seg_take && !raw),
    .we_i(pool_valid),
    .waddr_i(pool_addr),
    .wdata_i(pool_data),
    .last_i(pool_last),
    .full_o(stage_full),
    .re_i(stage_re),
    .raddr_i(stage_raddr),
    .rdata_o(stage_rdata),
    .release_i(stage_release)
  );

  pt_store_writer #(.AddrW(StageW)) u_writer (
    .clk_i,
    .rst_ni,
    .start_i(back_start && !back_raw),
    .busy_o(writer_active),
    .addr_gen_i(yw),
    .count_i(back_count),
    .full_i(stage_full),
    .re_o(stage_re),
    .raddr_o(stage_raddr),
    .rdata_i(stage_rdata),
    .release_o(stage_release),
    .run_valid_o(w_run_valid_o),
    .run_ready_i(w_run_ready_i),
    .run_off_o(w_run_off_o),
    .run_len_o(w_run_len_o),
    .run_last_o(w_run_last_o),
    .wdata_valid_o(w_wdata_valid_o),
    .wdata_ready_i(w_wdata_ready_i),
    .wdata_o(w_wdata_o)
  );

  // ---- flags and record -------------------------------------------------------------------------
  logic             flag_we, flag_last, flag_full, flag_re, flag_release;
  logic [FlagW-1:0] flag_waddr, flag_raddr;
  logic [63:0]      flag_wdata, flag_rdata;
  pt_flag_pack #(.FlagW(FlagW), .Blocks(Blocks)) u_pack (
    .clk_i(pipe_clk),
    .rst_ni,
    .pool_i(pool),
    .fblk_i(y.fblk[FlagW-1:0]),
    .valid_i(pool_valid && flags),
    .bits_i(pool_bits),
    .block_i(pool_block),
    .row_end_i(pool_row_end),
    .last_i(pool_last && flags),
    .we_o(flag_we),
    .addr_o(flag_waddr),
    .data_o(flag_wdata),
    .last_o(flag_last)
  );

  pt_stage #(.Words(FlagWords)) u_flag_stage (
    .clk_i(pipe_clk),
    .rst_ni,
    .free_o(flag_free),
    .take_i(seg_take && flags),
    .we_i(flag_we),
    .waddr_i(flag_waddr),
    .wdata_i(flag_wdata),
    .last_i(flag_last),
    .full_o(flag_full),
    .re_i(flag_re),
    .raddr_i(flag_raddr),
    .rdata_o(flag_rdata),
    .release_i(flag_release)
  );

  logic        yf_run_valid, yf_run_last, yf_wdata_valid;
  logic [31:0] yf_run_off;
  logic [15:0] yf_run_len;
  logic [63:0] yf_wdata;
  pt_store_writer #(.AddrW(FlagW)) u_flag_writer (
    .clk_i,
    .rst_ni,
    .start_i(back_start && back_flags && !back_raw),
    .busy_o(flags_active),
    .addr_gen_i(yf),
    .count_i(back_count),
    .full_i(flag_full),
    .re_o(flag_re),
    .raddr_o(flag_raddr),
    .rdata_i(flag_rdata),
    .release_o(flag_release),
    .run_valid_o(yf_run_valid),
    .run_ready_i(f_run_ready_i && !record_wait),
    .run_off_o(yf_run_off),
    .run_len_o(yf_run_len),
    .run_last_o(yf_run_last),
    .wdata_valid_o(yf_wdata_valid),
    .wdata_ready_i(f_wdata_ready_i),
    .wdata_o(yf_wdata)
  );

  assign f_run_valid_o = in_record || (yf_run_valid && !record_wait);
  assign f_run_off_o = in_record ? record_off : yf_run_off;
  assign f_run_len_o = in_record ? 16'(pt_abi_pkg::RecordWords) : yf_run_len;
  assign f_run_last_o = in_record || yf_run_last;
  assign f_wdata_valid_o = in_words || yf_wdata_valid;
  assign f_wdata_o = in_words ? record_data : yf_wdata;

  // What happens in the pipeline follows from these within Rest cycles, or waits for one of them.
  always_ff @(posedge clk_i) room_q <= gq_room_i;
  assign pipe_active = start || acc_tile_valid_i || drain_req_valid_o || group_valid_i ||
                       drain_busy_o || word_valid || stage_re || stage_release || flag_re ||
                       flag_release || (b_run_valid_o && b_run_ready_i) || b_data_valid_i ||
                       (gq_room_i != room_q);

  logic unused;
  assign unused = &{1'b0, y, param};
endmodule
