// SPDX-License-Identifier: Apache-2.0
// A copy of the reset for one block: a register of its own, so that no net reaches all registers.
//
// Contract: rst_no is rst_ni one cycle later. Copies are equal registers; the attribute keeps a tool
// from making one of them again.
module pt_reset (
  input  logic clk_i,
  input  logic rst_ni,
  output logic rst_no
);
  (* keep = "true" *)
  logic rst_q;
  always_ff @(posedge clk_i) rst_q <= rst_ni;
  assign rst_no = rst_q;
endmodule
