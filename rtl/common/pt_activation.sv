// SPDX-License-Identifier: Apache-2.0
// Activation of four codes per cycle: ReLU, clipping, and the flag of each lane, which tells on the
// way back (pt_activation_grad) whether the element has a gradient.
//
//   code      < 0             0             ..     limit and more
//   result    0 or the code   code                 limit
//   flag      !above_zero     !above_zero   1      0
//
// Contract: data_o and flags_o follow data_i by one cycle, no stall. act_i is stable from two
// cycles before the first code to the last one's result.
module pt_activation (
  input  logic                           clk_i,
  input  pt_activation_pkg::activation_t act_i,
  input  logic [63:0]                    data_i,
  output logic [63:0]                    data_o,
  output logic [3:0]                     flags_o
);
  pt_activation_pkg::activation_t act_q;
  always_ff @(posedge clk_i) act_q <= act_i;

  for (genvar l = 0; l < 4; l++) begin : g_lane
    logic [15:0] code;
    logic        negative, below;
    assign code = data_i[16*l+:16];
    assign negative = code[15];
    assign below = code < act_q.limit;  // counts if not negative
    always_ff @(posedge clk_i) begin
      if (negative) data_o[16*l+:16] <= act_q.relu ? 16'd0 : code;
      else data_o[16*l+:16] <= below ? code : act_q.limit;
      if (negative || code == 16'd0) flags_o[l] <= !act_q.above_zero;
      else flags_o[l] <= below;
    end
  end
endmodule
