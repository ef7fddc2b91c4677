// SPDX-License-Identifier: Apache-2.0
// Softmax unit: cross-entropy loss, correct predictions and logit gradients, one image at a time.
//
//   read label, logits -> 2 image buffers -> walk lanes: pass 1 maximum
//                                                        pass 2 exponentials, sum, then logarithm
//                                                        pass 3 exponentials -> 4 dividers -> write
//
// Contract: one lane per cycle in passes 1 and 2, about 19 cycles per word in pass 3; the next
// image is read meanwhile. Reads are requested only into a free buffer, so data_ready_o is always
// high. done_o follows the acknowledged record.
module pt_softmax #(
  // Most classes, a power of two of 16 or more.
  parameter int unsigned MaxClasses = 1024
) (
  input  logic        clk_i,
  input  logic        rst_ni,
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
  // write client
  output logic        wr_run_valid_o,
  input  logic        wr_run_ready_i,
  output logic [31:0] wr_run_off_o,
  output logic [15:0] wr_run_len_o,
  output logic        wr_run_last_o,
  output logic        wdata_valid_o,
  input  logic        wdata_ready_i,
  output logic [63:0] wdata_o,
  input  logic        wr_idle_i,
  // cycle stamp for the record
  input  logic [31:0] stamp_i
);
  if (MaxClasses < 16 || (MaxClasses & (MaxClasses - 1)) != 0) begin : g_check
    $fatal(1, "pt_softmax: MaxClasses must be a power of two of 16 or more");
  end

  localparam int unsigned ClassW = $clog2(MaxClasses);  // index of a class
  localparam int unsigned WordW = ClassW - 2;           // index of a word
  localparam int unsigned MantW = 23;                   // Q1.22, up to one
  localparam int unsigned SumW = MantW + ClassW;
  localparam int unsigned PreW = 64 * pt_spec_pkg::SecPreWords;
  localparam int unsigned CfgW = 64 * pt_spec_pkg::CfgFWords;
  localparam int unsigned ParamW = 64 * pt_spec_pkg::ParamWords;

  // ---- configuration ----------------------------------------------------------------------------
  logic [PreW-1:0]             pre_q;
  logic [CfgW-1:0]             cfg_q;
  logic [ParamW-1:0]           param_q;
  pt_spec_pkg::pre_t           pre;
  pt_spec_pkg::f_t             cfg;
  pt_spec_pkg::softmax_param_t param;
  assign pre = pre_q;
  assign cfg = cfg_q;
  assign param = param_q;

  always_ff @(posedge clk_i) begin
    if (cfg_valid_i && cfg_idx_i < 8'(pt_spec_pkg::SecPreWords)) begin
      pre_q <= {cfg_data_i, pre_q[PreW-1:64]};
    end
    if (cfg_valid_i && cfg_idx_i >= 8'(pt_spec_pkg::CfgFFirst) &&
        cfg_idx_i < 8'(pt_spec_pkg::CfgFFirst + pt_spec_pkg::CfgFWords)) begin
      cfg_q <= {cfg_data_i, cfg_q[CfgW-1:64]};
    end
    if (cfg_valid_i && cfg_idx_i >= 8'(pt_spec_pkg::ParamIndex)) begin
      param_q <= {cfg_data_i, param_q[ParamW-1:64]};
    end
  end

  logic [15:0]      words_up;
  logic [WordW-1:0] word_end;  // last word of an image
  logic [31:0]      stride;    // bytes from block to block
  assign words_up = cfg.f_classes - 16'd1;
  assign word_end = words_up[ClassW-1:2];
  assign stride = {cfg.f_batch[28:0], 3'd0};

  // ---- state ------------------------------------------------------------------------------------
  typedef enum logic [3:0] {
    StIdle, StConfig, StStart, StImage, StMax, StExp, StNorm, StLog, StGrad, StZero, StFlush,
    StRecord, StWords, StEnd
  } state_e;
  state_e      state_q;
  logic        start, image_ready, image_done, slot_freed, max_last, exp_last, norm_ready;
  logic        log_done, push, push_last, flushed, record_taken;
  logic [31:0] image_left_q, valid_left_q;
  logic [1:0]  record_q;
  logic [31:0] start_stamp_q, record_stamp_q;
  assign start = state_q == StStart;
  assign cfg_req_o = state_q == StIdle;
  assign done_o = state_q == StEnd && wr_idle_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= StIdle;
    end else begin
      unique case (state_q)
        StIdle:   if (cfg_valid_i) state_q <= StConfig;
        StConfig: if (cfg_valid_i && cfg_last_i) state_q <= StStart;
        StStart:  state_q <= StImage;
        StImage: begin
          if (image_left_q == 32'd0 || cfg.f_classes == 16'd0) state_q <= StFlush;
          else if (valid_left_q == 32'd0) state_q <= cfg.f_grad ? StZero : StFlush;
          else if (image_ready) state_q <= StMax;
        end
        StMax:    if (max_last) state_q <= StExp;
        StExp:    if (exp_last) state_q <= StNorm;
        StNorm:   if (norm_ready) state_q <= StLog;
        StLog:    if (log_done) state_q <= cfg.f_grad ? StGrad : StImage;
        StGrad:   if (push_last) state_q <= StImage;
        StZero:   if (push_last) state_q <= StImage;
        StFlush:  if (flushed) state_q <= StRecord;
        StRecord: if (wr_run_ready_i) state_q <= StWords;
        StWords:  if (record_taken && record_q == 2'd3) state_q <= StEnd;
        StEnd:    if (wr_idle_i) state_q <= StIdle;
        default:  state_q <= StIdle;
      endcase
    end
    if (start) begin
      image_left_q <= cfg.f_batch;
      valid_left_q <= param.valid;
    end else if (image_done) begin
      image_left_q <= image_left_q - 32'd1;
      if (valid_left_q != 32'd0) valid_left_q <= valid_left_q - 32'd1;
    end
  end
  assign slot_freed = (state_q == StLog && log_done && !cfg.f_grad) ||
                      (state_q == StGrad && push_last);
  assign image_done = slot_freed || (state_q == StZero && push_last);

  // ---- load: label and logits of the next images into two slots ---------------------------------
  typedef enum logic [1:0] {LdIdle, LdLabel, LdWords} load_e;
  load_e            load_q;
  logic [31:0]      load_left_q, load_valid_q, label_off_q, logit_off_q, word_off_q;
  logic [WordW-1:0] run_word_q, data_word_q;
  logic [1:0]       held_q, full_q;    // slots reserved, slots filled
  logic             in_slot_q, slot_q;  // written, read
  logic             in_label_q, filled, load_accept;
  logic [ClassW-1:0] label_q [2];
  logic [1:0]        label_ok_q;
  assign load_accept = run_valid_o && run_ready_i;
  assign run_valid_o = load_q != LdIdle;
  assign run_off_o = load_q == LdLabel ? label_off_q : word_off_q;
  assign run_len_o = 16'd1;
  assign run_last_o = 1'b1;
  assign data_ready_o = 1'b1;
  assign filled = data_valid_i && !in_label_q && data_word_q == word_end;
  assign image_ready = full_q != 2'd0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || start) begin
      load_q     <= LdIdle;
      held_q     <= 2'd0;
      full_q     <= 2'd0;
      in_slot_q  <= 1'b0;
      slot_q     <= 1'b0;
      in_label_q <= 1'b1;
    end else begin
      unique case (load_q)
        LdIdle: begin
          if (load_left_q != 32'd0 && load_valid_q != 32'd0 && !held_q[1] &&
              state_q != StIdle && state_q != StConfig && cfg.f_classes != 16'd0) begin
            load_q <= LdLabel;
          end
        end
        LdLabel: if (run_ready_i) load_q <= LdWords;
        LdWords: if (run_ready_i && run_word_q == word_end) load_q <= LdIdle;
        default: load_q <= LdIdle;
      endcase
      held_q <= held_q + 2'(load_q == LdLabel && run_ready_i) - 2'(slot_freed);
      full_q <= full_q + 2'(filled) - 2'(slot_freed);
      if (filled) in_slot_q <= ~in_slot_q;
      if (slot_freed) slot_q <= ~slot_q;
      if (data_valid_i) in_label_q <= filled;
    end
    if (start) begin
      load_left_q  <= cfg.f_batch;
      load_valid_q <= param.valid;
      label_off_q  <= cfg.label_off;
      logit_off_q  <= cfg.logit_off;
    end else if (load_accept && load_q == LdLabel) begin
      load_left_q  <= load_left_q - 32'd1;
      load_valid_q <= load_valid_q - 32'd1;
      label_off_q  <= label_off_q + 32'd8;
      logit_off_q  <= logit_off_q + 32'd8;
    end
    if (load_accept) begin
      word_off_q <= load_q == LdLabel ? logit_off_q : word_off_q + stride;
      run_word_q <= load_q == LdLabel ? WordW'(0) : run_word_q + WordW'(1);
    end
    if (data_valid_i) begin
      data_word_q <= in_label_q ? WordW'(0) : data_word_q + WordW'(1);
      if (in_label_q) begin
        label_q[in_slot_q]    <= data_i[ClassW-1:0];
        label_ok_q[in_slot_q] <= data_i[63:16] == 48'd0 && data_i[15:0] < cfg.f_classes;
      end
    end
  end

  logic [63:0] buffer_word;
  logic        walk_valid;
  logic [WordW-1:0] walk_word_q;
  pt_ram_sdp #(.Depth(2 * MaxClasses / 4), .Width(64), .OutReg(1'b1)) u_buffer (
    .clk_i,
    .we_i(data_valid_i && !in_label_q),
    .waddr_i({in_slot_q, data_word_q}),
    .wdata_i(data_i),
    .re_i(1'b1),
    .raddr_i({slot_q, walk_word_q}),
    .rdata_o(buffer_word)
  );

  // ---- walk: all lanes of all words, also padding; pass 3 word by word --------------------------
  logic              walk_q, walk_begin, walk_end, collect_busy_q, divide;
  logic [1:0]        walk_lane_q;
  logic [ClassW-1:0] walk_class, label, loss_class;
  logic              label_ok;
  assign walk_class = {walk_word_q, walk_lane_q};
  assign walk_valid = walk_q && (state_q != StGrad || walk_lane_q != 2'd0 || !collect_busy_q);
  assign walk_end = walk_word_q == word_end && walk_lane_q == 2'd3;
  assign walk_begin = (state_q == StImage && image_ready) || max_last || (log_done && cfg.f_grad);
  assign label = label_q[slot_q];
  assign label_ok = label_ok_q[slot_q];
  assign loss_class = label_ok ? label : ClassW'(0);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) walk_q <= 1'b0;
    else if (walk_begin) walk_q <= 1'b1;
    else if (walk_valid && walk_end) walk_q <= 1'b0;
    if (walk_begin) begin
      walk_word_q <= WordW'(0);
      walk_lane_q <= 2'd0;
    end else if (walk_valid) begin
      walk_lane_q <= walk_lane_q + 2'd1;
      if (walk_lane_q == 2'd3) walk_word_q <= walk_word_q + WordW'(1);
    end
    if (!rst_ni || divide) collect_busy_q <= 1'b0;
    else if (walk_valid && state_q == StGrad) collect_busy_q <= 1'b1;
  end

  // Side information, by cycles since the walk.
  localparam int unsigned AtZ = 3;      // logit
  localparam int unsigned AtT = 6;      // exponent, tq
  localparam int unsigned AtE = 11;     // exponential
  logic [AtE:1]      valid_q, last_q, pad_q;
  logic [AtT:1]      loss_q;
  logic [1:0]        lane_q [1:AtE];
  logic [ClassW-1:0] class_q [1:AtZ];
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid_q <= '0;
    end else begin
      valid_q <= {valid_q[AtE-1:1], walk_valid};
      if (state_q == StMax) valid_q[AtE:AtZ+1] <= '0;
    end
    last_q     <= {last_q[AtE-1:1], walk_end};
    pad_q      <= {pad_q[AtE-1:1], {{(16 - ClassW){1'b0}}, walk_class} >= cfg.f_classes};
    loss_q     <= {loss_q[AtT-1:1], walk_class == loss_class};
    lane_q[1]  <= walk_lane_q;
    class_q[1] <= walk_class;
    for (int unsigned k = 2; k <= AtE; k++) lane_q[k] <= lane_q[k-1];
    for (int unsigned k = 2; k <= AtZ; k++) class_q[k] <= class_q[k-1];
  end

  // ---- pass 1: maximum, the first one -----------------------------------------------------------
  logic [15:0]       z_q, max_q;
  logic [ClassW-1:0] best_q;
  assign max_last = state_q == StMax && valid_q[AtZ] && last_q[AtZ];
  always_ff @(posedge clk_i) begin
    z_q <= buffer_word[16*lane_q[AtZ-1]+:16];
    if (state_q == StImage) begin
      max_q  <= 16'h8000;
      best_q <= ClassW'(0);
    end else if (state_q == StMax && valid_q[AtZ] && !pad_q[AtZ] &&
                 $signed(z_q) > $signed(max_q)) begin
      max_q  <= z_q;
      best_q <= class_q[AtZ];
    end
  end

  // ---- exponential, and logarithm through the same table ----------------------------------------
  //  3 z   4 d = max - z   5 d * log2(e)   6 tq   7,8 table   9 interpolation   10 mantissa   11 e
  logic [16:0]      d_q;
  logic [33:0]      scaled_q, tq_q, loss_tq_q;
  logic             log_now, top7_q, top8_q, zero7_q;
  logic [7:0]       frac7_q, frac8_q;
  logic [4:0]       shift_q [7:10];
  logic [10:8]      zero_q;
  logic [10:7]      log_q;
  logic [35:0]      table_word;
  logic [21:0]      step9_q;
  logic [MantW-1:0] base9_q, mant10_q, e_q;
  logic [SumW-1:0]  norm_q, sum_q;
  logic [8:0]       table_addr;
  assign table_addr = log_now ? {1'b1, norm_q[SumW-2-:8]} : {1'b0, tq_q[15:8]};

  pt_softmax_rom u_table (
    .clk_i,
    .addr_i(table_addr),
    .word_o(table_word)
  );

  always_ff @(posedge clk_i) begin
    d_q      <= {max_q[15], max_q} - {z_q[15], z_q};
    scaled_q <= 34'(d_q) * 34'(pt_spec_pkg::Log2E);
    tq_q     <= scaled_q >> param.z_shift[4:0];
    if (valid_q[AtT] && loss_q[AtT]) loss_tq_q <= tq_q;
    top7_q     <= table_addr == 9'd0;
    top8_q     <= top7_q;
    frac7_q    <= log_now ? norm_q[SumW-10-:8] : tq_q[7:0];
    frac8_q    <= frac7_q;
    shift_q[7] <= tq_q[20:16];
    zero7_q    <= tq_q[33:16] > 18'd30;
    zero_q     <= {zero_q[9:8], zero7_q};
    for (int unsigned k = 8; k <= 10; k++) shift_q[k] <= shift_q[k-1];
    step9_q  <= 22'(table_word[13:0]) * 22'(frac8_q);
    base9_q  <= {top8_q, table_word[35:14]};
    mant10_q <= log_q[9] ? base9_q + MantW'(step9_q[21:8]) : base9_q - MantW'(step9_q[21:8]);
    e_q      <= (zero_q[10] || pad_q[AtE-1]) ? MantW'(0) : mant10_q >> shift_q[10];
    if (!rst_ni) log_q <= '0;
    else log_q <= {log_q[9:7], log_now};
  end

  // ---- pass 2: sum, logarithm of the sum, loss --------------------------------------------------
  logic [3:0]  msb_q;       // leading bit position of the sum, minus 22
  logic [34:0] loss_add_q;
  logic        log11_q;
  logic [63:0] loss_sum_q;
  logic [31:0] correct_q;
  assign exp_last = state_q == StExp && valid_q[AtE] && last_q[AtE];
  assign norm_ready = state_q == StNorm && norm_q[SumW-1];
  assign log_now = norm_ready;
  assign log_done = state_q == StLog && log11_q;

  always_ff @(posedge clk_i) begin
    if (state_q == StMax) sum_q <= SumW'(0);
    else if (state_q == StExp && valid_q[AtE]) sum_q <= sum_q + SumW'(e_q);
    if (exp_last) begin
      norm_q <= sum_q + SumW'(e_q);
      msb_q  <= 4'(ClassW);
    end else if (state_q == StNorm && !norm_ready) begin
      norm_q <= {norm_q[SumW-2:0], 1'b0};
      msb_q  <= msb_q - 4'd1;
    end
    if (!rst_ni) log11_q <= 1'b0;
    else log11_q <= log_q[10];
    loss_add_q <= 35'(loss_tq_q) + {15'd0, msb_q, 16'd0} + 35'(mant10_q[16:0]);
    if (start) begin
      loss_sum_q <= 64'd0;
      correct_q  <= 32'd0;
    end else if (log_done) begin
      loss_sum_q <= loss_sum_q + 64'(loss_add_q);
      if (label_ok && best_q == label) correct_q <= correct_q + 32'd1;
    end
  end

  // ---- pass 3: four quotients, gradients --------------------------------------------------------
  logic               collect_full_q, div_busy, div_valid, round_valid, space;
  logic [4*MantW-1:0] collect_q;
  logic [WordW-1:0]   div_word_q;
  logic [4*17-1:0]    quotients;
  logic [4*18-1:0]    errors_q;
  logic [63:0]        grad_word;
  logic               errors_valid_q, hit_word;
  logic [3:0]         sat_unused;
  logic [2:0]         out_count;
  assign space = out_count < 3'd3;
  assign divide = collect_full_q && !div_busy && space;
  assign hit_word = label_ok && label[ClassW-1:2] == div_word_q;

  pt_softmax_div #(.NumW(MantW), .DenW(SumW)) u_div (
    .clk_i,
    .rst_ni,
    .start_i(divide),
    .num_i(collect_q),
    .den_i(sum_q),
    .busy_o(div_busy),
    .valid_o(div_valid),
    .quo_o(quotients)
  );

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      collect_full_q <= 1'b0;
      errors_valid_q <= 1'b0;
    end else begin
      if (divide) collect_full_q <= 1'b0;
      else if (state_q == StGrad && valid_q[AtE] && lane_q[AtE] == 2'd3) collect_full_q <= 1'b1;
      errors_valid_q <= div_valid;
    end
    if (valid_q[AtE]) collect_q <= {e_q, collect_q[4*MantW-1:MantW]};
    if (state_q == StImage) div_word_q <= WordW'(0);
    else if (div_valid) div_word_q <= div_word_q + WordW'(1);
    for (int unsigned l = 0; l < 4; l++) begin
      errors_q[18*l+:18] <= {1'b0, quotients[17*l+:17]} -
                            {1'b0, hit_word && label[1:0] == 2'(l), 16'd0};
    end
  end

  // RNE of a difference with an even number is the difference of the RNE: one rounding is enough.
  pt_round_sat #(.InW(18), .OutW(16), .ShW(5), .Lanes(4)) u_round (
    .clk_i,
    .rst_ni,
    .valid_i(errors_valid_q),
    .shift_i(5'd1),
    .data_i(errors_q),
    .valid_o(round_valid),
    .data_o(grad_word),
    .sat_o(sat_unused)
  );

  // ---- write ------------------------------------------------------------------------------------
  logic [31:0]      image_off_q, push_off_q, out_off;
  logic [WordW-1:0] push_word_q;
  logic             out_valid, out_space_unused, out_pop, write_q, zero_push;
  logic [63:0]      out_word;
  assign zero_push = state_q == StZero && space;
  assign push = round_valid || zero_push;
  assign push_last = push && push_word_q == word_end;

  always_ff @(posedge clk_i) begin
    if (start) image_off_q <= cfg.dlogit_off;
    else if (image_done) image_off_q <= image_off_q + 32'd8;
    if (state_q == StImage) begin
      push_off_q  <= image_off_q;
      push_word_q <= WordW'(0);
    end else if (push) begin
      push_off_q  <= push_off_q + stride;
      push_word_q <= push_word_q + WordW'(1);
    end
  end

  pt_fifo #(.Width(96), .Depth(4)) u_out (
    .clk_i,
    .rst_ni,
    .valid_i(push),
    .ready_o(out_space_unused),
    .data_i({push_off_q, state_q == StZero ? 64'd0 : grad_word}),
    .valid_o(out_valid),
    .ready_i(out_pop),
    .data_o({out_off, out_word}),
    .count_o(out_count)
  );

  assign flushed = !out_valid && !write_q && wr_idle_i;
  assign out_pop = write_q && wdata_ready_i;
  assign record_taken = state_q == StWords && wdata_ready_i;
  always_ff @(posedge clk_i) begin
    if (cfg_valid_i && cfg_last_i) start_stamp_q <= stamp_i;
    if (state_q == StRecord) record_stamp_q <= stamp_i;
  end
  assign wr_run_valid_o = (out_valid && !write_q) || state_q == StRecord;
  assign wr_run_off_o = state_q == StRecord ? pre.rec_off : out_off;
  assign wr_run_len_o = state_q == StRecord ? 16'(pt_spec_pkg::RecordWords) : 16'd1;
  assign wr_run_last_o = 1'b1;
  always_comb begin
    wdata_valid_o = write_q;
    wdata_o = out_word;
    if (state_q == StWords) begin
      wdata_valid_o = 1'b1;
      unique case (record_q)
        2'd0:    wdata_o = loss_sum_q;
        2'd1:    wdata_o = {32'd0, correct_q};
        2'd2:    wdata_o = {32'd0, start_stamp_q};
        default: wdata_o = {32'd0, record_stamp_q};
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) write_q <= 1'b0;
    else if (write_q) write_q <= !wdata_ready_i;
    else write_q <= out_valid && wr_run_ready_i && state_q != StRecord;
    if (start) record_q <= 2'd0;
    else if (record_taken) record_q <= record_q + 2'd1;
  end

  logic unused;
  assign unused = &{1'b0, pre, cfg, param, words_up, step9_q, sat_unused, out_space_unused};
endmodule
