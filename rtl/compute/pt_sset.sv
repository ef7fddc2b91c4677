// SPDX-License-Identifier: Apache-2.0
// Ring of S words and the next S set: Tm words are spread over the array's Tm x 4 stationary values.
//
//   row form:    word k -> S[m = k][t = 0..3]
//   column form: word 4i + t -> S[m = 4i .. 4i+3][t]
//
// Contract: words enter in order (we_i; skip_i moves the write position without data). space_o is low when
// fewer than RingMargin words are free. words_o: words that have arrived and are not given back, without free_i
// those of the next cycle. go_i starts the transfer of the set at
// ring position offset_i behind the current chunk; s_o is complete GoLatency = 12 cycles later and must not be
// changed by another go_i for 12 cycles. free_i (with or after the last go_i of a chunk) gives the chunk back.
module pt_sset #(
  // Words of the ring, power of two, 64..8192.
  parameter int unsigned Depth = 2048,
  // Output lanes of the array: 16 or 32; Tm/8 words are read per cycle.
  parameter int unsigned Tm = 16
) (
  input  logic                clk_i,
  input  logic                rst_ni,
  input  logic                we_i,
  input  logic [63:0]         data_i,
  input  logic [1:0]          skip_i,
  output logic                space_o,
  input  logic [15:0]         chunk_i,
  output logic [15:0]         words_o,
  input  logic                go_i,
  input  logic [15:0]         offset_i,
  input  logic                free_i,
  input  logic                col_i,
  input  logic [15:0]         stride_i,
  input  logic [2:0]          live_i,
  output logic [Tm*4*16-1:0]  s_o
);
  localparam int unsigned AddrW = $clog2(Depth);

  // Words per cycle, and banks of the ring: a set takes eight cycles.
  localparam int unsigned Banks = Tm / 8;
  localparam int unsigned BankW = $clog2(Banks);
  localparam int unsigned LineW = AddrW - BankW;

  if (Tm != 16 && Tm != 32) begin : g_check1
    $fatal(1, "pt_sset: Tm must be 16 or 32");
  end
  if (Depth < pt_abi_pkg::SRingWordsLeast || Depth > pt_abi_pkg::SRingWordsMost) begin : g_check2
    $fatal(1, "pt_sset: Depth must be %0d..%0d", pt_abi_pkg::SRingWordsLeast,
           pt_abi_pkg::SRingWordsMost);
  end

  // Write side. Chunks are multiples of 4 words, so the banks hold neighbouring words of a line.
  logic [AddrW-1:0] wptr_q;
  logic [AddrW:0]   ready_q;   // words that have arrived and are not consumed
  logic [AddrW:0]   taken_q;   // words that occupy the ring
  logic [AddrW:0]   arrived;
  logic [2:0]       moved;
  logic [15:0]      freed;
  assign moved = 3'(we_i) + 3'(skip_i);
  assign freed = free_i ? chunk_i : 16'd0;
  assign arrived = ready_q + (AddrW + 1)'(moved);

  // A chunk is given back to the writer only when its last set has been read.
  logic [8:0]       free_q;
  logic [15:0]      free_words_q [9];
  assign words_o = 16'(arrived);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      wptr_q  <= '0;
      ready_q <= '0;
      taken_q <= '0;
      free_q  <= '0;
      space_o <= 1'b0;
    end else begin
      wptr_q  <= wptr_q + AddrW'(moved);
      ready_q <= arrived - freed[AddrW:0];
      taken_q <= taken_q + (AddrW + 1)'(moved)
                 - (free_q[8] ? free_words_q[8][AddrW:0] : (AddrW + 1)'(0));
      free_q  <= {free_q[7:0], free_i};
      space_o <= taken_q + (AddrW + 1)'(pt_abi_pkg::RingMargin) < (AddrW + 1)'(Depth);
    end
    free_words_q[0] <= chunk_i;
    for (int unsigned k = 1; k < 9; k++) free_words_q[k] <= free_words_q[k-1];
  end

  // Read side: eight lines of Banks words. With two banks a quad (four words) is two lines.
  logic [AddrW-1:0] base_q;
  logic [LineW-1:0] line_q, jump_q;
  logic             active_q, col_q, quad_end;
  logic [2:0]       count_q, live_q;
  logic [AddrW-1:0] set_base;
  assign set_base = base_q + offset_i[AddrW-1:0];
  assign quad_end = Banks == 4 || count_q[0];

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      base_q   <= '0;
      active_q <= 1'b0;
    end else begin
      if (free_i) base_q <= base_q + chunk_i[AddrW-1:0];
      if (go_i) active_q <= 1'b1;
      else if (count_q == 3'd7) active_q <= 1'b0;
    end
    if (go_i) begin
      line_q  <= set_base[AddrW-1:BankW];
      jump_q  <= col_i ? stride_i[AddrW-1:BankW] - LineW'(4 / Banks - 1) : LineW'(1);
      col_q   <= col_i;
      live_q  <= live_i;
      count_q <= 3'd0;
    end else if (active_q) begin
      count_q <= count_q + 3'd1;
      line_q  <= line_q + (quad_end ? jump_q : LineW'(1));
    end
  end

  logic [63:0] words [Banks];
  for (genvar b = 0; b < Banks; b++) begin : g_bank
    pt_ram_sdp #(.Depth(Depth / Banks), .Width(64), .OutReg(1'b1)) u_bank (
      .clk_i,
      .we_i(we_i && wptr_q[BankW-1:0] == BankW'(b)),
      .waddr_i(wptr_q[AddrW-1:BankW]),
      .wdata_i(data_i),
      .re_i(1'b1),
      .raddr_i(line_q),
      .rdata_o(words[b])
    );
  end

  // Two cycles of memory later: write the line into the next set; dead columns become zero.
  logic [1:0] active_d_q;
  logic [2:0] count_d_q [2];
  logic       col_d_q [2];
  logic [2:0] live_d_q [2];
  always_ff @(posedge clk_i) begin
    if (!rst_ni) active_d_q <= 2'b00;
    else active_d_q <= {active_d_q[0], active_q};
    count_d_q[0] <= count_q;
    count_d_q[1] <= count_d_q[0];
    col_d_q[0] <= col_q;
    col_d_q[1] <= col_d_q[0];
    live_d_q[0] <= live_q;
    live_d_q[1] <= live_d_q[0];
  end

  logic [63:0] live [Banks];
  for (genvar b = 0; b < Banks; b++) begin : g_live
    logic [2:0] column;
    assign column = Banks == 4 ? 3'(b) : {1'b0, count_d_q[1][0], 1'b0} + 3'(b);
    assign live[b] = (live_d_q[1] > column) ? words[b] : 64'd0;
  end

  for (genvar m = 0; m < Tm; m++) begin : g_m
    for (genvar t = 0; t < 4; t++) begin : g_t
      logic [15:0] value_q, row_value, col_value;
      logic        row_hit, col_hit;
      assign row_hit = count_d_q[1] == 3'(m / Banks);
      assign col_hit = count_d_q[1] == 3'((4 * (m / 4) + t) / Banks);
      assign row_value = live[m%Banks][16*t+:16];
      assign col_value = live[t%Banks][16*(m%4)+:16];
      always_ff @(posedge clk_i) begin
        if (active_d_q[1] && (col_d_q[1] ? col_hit : row_hit)) begin
          value_q <= col_d_q[1] ? col_value : row_value;
        end
      end
      assign s_o[(m*4+t)*16+:16] = value_q;
    end
  end

  logic unused;
  assign unused = &{1'b0, offset_i, stride_i, freed, chunk_i, set_base[BankW-1:0]};
endmodule
