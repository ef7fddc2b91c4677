// SPDX-License-Identifier: Apache-2.0
// Pooling pass: maxima of windows with the places of the winners, or gradients back to these.
//
//   map, or gradient (port a) ---> queue --+                    +--> result  --+
//   backward: winners (port b) --> queue --+--> columns, rows --+--> winners --+--> port a
//                                                               +--> record  --+
//
// Contract: as all units on the configuration bus (docs/engine.md 8). Planes follow each other
// without a gap.
module pt_pool_pass (
  input  logic        clk_i,
  input  logic        rst_ni,
  output logic        cfg_req_o,
  input  logic        cfg_valid_i,
  input  logic [7:0]  cfg_idx_i,
  input  logic [63:0] cfg_data_i,
  input  logic        cfg_last_i,
  output logic        done_o,
  input  logic [31:0] stamp_i,
  // read client: the map, or the gradient of the pooled map
  output logic        a_run_valid_o,
  input  logic        a_run_ready_i,
  output logic [31:0] a_run_off_o,
  output logic [15:0] a_run_len_o,
  output logic        a_run_last_o,
  input  logic        a_data_valid_i,
  output logic        a_data_ready_o,
  input  logic [63:0] a_data_i,
  // read client: winners
  output logic        b_run_valid_o,
  input  logic        b_run_ready_i,
  output logic [31:0] b_run_off_o,
  output logic [15:0] b_run_len_o,
  output logic        b_run_last_o,
  input  logic        b_data_valid_i,
  output logic        b_data_ready_o,
  input  logic [63:0] b_data_i,
  // write client: result, winners, record
  output logic        wr_run_valid_o,
  input  logic        wr_run_ready_i,
  output logic [31:0] wr_run_off_o,
  output logic [15:0] wr_run_len_o,
  output logic        wr_run_last_o,
  output logic        wdata_valid_o,
  input  logic        wdata_ready_i,
  output logic [63:0] wdata_o,
  input  logic        wr_idle_i
);
  if (pt_spec_pkg::SecPFirst != pt_spec_pkg::CfgVFirst ||
      pt_spec_pkg::SecPWords > pt_spec_pkg::CfgVWords) begin : g_check
    $fatal(1, "pt_pool_pass: its section must lie in the words that the vector unit receives");
  end
  localparam int unsigned PreW = 64 * pt_spec_pkg::SecPreWords;
  localparam int unsigned CfgW = 64 * pt_spec_pkg::SecPWords;
  localparam int unsigned ParamW = 64 * pt_spec_pkg::ParamWords;
  localparam int unsigned Columns = pt_spec_pkg::LineColumns;
  // Cycles in which the last step leaves the arithmetic.
  localparam int unsigned EmptyCycles = 8;

  // ---- configuration ----------------------------------------------------------------------------
  logic [PreW-1:0]          pre_q;
  logic [CfgW-1:0]          cfg_q;
  logic [ParamW-1:0]        param_q;
  pt_spec_pkg::pre_t        pre;
  pt_spec_pkg::p_t          cfg;
  pt_spec_pkg::pool_param_t param;
  assign pre = pre_q;
  assign cfg = cfg_q;
  assign param = param_q;
  always_ff @(posedge clk_i) begin
    if (cfg_valid_i && cfg_idx_i < 8'(pt_spec_pkg::SecPreWords)) begin
      pre_q <= {cfg_data_i, pre_q[PreW-1:64]};
    end
    if (cfg_valid_i && cfg_idx_i >= 8'(pt_spec_pkg::SecPFirst) &&
        cfg_idx_i < 8'(pt_spec_pkg::SecPFirst + pt_spec_pkg::SecPWords)) begin
      cfg_q <= {cfg_data_i, cfg_q[CfgW-1:64]};
    end
    if (cfg_valid_i && cfg_idx_i >= 8'(pt_spec_pkg::ParamIndex)) begin
      param_q <= {cfg_data_i, param_q[ParamW-1:64]};
    end
  end
  // Settled before the start: section words come before those of the step block.
  logic back_q, keep_q;  // winners are kept
  always_ff @(posedge clk_i) begin
    back_q <= cfg.p_back[0];
    keep_q <= cfg.p_winners[0] && !cfg.p_back[0];
  end

  // ---- state ------------------------------------------------------------------------------------
  typedef enum logic [3:0] {
    StIdle, StConfig, StStart, StRun, StEmpty, StFlush, StRecord, StWords, StEnd
  } state_e;
  state_e     state_q;
  logic [2:0] step_q;  // words of the record, cycles of StEmpty
  logic       start, busy, record_taken, outs_idle;
  assign start = state_q == StStart;
  assign cfg_req_o = state_q == StIdle;
  assign done_o = state_q == StEnd && wr_idle_i;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      step_q  <= 3'd0;
    end else begin
      step_q <= 3'd0;
      unique case (state_q)
        StIdle:   if (cfg_valid_i) state_q <= StConfig;
        StConfig: if (cfg_valid_i && cfg_last_i) state_q <= StStart;
        StStart:  state_q <= StRun;
        StRun:    if (!busy) state_q <= StEmpty;
        StEmpty: begin
          step_q <= step_q + 3'd1;
          if (step_q == 3'(EmptyCycles - 1)) state_q <= StFlush;
        end
        StFlush:  if (outs_idle && wr_idle_i) state_q <= StRecord;
        StRecord: if (record_taken) state_q <= StWords;
        StWords: begin
          step_q <= step_q + 3'(record_taken);
          if (record_taken && step_q == 3'(pt_spec_pkg::RecordWords - 1)) state_q <= StEnd;
        end
        StEnd:    if (wr_idle_i) state_q <= StIdle;
        default:  state_q <= StIdle;
      endcase
    end
  end

  // ---- streams in -------------------------------------------------------------------------------
  logic        a_valid, a_pop, places_valid, places_pop;
  logic [63:0] a_word, places_word;
  pt_vector_in #(.Depth(256)) u_a (
    .clk_i,
    .rst_ni,
    .start_i(start),
    .off_i(cfg.i_off),
    .words_i(cfg.i_words),
    .images_i(cfg.p_images),
    .blocks_i(16'd1),
    .image_step_i(cfg.i_step),
    .block_jump_i(32'd0),
    .run_valid_o(a_run_valid_o),
    .run_ready_i(a_run_ready_i),
    .run_off_o(a_run_off_o),
    .run_len_o(a_run_len_o),
    .data_valid_i(a_data_valid_i),
    .data_ready_o(a_data_ready_o),
    .data_i(a_data_i),
    .valid_o(a_valid),
    .ready_i(a_pop),
    .data_o(a_word)
  );
  assign a_run_last_o = 1'b1;
  pt_vector_in #(.Depth(32)) u_places (
    .clk_i,
    .rst_ni,
    .start_i(start),
    .off_i(cfg.w_off),
    .words_i(cfg.w_words),
    .images_i(cfg.p_images),
    .blocks_i({15'd0, back_q}),
    .image_step_i(cfg.w_step),
    .block_jump_i(32'd0),
    .run_valid_o(b_run_valid_o),
    .run_ready_i(b_run_ready_i),
    .run_off_o(b_run_off_o),
    .run_len_o(b_run_len_o),
    .data_valid_i(b_data_valid_i),
    .data_ready_o(b_data_ready_o),
    .data_i(b_data_i),
    .valid_o(places_valid),
    .ready_i(places_pop),
    .data_o(places_word)
  );
  assign b_run_last_o = 1'b1;

  // ---- steps ------------------------------------------------------------------------------------
  logic       ready, word, window, last, emit, store, first, row_end, row, above, older, top, take;
  logic       result_room, winners_room, word_end;
  logic [1:0] pixel_q;  // in its word of winners
  logic [$clog2(Columns)-1:0] column;
  pt_pool_walk #(.Columns(Columns)) u_walk (
    .clk_i,
    .rst_ni,
    .start_i(start),
    .cfg_i(cfg),
    .take_i(take),
    .busy_o(busy),
    .ready_o(ready),
    .word_o(word),
    .window_o(window),
    .last_o(last),
    .emit_o(emit),
    .store_o(store),
    .column_o(column),
    .first_o(first),
    .end_o(row_end),
    .row_o(row),
    .above_o(above),
    .older_o(older),
    .top_o(top)
  );
  assign take = busy && ready && (a_valid || !word) && (places_valid || !back_q || !window) &&
                result_room && winners_room;
  assign word_end = window && (last || pixel_q == 2'd3);
  assign a_pop = take && word;
  assign places_pop = take && back_q && word_end;
  always_ff @(posedge clk_i) begin
    if (start) pixel_q <= 2'd0;
    else if (take && window) pixel_q <= last ? 2'd0 : pixel_q + 2'd1;
  end

  logic        winners_valid, winners_last, out_valid;
  logic [15:0] winners;
  logic [63:0] out_data;
  logic [47:0] measure;
  logic [31:0] saturations;
  pt_pool_core #(.Columns(Columns)) u_core (
    .clk_i,
    .rst_ni,
    .start_i(start),
    .back_i(back_q),
    .wide_i(cfg.p_kernel[0]),
    .shift_i(param.shift[5:0]),
    .valid_i(take),
    .word_i(a_word),
    .there_i(word),
    .places_i(places_word[16*pixel_q+:16]),
    .first_i(first),
    .end_i(row_end),
    .row_i(row),
    .above_i(above),
    .older_i(older),
    .top_i(top),
    .store_i(store),
    .column_i(column),
    .emit_i(emit),
    .last_i(last),
    .winners_valid_o(winners_valid),
    .winners_last_o(winners_last),
    .winners_o(winners),
    .valid_o(out_valid),
    .data_o(out_data),
    .measure_o(measure),
    .saturations_o(saturations)
  );

  // ---- winners: 4 pixels in a word, the last word of a plane filled with zeros ------------------
  logic [1:0]  packed_q;
  logic [63:0] pack_q, pack;
  logic        pack_end;
  assign pack_end = winners_valid && keep_q && (winners_last || packed_q == 2'd3);
  always_comb begin
    pack = pack_q;
    pack[16*packed_q+:16] = winners;
  end
  always_ff @(posedge clk_i) begin
    if (start || pack_end) begin
      packed_q <= 2'd0;
      pack_q   <= '0;
    end else if (winners_valid) begin
      packed_q <= packed_q + 2'd1;
      pack_q   <= pack;
    end
  end

  // ---- streams out ------------------------------------------------------------------------------
  logic [2:0]  run_valid, run_ready, word_valid, word_ready;
  logic [1:0]  out_idle;
  logic [31:0] run_off [2];
  logic [15:0] run_len [2];
  logic [63:0] word_data [2];
  logic [63:0] record_word;
  logic        arb_idle;
  pt_vector_out #(.Depth(64)) u_result (
    .clk_i,
    .rst_ni,
    .start_i(start),
    .off_i(cfg.o_off),
    .words_i(cfg.o_words),
    .images_i(cfg.p_images),
    .blocks_i(16'd1),
    .image_step_i(cfg.o_step),
    .block_jump_i(32'd0),
    .room_o(result_room),
    .take_i(take && emit),
    .valid_i(out_valid),
    .data_i(out_data),
    .idle_o(out_idle[0]),
    .run_valid_o(run_valid[0]),
    .run_ready_i(run_ready[0]),
    .run_off_o(run_off[0]),
    .run_len_o(run_len[0]),
    .wdata_valid_o(word_valid[0]),
    .wdata_ready_i(word_ready[0]),
    .wdata_o(word_data[0])
  );
  pt_vector_out #(.Depth(32)) u_winners (
    .clk_i,
    .rst_ni,
    .start_i(start),
    .off_i(cfg.w_off),
    .words_i(cfg.w_words),
    .images_i(cfg.p_images),
    .blocks_i({15'd0, keep_q}),
    .image_step_i(cfg.w_step),
    .block_jump_i(32'd0),
    .room_o(winners_room),
    .take_i(take && keep_q && word_end),
    .valid_i(pack_end),
    .data_i(pack),
    .idle_o(out_idle[1]),
    .run_valid_o(run_valid[1]),
    .run_ready_i(run_ready[1]),
    .run_off_o(run_off[1]),
    .run_len_o(run_len[1]),
    .wdata_valid_o(word_valid[1]),
    .wdata_ready_i(word_ready[1]),
    .wdata_o(word_data[1])
  );

  logic [31:0] start_stamp_q, record_stamp_q;
  always_ff @(posedge clk_i) begin
    if (start) start_stamp_q <= stamp_i;
    if (state_q == StRecord) record_stamp_q <= stamp_i;
  end
  assign outs_idle = (&out_idle) && arb_idle;
  assign run_valid[2] = state_q == StRecord;
  assign word_valid[2] = state_q == StWords;
  assign record_taken = state_q == StRecord ? run_ready[2] : word_valid[2] && word_ready[2];
  always_comb begin
    unique case (step_q[1:0])
      2'd0:    record_word = {16'd0, measure};
      2'd1:    record_word = {32'd0, saturations};
      2'd2:    record_word = {32'd0, start_stamp_q};
      default: record_word = {32'd0, record_stamp_q};
    endcase
  end
  pt_wr_arb #(.Clients(3)) u_out (
    .clk_i,
    .rst_ni,
    .run_valid_i(run_valid),
    .run_ready_o(run_ready),
    .run_off_i({pre.rec_off, run_off[1], run_off[0]}),
    .run_len_i({16'(pt_spec_pkg::RecordWords), run_len[1], run_len[0]}),
    .data_valid_i(word_valid),
    .data_ready_o(word_ready),
    .data_i({record_word, word_data[1], word_data[0]}),
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
  assign unused = &{1'b0, pre, cfg, param};
endmodule
