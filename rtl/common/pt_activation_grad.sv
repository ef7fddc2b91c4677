// SPDX-License-Identifier: Apache-2.0
// Gradient of an activation, four lanes: the gradient of its result becomes that of its operand.
// Maps without flags pass as they are. Combinational.
module pt_activation_grad (
  input  pt_activation_pkg::activation_grad_t grad_i,
  input  logic [3:0]                          flags_i,  // of pt_activation, as stored
  input  logic [63:0]                         data_i,
  output logic [63:0]                         data_o
);
  for (genvar l = 0; l < 4; l++) begin : g_lane
    assign data_o[16*l+:16] = grad_i.masked && !flags_i[l] ? 16'd0 : data_i[16*l+:16];
  end
endmodule
