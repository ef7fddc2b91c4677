// SPDX-License-Identifier: Apache-2.0
// All rows of the array as one block of loops: stands for the pt_mac_row instances in simulations.
//
// Contract: what Tm instances of pt_mac_row give, cycle by cycle, except that group_o shows a group
// only when drain_i was high two cycles after its racc_i and keeps it until the next one. The
// loops over arrays are what a C++ compiler turns into vector instructions; registers of their own
// in 48 cascades would be evaluated one by one.
module pt_mac_lanes #(
  // Output lanes, pixel lanes, reduction lanes.
  parameter int unsigned Tm = 16,
  parameter int unsigned Tp = 3,
  parameter int unsigned Tr = 4,
  // Width of an operand in bits.
  parameter int unsigned OpW = 16,
  // Width of an accumulator in bits, up to 64.
  parameter int unsigned AccW = 48,
  // Accumulator groups, power of two.
  parameter int unsigned Depth = 512
) (
  input  logic                     clk_i,
  input  logic [Tp*Tr*OpW-1:0]     v_i,
  input  logic [Tm*Tr*OpW-1:0]     s_i,
  input  logic [Tr-1:0]            swap_i,
  input  logic [$clog2(Depth)-1:0] racc_i,
  input  logic                     clear_i,
  input  logic                     drain_i,
  input  logic                     we_i,
  input  logic [$clog2(Depth)-1:0] wacc_i,
  output logic [Tp*Tm*AccW-1:0]    group_o
);
  // Lane p*Tm + m. Arrays have a power of two of lanes, so that no index needs a check.
  localparam int unsigned Lanes = Tp * Tm;
  localparam int unsigned LaneW = $clog2(Lanes);
  localparam int unsigned All = 1 << LaneW;
  localparam int unsigned RowW = $clog2(Tm);

  if (OpW != 16 || AccW > 64 || Tm != 1 << RowW) begin : g_check
    $fatal(1, "pt_mac_lanes: OpW must be 16, AccW up to 64, Tm a power of two");
  end

  // Sums have 64 bits: only the lower AccW matter, the others never flow into them.
  logic [63:0]        mem [Depth][All];
  logic [63:0]        read_q [All];
  logic [63:0]        out_q [All];
  logic [63:0]        acc_q [All];
  logic [63:0]        p_q [Tr][All];
  logic [63:0]        sum_q [All];
  logic signed [31:0] m_q [Tr][All];
  logic signed [15:0] a_q [Tr][4];
  logic signed [15:0] b_q [Tr][1<<RowW];
  logic [Lanes*AccW-1:0] group;

  // Registers from the last to the first: each takes the old value of the one before it. The loop
  // variables are local and wide, the loops stay loops: all that for the C++ compiler.
  task automatic shift_sums();
    logic [31:0] l;
    if (we_i) begin
      /* verilator unroll_disable */
      for (l = 0; l < Lanes; l++) mem[wacc_i][l[LaneW-1:0]] = sum_q[l[LaneW-1:0]];
    end
    /* verilator unroll_disable */
    for (l = 0; l < Lanes; l++) sum_q[l[LaneW-1:0]] = p_q[Tr-1][l[LaneW-1:0]];
    for (int unsigned t = Tr - 1; t > 0; t--) begin
      /* verilator unroll_disable */
      for (l = 0; l < Lanes; l++) begin
        p_q[t][l[LaneW-1:0]] = p_q[t-1][l[LaneW-1:0]] + 64'(m_q[t][l[LaneW-1:0]]);
      end
    end
    /* verilator unroll_disable */
    for (l = 0; l < Lanes; l++) begin
      p_q[0][l[LaneW-1:0]] = acc_q[l[LaneW-1:0]] + 64'(m_q[0][l[LaneW-1:0]]);
    end
  endtask

  task automatic multiply();
    logic [31:0] m;
    for (int unsigned t = 0; t < Tr; t++) begin
      for (int unsigned p = 0; p < Tp; p++) begin
        /* verilator unroll_disable */
        for (m = 0; m < Tm; m++) begin
          m_q[t][LaneW'(p*Tm)+m[LaneW-1:0]] = 32'(a_q[t][p]) * 32'(b_q[t][m[RowW-1:0]]);
        end
      end
    end
  endtask

  task automatic shift_starts();
    logic [31:0] l;
    /* verilator unroll_disable */
    for (l = 0; l < Lanes; l++) acc_q[l[LaneW-1:0]] = clear_i ? 64'd0 : out_q[l[LaneW-1:0]];
    /* verilator unroll_disable */
    for (l = 0; l < Lanes; l++) out_q[l[LaneW-1:0]] = read_q[l[LaneW-1:0]];
    /* verilator unroll_disable */
    for (l = 0; l < Lanes; l++) read_q[l[LaneW-1:0]] = mem[racc_i][l[LaneW-1:0]];
  endtask

  /* verilator lint_off BLKSEQ */
  always_ff @(posedge clk_i) begin
    if (drain_i) begin
      for (int unsigned l = 0; l < Lanes; l++) group[l*AccW+:AccW] = read_q[l][AccW-1:0];
      group_o <= group;
    end
    shift_sums();
    multiply();
    for (int unsigned t = 0; t < Tr; t++) begin
      for (int unsigned p = 0; p < Tp; p++) a_q[t][p] = v_i[(p*Tr+t)*OpW+:OpW];
      if (swap_i[t]) begin
        for (int unsigned m = 0; m < Tm; m++) b_q[t][m] = s_i[(m*Tr+t)*OpW+:OpW];
      end
    end
    shift_starts();
  end
  /* verilator lint_on BLKSEQ */
endmodule
