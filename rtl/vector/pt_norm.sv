// SPDX-License-Identifier: Apache-2.0
// Normalisation unit: coefficients, statistics and gradients of normalisations, four channels at a
// time (hw/norm.py has its micro-programs).
//
//   sums, masters, statistics --> scratch (two halves) --> core --> table, gradients, statistics
//
// Contract: as all units on the configuration bus (docs/engine.md 8). The next block is loaded while
// one is computed and written.
module pt_norm (
  input  logic        clk_i,
  input  logic        rst_ni,
  output logic        cfg_req_o,
  input  logic        cfg_valid_i,
  input  logic [7:0]  cfg_idx_i,
  input  logic [63:0] cfg_data_i,
  input  logic        cfg_last_i,
  output logic        done_o,
  input  logic [31:0] stamp_i,
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
  input  logic        wr_idle_i
);
  if (pt_abi_pkg::SecNFirst != pt_abi_pkg::CfgVectorFirst ||
      pt_abi_pkg::SecNWords > pt_abi_pkg::CfgVectorWords) begin : g_check
    $fatal(1, "pt_norm: its section must lie in the words that the vector unit receives");
  end
  // ---- configuration ----------------------------------------------------------------------------
  pt_abi_pkg::pre_t        pre;
  pt_abi_pkg::n_t          cfg;
  pt_abi_pkg::norm_param_t param;
  logic                        received, tap_unused;
  logic [6:0]                  tap_idx_unused;

  // ---- modes and exponents, settled before the start (StSettle) -----------------------------------
  logic             back_q, frozen_q, plain_q;
  logic [1:0]       join_q;
  logic [2:0]       program_q;
  logic [7:0]       parts_q;
  logic [31:0]      beta_q, stats_q;
  logic [7:0][15:0] exponents_q;  // plus 32, as the core takes them
  logic [15:0]      z, g;
  assign z = {{8{param.z_exp[7]}}, param.z_exp};
  assign g = {{8{param.g_exp[7]}}, param.g_exp};
  always_ff @(posedge clk_i) begin
    program_q <= cfg.n_program[2:0];
    back_q    <= cfg.n_program[2:0] == 3'(pt_abi_pkg::NormProgramBackward) ||
                 cfg.n_program[2:0] == 3'(pt_abi_pkg::NormProgramBackwardFrozen) ||
                 cfg.n_program[2:0] == 3'(pt_abi_pkg::NormProgramBackwardGroup);
    frozen_q  <= cfg.n_program[2:0] == 3'(pt_abi_pkg::NormProgramForwardFrozen);
    plain_q   <= cfg.n_program[2:0] == 3'(pt_abi_pkg::NormProgramForwardGroup) ||
                 cfg.n_program[2:0] == 3'(pt_abi_pkg::NormProgramBackwardGroup);
    join_q    <= cfg.n_join;
    parts_q   <= frozen_q ? 8'd0 : cfg.n_parts;
    beta_q    <= cfg.p_off + cfg.p_step;
    stats_q   <= back_q ? cfg.q_off : cfg.r_off;
    exponents_q[pt_abi_pkg::NormExponentZ]      <= z + 16'd32;
    exponents_q[pt_abi_pkg::NormExponentZTwice] <= {z[14:0], 1'b0} + 16'd32;
    exponents_q[pt_abi_pkg::NormExponentG]      <= g + 16'd32;
    exponents_q[pt_abi_pkg::NormExponentGAndZ]  <= g + z + 16'd32;
    exponents_q[pt_abi_pkg::NormExponentMaster] <= pt_abi_pkg::MasterExponent + 16'sd32;
    exponents_q[pt_abi_pkg::NormExponentA] <= {{8{param.a_exp[7]}}, param.a_exp} + 16'd32;
    exponents_q[pt_abi_pkg::NormExponentB] <= {{8{param.b_exp[7]}}, param.b_exp} + 16'd32;
    exponents_q[pt_abi_pkg::NormExponentC] <= {{8{param.c_exp[7]}}, param.c_exp} + 16'd32;
  end

  // ---- state ------------------------------------------------------------------------------------
  typedef enum logic [3:0] {
    StIdle, StSettle, StStart, StWait, StRun, StHead, StWrite, StFlush, StRecord,
    StWords, StEnd
  } state_e;
  // Runs that a block writes, in this order.
  typedef enum logic [2:0] {WrTable, WrGamma, WrBeta, WrKept, WrRunning} write_e;
  state_e      state_q;
  write_e      write_q, write_next;
  logic [2:0]  step_q;   // words of a run, of the record; cycles of StSettle
  logic [15:0] block_q;  // to come, this one included
  logic        half_q, start, go, ready, core_done, moved, run_end, write_end;
  logic [2:0]  run_last;
  assign start = state_q == StStart;
  assign go = state_q == StWait && ready;
  assign done_o = state_q == StEnd && wr_idle_i;
  pt_cfg_rx #(
    .First(pt_abi_pkg::SecNFirst),
    .Words(pt_abi_pkg::SecNWords)
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
  assign moved = wdata_valid_o && wdata_ready_i;
  assign run_last = write_q == WrGamma || write_q == WrBeta ? 3'd3 : 3'd7;
  assign run_end = moved && step_q == run_last;
  assign write_end = write_q == WrBeta || (write_q == WrKept && (frozen_q || plain_q)) ||
                     write_q == WrRunning || (write_q == WrTable && plain_q && back_q);
  always_comb begin
    unique case (write_q)
      WrTable: write_next = back_q ? WrGamma : WrKept;
      WrGamma: write_next = WrBeta;
      WrKept:  write_next = WrRunning;
      default: write_next = WrTable;
    endcase
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      step_q  <= 3'd0;
    end else begin
      unique case (state_q)
        StIdle:   if (received) state_q <= StSettle;
        StSettle: begin
          step_q <= step_q + 3'd1;
          if (step_q == 3'd2) begin
            state_q <= StStart;
            step_q  <= 3'd0;
          end
        end
        StStart:  state_q <= StWait;
        StWait:   if (ready) state_q <= StRun;
        StRun:    if (core_done) state_q <= StHead;
        StHead:   if (wr_run_ready_i) state_q <= StWrite;
        StWrite: begin
          step_q <= step_q + 3'(moved);
          if (run_end) begin
            step_q  <= 3'd0;
            state_q <= StHead;
            if (write_end) state_q <= block_q == 16'd1 ? StFlush : StWait;
          end
        end
        StFlush:  if (wr_idle_i) state_q <= StRecord;
        StRecord: if (wr_run_ready_i) state_q <= StWords;
        StWords: begin
          step_q <= step_q + 3'(moved);
          if (moved && step_q == 3'(pt_abi_pkg::RecordWords - 1)) begin
            step_q  <= 3'd0;
            state_q <= StEnd;
          end
        end
        StEnd:    if (wr_idle_i) state_q <= StIdle;
        default:  state_q <= StIdle;
      endcase
    end
    if (start) begin
      block_q <= cfg.n_blocks;
      half_q  <= 1'b0;
      write_q <= WrTable;
    end else if (run_end && state_q == StWrite) begin
      write_q <= write_end ? WrTable : write_next;
      if (write_end) begin
        block_q <= block_q - 16'd1;
        half_q  <= !half_q;
      end
    end
  end

  // ---- scratch and core -------------------------------------------------------------------------
  logic        scratch_we;
  logic [5:0]  scratch_addr;
  logic [63:0] scratch_data, scratch_old, out_data;
  logic [3:0]  out_word;
  logic [1:0]  out_channel;
  logic [23:0] out_a, out_b;
  logic [46:0] measure;
  logic [31:0] saturations;
  pt_abi_pkg::number_t [2:0] constants;  // 1 / elements, unbiased, epsilon
  assign run_last_o = 1'b1;
  pt_norm_load u_load (
    .clk_i,
    .rst_ni,
    .start_i(start),
    .sums_off_i(cfg.s_off),
    .part_step_i(cfg.n_step),
    .parts_i(parts_q),
    .gamma_off_i(cfg.p_off),
    .beta_off_i(beta_q),
    .stats_off_i(stats_q),
    .kept_i(back_q),
    .plain_i(plain_q),
    .join_i(join_q),
    .blocks_i(cfg.n_blocks),
    .ready_o(ready),
    .taken_i(state_q == StRun && core_done),
    .scratch_we_o(scratch_we),
    .scratch_addr_o(scratch_addr),
    .scratch_data_o(scratch_data),
    .scratch_old_i(scratch_old),
    .run_valid_o,
    .run_ready_i,
    .run_off_o,
    .run_len_o,
    .data_valid_i,
    .data_ready_o,
    .data_i
  );
  always_comb begin
    constants = '0;
    constants[0].significand = cfg.n_mean_m[30:0];
    constants[0].exponent = cfg.n_mean_e;
    constants[1].significand = cfg.n_var_m[30:0];
    constants[1].exponent = cfg.n_var_e;
    constants[2].significand = cfg.n_eps_m[30:0];
    constants[2].exponent = cfg.n_eps_e;
  end
  pt_norm_core u_core (
    .clk_i,
    .rst_ni,
    .clear_i(start),
    .go_i(go),
    .program_i(program_q),
    .join_i(join_q),
    .half_i(half_q),
    .done_o(core_done),
    .scratch_we_i(scratch_we),
    .scratch_addr_i(scratch_addr),
    .scratch_data_i(scratch_data),
    .scratch_old_o(scratch_old),
    .exponents_i(exponents_q),
    .constants_i(constants),
    .alpha_i(param.alpha),
    .out_word_i(out_word),
    .out_channel_i(out_channel),
    .out_data_o(out_data),
    .out_b_o(out_b),
    .out_a_o(out_a),
    .measure_o(measure),
    .saturations_o(saturations)
  );

  // ---- results out ------------------------------------------------------------------------------
  logic [31:0] table_q, gamma_q, beta_out_q, kept_q, running_q, start_stamp_q, record_stamp_q;
  logic        block_end;
  assign block_end = state_q == StWrite && run_end && write_end;
  always_ff @(posedge clk_i) begin
    if (start) begin
      table_q    <= cfg.k_off;
      gamma_q    <= cfg.d_off;
      beta_out_q <= cfg.d_off + cfg.p_step;
      kept_q     <= cfg.q_off;
      running_q  <= cfg.r_off;
      start_stamp_q <= stamp_i;
    end else if (block_end) begin
      table_q    <= table_q + 32'd64;
      gamma_q    <= gamma_q + 32'd32;
      beta_out_q <= beta_out_q + 32'd32;
      kept_q     <= kept_q + 32'd64;
      running_q  <= running_q + 32'd64;
    end
    if (state_q == StRecord) record_stamp_q <= stamp_i;
  end

  assign wr_run_valid_o = state_q == StHead || state_q == StRecord;
  assign wr_run_last_o = 1'b1;
  assign wdata_valid_o = state_q == StWrite || state_q == StWords;
  always_comb begin
    unique case (write_q)
      WrTable: wr_run_off_o = table_q;
      WrGamma: wr_run_off_o = gamma_q;
      WrBeta:  wr_run_off_o = beta_out_q;
      WrKept:  wr_run_off_o = kept_q;
      default: wr_run_off_o = running_q;
    endcase
    wr_run_len_o = 16'(run_last) + 16'd1;
    if (state_q == StRecord) begin
      wr_run_off_o = pre.rec_off;
      wr_run_len_o = 16'(pt_abi_pkg::RecordWords);
    end
  end

  always_comb begin
    out_channel = step_q[1:0];
    unique case (write_q)
      WrGamma: out_word = 4'(pt_abi_pkg::NormOutDGamma);
      WrBeta:  out_word = 4'(pt_abi_pkg::NormOutDBeta);
      WrKept:  out_word = step_q[2] ? 4'(pt_abi_pkg::NormOutReciprocal)
                                    : 4'(pt_abi_pkg::NormOutMean);
      WrRunning: out_word = step_q[2] ? 4'(pt_abi_pkg::NormOutRunVar)
                                      : 4'(pt_abi_pkg::NormOutRunMean);
      default: begin
        out_word = 4'(pt_abi_pkg::NormOutC);
        out_channel = step_q[2:1];
      end
    endcase
  end
  pt_abi_pkg::record_t      record;
  pt_abi_pkg::coefficient_t coefficient;
  logic [pt_abi_pkg::RecordWords-1:0][63:0]      record_words;
  logic [pt_abi_pkg::CoefficientWords-1:0][63:0] coefficient_words;
  assign record_words = record;
  assign coefficient_words = coefficient;
  always_comb begin
    record = '0;
    record.measure = {1'b0, measure};
    record.saturations = saturations;
    record.start_cycle = start_stamp_q;
    record.end_cycle = record_stamp_q;
    coefficient = '0;
    coefficient.a = out_a;
    coefficient.b = out_b;
    coefficient.c = out_data[47:0];
    wdata_o = out_data;
    if (write_q == WrTable) wdata_o = coefficient_words[step_q[0]];
    if (state_q == StWords) begin
      wdata_o = record_words[step_q[1:0]];
    end
  end

  logic unused;
  assign unused = &{1'b0, pre, cfg, param, tap_unused, tap_idx_unused};
endmodule
