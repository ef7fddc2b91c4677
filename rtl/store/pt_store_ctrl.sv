// SPDX-License-Identifier: Apache-2.0
// Order of the store unit: configuration copies, start of drain and writers, record, completion.
//
//   bus -> incoming -+-> y: drain, post-processing, pooling   (front)
//                    `-> yw, yf: writers, record              (back)
//
// Contract: front and back take a descriptor as soon as each has finished the one before, so a
// descriptor is drained while the writes and the record of the previous one are under way; the
// next one is configured meanwhile. front_idle_i falls in the cycle after front_start_o at the
// latest, back_idle_i likewise after back_start_o; measure_i and saturations_i are final with
// front_idle_i. The record begins when both write clients are idle. done_o: one pulse per
// descriptor, in order, all its writes acknowledged. Raw: nothing is written, also no record.
module pt_store_ctrl (
  input  logic                     clk_i,
  input  logic                     rst_ni,
  // configuration bus
  output logic                     cfg_req_o,
  input  logic                     cfg_valid_i,
  input  logic [7:0]               cfg_idx_i,
  input  logic [63:0]              cfg_data_i,
  input  logic                     cfg_last_i,
  output logic                     done_o,
  // cycle for the record, zero without profiling
  input  logic [31:0]              stamp_i,
  // front
  output logic                     front_start_o,
  input  logic                     front_idle_i,
  output pt_abi_pkg::y_t          y_o,
  output pt_abi_pkg::conv_param_t param_o,
  input  logic [47:0]              measure_i,
  input  logic [31:0]              saturations_i,
  // back
  output logic                     back_start_o,
  input  logic                     back_idle_i,
  output logic                     raw_o,
  output logic                     flags_o,
  output logic [79:0]              count_o,        // iterations of store level 0..4
  output pt_abi_pkg::addr_gen_t    yw_o,
  output pt_abi_pkg::addr_gen_t    yf_o,
  input  logic                     wr_idle_i,      // both write clients
  // record, on the write client of the flags
  input  logic                     record_idle_i,  // this client
  output logic                     record_wait_o,  // not acknowledged: no other run may begin
  output logic                     record_run_o,
  input  logic                     record_ready_i,
  output logic [31:0]              record_off_o,
  output logic                     record_word_o,
  input  logic                     record_taken_i,
  output logic [63:0]              record_data_o
);

  // ---- incoming ---------------------------------------------------------------------------------
  logic [64*pt_abi_pkg::CfgStoreWords-1:0] cfg;
  logic [64*pt_abi_pkg::ParamWords-1:0]    param;
  logic                full_q, fed_q;   // complete; the front has it already
  logic                front_take, front_end, back_take, received, tap_unused;
  logic [6:0]          tap_idx_unused;
  pt_abi_pkg::pre_t    pre;
  pt_abi_pkg::store_t  incoming;
  assign incoming = cfg;
  pt_cfg_rx #(
    .First(pt_abi_pkg::CfgStoreFirst),
    .Words(pt_abi_pkg::CfgStoreWords),
    .Gate(1'b1)
  ) u_rx (
    .clk_i,
    .rst_ni,
    .req_o(cfg_req_o),
    .cfg_valid_i,
    .cfg_idx_i,
    .cfg_data_i,
    .cfg_last_i,
    .hold_i(full_q),
    .end_o(received),
    .pre_o(pre),
    .section_o(cfg),
    .param_o(param),
    .tap_o(tap_unused),
    .tap_idx_o(tap_idx_unused)
  );

  logic cfg_clk;
  pt_clock_gate u_cfg_clock (
    .clk_i,
    .rst_ni,
    .active_i(front_take || front_end || back_take),
    .clk_o(cfg_clk)
  );
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      full_q <= 1'b0;
      fed_q  <= 1'b0;
    end else begin
      if (received) full_q <= 1'b1;
      else if (back_take) full_q <= 1'b0;
      if (back_take) fed_q <= 1'b0;
      else if (front_take) fed_q <= 1'b1;
    end
  end

  // ---- front ------------------------------------------------------------------------------------
  // The back takes a descriptor in the cycle in which the front does, or later: it never waits for
  // one that the front has not begun. The front keeps its results until the back can take them.
  logic        front_q, result_q;   // result_q: the back's descriptor is drained
  logic        back_busy;
  logic [31:0] stamp_front_q, stamp_start_q, stamp_end_q, saturations_q;
  logic [47:0] measure_q;
  assign front_take = full_q && !fed_q && !front_q;
  assign front_end = front_q && !front_start_o && front_idle_i && back_busy && !result_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      front_q       <= 1'b0;
      front_start_o <= 1'b0;
    end else begin
      front_start_o <= front_take;
      if (front_take) front_q <= 1'b1;
      else if (front_end) front_q <= 1'b0;
    end
  end
  always_ff @(posedge cfg_clk) begin
    if (front_take) begin
      y_o           <= incoming.y;
      param_o       <= param;
      stamp_front_q <= stamp_i;
    end
    if (front_end) begin
      measure_q     <= measure_i;
      saturations_q <= saturations_i;
      stamp_start_q <= stamp_front_q;
    end
  end

  // ---- back -------------------------------------------------------------------------------------
  typedef enum logic [1:0] {StIdle, StRun, StRecord, StWords} state_e;
  state_e     state_q;
  logic       raw_done, written, record_end;
  logic [$clog2(pt_abi_pkg::RecordWords)-1:0] word_q;
  assign back_busy = state_q != StIdle;
  assign back_take = full_q && state_q == StIdle;
  assign raw_done = state_q == StRun && raw_o && result_q && !record_wait_o;
  assign written = state_q == StRun && !raw_o && result_q && !back_start_o && back_idle_i &&
                   wr_idle_i && !record_wait_o;
  assign record_end = state_q == StWords && record_taken_i && (&word_q);
  assign record_run_o = state_q == StRecord;
  assign record_word_o = state_q == StWords;
  assign done_o = raw_done || (record_wait_o && record_idle_i);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q       <= StIdle;
      back_start_o  <= 1'b0;
      result_q      <= 1'b0;
      record_wait_o <= 1'b0;
      word_q        <= '0;
    end else begin
      unique case (state_q)
        StIdle:   if (back_take) state_q <= StRun;
        StRun:    if (written) state_q <= StRecord;
                  else if (raw_done) state_q <= StIdle;
        StRecord: if (record_ready_i) state_q <= StWords;
        StWords:  if (record_end) state_q <= StIdle;
        default:  state_q <= StIdle;
      endcase
      back_start_o <= back_take;
      if (front_end) result_q <= 1'b1;
      else if (record_end || raw_done) result_q <= 1'b0;
      if (record_end) record_wait_o <= 1'b1;
      else if (record_idle_i) record_wait_o <= 1'b0;
      if (record_word_o && record_taken_i) word_q <= word_q + 1'b1;
    end
    if (written) stamp_end_q <= stamp_i;
  end
  always_ff @(posedge cfg_clk) begin
    if (back_take) begin
      raw_o        <= incoming.y.raw[0];
      flags_o      <= incoming.y.flags[0];
      count_o      <= incoming.y.y;
      yw_o         <= incoming.yw;
      yf_o         <= incoming.yf;
      record_off_o <= pre.rec_off;
    end
  end

  pt_abi_pkg::record_t                      record;
  logic [pt_abi_pkg::RecordWords-1:0][63:0] record_words;
  always_comb begin
    record = '0;
    record.measure = measure_q;
    record.saturations = saturations_q;
    record.start_cycle = stamp_start_q;
    record.end_cycle = stamp_end_q;
  end
  assign record_words = record;
  assign record_data_o = record_words[word_q];

  logic unused;
  assign unused = &{1'b0, incoming, pre, tap_unused, tap_idx_unused};
endmodule
