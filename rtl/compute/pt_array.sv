// SPDX-License-Identifier: Apache-2.0
// The array: Tm rows of Tp cascades of Tr multipliers, their accumulators and the S registers' swap skew.
//
// Contract: step_i with its v_i (not skewed), swap_i, acc_i, clear_i is a multiply-add of one accumulator
// group; drain_i reads group acc_i without changing it and group_valid_o marks it DrainLatency cycles
// later. v_i must belong to the step one cycle after step_i (the accumulator is read ahead of V).
// done_i travels with a step; done_o pulses when that step has been written.
module pt_array #(
  // Output lanes, pixel lanes, reduction lanes.
  parameter int unsigned Tm = 16,
  parameter int unsigned Tp = 3,
  parameter int unsigned Tr = 4,
  // Width of an operand in bits.
  parameter int unsigned OpW = 16,
  // Width of an accumulator in bits.
  parameter int unsigned AccW = 48,
  // Accumulator groups, power of two.
  parameter int unsigned Depth = 512
) (
  input  logic                     clk_i,
  input  logic                     rst_ni,
  input  logic                     step_i,
  input  logic                     drain_i,
  input  logic                     clear_i,
  input  logic                     swap_i,
  input  logic                     done_i,
  input  logic [$clog2(Depth)-1:0] acc_i,
  input  logic [Tp*Tr*OpW-1:0]     v_i,
  input  logic [Tm*Tr*OpW-1:0]     s_i,
  output logic                     done_o,
  output logic                     group_valid_o,
  output logic [Tp*Tm*AccW-1:0]    group_o
);
  localparam int unsigned AddrW = $clog2(Depth);
  // Cycles from the accumulator read to the write.
  localparam int unsigned WriteDelay = Tr + 4;

  if (Depth < pt_abi_pkg::AccGroupsLeast || Depth > pt_abi_pkg::AccGroupsMost) begin : g_check1
    $fatal(1, "pt_array: Depth must be %0d..%0d", pt_abi_pkg::AccGroupsLeast,
           pt_abi_pkg::AccGroupsMost);
  end

  // Everything stands still when no step or drain is on its way.
  logic clk;
  pt_clock_gate #(.Rest(WriteDelay + 4)) u_clock (
    .clk_i,
    .rst_ni,
    .active_i(step_i || drain_i),
    .clk_o(clk)
  );

  // Control pipeline: index k holds what was given k cycles ago.
  logic [WriteDelay:1]            step_q;
  logic [WriteDelay:1]            done_q;
  logic [2:1]                     clear_q;
  logic [2:1]                     drain_q;
  logic [Tr:1]                    swap_q;
  logic [AddrW-1:0]               acc_q [WriteDelay+1];

  always_ff @(posedge clk) begin
    if (!rst_ni) begin
      step_q  <= '0;
      done_q  <= '0;
      drain_q <= '0;
      swap_q  <= '0;
    end else begin
      step_q  <= {step_q[WriteDelay-1:1], step_i};
      done_q  <= {done_q[WriteDelay-1:1], step_i & done_i};
      drain_q <= {drain_q[1], drain_i};
      swap_q  <= {swap_q[Tr-1:1], step_i & swap_i};
    end
    clear_q <= {clear_q[1], clear_i};
    acc_q[1] <= acc_i;
    for (int unsigned k = 2; k <= WriteDelay; k++) acc_q[k] <= acc_q[k-1];
  end

  // Skew: column t of V and of the swap is t cycles late. v_i arrives one cycle after step_i.
  logic [Tp*Tr*OpW-1:0] v_skew;
  for (genvar p = 0; p < Tp; p++) begin : g_skew_lane
    for (genvar t = 0; t < Tr; t++) begin : g_skew
      if (t == 0) begin : g_direct
        assign v_skew[(p*Tr+t)*OpW+:OpW] = v_i[(p*Tr+t)*OpW+:OpW];
      end else begin : g_delay
        logic [OpW-1:0] delay_q [t];
        always_ff @(posedge clk) begin
          delay_q[0] <= v_i[(p*Tr+t)*OpW+:OpW];
          for (int unsigned k = 1; k < t; k++) delay_q[k] <= delay_q[k-1];
        end
        assign v_skew[(p*Tr+t)*OpW+:OpW] = delay_q[t-1];
      end
    end
  end

`ifdef PT_ARRAY_LANES
  // Simulations of the whole engine: sim/vboard/pt_mac_lanes.sv, the rows below as loops.
  pt_mac_lanes #(
    .Tm(Tm),
    .Tp(Tp),
    .Tr(Tr),
    .OpW(OpW),
    .AccW(AccW),
    .Depth(Depth)
  ) u_lanes (
    .clk_i(clk),
    .v_i(v_skew),
    .s_i,
    .swap_i(swap_q[Tr:1]),
    .racc_i(acc_i),
    .clear_i(clear_q[2]),
    .drain_i(drain_q[1]),
    .we_i(step_q[WriteDelay]),
    .wacc_i(acc_q[WriteDelay]),
    .group_o
  );
`else
  for (genvar m = 0; m < Tm; m++) begin : g_row
    logic [Tp*AccW-1:0] row_group;
    pt_mac_row #(
      .Tp(Tp),
      .Tr(Tr),
      .OpW(OpW),
      .AccW(AccW),
      .Depth(Depth)
    ) u_row (
      .clk_i(clk),
      .v_i(v_skew),
      .s_i(s_i[m*Tr*OpW+:Tr*OpW]),
      .swap_i(swap_q),
      .re_i(1'b1),
      .racc_i(acc_i),
      .clear_i(clear_q[2]),
      .we_i(step_q[WriteDelay]),
      .wacc_i(acc_q[WriteDelay]),
      .group_o(row_group)
    );
    for (genvar p = 0; p < Tp; p++) begin : g_group
      assign group_o[(p*Tm+m)*AccW+:AccW] = row_group[p*AccW+:AccW];
    end
  end
`endif

  assign done_o = done_q[WriteDelay];
  assign group_valid_o = drain_q[2];
endmodule
