// SPDX-License-Identifier: Apache-2.0
// Update unit: SGD with momentum and weight decay on the masters, in place, and their 16-bit copy.
//
//   queue or read g -> FIFO --+                     +--> FIFO -> write {v', w'}, record
//                             +-> pt_update_math ---+
//   read wv ---------> FIFO --+                     +--> pack 4 -> FIFO -> write copy
//
// Contract: one element per cycle. Reads are requested only into reserved FIFO space, so data_ready
// is always high; write runs only for words that are already there. Elements enter the pipeline
// only when their results have reserved space. done_o follows the acknowledged record.
module pt_update #(
  // Elements in each of the three word FIFOs, a power of two of 64 or more.
  parameter int unsigned FifoDepth = 128
) (
  input  logic        clk_i,
  input  logic        rst_ni,
  output logic        cfg_req_o,
  input  logic        cfg_valid_i,
  input  logic [7:0]  cfg_idx_i,
  input  logic [63:0] cfg_data_i,
  input  logic        cfg_last_i,
  output logic        done_o,
  output logic        active_o,       // a register may change: for pt_clock_gate
  // gradient queue (GRADIENT)
  input  logic        gq_valid_i,
  output logic        gq_ready_o,
  input  logic [47:0] gq_data_i,
  // cycle stamp for the record
  input  logic [31:0] stamp_i,
  // read client: gradient sums (UPDATE)
  output logic        g_run_valid_o,
  input  logic        g_run_ready_i,
  output logic [31:0] g_run_off_o,
  output logic [15:0] g_run_len_o,
  output logic        g_run_last_o,
  input  logic        g_data_valid_i,
  output logic        g_data_ready_o,
  input  logic [63:0] g_data_i,
  // read client: masters
  output logic        wv_run_valid_o,
  input  logic        wv_run_ready_i,
  output logic [31:0] wv_run_off_o,
  output logic [15:0] wv_run_len_o,
  output logic        wv_run_last_o,
  input  logic        wv_data_valid_i,
  output logic        wv_data_ready_o,
  input  logic [63:0] wv_data_i,
  // write client: masters and record
  output logic        wvw_run_valid_o,
  input  logic        wvw_run_ready_i,
  output logic [31:0] wvw_run_off_o,
  output logic [15:0] wvw_run_len_o,
  output logic        wvw_run_last_o,
  output logic        wvw_wdata_valid_o,
  input  logic        wvw_wdata_ready_i,
  output logic [63:0] wvw_wdata_o,
  input  logic        wvw_wr_idle_i,
  // write client: 16-bit copy
  output logic        w16_run_valid_o,
  input  logic        w16_run_ready_i,
  output logic [31:0] w16_run_off_o,
  output logic [15:0] w16_run_len_o,
  output logic        w16_run_last_o,
  output logic        w16_wdata_valid_o,
  input  logic        w16_wdata_ready_i,
  output logic [63:0] w16_wdata_o,
  input  logic        w16_wr_idle_i
);
  if (FifoDepth < 64 || (FifoDepth & (FifoDepth - 1)) != 0) begin : g_check
    $fatal(1, "pt_update: FifoDepth must be a power of two of 64 or more");
  end

  localparam int unsigned Burst = 16;
  localparam int unsigned CopyDepth = 32;
  localparam int unsigned ElementW = $clog2(4 * pt_spec_pkg::Tm);
  localparam int unsigned CntW = $clog2(FifoDepth + 1);
  localparam int unsigned CopyW = $clog2(CopyDepth + 1);
  localparam int unsigned LenW = $clog2(Burst) + 1;

  // ---- configuration ----------------------------------------------------------------------------
  pt_abi_pkg::pre_t          pre;
  pt_abi_pkg::u_t            cfg;
  pt_abi_pkg::update_param_t param;
  logic                        received, tap_unused;
  logic [6:0]                  tap_idx_unused;

  // Sums come from the gradient queue; masters are bare weights, two in a word.
  logic queued_q, plain_q;

  // Of each lane of the queue (Tm output channels, 4 sums each) the first u_rows are weights.
  localparam int unsigned LaneSums = 4 * pt_spec_pkg::Tm;
  logic [7:0] live_q, period_q;
  // The words of the step-block entry follow those of the section: these are stable at the start.
  always_ff @(posedge clk_i) begin
    queued_q <= pre.opcode == 8'(pt_abi_pkg::OpGradient);
    plain_q  <= cfg.u_plain[0];
    period_q <= queued_q ? 8'(LaneSums) : 8'(Burst);
    live_q   <= queued_q ? {cfg.u_rows, 2'b00} : 8'(Burst);
  end

  // ---- state ------------------------------------------------------------------------------------
  typedef enum logic [2:0] {StIdle, StStart, StRun, StFlush, StRecord, StWords, StEnd}
      state_e;
  state_e     state_q;
  logic [31:0] left_q;  // elements to come
  logic       start, masters_idle, copies_idle, record_taken;
  logic [$clog2(pt_abi_pkg::RecordWords)-1:0] word_q;
  assign start = state_q == StStart;
  assign done_o = state_q == StEnd && wvw_wr_idle_i;
  assign record_taken = state_q == StWords && wvw_wdata_ready_i;
  pt_cfg_rx #(
    .First(pt_abi_pkg::CfgUpdateFirst),
    .Words(pt_abi_pkg::CfgUpdateWords)
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
        StStart:  state_q <= StRun;
        StRun:    if (masters_idle && copies_idle && left_q == 32'd0) state_q <= StFlush;
        StFlush:  if (wvw_wr_idle_i && w16_wr_idle_i) state_q <= StRecord;
        StRecord: if (wvw_run_ready_i) state_q <= StWords;
        StWords:  if (record_taken && (&word_q)) state_q <= StEnd;
        StEnd:    if (wvw_wr_idle_i) state_q <= StIdle;
        default:  state_q <= StIdle;
      endcase
    end
    if (start) word_q <= '0;
    else if (record_taken) word_q <= word_q + 1'b1;
  end

  // ---- reads ------------------------------------------------------------------------------------
  // Words requested and not yet taken, per stream; a run needs a burst of free space.
  logic [CntW-1:0] g_held_q, wv_held_q, g_count_unused, wv_count_unused;
  logic [LenW-1:0] g_len, wv_len;
  logic            g_accept, wv_accept, g_idle_unused, wv_idle_unused, g_space_unused;
  logic            wv_space_unused;
  logic            g_valid, mem_valid, wv_valid, admit, wv_pop;
  logic [31:0]     master_words;
  logic [47:0]     g_word;
  logic [63:0]     mem_word, wv_word;
  logic [ElementW-1:0] element_q;      // modulo the sums of a lane
  logic            alive, drop;

  pt_linear_runs #(.Burst(Burst)) u_g_runs (
    .clk_i,
    .rst_ni,
    .start_i(start),
    .off_i(cfg.g_off),
    .words_i(queued_q ? 32'd0 : cfg.u_count),
    .period_i(8'(Burst)),
    .live_i(8'(Burst)),
    .go_i(g_held_q <= CntW'(FifoDepth - Burst)),
    .len_o(g_len),
    .accept_o(g_accept),
    .idle_o(g_idle_unused),
    .run_valid_o(g_run_valid_o),
    .run_ready_i(g_run_ready_i),
    .run_off_o(g_run_off_o),
    .run_len_o(g_run_len_o),
    .run_last_o(g_run_last_o)
  );
  pt_linear_runs #(.Burst(Burst)) u_wv_runs (
    .clk_i,
    .rst_ni,
    .start_i(start),
    .off_i(cfg.wv_off),
    .words_i(master_words),
    .period_i(plain_q ? {1'b0, period_q[7:1]} : period_q),
    .live_i(plain_q ? {1'b0, live_q[7:1]} : live_q),
    .go_i(wv_held_q <= CntW'(FifoDepth - Burst)),
    .len_o(wv_len),
    .accept_o(wv_accept),
    .idle_o(wv_idle_unused),
    .run_valid_o(wv_run_valid_o),
    .run_ready_i(wv_run_ready_i),
    .run_off_o(wv_run_off_o),
    .run_len_o(wv_run_len_o),
    .run_last_o(wv_run_last_o)
  );
  pt_fifo_bram #(.Width(64), .Depth(FifoDepth)) u_g_fifo (
    .clk_i,
    .rst_ni,
    .valid_i(g_data_valid_i),
    .ready_o(g_space_unused),
    .data_i(g_data_i),
    .valid_o(mem_valid),
    .ready_i(admit && !queued_q),
    .data_o(mem_word),
    .count_o(g_count_unused)
  );
  pt_fifo_bram #(.Width(64), .Depth(FifoDepth)) u_wv_fifo (
    .clk_i,
    .rst_ni,
    .valid_i(wv_data_valid_i),
    .ready_o(wv_space_unused),
    .data_i(wv_data_i),
    .valid_o(wv_valid),
    .ready_i(wv_pop),
    .data_o(wv_word),
    .count_o(wv_count_unused)
  );
  assign g_valid = queued_q ? gq_valid_i : mem_valid;
  assign g_word = queued_q ? gq_data_i : mem_word[47:0];
  assign gq_ready_o = queued_q && (admit || drop);
  assign wv_pop = admit && (!plain_q || element_q[0]);
  assign master_words = plain_q ? {1'b0, cfg.u_count[31:1]} : cfg.u_count;
  assign g_data_ready_o = 1'b1;
  assign wv_data_ready_o = 1'b1;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      g_held_q  <= '0;
      wv_held_q <= '0;
    end else begin
      g_held_q  <= g_held_q + (g_accept ? CntW'(g_len) : '0) - CntW'(admit && !queued_q);
      wv_held_q <= wv_held_q + (wv_accept ? CntW'(wv_len) : '0) - CntW'(wv_pop);
    end
  end

  // ---- elements ---------------------------------------------------------------------------------
  logic [CntW-1:0]  out_held_q;    // results under way or in the FIFO
  logic [CopyW-1:0] copy_held_q;   // words of copies, likewise
  logic             out_pop, copy_pop, copy_take;
  logic             math_valid, copy_valid, copy_sat, absent;
  logic [31:0]      v_new, w_new;
  logic [15:0]      copy;
  assign alive = !queued_q || 8'(element_q) < live_q;
  assign drop = state_q == StRun && queued_q && gq_valid_i && !alive && left_q != 32'd0;
  assign admit = state_q == StRun && alive && g_valid && wv_valid && !out_held_q[CntW-1] &&
                 (element_q[1:0] != 2'd0 || !copy_held_q[CopyW-1]);
  assign copy_take = admit && element_q[1:0] == 2'd0 && cfg.u_copy;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || start) begin
      out_held_q  <= '0;
      copy_held_q <= '0;
      element_q   <= '0;
    end else begin
      out_held_q  <= out_held_q + CntW'(admit && (!plain_q || !element_q[0])) - CntW'(out_pop);
      copy_held_q <= copy_held_q + CopyW'(copy_take) - CopyW'(copy_pop);
      element_q   <= element_q + ElementW'(admit || drop);
    end
    if (start) left_q <= cfg.u_count;
    else if (admit || drop) left_q <= left_q - 32'd1;
  end

  pt_abi_pkg::master_t       pair_in, pair_out;
  pt_abi_pkg::plain_master_t plain_in, plain_out;
  assign pair_in = wv_word;
  assign plain_in = wv_word;

  pt_update_math u_math (
    .clk_i,
    .rst_ni,
    .g_shift_i(param.g_shift[5:0]),
    .lr_shift_i(param.lr_shift[5:0]),
    .w_shift_i(param.w_shift[4:0]),
    .momentum_i(param.momentum[16:0]),
    .decay_i(param.decay[15:0]),
    .lr_i(param.lr),
    .nesterov_i(param.nesterov),
    .valid_i(admit),
    .grad_i(g_word),
    .v_i(plain_q ? 32'd0 : pair_in.momentum),
    .w_i(plain_q ? plain_in.weight[element_q[0]] : pair_in.weight),
    .master_valid_o(math_valid),
    .v_o(v_new),
    .w_o(w_new),
    .absent_o(absent),
    .copy_valid_o(copy_valid),
    .copy_o(copy),
    .copy_sat_o(copy_sat)
  );

  logic [31:0] measure_q, saturated_q, start_stamp_q, record_stamp_q;
  always_ff @(posedge clk_i) begin
    if (start) start_stamp_q <= stamp_i;
    if (state_q == StRecord) record_stamp_q <= stamp_i;
    if (start) begin
      measure_q   <= 32'd0;
      saturated_q <= 32'd0;
    end else begin
      if (math_valid) measure_q <= measure_q | (w_new ^ {32{w_new[31]}});
      if (copy_valid && copy_sat && cfg.u_copy) saturated_q <= saturated_q + 32'd1;
    end
  end

  // ---- masters and record to memory -------------------------------------------------------------
  logic            odd_q;      // plain: the second weight of a word comes next
  logic [31:0]     even_q;     // plain: the first one
  logic [31:0]     master;     // an absent weight, here zero, keeps its mark
  assign master = absent ? pt_abi_pkg::AbsentWeight | w_new : w_new;
  assign pair_out.weight = master;
  assign pair_out.momentum = v_new;
  assign plain_out.weight = {master, even_q};
  always_ff @(posedge clk_i) begin
    if (start) odd_q <= 1'b0;
    else if (math_valid) odd_q <= !odd_q;
    if (math_valid) even_q <= master;
  end

  logic            out_valid, out_space_unused, run_valid, run_accept, run_last_unused;
  logic [63:0]     out_word;
  logic [CntW-1:0] out_count, out_open_q;  // open: words whose run has been accepted
  logic [LenW-1:0] out_len;
  logic [31:0]     run_off;
  logic [15:0]     run_len;

  pt_fifo_bram #(.Width(64), .Depth(FifoDepth)) u_out_fifo (
    .clk_i,
    .rst_ni,
    .valid_i(math_valid && (!plain_q || odd_q)),
    .ready_o(out_space_unused),
    .data_i(plain_q ? plain_out : pair_out),
    .valid_o(out_valid),
    .ready_i(out_pop),
    .data_o(out_word),
    .count_o(out_count)
  );
  pt_linear_runs #(.Burst(Burst)) u_out_runs (
    .clk_i,
    .rst_ni,
    .start_i(start),
    .off_i(cfg.wv_off),
    .words_i(master_words),
    .period_i(plain_q ? {1'b0, period_q[7:1]} : period_q),
    .live_i(plain_q ? {1'b0, live_q[7:1]} : live_q),
    .go_i(out_count - out_open_q >= CntW'(out_len)),
    .len_o(out_len),
    .accept_o(run_accept),
    .idle_o(masters_idle),
    .run_valid_o(run_valid),
    .run_ready_i(wvw_run_ready_i && state_q == StRun),
    .run_off_o(run_off),
    .run_len_o(run_len),
    .run_last_o(run_last_unused)
  );
  assign out_pop = out_valid && out_open_q != '0 && wvw_wdata_ready_i;
  assign wvw_run_valid_o = (run_valid && state_q == StRun) || state_q == StRecord;
  assign wvw_run_off_o = state_q == StRecord ? pre.rec_off : run_off;
  assign wvw_run_len_o = state_q == StRecord ? 16'(pt_abi_pkg::RecordWords) : run_len;
  assign wvw_run_last_o = 1'b1;

  pt_abi_pkg::record_t                      record;
  logic [pt_abi_pkg::RecordWords-1:0][63:0] record_words;
  assign record_words = record;
  always_comb begin
    record = '0;
    record.measure = {16'd0, measure_q};
    record.saturations = saturated_q;
    record.start_cycle = start_stamp_q;
    record.end_cycle = record_stamp_q;
    wvw_wdata_valid_o = out_valid && out_open_q != '0;
    wvw_wdata_o = out_word;
    if (state_q == StWords) begin
      wvw_wdata_valid_o = 1'b1;
      wvw_wdata_o = record_words[word_q];
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) out_open_q <= '0;
    else out_open_q <= out_open_q + (run_accept ? CntW'(out_len) : '0) - CntW'(out_pop);
  end

  // ---- copies to memory -------------------------------------------------------------------------
  logic             copy_push, copy_space_unused, copy_accept, copy_out_valid, moving;
  logic [47:0]      pack_q;
  logic [1:0]       pack_count_q;
  logic [CopyW-1:0] copy_count, copy_open_q;
  logic [LenW-1:0]  copy_len;
  assign copy_push = copy_valid && pack_count_q == 2'd3 && cfg.u_copy;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || start) pack_count_q <= 2'd0;
    else if (copy_valid) pack_count_q <= pack_count_q + 2'd1;
    if (copy_valid) pack_q <= {copy, pack_q[47:16]};
    if (!rst_ni) copy_open_q <= '0;
    else copy_open_q <= copy_open_q + (copy_accept ? CopyW'(copy_len) : '0) - CopyW'(copy_pop);
  end

  pt_fifo #(.Width(64), .Depth(CopyDepth)) u_copy_fifo (
    .clk_i,
    .rst_ni,
    .valid_i(copy_push),
    .ready_o(copy_space_unused),
    .data_i({copy, pack_q}),
    .valid_o(copy_out_valid),
    .ready_i(copy_pop),
    .data_o(w16_wdata_o),
    .count_o(copy_count)
  );
  pt_linear_runs #(.Burst(Burst)) u_copy_runs (
    .clk_i,
    .rst_ni,
    .start_i(start),
    .off_i(cfg.w16_off),
    .words_i(cfg.u_copy ? {2'd0, cfg.u_count[31:2]} : 32'd0),
    .period_i(queued_q ? {2'b00, period_q[7:2]} : 8'(Burst)),
    .live_i(queued_q ? {2'b00, live_q[7:2]} : 8'(Burst)),
    .go_i(copy_count - copy_open_q >= CopyW'(copy_len)),
    .len_o(copy_len),
    .accept_o(copy_accept),
    .idle_o(copies_idle),
    .run_valid_o(w16_run_valid_o),
    .run_ready_i(w16_run_ready_i),
    .run_off_o(w16_run_off_o),
    .run_len_o(w16_run_len_o),
    .run_last_o(w16_run_last_o)
  );
  assign w16_wdata_valid_o = copy_out_valid && copy_open_q != '0;
  assign copy_pop = w16_wdata_valid_o && w16_wdata_ready_i;

  // ---- clock ------------------------------------------------------------------------------------
  // While the array computes the sums, nothing moves here once the queue of masters is full.
  assign active_o = cfg_valid_i || (state_q == StRun ? moving : state_q != StIdle);
  assign moving = left_q == 32'd0 || admit || out_pop || copy_pop || gq_valid_i || g_data_valid_i ||
                  wv_data_valid_i || g_run_valid_o || wv_run_valid_o || wvw_run_valid_o ||
                  w16_run_valid_o;

  logic unused;
  assign unused = &{1'b0, pre, cfg, param, g_count_unused, wv_count_unused, g_idle_unused,
                    wv_idle_unused, g_space_unused, wv_space_unused, out_space_unused,
                    run_last_unused, copy_space_unused, mem_word[63:48],
                    tap_unused, tap_idx_unused};
endmodule
