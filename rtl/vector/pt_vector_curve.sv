// SPDX-License-Identifier: Apache-2.0
// Factors of map a that differ from word to word: slopes of a curve's segments, or map b.
//
//   CURVE    factor = slope of a's segment, offset = its offset where live_i is set
//   SLOPE    factor = slope of b's segment, offset = 0
//   PRODUCT  factor = b,                    offset = 0
//
//   cycle 0 words in | 1 codes | 2 segment | 3 memory, words out | 4 factor | 6 offset
//
// Contract: a pipeline without stalls. With a factor words come out 3 cycles after they went in,
// factors a cycle and offsets 3 cycles behind them, as pt_vector_math takes its operands; with
// COEFFICIENT words pass in the same cycle and nothing else counts. load_i: word_i is the next
// segment of the table, from start_i on; mode and table are stable while words are inside.
module pt_vector_curve (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             start_i,
  input  logic [1:0]       factor_i,  // Factor
  input  logic [3:0]       log_i,     // binary logarithm of the segments, 3..9
  input  logic             load_i,
  input  logic [63:0]      word_i,
  input  logic             valid_i,
  input  logic             first_i,   // of a plane
  input  logic             last_i,
  input  logic [3:0]       live_i,    // lanes that hold channels
  input  logic [63:0]      a_i,
  input  logic [63:0]      b_i,
  output logic             valid_o,
  output logic             first_o,
  output logic             last_o,
  output logic [63:0]      a_o,
  output logic [63:0]      b_o,
  output logic [3:0][23:0] factor_o,
  output logic [3:0][47:0] offset_o
);
  localparam int unsigned Segments = 1 << pt_abi_pkg::MaxSegmentBits;
  localparam int unsigned Delay = 3;
  localparam int unsigned SlopeBits = pt_abi_pkg::SlopeBits;
  localparam int unsigned OffsetBits = pt_abi_pkg::OffsetBits;
  localparam int unsigned RowBits = SlopeBits + OffsetBits;
  logic                 on, curve, slope, product;
  pt_abi_pkg::segment_t segment;
  assign on = factor_i != 2'(pt_abi_pkg::FactorCoefficient);
  assign curve = factor_i == 2'(pt_abi_pkg::FactorCurve);
  assign slope = factor_i == 2'(pt_abi_pkg::FactorSlope);
  assign product = factor_i == 2'(pt_abi_pkg::FactorProduct);
  assign segment = word_i;

  // ---- the words, beside their look-up ----------------------------------------------------------
  logic [Delay-1:0]       valid_q, first_q, last_q;
  logic [Delay-1:0][63:0] a_q, b_q;
  logic [Delay:0][3:0]    live_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= '0;
    else valid_q <= {valid_q[Delay-2:0], valid_i && on};
    first_q <= {first_q[Delay-2:0], first_i};
    last_q  <= {last_q[Delay-2:0], last_i};
    a_q     <= {a_q[Delay-2:0], a_i};
    b_q     <= {b_q[Delay-2:0], b_i};
    live_q  <= {live_q[Delay-1:0], live_i & {4{curve}}};
  end
  assign valid_o = on ? valid_q[Delay-1] : valid_i;
  assign first_o = on ? first_q[Delay-1] : first_i;
  assign last_o = on ? last_q[Delay-1] : last_i;
  assign a_o = on ? a_q[Delay-1] : a_i;
  assign b_o = on ? b_q[Delay-1] : b_i;

  // ---- table ------------------------------------------------------------------------------------
  // Of 2**log segments those of negative codes stand behind the others: the index, modulo their
  // number, is the address.
  logic [pt_abi_pkg::MaxSegmentBits-1:0] place_q;
  logic [pt_abi_pkg::WidthBits-1:0]      width_q;
  logic [pt_abi_pkg::MaxSegmentBits-2:0] most_q;  // the last segment
  always_ff @(posedge clk_i) begin
    if (start_i) place_q <= '0;
    else if (load_i) place_q <= place_q + 1'b1;
    if (load_i) width_q <= segment.width;
    most_q <= ~({(pt_abi_pkg::MaxSegmentBits-1){1'b1}} << (log_i - 4'd1));
  end

  for (genvar l = 0; l < 4; l++) begin : g_lane
    logic signed [15:0]                    code_q, index;
    logic [pt_abi_pkg::MaxSegmentBits-1:0] index_q;
    logic                                  outside;
    logic [RowBits-1:0]                    row;
    logic [SlopeBits-1:0]                  found;
    logic [OffsetBits-1:0]                 offset;
    logic signed [15:0]                    other_q;
    logic [1:0][OffsetBits-1:0]            offset_q;
    always_comb begin
      index = code_q >>> width_q;
      outside = |((index ^ {16{index[15]}}) & ~16'(most_q));
      if (outside) index = {16{index[15]}} ^ 16'(most_q);
    end
    always_ff @(posedge clk_i) begin
      code_q  <= slope ? b_i[16*l+:16] : a_i[16*l+:16];
      index_q <= index[pt_abi_pkg::MaxSegmentBits-1:0] & {most_q, 1'b1};
      other_q <= b_q[Delay-1][16*l+:16];
    end
    pt_ram_sdp #(.Depth(Segments), .Width(RowBits)) u_table (
      .clk_i,
      .we_i(load_i),
      .waddr_i(place_q),
      .wdata_i({segment.c, segment.a}),
      .re_i(1'b1),
      .raddr_i(index_q),
      .rdata_o(row)
    );
    assign {offset, found} = row;
    assign factor_o[l] = product ? 24'(other_q) : 24'($signed(found));
    always_ff @(posedge clk_i) begin
      offset_q <= {offset_q[0], live_q[Delay][l] ? offset : '0};
    end
    assign offset_o[l] = 48'($signed(offset_q[1]));
  end
endmodule
