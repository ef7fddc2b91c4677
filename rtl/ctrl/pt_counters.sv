// SPDX-License-Identifier: Apache-2.0
// Event counters of 32 bit, cleared together.
//
// Contract: counter k counts the cycles in which event_i[k] is high.
module pt_counters #(
  // Counters.
  parameter int unsigned Count = 14
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,
  input  logic                   clear_i,
  input  logic [Count-1:0]       event_i,
  output logic [Count-1:0][31:0] count_o
);
  if (Count < 1) begin : g_check
    $fatal(1, "pt_counters: Count must be 1 or more");
  end

  for (genvar k = 0; k < Count; k++) begin : g_counter
    logic [31:0] count_q;
    always_ff @(posedge clk_i) begin
      if (!rst_ni || clear_i) count_q <= 32'd0;
      else if (event_i[k]) count_q <= count_q + 32'd1;
    end
    assign count_o[k] = count_q;
  end
endmodule
