// SPDX-License-Identifier: Apache-2.0
// Scan of the pooling pass: goes through the columns and rows of all planes, and says what stands
// at each place.
//
// Contract: start_i begins (sizes stable from two cycles before); then there is a place while
// busy_o and ready_o, and take_i (only then) moves on. A row takes 4 cycles at least.
module pt_pool_scan #(
  // Columns that a row may have, 16..4096.
  parameter int unsigned Columns = 512
) (
  input  logic                       clk_i,
  input  logic                       rst_ni,
  input  logic                       start_i,
  input  pt_abi_pkg::p_t            cfg_i,
  input  logic                       take_i,
  output logic                       busy_o,
  output logic                       ready_o,
  output logic                       word_o,     // a word is read
  output logic                       window_o,   // a window ends here (backward: begins)
  output logic                       last_o,     // it is the last one of the plane
  output logic                       emit_o,     // there is a result
  output logic                       store_o,    // the line is written
  output logic [$clog2(Columns)-1:0] column_o,   // place in the line
  output logic                       first_o,    // first column of a row
  output logic                       end_o,      // last column of a row
  output logic                       row_o,      // the row lies in the map
  output logic                       above_o,    // the row before does
  output logic                       older_o,    // one of the two rows before does
  output logic                       top_o       // first row of the plane
);
  if (Columns < pt_abi_pkg::LineColumnsLeast || Columns > pt_abi_pkg::LineColumnsMost) begin : g_check
    $fatal(1, "pt_pool_scan: Columns must be %0d..%0d", pt_abi_pkg::LineColumnsLeast,
           pt_abi_pkg::LineColumnsMost);
  end
  // Windows of one row leave nothing in the line: their maps may be wider than it. Places in the
  // line then repeat, and hold zeros (backward) or what is never used.
  localparam int unsigned CntW = $clog2(pt_abi_pkg::MapSizeMost) + 1;
  localparam int unsigned RowCycles = 4;

  // ---- sizes, settled before the start ----------------------------------------------------------
  logic            back_q;
  logic [1:0]      row_phase_q, col_phase_q;    // steps to the first window
  logic [1:0]      row_reload_q, col_reload_q;  // steps to the next
  logic [2:0]      gap_q;                               // cycles after a row
  logic [CntW-1:0] last_col_q;
  logic [15:0]     last_row_q;
  always_ff @(posedge clk_i) begin
    back_q      <= cfg_i.p_back[0];
    row_phase_q <= cfg_i.p_back[0] ? 2'd0 : cfg_i.p_kernel - 2'd1 - {1'b0, cfg_i.p_top};
    col_phase_q <= cfg_i.p_back[0] ? 2'd0 : cfg_i.p_kernel_cols - 2'd1 - {1'b0, cfg_i.p_left};
    row_reload_q <= cfg_i.p_stride - 2'd1;
    col_reload_q <= cfg_i.p_stride_cols - 2'd1;
    gap_q       <= cfg_i.t_cols < 16'(RowCycles) ? 3'(RowCycles) - cfg_i.t_cols[2:0] : 3'd0;
    last_col_q  <= cfg_i.t_cols[CntW-1:0] - CntW'(1);
    last_row_q  <= cfg_i.t_rows - 16'd1;
  end

  // ---- columns ----------------------------------------------------------------------------------
  logic [CntW-1:0] col_q, col_left_q, window_col_q;  // left: windows of the row to come
  logic [1:0]      col_at_q;                         // steps to the next window
  logic [2:0]      wait_q;
  logic            first_q, col_end, col_window, row_end, plane_end;
  assign col_end = col_q == last_col_q;
  assign col_window = col_at_q == 2'd0 && col_left_q != '0;
  assign row_end = take_i && col_end;
  assign ready_o = wait_q == 3'd0;
  always_ff @(posedge clk_i) begin
    if (start_i || row_end) begin
      col_q        <= '0;
      first_q      <= 1'b1;
      col_at_q     <= col_phase_q;
      col_left_q   <= cfg_i.q_cols[CntW-1:0];
      window_col_q <= '0;
    end else if (take_i) begin
      col_q    <= col_q + CntW'(1);
      first_q  <= 1'b0;
      col_at_q <= col_at_q == 2'd0 ? col_reload_q : col_at_q - 2'd1;
      if (col_window) begin
        col_left_q   <= col_left_q - CntW'(1);
        window_col_q <= window_col_q + CntW'(1);
      end
    end
    if (start_i) wait_q <= 3'(RowCycles);
    else if (row_end) wait_q <= gap_q;
    else if (!ready_o) wait_q <= wait_q - 3'd1;
  end

  // ---- rows; what the next one will be is known before this one ends ----------------------------
  logic [15:0] row_q, row_left_q, next_left_q;
  logic [1:0]  row_at_q, next_at_q;
  logic        row_window_q, next_window_q, row_in_q, next_in_q, above_q, older_q, row_top_q;
  logic        row_last_q, next_last_q, window_last_q, next_window_last_q;
  assign plane_end = row_end && row_last_q;
  always_ff @(posedge clk_i) begin
    next_at_q     <= row_at_q == 2'd0 ? row_reload_q : row_at_q - 2'd1;
    next_left_q   <= row_left_q - 16'(row_window_q);
    next_window_q <= next_at_q == 2'd0 && next_left_q != 16'd0;
    next_window_last_q <= next_left_q == 16'd1;
    next_in_q     <= row_q + 16'd1 < cfg_i.p_rows;
    next_last_q   <= row_q + 16'd1 == last_row_q;
    if (start_i || plane_end) begin
      row_q         <= 16'd0;
      row_at_q      <= row_phase_q;
      row_left_q    <= cfg_i.q_rows;
      row_window_q  <= row_phase_q == 2'd0;
      window_last_q <= cfg_i.q_rows == 16'd1;
      row_in_q      <= 1'b1;
      above_q       <= 1'b0;
      older_q       <= 1'b0;
      row_top_q     <= 1'b1;
      row_last_q    <= last_row_q == 16'd0;
    end else if (row_end) begin
      row_q         <= row_q + 16'd1;
      row_at_q      <= next_at_q;
      row_left_q    <= next_left_q;
      row_window_q  <= next_window_q;
      window_last_q <= next_window_last_q;
      row_in_q      <= next_in_q;
      above_q       <= row_in_q;
      older_q       <= row_in_q || above_q;
      row_top_q     <= 1'b0;
      row_last_q    <= next_last_q;
    end
  end

  // ---- planes -----------------------------------------------------------------------------------
  logic [15:0] image_q, block_q;  // to come, this one included
  logic        busy_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) busy_q <= 1'b0;
    else if (start_i) busy_q <= 1'b1;
    else if (plane_end && block_q == 16'd1 && image_q == 16'd1) busy_q <= 1'b0;
    if (start_i) begin
      image_q <= cfg_i.p_images;
      block_q <= cfg_i.p_blocks;
    end else if (plane_end) begin
      block_q <= block_q == 16'd1 ? cfg_i.p_blocks : block_q - 16'd1;
      if (block_q == 16'd1) image_q <= image_q - 16'd1;
    end
  end
  assign busy_o = busy_q;

  // ---- what stands here -------------------------------------------------------------------------
  assign window_o = row_window_q && col_window;
  assign last_o = window_last_q && col_left_q == CntW'(1);
  assign word_o = back_q ? window_o : row_in_q && col_q < cfg_i.p_cols[CntW-1:0];
  assign emit_o = back_q ? !(row_top_q && cfg_i.p_top[0]) && !(first_q && cfg_i.p_left[0])
                         : window_o;
  assign store_o = back_q || col_window;
  assign column_o = back_q ? col_q[$clog2(Columns)-1:0] : window_col_q[$clog2(Columns)-1:0];
  assign first_o = first_q;
  assign end_o = col_end;
  assign row_o = row_in_q;
  assign above_o = above_q;
  assign older_o = older_q;
  assign top_o = row_top_q;

  logic unused;
  assign unused = &{1'b0, cfg_i, window_col_q[CntW-1:$clog2(Columns)]};
endmodule
