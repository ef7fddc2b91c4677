// SPDX-License-Identifier: Apache-2.0
// Data side of a loader: rows of words become elements, one per cycle, masked or unpooled by flags,
// with zeros for padding and a running buffer position.
//
//   row:  flag words (kept for the row) | n_before zeros | n_valid elements | n_after zeros
//
// Contract: rec_* is a first-word-fall-through stream; data_* brings the words of the rows in
// order. out_* is a registered stream that waits while out_ready_i is low; out_pos_o belongs to
// the element. out_end_o marks the last element of a row, out_next_o tells which row level
// increments then (next + 1; 3: the tile ends). hold_i stops elements of rows with rec_sum_i.
module pt_load_data (
  input  logic        clk_i,
  input  logic        rst_ni,
  // settings of the descriptor
  input  logic [1:0]  mode_i,
  input  pt_activation_pkg::activation_grad_t grad_i,   // gradient of the activation
  input  logic [3:0][15:0] pos_i,     // jumps at levels 0..3, ternary pairs
  // rows
  input  logic        rec_valid_i,
  output logic        rec_ready_o,
  input  logic [6:0]  rec_flag_words_i,
  input  logic [15:0] rec_before_i,
  input  logic [15:0] rec_valid_words_i,
  input  logic [15:0] rec_after_i,
  input  logic [9:0]  rec_x_i,
  input  logic        rec_y_odd_i,
  input  logic [3:0]  rec_idx3_i,
  input  logic [1:0]  rec_next_i,
  input  logic        rec_sum_i,      // elements are added to the channel sums
  input  logic        rec_write_i,    // the sums are written after this tile
  input  logic        rec_final_i,    // row of the descriptor's last tile
  // words
  input  logic        data_valid_i,
  output logic        data_ready_o,
  input  logic [63:0] data_i,
  // elements
  input  logic        hold_i,
  output logic        write_soon_o,   // last element of a rec_write_i tile has entered the pipeline
  output logic        out_valid_o,
  input  logic        out_ready_i,
  output logic [63:0] out_data_o,
  output logic [15:0] out_pos_o,
  output logic        out_end_o,
  output logic [1:0]  out_next_o,
  output logic [3:0]  out_idx3_o,
  output logic        out_sum_o,
  output logic        out_write_o,
  output logic        out_final_o
);
  // Clock of all registers below.
  logic clk, active;

  logic unpool, en;
  assign unpool = mode_i == 2'(pt_abi_pkg::LoadUnpool);
  assign en = !out_valid_o || out_ready_i;

  // ---- sequence of a row ------------------------------------------------------------------------
  typedef enum logic [2:0] {StIdle, StFlags, StBefore, StValid, StAfter} state_e;
  state_e      state_q, state_d;
  logic [15:0] count_q, count_d;
  logic [15:0] before_q, valid_q, after_q;
  logic [9:0]  x_q;
  logic        any_before_q, any_valid_q, any_after_q, opened_q;
  logic        y_odd_q, sum_q, write_q, final_q;
  logic [3:0]  idx3_q;
  logic [1:0]  next_q;
  logic        last, repeated, need, blocked, element, flag_pop, row_end, load;

  assign last = count_q == 16'd1;
  assign repeated = unpool && x_q[0] && opened_q;
  assign need = state_q == StValid && !repeated;
  assign blocked = !en || (hold_i && sum_q);
  assign element = !blocked && (state_q == StBefore || state_q == StAfter ||
                                (state_q == StValid && (repeated || data_valid_i)));
  assign flag_pop = state_q == StFlags && data_valid_i;
  assign data_ready_o = state_q == StFlags || (need && !blocked);
  assign row_end = element && last && ((state_q == StBefore && !any_valid_q) ||
                                       (state_q == StValid && !any_after_q) ||
                                       state_q == StAfter);
  assign rec_ready_o = state_q == StIdle || row_end;
  assign load = rec_ready_o && rec_valid_i;

  always_comb begin
    state_d = state_q;
    count_d = count_q;
    if (load) begin
      if (rec_flag_words_i != 7'd0) begin
        state_d = StFlags;
        count_d = 16'(rec_flag_words_i);
      end else if (rec_before_i != 16'd0) begin
        state_d = StBefore;
        count_d = rec_before_i;
      end else begin
        state_d = StValid;
        count_d = rec_valid_words_i;
      end
    end else if (row_end) begin
      state_d = StIdle;
    end else if (element || flag_pop) begin
      count_d = count_q - 16'd1;
      if (last) begin
        if (state_q == StFlags && any_before_q) begin
          state_d = StBefore;
          count_d = before_q;
        end else if (state_q == StValid) begin
          state_d = StAfter;
          count_d = after_q;
        end else begin
          state_d = StValid;
          count_d = valid_q;
        end
      end
    end
  end

  always_ff @(posedge clk) begin
    if (!rst_ni) state_q <= StIdle;
    else state_q <= state_d;
    count_q <= count_d;
    if (load) begin
      before_q     <= rec_before_i;
      valid_q      <= rec_valid_words_i;
      after_q      <= rec_after_i;
      any_before_q <= rec_before_i != 16'd0;
      any_valid_q  <= rec_valid_words_i != 16'd0;
      any_after_q  <= rec_after_i != 16'd0;
      y_odd_q      <= rec_y_odd_i;
      idx3_q       <= rec_idx3_i;
      next_q       <= rec_next_i;
      sum_q        <= rec_sum_i;
      write_q      <= rec_write_i;
      final_q      <= rec_final_i;
    end
    if (load) begin
      x_q      <= rec_x_i;
      opened_q <= 1'b0;
    end else if (element && state_q == StValid) begin
      x_q      <= x_q + 10'd1;
      opened_q <= 1'b1;
    end
  end
  assign write_soon_o = row_end && next_q == 2'd3 && write_q;

  // ---- flags of the row -------------------------------------------------------------------------
  localparam int unsigned FlagW = $clog2(pt_abi_pkg::FlagRowWords);
  if (FlagW > 6) begin : g_check
    $fatal(1, "pt_load_data: FlagRowWords must be 64 or less (widths of the ports)");
  end
  (* ram_style = "distributed" *)
  logic [63:0]      flag_mem [pt_abi_pkg::FlagRowWords];
  logic [FlagW-1:0] flag_at_q;
  always_ff @(posedge clk) begin
    if (load) flag_at_q <= '0;
    else if (flag_pop) flag_at_q <= flag_at_q + FlagW'(1);
    if (flag_pop) flag_mem[flag_at_q] <= data_i;
  end

  // ---- stage 1: word and flag word --------------------------------------------------------------
  logic        valid1_q, zero1_q, y_odd1_q, end1_q, sum1_q, write1_q, final1_q;
  logic [63:0] word1_q, flag1_q;
  logic [3:0]  x1_q;
  logic [1:0]  next1_q;
  logic [3:0]  idx31_q;
  always_ff @(posedge clk) begin
    if (!rst_ni) valid1_q <= 1'b0;
    else if (en) valid1_q <= element;
    if (element && need) word1_q <= data_i;
    if (element) begin
      flag1_q  <= flag_mem[unpool ? x_q[3+:FlagW] : x_q[4+:FlagW]];
      zero1_q  <= state_q != StValid;
      x1_q     <= x_q[3:0];
      y_odd1_q <= y_odd_q;
      end1_q   <= row_end;
      next1_q  <= next_q;
      idx31_q  <= idx3_q;
      sum1_q   <= sum_q;
      write1_q <= write_q;
      final1_q <= final_q;
    end
  end

  // ---- stage 2: lanes and position --------------------------------------------------------------
  logic [3:0]  flags, keep;
  logic [63:0] gradient;
  logic [15:0] pos_q, pos_jump, pos_next;
  pt_abi_pkg::mask_flags_t      masks;
  pt_abi_pkg::pool_flag_t [3:0] pool_flags;
  pt_abi_pkg::pool_flag_t       pooled;
  assign masks = flag1_q;
  assign pool_flags = flag1_q;
  assign pooled = pool_flags[x1_q[2:1]];
  assign flags = unpool ? pooled.mask : masks.mask[x1_q];
  pt_activation_grad u_grad (
    .grad_i,
    .flags_i(flags),
    .data_i(word1_q),
    .data_o(gradient)
  );
  always_comb begin
    for (int unsigned l = 0; l < 4; l++) begin
      keep[l] = !unpool || pooled.index[l] == {y_odd1_q, x1_q[0]};
      if (zero1_q) keep[l] = 1'b0;
    end
  end

  always_comb begin
    pos_jump = pos_i[0];
    if (end1_q) begin
      unique case (next1_q)
        2'd0:    pos_jump = pos_i[1];
        2'd1:    pos_jump = pos_i[2];
        default: pos_jump = pos_i[3];
      endcase
    end
  end
  pt_add3 #(.QW(14)) u_pos (
    .a_i(pos_q),
    .b_i(pos_jump),
    .sum_o(pos_next)
  );

  always_ff @(posedge clk) begin
    if (!rst_ni) begin
      out_valid_o <= 1'b0;
      pos_q       <= 16'd0;
    end else if (en) begin
      out_valid_o <= valid1_q;
      if (valid1_q) pos_q <= end1_q && next1_q == 2'd3 ? 16'd0 : pos_next;
    end
    if (en && valid1_q) begin
      for (int unsigned l = 0; l < 4; l++) begin
        out_data_o[16*l+:16] <= keep[l] ? gradient[16*l+:16] : 16'd0;
      end
      out_pos_o   <= pos_q;
      out_end_o   <= end1_q;
      out_next_o  <= next1_q;
      out_idx3_o  <= idx31_q;
      out_sum_o   <= sum1_q;
      out_write_o <= write1_q;
      out_final_o <= final1_q;
    end
  end
  // ---- clock ------------------------------------------------------------------------------------
  assign active = load || element || flag_pop || (en && (valid1_q || out_valid_o));
  pt_clock_gate u_clock (
    .clk_i,
    .rst_ni,
    .active_i(active),
    .clk_o(clk)
  );

  logic unused;
  assign unused = &{1'b0, pooled};
endmodule
