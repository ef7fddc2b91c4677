// SPDX-License-Identifier: Apache-2.0
// Clock of a block that often stands still: a simulator need not evaluate the block meanwhile.
//
// Contract: active_i is high in every cycle at whose end a register behind clk_o may change that
// matters, except the Rest cycles after a cycle in which it was high; it may depend on the block's
// inputs. In hardware, and wherever PT_CLOCK_GATES is not defined, clk_o is clk_i: by contract
// nothing but the speed of the simulation differs.
module pt_clock_gate #(
  // Cycles in which the clock runs on, 0..32: the depth of the block's pipelines.
  parameter int unsigned Rest = 0
) (
  input  logic clk_i,
  input  logic rst_ni,
  input  logic active_i,
  output logic clk_o
);
  if (Rest > 32) begin : g_check
    $fatal(1, "pt_clock_gate: Rest must be 0..32");
  end

`ifdef PT_CLOCK_GATES
  // A latch that is open while the clock is low: clk_o has no spikes.
  logic run_q, resting;
  if (Rest == 0) begin : g_exact
    assign resting = 1'b1;
  end else begin : g_rest
    logic [5:0] left_q;
    always_ff @(posedge clk_i) begin
      if (active_i || !rst_ni) left_q <= 6'(Rest);
      else if (left_q != 6'd0) left_q <= left_q - 6'd1;
    end
    assign resting = left_q == 6'd0;
  end
  always_latch begin
    if (!clk_i) run_q = active_i || !rst_ni || !resting;
  end
  assign clk_o = clk_i && run_q;
`else
  assign clk_o = clk_i;
  logic unused;
  assign unused = &{1'b0, rst_ni, active_i};
`endif
endmodule
