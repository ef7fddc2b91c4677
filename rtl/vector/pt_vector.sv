// SPDX-License-Identifier: Apache-2.0
// Vector unit: scales, adds, masks and sums maps word by word, channel block by channel block; or,
// with opcode POOL, takes maxima of windows and gradients back to them, with the same streams.
//
//   a (port 3) ---> queue --+                        +--> result --+
//   b     -----+--> queue --+-> mask -> arithmetic --+--> flags  --+--> port 3
//   flags -----+--> queue --+            |           +--> record --+
//   random bits ------------+            |                         |
//   table -----+--> queue --> coefficients    sums of the block ---+
//          port 2
//
// Contract: as all units on the configuration bus (docs/engine.md 8). Between two blocks the
// arithmetic runs empty, the sums leave and the next coefficients are taken. POOL: the map, or the
// gradient, is a, the argmax indices are the flags; planes of an image follow each other without a gap.
module pt_vector (
  input  logic        clk_i,
  input  logic        rst_ni,
  output logic        cfg_req_o,
  input  logic        cfg_valid_i,
  input  logic [7:0]  cfg_idx_i,
  input  logic [63:0] cfg_data_i,
  input  logic        cfg_last_i,
  output logic        done_o,
  input  logic [31:0] stamp_i,
  // read client: a, or what is pooled
  output logic        a_run_valid_o,
  input  logic        a_run_ready_i,
  output logic [31:0] a_run_off_o,
  output logic [15:0] a_run_len_o,
  output logic        a_run_last_o,
  input  logic        a_data_valid_i,
  output logic        a_data_ready_o,
  input  logic [63:0] a_data_i,
  // read client: b, flags or argmax indices, table
  output logic        b_run_valid_o,
  input  logic        b_run_ready_i,
  output logic [31:0] b_run_off_o,
  output logic [15:0] b_run_len_o,
  output logic        b_run_last_o,
  input  logic        b_data_valid_i,
  output logic        b_data_ready_o,
  input  logic [63:0] b_data_i,
  // write client: result, flags or argmax indices, sums, record
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
  if (pt_abi_pkg::SecPFirst != pt_abi_pkg::CfgVectorFirst ||
      pt_abi_pkg::SecPWords > pt_abi_pkg::CfgVectorWords) begin : g_check
    $fatal(1, "pt_vector: the section of POOL must lie in the words that the unit receives");
  end
  // Words of the sums of a channel block.
  localparam int unsigned BlockWords = 8;
  // Cycles in which the last word of a block leaves the arithmetic, and its flags the packer; more
  // where each word has a factor of its own (pt_vector_curve).
  localparam int unsigned EmptyCycles = 12, FactorCycles = 3;

  // ---- configuration ----------------------------------------------------------------------------
  logic [64*pt_abi_pkg::CfgVectorWords-1:0] cfg_q;
  logic [64*pt_abi_pkg::ParamWords-1:0]     param_q;
  pt_abi_pkg::pre_t          pre;
  pt_abi_pkg::v_t            cfg;
  pt_abi_pkg::p_t            pool;
  pt_abi_pkg::vector_param_t param;
  logic                        received, tap_unused;
  logic [6:0]                  tap_idx_unused;
  assign cfg = cfg_q;
  assign pool = cfg_q[64*pt_abi_pkg::SecPWords-1:0];
  assign param = param_q;

  // ---- modes, settled before the start: section words come before those of the step block -------
  // POOL: bits that ask for anything else are 0 (pynq_train/hw/pool.py, SHARED_PLACES).
  logic        use_b_q, use_table_q, masked_q, write_q, flags_q, sums_q, drop_q, pool_q;
  logic        curve_q, of_curve;  // a table of segments is looked up
  logic [1:0]  factor_q, factor;
  logic [3:0]  channels_q;         // lanes of the last block that hold channels
  pt_activation_pkg::activation_grad_t grad_a_q, grad_b_q;
  logic [15:0] line_images_q, in_blocks_q;
  assign factor = pre.opcode == 8'(pt_abi_pkg::OpPool) ? '0 : cfg.v_factor;
  assign of_curve = factor == 2'(pt_abi_pkg::FactorCurve) ||
                    factor == 2'(pt_abi_pkg::FactorSlope);
  always_ff @(posedge clk_i) begin
    use_b_q     <= cfg.v_b[0];
    factor_q    <= factor;
    curve_q     <= of_curve;
    channels_q  <= cfg.v_lanes == 2'd0 ? 4'b1111 : ~(4'b1111 << cfg.v_lanes);
    use_table_q <= cfg.v_table[0] || cfg.v_btable[0] || of_curve;
    masked_q    <= (cfg.v_mask_a[0] || cfg.v_mask_b[0]) && !cfg.v_flags[0];
    grad_a_q    <= pt_activation_pkg::of_vector_a(cfg);
    grad_b_q    <= pt_activation_pkg::of_vector_b(cfg);
    write_q     <= cfg.v_write[0] || pool_q;
    flags_q     <= cfg.v_flags[0] && (cfg.v_write[0] || pool_q);
    sums_q      <= cfg.v_sums[0];
    drop_q      <= cfg.v_drop[0];
    pool_q      <= pre.opcode == 8'(pt_abi_pkg::OpPool);
    line_images_q <= cfg.v_images;
    in_blocks_q <= pool_q ? 16'd1 : cfg.v_blocks;  // an image of POOL is one plane
  end

  // ---- windows of POOL: what stands at this place -----------------------------------------------
  logic             pool_busy, pool_ready, pool_needs, pool_window, pool_last, pool_emit;
  logic             argmax_valid, argmax_last;
  logic [3:0][3:0]  argmax;
  logic [3:0][18:0] value;
  logic [3:0][19:0] more;

  // ---- state ------------------------------------------------------------------------------------
  typedef enum logic [3:0] {
    StIdle, StStart, StLoad, StRun, StEmpty, StSums, StFlush, StRecord, StWords, StEnd
  } state_e;
  state_e      state_q;
  logic [3:0]  step_q;   // words of sums and of the record, cycles of StEmpty
  logic [15:0] image_q, block_q;    // to come, this one included
  logic [31:0] left_q;   // words of the plane to come
  logic [3:0]  pixel_q;  // in its word of flags; POOL: the last of the four of a pooled one
  logic        start, take, plane_end, block_end, sums_room, loaded, outs_idle, pixel_end;
  logic        sums_push, record_taken, first_q;
  assign start = state_q == StStart;
  assign plane_end = left_q == 32'd1;
  assign block_end = plane_end && image_q == 16'd1;
  assign sums_push = state_q == StSums && sums_q && sums_room;
  assign done_o = state_q == StEnd && wr_idle_i;
  pt_cfg_rx #(
    .First(pt_abi_pkg::CfgVectorFirst),
    .Words(pt_abi_pkg::CfgVectorWords)
  ) u_rx (
    .clk_i,
    .rst_ni,
    .req_o(cfg_req_o),
    .cfg_valid_i,
    .cfg_idx_i,
    .cfg_data_i,
    .cfg_last_i,
    .hold_i(state_q != StIdle),
    .end_o(received),
    .pre_o(pre),
    .section_o(cfg_q),
    .param_o(param_q),
    .tap_o(tap_unused),
    .tap_idx_o(tap_idx_unused)
  );

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      step_q  <= 4'd0;
    end else begin
      step_q <= 4'd0;
      unique case (state_q)
        StIdle:   if (received) state_q <= StStart;
        StStart:  state_q <= use_table_q ? StLoad : StRun;
        StLoad:   if (loaded) state_q <= StRun;
        StRun:    if (pool_q ? !pool_busy : take && block_end) state_q <= StEmpty;
        StEmpty: begin
          step_q <= step_q + 4'd1;
          if (step_q == 4'(EmptyCycles - 1) + (factor_q != '0 ? 4'(FactorCycles) : 4'd0)) begin
            state_q <= pool_q ? StFlush : StSums;
            step_q  <= 4'd0;
          end
        end
        StSums: begin
          step_q <= step_q + 4'(sums_push);
          if (!sums_q || (sums_push && step_q == 4'(BlockWords - 1))) begin
            step_q <= 4'd0;
            if (block_q == 16'd0) state_q <= StFlush;
            else state_q <= use_table_q && !curve_q ? StLoad : StRun;
          end
        end
        StFlush:  if (outs_idle && wr_idle_i) state_q <= StRecord;
        StRecord: if (record_taken) state_q <= StWords;
        StWords: begin
          step_q <= step_q + 4'(record_taken);
          if (record_taken && step_q == 4'(pt_abi_pkg::RecordWords - 1)) state_q <= StEnd;
        end
        StEnd:    if (wr_idle_i) state_q <= StIdle;
        default:  state_q <= StIdle;
      endcase
    end
    if (start) begin
      left_q  <= cfg.v_words;
      image_q <= cfg.v_images;
      block_q <= cfg.v_blocks;
      first_q <= 1'b1;
    end else if (take) begin
      left_q  <= plane_end ? cfg.v_words : left_q - 32'd1;
      first_q <= plane_end;
      if (plane_end) image_q <= block_end ? cfg.v_images : image_q - 16'd1;
      if (block_end) block_q <= block_q - 16'd1;
    end
    if (start || (take && pixel_end)) pixel_q <= {2'd0, {2{pool_q}}};
    else if (take && (pool_window || !pool_q)) pixel_q <= pixel_q + (pool_q ? 4'd4 : 4'd1);
  end

  // ---- streams in -------------------------------------------------------------------------------
  logic [2:0]  in_run_valid, in_run_ready, in_valid, in_ready;
  logic [31:0] in_off [3];
  logic [15:0] in_len [3];
  logic        a_valid, b_valid, mask_valid, a_pop, b_pop, mask_pop;
  logic [63:0] a_word, b_word, mask_word, in_data;
  logic [3:0][23:0] scale_a, scale_b;
  logic [3:0][47:0] offset;
  logic             segment_take;
  logic [63:0]      segment_word;

  pt_vector_in #(.Depth(256)) u_a (
    .clk_i,
    .rst_ni,
    .start_i(start),
    .on_i(1'b1),
    .off_i(cfg.a_off),
    .words_i(cfg.v_words),
    .images_i(cfg.v_images),
    .blocks_i(in_blocks_q),
    .image_step_i(cfg.v_step),
    .block_jump_i(cfg.v_jump),
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

  pt_vector_in #(.Depth(128)) u_b (
    .clk_i,
    .rst_ni,
    .start_i(start),
    .on_i(use_b_q),
    .off_i(cfg.b_off),
    .words_i(cfg.v_spread[0] ? {16'd0, line_images_q} : cfg.v_words),
    .images_i(cfg.v_spread[0] ? 16'd1 : cfg.v_images),
    .blocks_i(cfg.v_blocks),
    .image_step_i(cfg.v_step),
    .block_jump_i(cfg.v_spread[0] ? {13'd0, line_images_q, 3'd0} : cfg.v_jump),
    .run_valid_o(in_run_valid[0]),
    .run_ready_i(in_run_ready[0]),
    .run_off_o(in_off[0]),
    .run_len_o(in_len[0]),
    .data_valid_i(in_valid[0]),
    .data_ready_o(in_ready[0]),
    .data_i(in_data),
    .valid_o(b_valid),
    .ready_i(b_pop),
    .data_o(b_word)
  );
  pt_vector_in #(.Depth(32)) u_mask (
    .clk_i,
    .rst_ni,
    .start_i(start),
    .on_i(masked_q),
    .off_i(cfg.m_off),
    .words_i(cfg.m_words),
    .images_i(cfg.v_images),
    .blocks_i(in_blocks_q),
    .image_step_i(cfg.m_step),
    .block_jump_i(cfg.m_jump),
    .run_valid_o(in_run_valid[1]),
    .run_ready_i(in_run_ready[1]),
    .run_off_o(in_off[1]),
    .run_len_o(in_len[1]),
    .data_valid_i(in_valid[1]),
    .data_ready_o(in_ready[1]),
    .data_i(in_data),
    .valid_o(mask_valid),
    .ready_i(mask_pop),
    .data_o(mask_word)
  );
  pt_vector_coeff u_coeff (
    .clk_i,
    .rst_ni,
    .start_i(start),
    .on_i(use_table_q),
    .curve_i(curve_q),
    .cfg_i(cfg),
    .param_i(param),
    .run_valid_o(in_run_valid[2]),
    .run_ready_i(in_run_ready[2]),
    .run_off_o(in_off[2]),
    .run_len_o(in_len[2]),
    .data_valid_i(in_valid[2]),
    .data_ready_o(in_ready[2]),
    .data_i(in_data),
    .load_i(state_q == StLoad),
    .loaded_o(loaded),
    .take_o(segment_take),
    .word_o(segment_word),
    .scale_a_o(scale_a),
    .scale_b_o(scale_b),
    .offset_o(offset)
  );
  pt_rd_arb #(.Clients(3)) u_in (
    .clk_i,
    .rst_ni,
    .run_valid_i(in_run_valid),
    .run_ready_o(in_run_ready),
    .run_off_i({in_off[2], in_off[1], in_off[0]}),
    .run_len_i({in_len[2], in_len[1], in_len[0]}),
    .data_valid_o(in_valid),
    .data_ready_i(in_ready),
    .data_o(in_data),
    .run_valid_o(b_run_valid_o),
    .run_ready_i(b_run_ready_i),
    .run_off_o(b_run_off_o),
    .run_len_o(b_run_len_o),
    .run_last_o(b_run_last_o),
    .data_valid_i(b_data_valid_i),
    .data_ready_o(b_data_ready_o),
    .data_i(b_data_i)
  );

  // ---- gradients, dropout and arithmetic --------------------------------------------------------
  logic             out_room, flag_room, result, math_valid;
  logic             keep_valid, keep_pop;
  logic [3:0]       bits, math_flags, keep;
  logic [63:0]      a_masked, b_masked, a_kept, b_kept, math_data;
  logic [3:0][47:0] sum1, sum2;
  logic [47:0]      measure;
  logic [31:0]      saturations;
  logic [3:0][3:0]  places;
  assign result = pool_q ? pool_emit : write_q && (!cfg.v_reduce[0] || plane_end);
  assign pixel_end = pool_q ? pool_window && (pool_last || &pixel_q) : plane_end || (&pixel_q);
  assign take = state_q == StRun && (a_valid || (pool_q && !pool_needs)) &&
                (b_valid || !use_b_q) && (mask_valid || !masked_q || (pool_q && !pool_window)) &&
                (keep_valid || !drop_q) && (pool_ready || !pool_q) && out_room && flag_room;
  assign a_pop = take && (pool_needs || !pool_q);
  assign b_pop = take && use_b_q && (plane_end || !cfg.v_spread[0]);
  assign mask_pop = take && masked_q && pixel_end;
  assign keep_pop = take && drop_q;

  pt_vector_drop u_drop (
    .clk_i,
    .rst_ni,
    .start_i(start),
    .on_i(drop_q),
    .cfg_i(cfg),
    .param_i(param),
    .valid_o(keep_valid),
    .ready_i(keep_pop),
    .keep_o(keep)
  );
  pt_abi_pkg::mask_flags_t masks;
  pt_abi_pkg::argmax_t     indices;
  assign masks = mask_word;
  assign indices = mask_word;
  assign places = indices.index[4*pixel_q[3:2]+:4];
  assign bits = masks.mask[pixel_q];
  pt_activation_grad u_grad_a (
    .grad_i(grad_a_q),
    .flags_i(bits),
    .data_i(a_word),
    .data_o(a_masked)
  );
  pt_activation_grad u_grad_b (
    .grad_i(grad_b_q),
    .flags_i(bits),
    .data_i(use_b_q ? b_word : 64'd0),
    .data_o(b_masked)
  );
  always_comb begin
    a_kept = a_masked;
    b_kept = b_masked;
    for (int unsigned l = 0; l < 4; l++) begin
      if (drop_q && !keep[l]) begin
        a_kept[16*l+:16] = 16'd0;
        b_kept[16*l+:16] = 16'd0;
      end
    end
  end

  pt_pool_pass u_pool (
    .clk_i,
    .rst_ni,
    .start_i(start),
    .on_i(pool_q),
    .cfg_i(pool),
    .take_i(take),
    .word_i(a_word),
    .places_i(places),
    .busy_o(pool_busy),
    .ready_o(pool_ready),
    .needs_o(pool_needs),
    .window_o(pool_window),
    .last_o(pool_last),
    .emit_o(pool_emit),
    .argmax_valid_o(argmax_valid),
    .argmax_last_o(argmax_last),
    .argmax_o(argmax),
    .value_o(value),
    .more_o(more)
  );

  pt_vector_math u_math (
    .clk_i,
    .rst_ni,
    .start_i(start),
    .clear_i(start || (state_q == StSums && (!sums_q || (sums_push && step_q == 4'd7)))),
    .factor_i(factor_q),
    .log_i(cfg.k_log),
    .load_i(segment_take),
    .word_i(segment_word),
    .live_i(block_q == 16'd1 ? channels_q : 4'b1111),
    .scale_a_i(scale_a),
    .scale_b_i(scale_b),
    .offset_i(offset),
    .shift_i(param.shift[5:0]),
    .reduce_i(cfg.v_reduce[0]),
    .square_i(cfg.v_square[0]),
    .act_i(pt_activation_pkg::of_vector(cfg, param)),
    .write_i(write_q),
    .valid_i(take && (pool_emit || !pool_q)),
    .first_i(first_q),
    .last_i(plane_end),
    .a_i(a_kept),
    .b_i(b_kept),
    .value_i(value),
    .more_i(more),
    .valid_o(math_valid),
    .data_o(math_data),
    .flags_o(math_flags),
    .sum1_o(sum1),
    .sum2_o(sum2),
    .measure_o(measure),
    .saturations_o(saturations)
  );

  logic        flag_push;
  logic [63:0] flag_word;
  pt_vector_flags u_pack (
    .clk_i,
    .start_i(start),
    .on_i(flags_q),
    .drop_i(drop_q),
    .pool_i(pool_q),
    .keep_i(keep),
    .last_i(plane_end),
    .valid_i(math_valid),
    .flags_i(math_flags),
    .argmax_valid_i(argmax_valid),
    .argmax_last_i(argmax_last),
    .argmax_i(argmax),
    .push_o(flag_push),
    .data_o(flag_word)
  );

  // ---- streams out ------------------------------------------------------------------------------
  pt_vector_writes u_writes (
    .clk_i,
    .rst_ni,
    .start_i(start),
    .cfg_i(cfg),
    .pool_cfg_i(pool),
    .pool_i(pool_q),
    .write_i(write_q),
    .flags_i(flags_q),
    .sums_i(sums_q),
    .in_blocks_i(in_blocks_q),
    .record_off_i(pre.rec_off),
    .stamp_i,
    .result_room_o(out_room),
    .result_take_i(take && result),
    .result_valid_i(math_valid && write_q),
    .result_data_i(math_data),
    .flags_room_o(flag_room),
    .flags_take_i(take && flags_q && pixel_end),
    .flags_valid_i(flag_push),
    .flags_data_i(flag_word),
    .sums_room_o(sums_room),
    .sums_valid_i(sums_push),
    .sums_data_i(64'($signed(step_q[2] ? sum2[step_q[1:0]] : sum1[step_q[1:0]]))),
    .idle_o(outs_idle),
    .record_run_i(state_q == StRecord),
    .record_word_i(state_q == StWords),
    .record_step_i(step_q[1:0]),
    .record_taken_o(record_taken),
    .measure_i(measure),
    .saturations_i(saturations),
    .wr_run_valid_o,
    .wr_run_ready_i,
    .wr_run_off_o,
    .wr_run_len_o,
    .wr_run_last_o,
    .wdata_valid_o,
    .wdata_ready_i,
    .wdata_o
  );

  logic unused;
  assign unused = &{1'b0, pre, cfg, pool, param, tap_unused, tap_idx_unused};
endmodule
