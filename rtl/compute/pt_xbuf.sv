// SPDX-License-Identifier: Apache-2.0
// X tiles and V fetch: three banks of words, read at three positions per cycle, turned into the array's V.
//
//   position 3q + r -> bank r, word q.      lane p reads position table[p] + offset; the three banks must differ
//
// Contract: offset_i (two cycles after step) and rows_i (the table row, same cycle) give v_o 10 cycles later.
// In window mode four steps in a row (quarter_i 0..3) collect words W[t][p]; V of step k is lane k of all words.
// Both modes have the same latency; steps of a quarter set must not be separated.
module pt_xbuf #(
  // Words of one bank, power of two.
  parameter int unsigned BankWords = 4096,
  // Pixel lanes and banks: 3.
  parameter int unsigned Tp = 3,
  // Reduction lanes: 4, the channels of a word.
  parameter int unsigned Tr = 4
) (
  input  logic                                clk_i,
  input  logic                                we_i,
  input  logic [1:0]                          wbank_i,
  input  logic [$clog2(BankWords)-1:0]        waddr_i,
  input  logic [63:0]                         wdata_i,
  input  logic [Tp*($clog2(BankWords)+2)-1:0] rows_i,
  input  logic [$clog2(BankWords)+1:0]        offset_i,
  input  logic                                window_i,
  input  logic                                mute_i,
  input  logic [1:0]                          quarter_i,
  output logic [Tp*Tr*16-1:0]                 v_o
);
  localparam int unsigned QW = $clog2(BankWords);
  localparam int unsigned PairW = QW + 2;
  // Cycles from the words' arrival to V: the four steps of a window.
  localparam int unsigned Wait = 4;

  if (Tp != 3) begin : g_check1
    $fatal(1, "pt_xbuf: Tp must be 3");
  end
  if (Tr != 4) begin : g_check2
    $fatal(1, "pt_xbuf: Tr must be 4");
  end

  // Stage 1: positions. Stage 2: bank addresses.
  logic [PairW-1:0] sum [Tp];
  logic [PairW-1:0] pos_q [Tp];
  logic [QW-1:0]    addr_q [Tp];
  logic [1:0]       bank_q [Tp];
  for (genvar p = 0; p < Tp; p++) begin : g_lane
    pt_add3 #(.QW(QW)) u_add (
      .a_i(rows_i[p*PairW+:PairW]),
      .b_i(offset_i),
      .sum_o(sum[p])
    );
    always_ff @(posedge clk_i) begin
      pos_q[p]  <= sum[p];
      bank_q[p] <= pos_q[p][1:0];
    end
  end
  for (genvar b = 0; b < Tp; b++) begin : g_addr
    always_ff @(posedge clk_i) begin
      if (pos_q[0][1:0] == 2'(b)) addr_q[b] <= pos_q[0][PairW-1:2];
      else if (pos_q[1][1:0] == 2'(b)) addr_q[b] <= pos_q[1][PairW-1:2];
      else addr_q[b] <= pos_q[2][PairW-1:2];
    end
  end

  // Stages 3, 4: memory.
  logic [63:0] bank_data [Tp];
  for (genvar b = 0; b < Tp; b++) begin : g_bank
    pt_ram_sdp #(.Depth(BankWords), .Width(64), .OutReg(1'b1)) u_bank (
      .clk_i,
      .we_i(we_i && wbank_i == 2'(b)),
      .waddr_i,
      .wdata_i,
      .re_i(1'b1),
      .raddr_i(addr_q[b]),
      .rdata_o(bank_data[b])
    );
  end

  // Control that travels along: index k = k cycles after the inputs.
  localparam int unsigned Stages = 9;
  logic [1:0]  bank_d1_q [Tp];
  logic [1:0]  bank_d2_q [Tp];
  logic        window_q [Stages+1];
  logic        mute_q [Stages+1];
  logic [1:0]  quarter_q [Stages+1];
  always_ff @(posedge clk_i) begin
    for (int unsigned p = 0; p < Tp; p++) begin
      bank_d1_q[p] <= bank_q[p];
      bank_d2_q[p] <= bank_d1_q[p];
    end
    window_q[1]  <= window_i;
    mute_q[1]    <= mute_i;
    quarter_q[1] <= quarter_i;
    for (int unsigned k = 2; k <= Stages; k++) begin
      window_q[k]  <= window_q[k-1];
      mute_q[k]    <= mute_q[k-1];
      quarter_q[k] <= quarter_q[k-1];
    end
  end

  // Stage 5: back to lanes.
  logic [63:0] word_q [Tp];
  always_ff @(posedge clk_i) begin
    for (int unsigned p = 0; p < Tp; p++) begin
      unique case (bank_d2_q[p])
        2'd0:    word_q[p] <= bank_data[0];
        2'd1:    word_q[p] <= bank_data[1];
        default: word_q[p] <= bank_data[2];
      endcase
    end
  end

  // Stages 6..9: wait (groups) or collect and play (window).
  logic [63:0] wait_q [Wait][Tp];
  logic [63:0] take_q [3][Tp];
  logic [63:0] play_q [4][Tp];
  always_ff @(posedge clk_i) begin
    for (int unsigned p = 0; p < Tp; p++) begin
      wait_q[0][p] <= word_q[p];
      for (int unsigned k = 1; k < Wait; k++) wait_q[k][p] <= wait_q[k-1][p];
      if (window_q[5]) begin
        for (int unsigned t = 0; t < 3; t++) begin
          if (quarter_q[5] == 2'(t)) take_q[t][p] <= word_q[p];
        end
        if (quarter_q[5] == 2'd3) begin
          for (int unsigned t = 0; t < 3; t++) play_q[t][p] <= take_q[t][p];
          play_q[3][p] <= word_q[p];
        end
      end
    end
  end

  // Stage 10: V.
  for (genvar p = 0; p < Tp; p++) begin : g_v
    for (genvar t = 0; t < Tr; t++) begin : g_t
      logic [15:0] played, v_q;
      always_comb begin
        unique case (quarter_q[9])
          2'd0:    played = play_q[t][p][15:0];
          2'd1:    played = play_q[t][p][31:16];
          2'd2:    played = play_q[t][p][47:32];
          default: played = play_q[t][p][63:48];
        endcase
      end
      always_ff @(posedge clk_i) begin
        if (mute_q[9]) v_q <= 16'd0;
        else v_q <= window_q[9] ? played : wait_q[Wait-1][p][16*t+:16];
      end
      assign v_o[(p*Tr+t)*16+:16] = v_q;
    end
  end
endmodule
