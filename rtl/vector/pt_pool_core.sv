// SPDX-License-Identifier: Apache-2.0
// Arithmetic of the pooling pass, four channels at a time: maxima of windows column by column and
// row by row, or sums of gradients the same way back.
//
//   forward   h = maximum of 1 to 3 columns; A: h of the row before, B: maximum of the two before
//             result = h, max(A, h) or max(B, h);  then B := max(A, h), A := h
//   backward  d[0..2] = gradients of this column for rows 0..2 of the windows that begin here
//             result = P + d[0];  then P := Q + d[1], Q := d[2]
//
//   cycle 0 step; line is read | 1 columns | 2 rows: argmax, value | 3 more; line is written
//
// The result is value + more; the arithmetic of the vector unit adds and rounds it. value is 2**18
// too large and more too small, so that value has no sign to be extended.
//
// A lane of the line has 36 bits. Forward {column of B, B, column of A, A}: where B is A, its column
// is 3. Backward {Q, P} of 18 and 19 bits: |Q| near its largest, of 3 windows that begin in a row,
// leaves P only those of the row before, so that the upper 7 bits become 6 (packed_sums).
//
// Contract: a pipeline without stalls; modes are stable while steps are inside. A step finds what
// steps of 4 or more cycles before left in the line. value_o comes 2 cycles after valid_i, more_o
// and argmax_valid_o 3 cycles; value_o and more_o are 0 without on_i.
module pt_pool_core #(
  // Columns of the line, 16..4096.
  parameter int unsigned Columns = 512
) (
  input  logic                       clk_i,
  input  logic                       rst_ni,
  input  logic                       start_i,    // forgets the sums of gradients
  input  logic                       on_i,       // a pooling pass
  input  logic                       back_i,     // gradients
  input  logic [1:0]                 rows_i,     // rows of the windows, 1..3
  input  logic [1:0]                 cols_i,     // their columns, 1..3
  // a step
  input  logic                       valid_i,
  input  logic [63:0]                word_i,     // of the map, or a gradient
  input  logic                       there_i,    // there is a word; else outside, or no gradient
  input  logic [3:0][3:0]            places_i,   // argmax indices of the gradient
  input  logic                       first_i,    // first column of a row
  input  logic                       end_i,      // last column of a row
  input  logic                       row_i,      // the row lies in the map
  input  logic                       above_i,    // the row before does, too
  input  logic                       older_i,    // one of the two rows before does
  input  logic                       top_i,      // first row of a plane
  input  logic                       store_i,    // the line is written
  input  logic [$clog2(Columns)-1:0] column_i,   // place in the line
  input  logic                       emit_i,     // there is a result
  input  logic                       last_i,     // passed on to argmax_last_o
  // results
  output logic                       argmax_valid_o,
  output logic                       argmax_last_o,
  output logic [3:0][3:0]            argmax_o,  // 3 * row + column in the window, 4 bits each
  output logic [3:0][18:0]           value_o,
  output logic [3:0][19:0]           more_o
);
  if (Columns < pt_abi_pkg::LineColumnsLeast || Columns > pt_abi_pkg::LineColumnsMost) begin : g_check
    $fatal(1, "pt_pool_core: Columns must be %0d..%0d", pt_abi_pkg::LineColumnsLeast,
           pt_abi_pkg::LineColumnsMost);
  end
  localparam int unsigned ColW = $clog2(Columns);
  // Bits of sums: of 3 and of 6 codes.
  localparam int unsigned ThreeW = 18, SixW = 19;
  localparam int unsigned LaneW = 36;

  // ---- stages -----------------------------------------------------------------------------------
  typedef struct packed {
    logic            row;
    logic            above;
    logic            older;
    logic            top;
    logic            store;
    logic [ColW-1:0] column;
    logic            emit;
    logic            last;
  } step_t;
  step_t       step1_q, step2_q;
  logic [2:0]  valid_q;
  logic        there_q, first_q, end_q, emit3_q, last3_q, store3_q;
  logic [63:0] word_q;
  logic [ColW-1:0] column3_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= '0;
    else valid_q <= {valid_q[1:0], valid_i};
    word_q   <= word_i;
    there_q  <= there_i;
    first_q  <= first_i;
    end_q    <= end_i;
    step1_q  <= {row_i, above_i, older_i, top_i, store_i, column_i, emit_i, last_i};
    step2_q  <= step1_q;
    emit3_q  <= step2_q.emit && valid_q[1];
    last3_q  <= step2_q.last;
    store3_q <= step2_q.store && valid_q[1];
    column3_q <= step2_q.column;
  end

  // ---- line -------------------------------------------------------------------------------------
  logic [4*LaneW-1:0] line, line_q;
  pt_ram_sdp #(.Depth(Columns), .Width(4 * LaneW), .OutReg(1'b1)) u_line (
    .clk_i,
    .we_i(store3_q),
    .waddr_i(column3_q),
    .wdata_i(line_q),
    .re_i(valid_i),
    .raddr_i(column_i),
    .rdata_o(line)
  );

  // ---- four channels ----------------------------------------------------------------------------
  logic one_row, three_rows, one_col, three_cols;
  assign one_row = rows_i == 2'd1;
  assign three_rows = rows_i == 2'd3;
  assign one_col = cols_i == 2'd1;
  assign three_cols = cols_i == 2'd3;
  logic             before_q, pair_there_q;  // the column before lies in the map; one of two does
  assign argmax_valid_o = emit3_q && !back_i;
  assign argmax_last_o = last3_q;
  always_ff @(posedge clk_i) begin
    if (valid_q[0]) begin
      before_q     <= there_q;
      pair_there_q <= there_q || (before_q && !first_q);
    end
  end
  for (genvar l = 0; l < 4; l++) begin : g_lane
    // Columns, forward: the last column, the maximum of the last two, that of the window.
    logic signed [15:0] x, before_x_q, pair_x_q, pair_x, h, h_q;
    logic               pair_second_q, pair_second, third;
    logic [1:0]         h_column, h_column_q;
    assign x = word_q[16*l+:16];
    assign pair_second = one_col || first_q || !before_q || (there_q && x > before_x_q);
    assign pair_x = pair_second ? x : before_x_q;
    assign third = first_q || !pair_there_q || (there_q && x > pair_x_q);
    always_comb begin
      h = pair_x;
      h_column = {1'b0, pair_second && !one_col};
      if (three_cols) begin
        h = third ? x : pair_x_q;
        h_column = third ? 2'd2 : {1'b0, pair_second_q};
      end
    end
    // Columns, backward: what gradients of columns before leave for this one and the next, by row.
    // Zeros come from the resets of registers, which cost nothing.
    logic signed [ThreeW-1:0] d_q [3];
    for (genvar r = 0; r < 3; r++) begin : g_row
      logic signed [15:0] own_q [3];
      logic signed [15:0] to_next_q;
      logic signed [16:0] to_this_q;
      for (genvar c = 0; c < 3; c++) begin : g_column
        always_ff @(posedge clk_i) begin
          own_q[c] <= word_i[16*l+:16];
          if (!back_i || !there_i || places_i[l] != 4'(3 * r + c)) own_q[c] <= 16'sd0;
        end
      end
      always_ff @(posedge clk_i) begin
        if (valid_q[0]) begin
          d_q[r]    <= ThreeW'(own_q[0]) + ThreeW'(to_this_q);
          to_this_q <= 17'(own_q[1]) + 17'(to_next_q);
          to_next_q <= own_q[2];
        end
        if (start_i || (valid_q[0] && end_q)) begin
          to_this_q <= '0;
          to_next_q <= '0;
        end
        if (start_i) d_q[r] <= '0;
      end
    end
    always_ff @(posedge clk_i) begin
      if (valid_q[0]) begin
        before_x_q    <= x;
        pair_x_q      <= pair_x;
        pair_second_q <= pair_second;
        h_q           <= h;
        h_column_q    <= h_column;
      end
    end

    // Rows.
    logic [LaneW-1:0]         old, next;
    logic signed [15:0]       a_x, b_x, joined, most;  // joined: max(A, h)
    logic [1:0]               a_column, b_column, joined_column;
    logic                     over_a, over_b;
    logic signed [SixW-1:0]   p, sum;
    logic signed [ThreeW-1:0] q;
    logic signed [SixW-1:0]   value;
    logic [1:0]               row, row_q, column, column_q;
    assign old = line[LaneW*l+:LaneW];
    assign {b_column, b_x, a_column, a_x} = old;
    assign p = {old[35] ? old[17] : old[33], old[17:0]};
    assign q = {old[34], old[34] ^ (old[35] & !old[33]), old[34] ^ (old[35] & old[33]), old[32:18]};
    assign over_a = one_row || !step2_q.above || (step2_q.row && h_q > a_x);
    assign over_b = !step2_q.older || (step2_q.row && h_q > b_x);
    assign joined = over_a ? h_q : a_x;
    assign joined_column = over_a ? h_column_q : a_column;
    // Forward d_q is 0: the sum is h.
    assign sum = SixW'(d_q[1]) + (!back_i ? SixW'(h_q) : step2_q.top ? '0 : SixW'(q));
    assign most = !three_rows ? joined : over_b ? h_q : b_x;
    always_comb begin
      value = SixW'(most);
      row = {1'b0, over_a && !one_row};
      column = joined_column;
      if (three_rows) begin
        row = over_b ? 2'd2 : {1'b0, &b_column};
        column = over_b ? h_column_q : (&b_column) ? a_column : b_column;
      end
      if (back_i) value = p;
      if (back_i && step2_q.top) value = '0;
      next = {over_a ? 2'd3 : a_column, joined, h_column_q, sum[15:0]};
      if (back_i) next = packed_sums(d_q[2], sum);
    end
    assign value_o[l] = on_i ? {!value[SixW-1], value[SixW-2:0]} : '0;
    always_ff @(posedge clk_i) begin
      line_q[LaneW*l+:LaneW] <= next;
      more_o[l]  <= on_i ? {1'b1, !d_q[0][ThreeW-1], d_q[0]} : '0;
      row_q      <= row;
      column_q   <= column;
    end
    assign argmax_o[l] = {2'd0, column_q} + {2'd0, row_q} + {1'b0, row_q, 1'b0};
  end

  // Codes are within +-2**15. With Q outside +-2**15, two or three of the windows that begin in this
  // row went there, and P is within +-2**17: its sign is left out, and one bit less of Q.
  function automatic logic [LaneW-1:0] packed_sums(input logic [ThreeW-1:0] q,
                                                   input logic [SixW-1:0] p);
    logic far;
    far = q[17] != q[16] || q[17] != q[15];
    packed_sums = {far, q[17], far ? q[17] == q[16] : p[18], q[14:0], p[17:0]};
  endfunction

  logic unused;
  assign unused = &{1'b0, valid_q[2]};
endmodule
