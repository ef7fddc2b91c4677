// SPDX-License-Identifier: Apache-2.0
// Everything that the vector unit writes: results, flags or argmax indices, sums, and the record.
//
// Contract: start_i starts the scans of a descriptor. A word's slot is taken (take_i, only with
// room_o) before the word comes (valid_i, without back-pressure); a sum takes its slot with the
// word. idle_o: all words have been handed over. Then record_run_i until record_taken_o, and
// record_word_i with step 0..3, a word with each record_taken_o.
module pt_vector_writes (
  input  logic            clk_i,
  input  logic            rst_ni,
  input  logic            start_i,
  input  pt_abi_pkg::v_t cfg_i,
  input  pt_abi_pkg::p_t pool_cfg_i,
  input  logic            pool_i,       // opcode POOL; modes are settled two cycles before the start
  input  logic            write_i,
  input  logic            flags_i,
  input  logic            sums_i,
  input  logic [15:0]     in_blocks_i,  // of the scan over flags
  input  logic [31:0]     record_off_i,
  input  logic [31:0]     stamp_i,
  output logic            result_room_o,
  input  logic            result_take_i,
  input  logic            result_valid_i,
  input  logic [63:0]     result_data_i,
  output logic            flags_room_o,
  input  logic            flags_take_i,
  input  logic            flags_valid_i,
  input  logic [63:0]     flags_data_i,
  output logic            sums_room_o,
  input  logic            sums_valid_i,
  input  logic [63:0]     sums_data_i,
  output logic            idle_o,
  input  logic            record_run_i,
  input  logic            record_word_i,
  input  logic [$clog2(pt_abi_pkg::RecordWords)-1:0] record_step_i,
  output logic            record_taken_o,
  input  logic [47:0]     measure_i,
  input  logic [31:0]     saturations_i,
  output logic            wr_run_valid_o,
  input  logic            wr_run_ready_i,
  output logic [31:0]     wr_run_off_o,
  output logic [15:0]     wr_run_len_o,
  output logic            wr_run_last_o,
  output logic            wdata_valid_o,
  input  logic            wdata_ready_i,
  output logic [63:0]     wdata_o
);
  // Words of the sums of a channel block.
  localparam int unsigned BlockWords = 8;
  logic [3:0]  run_valid, run_ready, valid, ready;
  logic [2:0]  idle;
  logic [31:0] off [3];
  logic [15:0] len [3];
  logic [63:0] data [3];
  logic        arb_idle;

  // Results of v_reduce are a plane for each block; those of POOL a plane for each image, which
  // stand as far apart as o_step says: in the place of v_jump.
  logic [31:0] words_q;
  logic [15:0] images_q, blocks_q;
  always_ff @(posedge clk_i) begin
    words_q  <= pool_i ? pool_cfg_i.o_words
                : cfg_i.v_reduce[0] ? {16'd0, cfg_i.v_images} : cfg_i.v_words;
    images_q <= pool_i || cfg_i.v_reduce[0] ? 16'd1 : cfg_i.v_images;
    blocks_q <= pool_i ? cfg_i.v_images : cfg_i.v_blocks;
  end
  pt_vector_out #(.Depth(64)) u_result (
    .clk_i,
    .rst_ni,
    .start_i,
    .on_i(write_i),
    .off_i(cfg_i.v_off),
    .words_i(words_q),
    .images_i(images_q),
    .blocks_i(blocks_q),
    .image_step_i(cfg_i.v_step),
    .block_jump_i(cfg_i.v_reduce[0] ? {13'd0, cfg_i.v_images, 3'd0} : cfg_i.v_jump),
    .room_o(result_room_o),
    .take_i(result_take_i),
    .valid_i(result_valid_i),
    .data_i(result_data_i),
    .idle_o(idle[0]),
    .run_valid_o(run_valid[0]),
    .run_ready_i(run_ready[0]),
    .run_off_o(off[0]),
    .run_len_o(len[0]),
    .wdata_valid_o(valid[0]),
    .wdata_ready_i(ready[0]),
    .wdata_o(data[0])
  );
  pt_vector_out #(.Depth(32)) u_flags (
    .clk_i,
    .rst_ni,
    .start_i,
    .on_i(flags_i),
    .off_i(cfg_i.m_off),
    .words_i(cfg_i.m_words),
    .images_i(cfg_i.v_images),
    .blocks_i(in_blocks_i),
    .image_step_i(cfg_i.m_step),
    .block_jump_i(cfg_i.m_jump),
    .room_o(flags_room_o),
    .take_i(flags_take_i),
    .valid_i(flags_valid_i),
    .data_i(flags_data_i),
    .idle_o(idle[1]),
    .run_valid_o(run_valid[1]),
    .run_ready_i(run_ready[1]),
    .run_off_o(off[1]),
    .run_len_o(len[1]),
    .wdata_valid_o(valid[1]),
    .wdata_ready_i(ready[1]),
    .wdata_o(data[1])
  );
  pt_vector_out #(.Depth(32), .Words(BlockWords)) u_sums (
    .clk_i,
    .rst_ni,
    .start_i,
    .on_i(sums_i),
    .off_i(cfg_i.s_off),
    .words_i(32'(BlockWords)),
    .images_i(16'd1),
    .blocks_i(cfg_i.v_blocks),
    .image_step_i(32'd0),
    .block_jump_i(32'd0),
    .room_o(sums_room_o),
    .take_i(sums_valid_i),
    .valid_i(sums_valid_i),
    .data_i(sums_data_i),
    .idle_o(idle[2]),
    .run_valid_o(run_valid[2]),
    .run_ready_i(run_ready[2]),
    .run_off_o(off[2]),
    .run_len_o(len[2]),
    .wdata_valid_o(valid[2]),
    .wdata_ready_i(ready[2]),
    .wdata_o(data[2])
  );

  // ---- record -----------------------------------------------------------------------------------
  logic [31:0] start_stamp_q, record_stamp_q;
  always_ff @(posedge clk_i) begin
    if (start_i) start_stamp_q <= stamp_i;
    if (record_run_i) record_stamp_q <= stamp_i;
  end
  assign idle_o = (&idle) && arb_idle;
  assign run_valid[3] = record_run_i;
  assign valid[3] = record_word_i;
  assign record_taken_o = record_run_i ? run_ready[3] : valid[3] && ready[3];
  pt_abi_pkg::record_t                      record;
  logic [pt_abi_pkg::RecordWords-1:0][63:0] record_words;
  always_comb begin
    record = '0;
    record.measure = measure_i;
    record.saturations = saturations_i;
    record.start_cycle = start_stamp_q;
    record.end_cycle = record_stamp_q;
  end
  assign record_words = record;
  pt_wr_arb #(.Clients(4)) u_out (
    .clk_i,
    .rst_ni,
    .run_valid_i(run_valid),
    .run_ready_o(run_ready),
    .run_off_i({record_off_i, off[2], off[1], off[0]}),
    .run_len_i({16'(pt_abi_pkg::RecordWords), len[2], len[1], len[0]}),
    .data_valid_i(valid),
    .data_ready_o(ready),
    .data_i({record_words[record_step_i], data[2], data[1], data[0]}),
    .idle_o(arb_idle),
    .run_valid_o(wr_run_valid_o),
    .run_ready_i(wr_run_ready_i),
    .run_off_o(wr_run_off_o),
    .run_len_o(wr_run_len_o),
    .run_last_o(wr_run_last_o),
    .data_valid_o(wdata_valid_o),
    .data_ready_i(wdata_ready_i),
    .data_o(wdata_o)
  );

  logic unused;
  assign unused = &{1'b0, cfg_i, pool_cfg_i};
endmodule
