// SPDX-License-Identifier: Apache-2.0
// Ring of S words and the next S set: 16 words are spread over the array's Tm x 4 stationary values.
//
//   row form:    word k -> S[m = k][t = 0..3]
//   column form: word 4i + t -> S[m = 4i .. 4i+3][t]
//
// Contract: words enter in order (we_i; skip_i moves the write position without data). space_o is low when
// fewer than RingMargin words are free. avail_o: chunk_i words have arrived. go_i starts the transfer of the set at
// ring position offset_i behind the current chunk; s_o is complete GoLatency = 12 cycles later and must not be
// changed by another go_i for 12 cycles. free_i (with or after the last go_i of a chunk) gives the chunk back.
module pt_sset #(
  // Words of the ring, power of two, 64..8192.
  parameter int unsigned Depth = 2048,
  // Output lanes of the array: 16.
  parameter int unsigned Tm = 16
) (
  input  logic                clk_i,
  input  logic                rst_ni,
  input  logic                we_i,
  input  logic [63:0]         data_i,
  input  logic [1:0]          skip_i,
  output logic                space_o,
  input  logic [15:0]         chunk_i,
  output logic                avail_o,
  input  logic                go_i,
  input  logic [15:0]         offset_i,
  input  logic                free_i,
  input  logic                col_i,
  input  logic [15:0]         stride_i,
  input  logic [2:0]          live_i,
  output logic [Tm*4*16-1:0]  s_o
);
  localparam int unsigned AddrW = $clog2(Depth);

  if (Tm != 16) begin : g_check1
    $fatal(1, "pt_sset: Tm must be 16");
  end
  if (Depth < 64 || Depth > 8192) begin : g_check2
    $fatal(1, "pt_sset: Depth must be 64..8192");
  end

  // Write side. Chunks are multiples of 4 words, so even and odd words live in two memories.
  logic [AddrW-1:0] wptr_q;
  logic [AddrW:0]   ready_q;   // words that have arrived and are not consumed
  logic [AddrW:0]   taken_q;   // words that occupy the ring
  logic [2:0]       moved;
  logic [15:0]      freed;
  assign moved = 3'(we_i) + 3'(skip_i);
  assign freed = free_i ? chunk_i : 16'd0;

  // A chunk is given back to the writer only when its last set has been read.
  logic [8:0]       free_q;
  logic [15:0]      free_words_q [9];
  assign avail_o = ready_q >= chunk_i[AddrW:0];

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      wptr_q  <= '0;
      ready_q <= '0;
      taken_q <= '0;
      free_q  <= '0;
      space_o <= 1'b0;
    end else begin
      wptr_q  <= wptr_q + AddrW'(moved);
      ready_q <= ready_q + (AddrW + 1)'(moved) - freed[AddrW:0];
      taken_q <= taken_q + (AddrW + 1)'(moved)
                 - (free_q[8] ? free_words_q[8][AddrW:0] : (AddrW + 1)'(0));
      free_q  <= {free_q[7:0], free_i};
      space_o <= taken_q + (AddrW + 1)'(pt_spec_pkg::RingMargin) < (AddrW + 1)'(Depth);
    end
    free_words_q[0] <= chunk_i;
    for (int unsigned k = 1; k < 9; k++) free_words_q[k] <= free_words_q[k-1];
  end

  // Read side: eight pairs of words.
  logic [AddrW-1:0] base_q;
  logic [AddrW-2:0] pair_q, jump_q;
  logic             active_q, col_q;
  logic [2:0]       count_q, live_q;
  logic [AddrW-1:0] set_base;
  assign set_base = base_q + offset_i[AddrW-1:0];

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
      pair_q  <= set_base[AddrW-1:1];
      jump_q  <= col_i ? stride_i[AddrW-1:1] - (AddrW - 1)'(1) : (AddrW - 1)'(1);
      col_q   <= col_i;
      live_q  <= live_i;
      count_q <= 3'd0;
    end else if (active_q) begin
      count_q <= count_q + 3'd1;
      pair_q  <= pair_q + (count_q[0] ? jump_q : (AddrW - 1)'(1));
    end
  end

  logic [63:0] even, odd;
  pt_ram_sdp #(.Depth(Depth / 2), .Width(64), .OutReg(1'b1)) u_even (
    .clk_i,
    .we_i(we_i & ~wptr_q[0]),
    .waddr_i(wptr_q[AddrW-1:1]),
    .wdata_i(data_i),
    .re_i(1'b1),
    .raddr_i(pair_q),
    .rdata_o(even)
  );
  pt_ram_sdp #(.Depth(Depth / 2), .Width(64), .OutReg(1'b1)) u_odd (
    .clk_i,
    .we_i(we_i & wptr_q[0]),
    .waddr_i(wptr_q[AddrW-1:1]),
    .wdata_i(data_i),
    .re_i(1'b1),
    .raddr_i(pair_q),
    .rdata_o(odd)
  );

  // Two cycles of memory later: write the pair into the next set; dead columns become zero.
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

  logic [63:0] word0, word1;
  logic [2:0]  column;
  assign column = {1'b0, count_d_q[1][0], 1'b0};
  assign word0 = (live_d_q[1] > column) ? even : 64'd0;
  assign word1 = (live_d_q[1] > column + 3'd1) ? odd : 64'd0;

  for (genvar m = 0; m < Tm; m++) begin : g_m
    for (genvar t = 0; t < 4; t++) begin : g_t
      logic [15:0] value_q, row_value, col_value;
      logic        row_hit, col_hit;
      assign row_hit = count_d_q[1] == 3'(m / 2);
      assign col_hit = count_d_q[1] == 3'(2 * (m / 4) + t / 2);
      assign row_value = (m % 2 == 0) ? word0[16*t+:16] : word1[16*t+:16];
      assign col_value = (t % 2 == 0) ? word0[16*(m%4)+:16] : word1[16*(m%4)+:16];
      always_ff @(posedge clk_i) begin
        if (active_d_q[1] && (col_d_q[1] ? col_hit : row_hit)) begin
          value_q <= col_d_q[1] ? col_value : row_value;
        end
      end
      assign s_o[(m*4+t)*16+:16] = value_q;
    end
  end

  logic unused;
  assign unused = &{1'b0, offset_i, stride_i, freed, chunk_i, set_base[0]};
endmodule
