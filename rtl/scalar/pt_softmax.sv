// SPDX-License-Identifier: Apache-2.0
// Softmax unit: cross-entropy with label smoothing or squared error, correct predictions and logit
// gradients, one image at a time.
//
//   read label, logits -> 2 image buffers -> scan lanes: pass 1 maximum
//                                                        pass 2 exponentials, sum, then logarithm
//                                                        pass 3 exponentials -> 4 dividers -> write
//                                       squared error:   pass 2 differences, squares    -> write
//
// Contract: one lane per cycle in passes 1 and 2, about 19 cycles per word in pass 3, about 12 in
// pass 2 of the squared error; the next image is read meanwhile. Reads are requested only into a free buffer, so data_ready_o is always
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
  localparam int unsigned TotalW = 34 + ClassW;         // sum of all tq

  // ---- configuration ----------------------------------------------------------------------------
  pt_abi_pkg::pre_t           pre;
  pt_abi_pkg::f_t             cfg;
  pt_abi_pkg::softmax_param_t param;
  logic                        received, tap_unused;
  logic [6:0]                  tap_idx_unused;

  logic [15:0]      words_up;
  logic [WordW-1:0] word_end;  // last word of an image
  logic [31:0]      stride;    // bytes from block to block
  assign words_up = cfg.f_classes - 16'd1;
  assign word_end = words_up[ClassW-1:2];
  assign stride = {cfg.f_batch[28:0], 3'd0};

  // ---- state ------------------------------------------------------------------------------------
  typedef enum logic [3:0] {
    StIdle, StStart, StImage, StMax, StExp, StNorm, StLog, StGrad, StSquare, StZero,
    StFlush, StRecord, StWords, StEnd
  } state_e;
  state_e      state_q;
  logic        start, image_ready, image_done, slot_freed, max_last, exp_last, norm_ready;
  logic        log_done, square_done, push, push_last, flushed, record_taken;
  logic [31:0] image_left_q, valid_left_q;
  logic [$clog2(pt_abi_pkg::RecordWords)-1:0] record_q;
  logic [31:0] start_stamp_q, record_stamp_q;
  assign start = state_q == StStart;
  assign done_o = state_q == StEnd && wr_idle_i;
  pt_cfg_rx #(
    .First(pt_abi_pkg::CfgSoftmaxFirst),
    .Words(pt_abi_pkg::CfgSoftmaxWords)
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
    .section_o(cfg),
    .param_o(param),
    .tap_o(tap_unused),
    .tap_idx_o(tap_idx_unused)
  );

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= StIdle;
    end else begin
      unique case (state_q)
        StIdle:   if (received) state_q <= StStart;
        StStart:  state_q <= StImage;
        StImage: begin
          if (image_left_q == 32'd0 || cfg.f_classes == 16'd0) state_q <= StFlush;
          else if (valid_left_q == 32'd0) state_q <= cfg.f_grad ? StZero : StFlush;
          else if (image_ready) state_q <= StMax;
        end
        StMax:    if (max_last) state_q <= cfg.f_mse ? StSquare : StExp;
        StExp:    if (exp_last) state_q <= StNorm;
        StNorm:   if (norm_ready) state_q <= StLog;
        StLog:    if (log_done) state_q <= cfg.f_grad ? StGrad : StImage;
        StSquare: if (square_done) state_q <= StImage;
        StGrad, StZero: if (push_last) state_q <= StImage;
        StFlush:  if (flushed) state_q <= StRecord;
        StRecord: if (wr_run_ready_i) state_q <= StWords;
        StWords:  if (record_taken && (&record_q)) state_q <= StEnd;
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
                      (state_q == StGrad && push_last) || square_done;
  assign image_done = slot_freed || (state_q == StZero && push_last);

  // ---- label and logits -------------------------------------------------------------------------
  logic [63:0]       buffer_word;
  logic [WordW-1:0]  scan_word_q;
  logic [ClassW-1:0] label;
  logic              label_ok;
  pt_softmax_load #(.MaxClasses(MaxClasses), .ClassW(ClassW)) u_load (
    .clk_i,
    .rst_ni,
    .start_i(start),
    .active_i(state_q != StIdle),
    .images_i(cfg.f_batch),
    .valid_images_i(param.valid),
    .classes_i(cfg.f_classes),
    .label_off_i(cfg.label_off),
    .logit_off_i(cfg.logit_off),
    .run_valid_o,
    .run_ready_i,
    .run_off_o,
    .run_len_o,
    .run_last_o,
    .data_valid_i,
    .data_ready_o,
    .data_i,
    .image_ready_o(image_ready),
    .image_freed_i(slot_freed),
    .label_o(label),
    .label_ok_o(label_ok),
    .read_word_i(scan_word_q),
    .buffer_word_o(buffer_word)
  );

  // ---- scan: all lanes of all words, also padding; gradients word by word -----------------------
  logic              scan_q, scan_begin, scan_valid, scan_end, collect_busy_q, divide, paced, space;
  logic              square_word_q;
  logic [1:0]        scan_lane_q;
  logic [ClassW-1:0] scan_class, loss_class;
  assign scan_class = {scan_word_q, scan_lane_q};
  assign paced = state_q == StGrad || state_q == StSquare;
  assign scan_valid = scan_q && (!paced || scan_lane_q != 2'd0 ||
                                 (!collect_busy_q && (state_q == StGrad || space)));
  assign scan_end = scan_word_q == word_end && scan_lane_q == 2'd3;
  assign scan_begin = (state_q == StImage && image_ready) || max_last || (log_done && cfg.f_grad);
  assign loss_class = label_ok ? label : ClassW'(0);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) scan_q <= 1'b0;
    else if (scan_begin) scan_q <= 1'b1;
    else if (scan_valid && scan_end) scan_q <= 1'b0;
    if (scan_begin) begin
      scan_word_q <= WordW'(0);
      scan_lane_q <= 2'd0;
    end else if (scan_valid) begin
      scan_lane_q <= scan_lane_q + 2'd1;
      if (scan_lane_q == 2'd3) scan_word_q <= scan_word_q + WordW'(1);
    end
    if (!rst_ni || divide || square_word_q) collect_busy_q <= 1'b0;
    else if (scan_valid && paced) collect_busy_q <= 1'b1;
  end

  // Side information, by cycles since the scan.
  localparam int unsigned AtZ = 3;      // logit
  localparam int unsigned AtT = 6;      // exponent, tq
  localparam int unsigned AtCode = 7;   // gradient code of the squared error
  localparam int unsigned AtE = 11;     // exponential
  logic [AtE:1]      valid_q, last_q, pad_q;
  logic [AtT:1]      loss_q;
  logic [1:0]        lane_q [1:AtE];
  logic [ClassW-1:0] class_q [1:AtZ];
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid_q <= '0;
    end else begin
      valid_q <= {valid_q[AtE-1:1], scan_valid};
      if (state_q == StMax) valid_q[AtE:AtZ+1] <= '0;
    end
    last_q     <= {last_q[AtE-1:1], scan_end};
    pad_q      <= {pad_q[AtE-1:1], {{(16 - ClassW){1'b0}}, scan_class} >= cfg.f_classes};
    loss_q     <= {loss_q[AtT-1:1], scan_class == loss_class};
    lane_q[1]  <= scan_lane_q;
    class_q[1] <= scan_class;
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
  logic [16:0]      d_q, factor_q, code_abs;
  logic [33:0]      scaled_q, tq_q, loss_tq_q;
  logic [TotalW-1:0] tq_sum_q;  // of all classes
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
    d_q      <= cfg.f_mse ? code_abs : {max_q[15], max_q} - {z_q[15], z_q};
    factor_q <= cfg.f_mse ? code_abs : 17'(pt_abi_pkg::Log2E);
    scaled_q <= 34'(d_q) * 34'(factor_q);
    tq_q     <= scaled_q >> param.z_shift[4:0];
    if (valid_q[AtT] && loss_q[AtT]) loss_tq_q <= tq_q;
    if (state_q == StMax) tq_sum_q <= TotalW'(0);
    else if (state_q == StExp && valid_q[AtT] && !pad_q[AtT]) tq_sum_q <= tq_sum_q + TotalW'(tq_q);
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
  logic        log11_q, loss_on_q, smooth_busy, smooth_valid;
  logic [63:0] loss_sum_q;
  logic [31:0] correct_q;
  logic [47:0] loss_in_q, smooth;  // signed
  logic [16:0] own_factor_q;
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
    // Logarithm and tq of the label, its smoothing (before the next image's logarithm), a square.
    loss_in_q <= log_done ? 48'(loss_add_q) : smooth_valid ? smooth : 48'(scaled_q);
    loss_on_q <= log_done || smooth_valid || (state_q == StSquare && valid_q[AtCode+2]);
    own_factor_q <= {1'b0, param.t_off} + {1'b0, param.t_drop};
    if (start) begin
      loss_sum_q <= 64'd0;
      correct_q  <= 32'd0;
    end else begin
      if (loss_on_q) loss_sum_q <= loss_sum_q + 64'($signed(loss_in_q));
      if ((log_done || square_done) && label_ok && best_q == label) correct_q <= correct_q + 32'd1;
    end
  end

  pt_softmax_smooth #(.AllW(TotalW), .OwnW(34)) u_smooth (
    .clk_i,
    .rst_ni,
    .all_factor_i({1'b0, param.t_off}),
    .own_factor_i(own_factor_q),
    .start_i(log_done),
    .all_i(tq_sum_q),
    .own_i(loss_tq_q),
    .busy_o(smooth_busy),
    .valid_o(smooth_valid),
    .result_o(smooth)
  );

  // ---- squared error: gradient code of every lane, its magnitude back to the multiplier ---------
  //  3 z   4 z - target   5..7 rounded   8 magnitude   9 square
  logic signed [33:0] one_q, diff_q;  // one: a target of one in units of the logits
  logic               code_valid_unused, code_sat_unused;
  logic [15:0]        code;
  logic [63:0]        square_grad_q;
  assign code_abs = {1'b0, code[15] ? -code : code};
  assign square_done = state_q == StSquare && valid_q[AtE] && last_q[AtE];
  always_ff @(posedge clk_i) begin
    one_q  <= 34'd1 << param.z_shift[4:0];
    diff_q <= pad_q[AtZ] ? 34'sd0 :
              34'($signed(z_q)) - ((loss_q[AtZ] && label_ok) ? one_q : 34'sd0);
    if (valid_q[AtCode]) square_grad_q <= {code, square_grad_q[63:16]};
    if (!rst_ni) square_word_q <= 1'b0;
    else square_word_q <= state_q == StSquare && valid_q[AtCode] && lane_q[AtCode] == 2'd3;
  end

  pt_round_sat #(.InW(34), .OutW(16), .ShW(6), .Lanes(1)) u_code (
    .clk_i,
    .rst_ni,
    .valid_i(valid_q[AtZ+1]),
    .shift_i({1'b0, param.m_shift[4:0]}),
    .data_i(diff_q),
    .valid_o(code_valid_unused),
    .data_o(code),
    .sat_o(code_sat_unused)
  );

  // ---- pass 3: four quotients, gradients --------------------------------------------------------
  logic               collect_full_q, div_busy, div_valid, round_valid;
  logic [4*MantW-1:0] collect_q;
  logic [WordW-1:0]   div_word_q;
  logic [4*17-1:0]    quotients;
  logic [4*18-1:0]    errors_q;
  logic [63:0]        grad_word;
  logic               errors_valid_q, hit_word;
  logic [16:0]        on_q;         // target of the label's class, Q.16
  logic [4*17-1:0]    targets_q;    // of the word that is divided; zero for padding
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
    on_q <= 17'h10000 - {1'b0, param.t_drop};
    for (int unsigned l = 0; l < 4; l++) begin
      if (div_word_q == word_end && 2'(l) > words_up[1:0]) targets_q[17*l+:17] <= 17'd0;
      else if (hit_word && label[1:0] == 2'(l)) targets_q[17*l+:17] <= on_q;
      else targets_q[17*l+:17] <= {1'b0, param.t_off};
      errors_q[18*l+:18] <= {1'b0, quotients[17*l+:17]} - {1'b0, targets_q[17*l+:17]};
    end
  end

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
  assign push = round_valid || zero_push || (square_word_q && cfg.f_grad);
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
    .data_i({push_off_q, state_q == StZero ? 64'd0 :
             state_q == StSquare ? square_grad_q : grad_word}),
    .valid_o(out_valid),
    .ready_i(out_pop),
    .data_o({out_off, out_word}),
    .count_o(out_count)
  );

  assign flushed = !out_valid && !write_q && wr_idle_i && !smooth_busy && !loss_on_q;
  assign out_pop = write_q && wdata_ready_i;
  assign record_taken = state_q == StWords && wdata_ready_i;
  always_ff @(posedge clk_i) begin
    if (received) start_stamp_q <= stamp_i;
    if (state_q == StRecord) record_stamp_q <= stamp_i;
  end
  assign wr_run_valid_o = (out_valid && !write_q) || state_q == StRecord;
  assign wr_run_off_o = state_q == StRecord ? pre.rec_off : out_off;
  assign wr_run_len_o = state_q == StRecord ? 16'(pt_abi_pkg::RecordWords) : 16'd1;
  assign wr_run_last_o = 1'b1;
  pt_abi_pkg::softmax_record_t              record;
  logic [pt_abi_pkg::RecordWords-1:0][63:0] record_words;
  assign record_words = record;
  always_comb begin
    record = '0;
    record.loss = loss_sum_q;
    record.correct = correct_q;
    record.start_cycle = start_stamp_q;
    record.end_cycle = record_stamp_q;
    wdata_valid_o = write_q;
    wdata_o = out_word;
    if (state_q == StWords) begin
      wdata_valid_o = 1'b1;
      wdata_o = record_words[record_q];
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) write_q <= 1'b0;
    else if (write_q) write_q <= !wdata_ready_i;
    else write_q <= out_valid && wr_run_ready_i && state_q != StRecord;
    if (start) record_q <= '0;
    else if (record_taken) record_q <= record_q + 1'b1;
  end

  logic unused;
  assign unused = &{1'b0, pre, cfg, param, words_up, step9_q, sat_unused, out_space_unused,
                    code_valid_unused, code_sat_unused, tap_unused, tap_idx_unused};
endmodule
