// SPDX-License-Identifier: Apache-2.0
// Store writer: the address generator pt_addr_gen goes through the rows of a staged segment; its
// valid elements are handed to a write client.
//
// Contract: start_i (busy_o low) begins a descriptor; addr_gen_i and count_i stay stable while busy_o
// is high. Per segment: waits for full_i, reads the slot (data two cycles after re_o) at one word
// per cycle, pulses release_o with or after the last read. Runs may go ahead of their data; the
// segment's last run carries run_last_o. busy_o falls when all words are handed over.
module pt_store_writer #(
  // Bits of a word address in a staging slot.
  parameter int unsigned AddrW = 12
) (
  input  logic               clk_i,
  input  logic               rst_ni,
  input  logic               start_i,
  output logic               busy_o,
  input  pt_abi_pkg::addr_gen_t addr_gen_i,
  input  logic [79:0]        count_i,     // iterations of store level 0..4, 16 bit each
  // staging slot
  input  logic               full_i,
  output logic               re_o,
  output logic [AddrW-1:0]   raddr_o,
  input  logic [63:0]        rdata_i,
  output logic               release_o,
  // write client
  output logic               run_valid_o,
  input  logic               run_ready_i,
  output logic [31:0]        run_off_o,
  output logic [15:0]        run_len_o,
  output logic               run_last_o,
  output logic               wdata_valid_o,
  input  logic               wdata_ready_i,
  output logic [63:0]        wdata_o
);
  // Clock of all registers below.
  logic clk, active;

  // Words read ahead of the write client.
  localparam int unsigned Ahead = 8;
  localparam int unsigned StepW = $clog2(AddrW + 1);

  if (AddrW < $clog2(pt_abi_pkg::FlagWordsLeast) - 1 ||
      AddrW > $clog2(pt_abi_pkg::StageWordsMost) - 1) begin : g_check
    $fatal(1, "pt_store_writer: AddrW outside the ranges of the configuration");
  end

  // ---- rows -------------------------------------------------------------------------------------
  logic        addr_gen_busy, tile_valid, tile_ready, tile_take, row_valid, row_ready, row_take;
  logic        row_last;
  logic [31:0] row_off, flag_off_unused;
  logic [15:0] row_words_unused, n_before, n_valid, n_after_unused, x_first_unused;
  logic [7:0]  tap_idx_unused;
  logic [6:0]  flag_words_unused;
  logic [4:0]  tile_first_unused, tile_last_unused;
  logic [1:0]  next;
  logic [3:0]  idx3_unused;
  logic        y_odd_unused, addr_gen_last_unused;

  pt_addr_gen #(.Flags(1'b0)) u_rows (
    .clk_i,
    .rst_ni,
    .start_i,
    .busy_o(addr_gen_busy),
    .addr_gen_i,
    .count_i,
    .faddr_i(32'd0),
    .fdaddr_i(160'd0),
    .fdrow_i(96'd0),
    .tap_idx_o(tap_idx_unused),
    .tap_woff_i(16'd0),
    .tile_valid_o(tile_valid),
    .tile_ready_i(tile_ready),
    .row_valid_o(row_valid),
    .row_ready_i(row_ready),
    .row_off_o(row_off),
    .row_words_o(row_words_unused),
    .flag_off_o(flag_off_unused),
    .flag_words_o(flag_words_unused),
    .n_before_o(n_before),
    .n_valid_o(n_valid),
    .n_after_o(n_after_unused),
    .x_first_o(x_first_unused),
    .y_odd_o(y_odd_unused),
    .idx3_o(idx3_unused),
    .next_o(next),
    .row_last_o(row_last),
    .tile_first_o(tile_first_unused),
    .tile_last_o(tile_last_unused),
    .addr_gen_last_o(addr_gen_last_unused)
  );

  // Span of a row in the slot, (n[0] - 1) * pos[0], by shift and add at the start.
  logic [AddrW-1:0] span_q, factor_q, addend_q;
  logic [StepW-1:0] left_q;
  always_ff @(posedge clk) begin
    if (!rst_ni) begin
      left_q <= '0;
    end else if (start_i) begin
      left_q <= StepW'(AddrW);
    end else if (left_q != '0) begin
      left_q <= left_q - StepW'(1);
    end
    if (start_i) begin
      span_q   <= '0;
      factor_q <= AddrW'(addr_gen_i.n[0] - 16'd1);
      addend_q <= addr_gen_i.pos[0][AddrW-1:0];
    end else begin
      if (factor_q[0]) span_q <= span_q + addend_q;
      factor_q <= factor_q >> 1;
      addend_q <= addend_q << 1;
    end
  end

  // Rows: a run for the client, a job for the reader.
  logic              open_q, ending_q, active_q, flush_q, pend_q;
  logic              some, push, run_free, read_last;
  logic [AddrW-1:0]  row_pos_q, row_jump;
  logic [31:0]       pend_off_q;
  logic [15:0]       pend_len_q;
  logic [AddrW:0]    skip_q, words_q;    // a row is in the slot
  logic [AddrW-1:0]  pos_q;
  assign tile_ready = full_i && !open_q && left_q == '0 && !start_i;
  assign tile_take = tile_valid && tile_ready;
  assign some = n_valid != 16'd0;
  assign run_free = !run_valid_o || run_ready_i;
  assign row_ready = !flush_q && (!some || ((!active_q || read_last) && (!pend_q || run_free)));
  assign row_take = row_valid && row_ready;
  assign push = pend_q && run_free && (flush_q || (row_valid && some));
  assign row_jump = next == 2'd0 ? addr_gen_i.pos[1][AddrW-1:0] :
                    next == 2'd1 ? addr_gen_i.pos[2][AddrW-1:0] : addr_gen_i.pos[3][AddrW-1:0];
  assign release_o = ending_q && (!active_q || read_last);

  always_ff @(posedge clk) begin
    if (!rst_ni) begin
      open_q      <= 1'b0;
      ending_q    <= 1'b0;
      flush_q     <= 1'b0;
      pend_q      <= 1'b0;
      run_valid_o <= 1'b0;
    end else begin
      if (tile_take) open_q <= 1'b1;
      else if (release_o) open_q <= 1'b0;
      if (row_take && row_last) ending_q <= 1'b1;
      else if (release_o) ending_q <= 1'b0;
      if (row_take && row_last) flush_q <= 1'b1;
      else if (push || !pend_q) flush_q <= 1'b0;
      if (row_take && some) pend_q <= 1'b1;
      else if (push) pend_q <= 1'b0;
      if (push) run_valid_o <= 1'b1;
      else if (run_ready_i) run_valid_o <= 1'b0;
    end
    if (tile_take) row_pos_q <= '0;
    else if (row_take) row_pos_q <= row_pos_q + span_q + row_jump;
    if (row_take && some) begin
      pend_off_q <= row_off;
      pend_len_q <= n_valid;
    end
    if (push) begin
      run_off_o  <= pend_off_q;
      run_len_o  <= pend_len_q;
      run_last_o <= flush_q;
    end
  end

  // ---- reader -----------------------------------------------------------------------------------
  logic [$clog2(Ahead):0] credit_q, count_unused;
  logic                   arrive1_q, arrive2_q, in_ready_unused, sent;
  assign re_o = active_q && skip_q == '0 && credit_q != '0;
  assign read_last = re_o && words_q == (AddrW + 1)'(1);
  assign raddr_o = pos_q;
  assign sent = wdata_valid_o && wdata_ready_i;

  always_ff @(posedge clk) begin
    if (!rst_ni) begin
      active_q  <= 1'b0;
      credit_q  <= ($clog2(Ahead) + 1)'(Ahead);
      arrive1_q <= 1'b0;
      arrive2_q <= 1'b0;
    end else begin
      if (row_take && some) active_q <= 1'b1;
      else if (read_last) active_q <= 1'b0;
      credit_q  <= credit_q + ($clog2(Ahead) + 1)'(sent) - ($clog2(Ahead) + 1)'(re_o);
      arrive1_q <= re_o;
      arrive2_q <= arrive1_q;
    end
    if (row_take && some) begin
      pos_q   <= row_pos_q;
      skip_q  <= n_before[AddrW:0];
      words_q <= n_valid[AddrW:0];
    end else if (active_q && skip_q != '0) begin
      pos_q  <= pos_q + addr_gen_i.pos[0][AddrW-1:0];
      skip_q <= skip_q - (AddrW + 1)'(1);
    end else if (re_o) begin
      pos_q   <= pos_q + addr_gen_i.pos[0][AddrW-1:0];
      words_q <= words_q - (AddrW + 1)'(1);
    end
  end

  pt_fifo #(.Width(64), .Depth(Ahead)) u_ahead (
    .clk_i(clk),
    .rst_ni,
    .valid_i(arrive2_q),
    .ready_o(in_ready_unused),
    .data_i(rdata_i),
    .valid_o(wdata_valid_o),
    .ready_i(wdata_ready_i),
    .data_o(wdata_o),
    .count_o(count_unused)
  );

  assign busy_o = addr_gen_busy || open_q || flush_q || pend_q || run_valid_o ||
                  credit_q != ($clog2(Ahead) + 1)'(Ahead);

  // ---- clock ------------------------------------------------------------------------------------
  assign active = start_i || left_q != '0 || tile_take || row_take || push || release_o ||
                  (flush_q && !pend_q) || (run_valid_o && run_ready_i) || active_q || arrive1_q ||
                  arrive2_q || sent;
  pt_clock_gate u_clock (
    .clk_i,
    .rst_ni,
    .active_i(active),
    .clk_o(clk)
  );

  logic unused;
  assign unused = &{1'b0, flag_off_unused, row_words_unused, n_after_unused, x_first_unused,
                    tap_idx_unused, flag_words_unused, tile_first_unused, tile_last_unused,
                    idx3_unused, y_odd_unused, addr_gen_last_unused, count_unused, in_ready_unused,
                    n_before, addr_gen_i};
endmodule
