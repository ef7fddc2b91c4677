// SPDX-License-Identifier: Apache-2.0
// Arithmetic of the pooling pass, four channels at a time: maxima of windows column by column and
// row by row, or sums of gradients the same way back.
//
//   forward   h = maximum of 2 or 3 columns; A: h of the row before, B: maximum of the two before
//             result = max(A, h) or max(B, h);  then B := max(A, h), A := h
//   backward  d[0..2] = gradients of this column for rows 0..2 of the windows that begin here
//             result = P + d[0];  then P := Q + d[1], Q := d[2]
//
//   cycle 0 step; line is read | 1 columns | 2 rows | 3 line is written | 3..5 round | out
//
// Contract: a pipeline without stalls; modes are stable while steps are inside. A step finds what
// steps of 4 or more cycles before left in the line. valid_o comes 6 cycles after emit_i with
// valid_i, winners_valid_o 3 cycles.
module pt_pool_core #(
  // Columns of the line, 16..4096.
  parameter int unsigned Columns = 512
) (
  input  logic                       clk_i,
  input  logic                       rst_ni,
  input  logic                       start_i,    // zeroes measure and saturations
  input  logic                       back_i,     // gradients
  input  logic                       wide_i,     // windows of 3, else 2
  input  logic [5:0]                 shift_i,    // stable from 2 cycles before the first step
  // a step
  input  logic                       valid_i,
  input  logic [63:0]                word_i,     // of the map, or a gradient
  input  logic                       there_i,    // there is a word; else outside, or no gradient
  input  logic [15:0]                places_i,   // winners of the gradient
  input  logic                       first_i,    // first column of a row
  input  logic                       end_i,      // last column of a row
  input  logic                       row_i,      // the row lies in the map
  input  logic                       above_i,    // the row before does, too
  input  logic                       older_i,    // one of the two rows before does
  input  logic                       top_i,      // first row of a plane
  input  logic                       store_i,    // the line is written
  input  logic [$clog2(Columns)-1:0] column_i,   // place in the line
  input  logic                       emit_i,     // there is a result
  input  logic                       last_i,     // passed on to winners_last_o
  // results
  output logic                       winners_valid_o,
  output logic                       winners_last_o,
  output logic [15:0]                winners_o,  // 3 * row + column in the window, 4 bits each
  output logic                       valid_o,
  output logic [63:0]                data_o,
  output logic [47:0]                measure_o,
  output logic [31:0]                saturations_o
);
  if (Columns < 16 || Columns > 4096) begin : g_check
    $fatal(1, "pt_pool_core: Columns must be 16..4096");
  end
  localparam int unsigned ColW = $clog2(Columns);
  // Bits of sums: of 3, of 6 and of 9 codes.
  localparam int unsigned ThreeW = 18, SixW = 19, NineW = 20;
  localparam int unsigned LaneW = ThreeW + SixW;
  // Bits that are rounded; from this shift on every sum of 9 codes becomes 0.
  localparam int unsigned RoundW = NineW + 1;
  localparam int unsigned ShW = 5;

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
  logic             before_q, pair_there_q;  // the column before lies in the map; one of two does
  logic [3:0][RoundW-1:0] total_q;
  assign winners_valid_o = emit3_q && !back_i;
  assign winners_last_o = last3_q;
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
    assign pair_second = first_q || !before_q || (there_q && x > before_x_q);
    assign pair_x = pair_second ? x : before_x_q;
    assign third = first_q || !pair_there_q || (there_q && x > pair_x_q);
    always_comb begin
      h = pair_x;
      h_column = {1'b0, pair_second};
      if (wide_i) begin
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
          if (!there_i || places_i[4*l+:4] != 4'(3 * r + c)) own_q[c] <= 16'sd0;
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

    // Rows: the line holds {B row, B column, B, A column, A}, or {Q, P}.
    logic signed [15:0]       a_x, b_x;
    logic [1:0]               a_column, b_column;
    logic                     b_row, over_a, over_b;
    logic signed [SixW-1:0]   p;
    logic signed [ThreeW-1:0] q;
    logic [18:0]              joined;  // row, column and value of max(A, h)
    logic signed [NineW-1:0]  total;
    logic [LaneW-1:0]         next;
    logic [1:0]               row, row_q, column, column_q;
    assign {b_row, b_column, b_x, a_column, a_x} = line[LaneW*l+:LaneW];
    assign q = step2_q.top ? '0 : line[LaneW*l+SixW+:ThreeW];
    assign p = step2_q.top ? '0 : line[LaneW*l+:SixW];
    assign over_a = !step2_q.above || (step2_q.row && h_q > a_x);
    assign over_b = !step2_q.older || (step2_q.row && h_q > b_x);
    assign joined = over_a ? {1'b1, h_column_q, h_q} : {1'b0, a_column, a_x};
    always_comb begin
      next = {joined, h_column_q, h_q};
      total = NineW'($signed(joined[15:0]));
      row = {1'b0, joined[18]};
      column = joined[17:16];
      if (wide_i) begin
        total = over_b ? NineW'(h_q) : NineW'(b_x);
        row = over_b ? 2'd2 : {1'b0, b_row};
        column = over_b ? h_column_q : b_column;
      end
      if (back_i) begin
        next = {d_q[2], SixW'(q) + SixW'(d_q[1])};
        total = NineW'(p) + NineW'(d_q[0]);
      end
    end
    always_ff @(posedge clk_i) begin
      line_q[LaneW*l+:LaneW] <= next;
      total_q[l] <= RoundW'(total);
      row_q      <= row;
      column_q   <= column;
    end
    assign winners_o[4*l+:4] = {2'd0, column_q} + {2'd0, row_q} + {1'b0, row_q, 1'b0};
  end

  // ---- results ----------------------------------------------------------------------------------
  logic [3:0]     sat;
  logic [ShW-1:0] shift_q;
  always_ff @(posedge clk_i) shift_q <= shift_i < 6'(NineW) ? shift_i[ShW-1:0] : ShW'(NineW);
  pt_round_sat #(.InW(RoundW), .OutW(16), .ShW(ShW), .Lanes(4)) u_round (
    .clk_i,
    .rst_ni,
    .valid_i(emit3_q),
    .shift_i(shift_q),
    .data_i(total_q),
    .valid_o,
    .data_o,
    .sat_o(sat)
  );
  logic [3:0][NineW-2:0] magnitude;  // sign excluded
  logic [NineW-2:0]      measure_q;
  for (genvar l = 0; l < 4; l++) begin : g_magnitude
    assign magnitude[l] = total_q[l][NineW-2:0] ^ {(NineW-1){total_q[l][NineW-1]}};
  end
  assign measure_o = 48'(measure_q);
  always_ff @(posedge clk_i) begin
    if (start_i) begin
      measure_q     <= '0;
      saturations_o <= '0;
    end else begin
      if (emit3_q) begin
        measure_q <= measure_q | magnitude[0] | magnitude[1] | magnitude[2] | magnitude[3];
      end
      if (valid_o) begin
        saturations_o <= saturations_o + 32'(sat[0]) + 32'(sat[1]) + 32'(sat[2]) + 32'(sat[3]);
      end
    end
  end

  logic unused;
  assign unused = &{1'b0, valid_q[2]};
endmodule
