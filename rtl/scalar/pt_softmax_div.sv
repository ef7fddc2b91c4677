// SPDX-License-Identifier: Apache-2.0
// Divides four numerators by one denominator: floor((num << 16) / den), one bit per cycle.
//
// Contract: start_i (not while busy_o) takes num_i; den_i is stable until valid_o, which pulses 18
// cycles later with the quotients. Requires num <= den and den > 0.
module pt_softmax_div #(
  // Bits of a numerator, at most DenW.
  parameter int unsigned NumW = 23,
  // Bits of the denominator.
  parameter int unsigned DenW = 33
) (
  input  logic              clk_i,
  input  logic              rst_ni,
  input  logic              start_i,
  input  logic [4*NumW-1:0] num_i,
  input  logic [DenW-1:0]   den_i,
  output logic              busy_o,
  output logic              valid_o,
  output logic [4*17-1:0]   quo_o
);
  if (NumW > DenW) begin : g_check
    $fatal(1, "pt_softmax_div: NumW must be at most DenW");
  end

  localparam int unsigned Steps = 17;
  logic [4:0] count_q;
  assign busy_o = count_q != 5'd0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      count_q <= 5'd0;
      valid_o <= 1'b0;
    end else begin
      if (start_i) count_q <= 5'(Steps);
      else if (busy_o) count_q <= count_q - 5'd1;
      valid_o <= count_q == 5'd1;
    end
  end

  for (genvar l = 0; l < 4; l++) begin : g_lane
    logic [DenW:0]   rem_q;  // below twice the denominator
    logic [DenW+1:0] diff;
    logic [Steps-1:0] quo_q;
    assign diff = {1'b0, rem_q} - {2'b00, den_i};
    always_ff @(posedge clk_i) begin
      if (start_i) begin
        rem_q <= (DenW + 1)'(num_i[l*NumW+:NumW]);
      end else if (busy_o) begin
        rem_q <= {diff[DenW+1] ? rem_q[DenW-1:0] : diff[DenW-1:0], 1'b0};
        quo_q <= {quo_q[Steps-2:0], ~diff[DenW+1]};
      end
    end
    assign quo_o[l*Steps+:Steps] = quo_q;
  end
endmodule
