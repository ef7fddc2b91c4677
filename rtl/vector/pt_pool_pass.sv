// SPDX-License-Identifier: Apache-2.0
// Pooling pass, a part of pt_vector: maxima of windows with their argmax indices, or
// gradients back to these. It scans through the planes; streams and rounding are pt_vector's.
//
// Contract: start_i begins (cfg_i and on_i stable from two cycles before). While busy_o and ready_o
// there is a place: it needs a word (needs_o), a window ends or (backward) begins there (window_o;
// last_o: the plane's last), it has a result (emit_o). take_i, only then, moves on. value_o comes 2
// cycles after it, more_o and the argmax indices 3 cycles. Without on_i nothing moves and results are 0.
module pt_pool_pass (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             start_i,
  input  logic             on_i,
  input  pt_abi_pkg::p_t  cfg_i,
  input  logic             take_i,
  input  logic [63:0]      word_i,    // of the map, or a gradient
  input  logic [3:0][3:0]  places_i,  // its argmax indices
  output logic             busy_o,
  output logic             ready_o,
  output logic             needs_o,
  output logic             window_o,
  output logic             last_o,
  output logic             emit_o,
  output logic             argmax_valid_o,
  output logic             argmax_last_o,
  output logic [3:0][3:0]  argmax_o,
  output logic [3:0][18:0] value_o,   // the result is value_o + more_o (signed)
  output logic [3:0][19:0] more_o
);
  localparam int unsigned Columns = pt_spec_pkg::LineColumns;
  logic back_q, take, store, first, row_end, row, above, older, top;
  logic [$clog2(Columns)-1:0] column;
  always_ff @(posedge clk_i) back_q <= cfg_i.p_back[0] && on_i;
  assign take = take_i && on_i;
  pt_pool_scan #(.Columns(Columns)) u_scan (
    .clk_i,
    .rst_ni,
    .start_i(start_i && on_i),
    .cfg_i,
    .take_i(take),
    .busy_o,
    .ready_o,
    .word_o(needs_o),
    .window_o,
    .last_o,
    .emit_o,
    .store_o(store),
    .column_o(column),
    .first_o(first),
    .end_o(row_end),
    .row_o(row),
    .above_o(above),
    .older_o(older),
    .top_o(top)
  );
  pt_pool_core #(.Columns(Columns)) u_core (
    .clk_i,
    .rst_ni,
    .start_i,
    .on_i,
    .back_i(back_q),
    .rows_i(cfg_i.p_kernel),
    .cols_i(cfg_i.p_kernel_cols),
    .valid_i(take),
    .word_i,
    .there_i(needs_o),
    .places_i,
    .first_i(first),
    .end_i(row_end),
    .row_i(row),
    .above_i(above),
    .older_i(older),
    .top_i(top),
    .store_i(store),
    .column_i(column),
    .emit_i(emit_o),
    .last_i(last_o),
    .argmax_valid_o,
    .argmax_last_o,
    .argmax_o,
    .value_o,
    .more_o
  );
endmodule
