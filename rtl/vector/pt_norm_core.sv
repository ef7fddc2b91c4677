// SPDX-License-Identifier: Apache-2.0
// Runs the micro-program of a channel block: registers, scratch, output words, one ALU.
//
//   program --> instruction --> 4 channels, a cycle each --> ALU (6 cycles) --> registers or
//                   ^                                                           output words
//                   +-- waits while a register that it uses is on the way
//
// Contract: go_i starts program_i on the scratch words of half_i (word {word[2:0], channel[1:0]});
// channels that differ in the bits of join_i share the words of the channel without these bits.
// done_o is high from the end of a program to the next go_i. exponents_i are 32 above those of the
// contract. Constants and exponents are stable from go_i to done_o. Output words are read with
// out_addr_i (an Out word and a channel) while done_o is high; what was not written reads as zero.
module pt_norm_core (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             clear_i,        // zeroes measure and saturations
  input  logic             go_i,
  input  logic [2:0]       program_i,
  input  logic [1:0]       join_i,
  input  logic             half_i,
  output logic             done_o,
  input  logic             scratch_we_i,
  input  logic [5:0]       scratch_addr_i, // {half, word, channel}
  input  logic [63:0]      scratch_data_i,
  output logic [63:0]      scratch_old_o,  // what stands at scratch_addr_i
  input  logic [7:0][15:0] exponents_i,
  input  pt_abi_pkg::number_t [2:0] constants_i,  // 1 / elements, unbiased, epsilon
  input  logic [31:0]      alpha_i,
  input  logic [3:0]       out_word_i,
  input  logic [1:0]       out_channel_i,
  output logic [63:0]      out_data_o,
  output logic [23:0]      out_b_o,        // B of the channel
  output logic [23:0]      out_a_o,
  output logic [46:0]      measure_o,
  output logic [31:0]      saturations_o
);
  // Cycles from the operands to the result.
  localparam int unsigned Latency = 6;
  localparam pt_abi_pkg::number_t Half = '{exponent: -16'd31, sign: 1'b0,
                                          significand: 31'h40000000};
  localparam pt_abi_pkg::number_t ThreeHalves = '{exponent: -16'd30, sign: 1'b0,
                                                 significand: 31'h60000000};
  if (pt_abi_pkg::NormConstantHalf != 4 || pt_abi_pkg::NormConstantThreeHalves != 5) begin : g_check
    $fatal(1, "pt_norm_core: constants must be three given ones, alpha, a half, three halves");
  end

  // ---- instructions -----------------------------------------------------------------------------
  logic        run_q, fetched_q, issue, stall, op_end, reads_a, reads_b, sets_reg, sets_out;
  logic [8:0]  pc_q;
  logic [1:0]  channel_q;
  logic [3:0]  op, dst, a, b, sel;
  pt_abi_pkg::norm_instruction_t instruction_q;
  logic [15:0] busy_q, set_q, out_set_q;  // registers on the way; registers and words that were set
  logic [Latency-1:0] flying_q;
  assign op = instruction_q.op;
  assign dst = instruction_q.dst;
  assign a = instruction_q.a;
  assign b = instruction_q.b;
  assign sel = instruction_q.sel;
  assign op_end = op == 4'(pt_abi_pkg::NormOpEnd);
  assign reads_b = op == 4'(pt_abi_pkg::NormOpMul) || op == 4'(pt_abi_pkg::NormOpAdd) ||
                   op == 4'(pt_abi_pkg::NormOpSub);
  assign reads_a = op >= 4'(pt_abi_pkg::NormOpMul);
  assign sets_out = op == 4'(pt_abi_pkg::NormOpFix) || op == 4'(pt_abi_pkg::NormOpPut);
  assign sets_reg = !sets_out && !op_end;
  assign stall = channel_q == 2'd0 && ((reads_a && busy_q[a]) || (reads_b && busy_q[b]) ||
                                       (sets_reg && busy_q[dst]));
  assign issue = run_q && fetched_q && !op_end && !stall;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      run_q     <= 1'b0;
      fetched_q <= 1'b0;
    end else if (go_i) begin
      run_q     <= 1'b1;
      fetched_q <= 1'b0;
    end else begin
      fetched_q <= 1'b1;
      if (fetched_q && op_end && flying_q == '0) run_q <= 1'b0;
    end
    if (go_i) pc_q <= pt_abi_pkg::norm_start_rom({6'd0, program_i});
    else if (!fetched_q || (issue && channel_q == 2'd3)) pc_q <= pc_q + 9'd1;
    if (!fetched_q || (issue && channel_q == 2'd3)) instruction_q <= pt_abi_pkg::norm_rom(pc_q);
    if (go_i) channel_q <= 2'd0;
    else if (issue) channel_q <= channel_q + 2'd1;
  end
  assign done_o = !run_q;

  // ---- registers and scratch --------------------------------------------------------------------
  logic        back, to_reg, to_out;
  logic [5:0]  back_at;
  pt_abi_pkg::number_t a_reg, b_reg, number;
  logic [63:0] word;
  pt_ram_lut #(.Depth(64), .Width(48)) u_a (
    .clk_i,
    .we_i(to_reg),
    .waddr_i(back_at),
    .wdata_i(number),
    .raddr_i({a, channel_q}),
    .rdata_o(a_reg)
  );
  pt_ram_lut #(.Depth(64), .Width(48)) u_b (
    .clk_i,
    .we_i(to_reg),
    .waddr_i(back_at),
    .wdata_i(number),
    .raddr_i({b, channel_q}),
    .rdata_o(b_reg)
  );
  pt_ram_lut #(.Depth(64), .Width(64)) u_scratch (
    .clk_i,
    .we_i(scratch_we_i),
    .waddr_i(scratch_addr_i),
    .wdata_i(scratch_data_i),
    .raddr_i({half_i, a[2:0], channel_q & ~join_i}),
    .rdata_o(word)
  );
  // A copy for the loader, which adds to what stands there.
  pt_ram_lut #(.Depth(64), .Width(64)) u_sums (
    .clk_i,
    .we_i(scratch_we_i),
    .waddr_i(scratch_addr_i),
    .wdata_i(scratch_data_i),
    .raddr_i(scratch_addr_i),
    .rdata_o(scratch_old_o)
  );

  // ---- operands ---------------------------------------------------------------------------------
  logic        is_alpha, is_int, is_const;
  pt_abi_pkg::number_t a_in, b_in;
  assign is_const = op == 4'(pt_abi_pkg::NormOpConst);
  assign is_alpha = is_const && sel == 4'(pt_abi_pkg::NormConstantAlpha);
  assign is_int = op == 4'(pt_abi_pkg::NormOpInt) || is_alpha;
  always_comb begin
    a_in = set_q[a] ? a_reg : '0;
    if (op == 4'(pt_abi_pkg::NormOpNumber)) a_in = word[$bits(pt_abi_pkg::number_t)-1:0];
    if (is_const) begin
      unique case (sel)
        4'(pt_abi_pkg::NormConstantPerElement): a_in = constants_i[0];
        4'(pt_abi_pkg::NormConstantUnbiased):   a_in = constants_i[1];
        4'(pt_abi_pkg::NormConstantEps):        a_in = constants_i[2];
        4'(pt_abi_pkg::NormConstantHalf):       a_in = Half;
        default:                                 a_in = ThreeHalves;
      endcase
    end
    b_in = set_q[b] ? b_reg : '0;
    if (!reads_b) begin
      b_in = '0;
      b_in.exponent = is_alpha ? 16'd16 : exponents_i[sel[2:0]];
    end
  end

  // ---- the unit and what comes back -------------------------------------------------------------
  logic [1:0]  width;
  logic [63:0] value;
  logic        sat;
  logic [46:0] size;
  always_comb begin
    width = 2'd2;
    if (dst == 4'(pt_abi_pkg::NormOutC)) width = 2'd1;
    if (dst == 4'(pt_abi_pkg::NormOutA) || dst == 4'(pt_abi_pkg::NormOutB)) width = 2'd0;
  end
  pt_soft_float_alu u_alu (
    .clk_i,
    .op_i(is_int ? 4'(pt_abi_pkg::NormOpInt) : op),
    .a_i(a_in),
    .b_i(b_in),
    .word_i(is_alpha ? {32'd0, alpha_i} : word),
    .width_i(width),
    .number_o(number),
    .value_o(value),
    .sat_o(sat),
    .size_o(size)
  );

  // {FIX, output word, register, destination, channel} of what is inside the unit
  localparam int unsigned TagW = 9;
  logic [Latency-1:0][TagW-1:0] tag_q;
  logic                         back_fix;
  assign back = flying_q[Latency-1];
  assign {back_fix, to_out, to_reg, back_at} =
      {tag_q[Latency-1][8:6] & {3{back}}, tag_q[Latency-1][5:0]};
  always_ff @(posedge clk_i) begin
    if (!rst_ni) flying_q <= '0;
    else flying_q <= {flying_q[Latency-2:0], issue};
    tag_q <= {tag_q[Latency-2:0], {op == 4'(pt_abi_pkg::NormOpFix), sets_out, sets_reg, dst,
                                   channel_q}};
    for (int unsigned r = 0; r < 16; r++) begin
      // The other channels of an instruction follow the first one cycle by cycle.
      if (to_reg && back_at == {4'(r), 2'd0}) begin
        busy_q[r] <= 1'b0;
        set_q[r]  <= 1'b1;
      end
      if (issue && sets_reg && dst == 4'(r) && channel_q == 2'd0) busy_q[r] <= 1'b1;
      if (to_out && back_at[5:2] == 4'(r)) out_set_q[r] <= 1'b1;
    end
    if (go_i) begin
      set_q     <= '0;
      out_set_q <= '0;
    end
    if (!rst_ni || go_i) busy_q <= '0;
  end

  // ---- output words: A and B stand in one word of the table, hence apart --------------------------
  logic [3:0][23:0] out_a_q, out_b_q;
  logic [63:0]      out_read;
  pt_ram_lut #(.Depth(64), .Width(64)) u_out (
    .clk_i,
    .we_i(to_out),
    .waddr_i(back_at),
    .wdata_i(back_fix ? value : {16'd0, number}),
    .raddr_i({out_word_i, out_channel_i}),
    .rdata_o(out_read)
  );
  assign out_data_o = out_set_q[out_word_i] ? out_read : 64'd0;
  assign out_a_o = out_a_q[out_channel_i];
  assign out_b_o = out_b_q[out_channel_i];
  logic is_a, is_b;
  assign is_a = back_at[5:2] == 4'(pt_abi_pkg::NormOutA);
  assign is_b = back_at[5:2] == 4'(pt_abi_pkg::NormOutB);
  always_ff @(posedge clk_i) begin
    if (go_i) begin
      out_a_q <= '0;
      out_b_q <= '0;
    end
    for (int unsigned c = 0; c < 4; c++) begin
      if (back_fix && is_a && back_at[1:0] == 2'(c)) out_a_q[c] <= value[23:0];
      if (back_fix && is_b && back_at[1:0] == 2'(c)) out_b_q[c] <= value[23:0];
    end
    if (clear_i) begin
      measure_o     <= '0;
      saturations_o <= '0;
    end else if (back_fix) begin
      if (is_a || is_b) measure_o <= measure_o | size;
      saturations_o <= saturations_o + 32'(sat);
    end
  end
endmodule
