// SPDX-License-Identifier: Apache-2.0
// Channel sums: Groups x 4 lanes of 48 bit, written to memory as int64 words on request.
//
// Contract: add_i adds the four lanes of data_i to group group_i. write_i (with or after the last
// add_i) writes the sums to the current offset, clears them and moves the offset behind them; no
// add_i while busy_o is high. load_i sets the offset and clears. done_o: one pulse per write, when
// all words are handed over.
module pt_chan_sum #(
  // Channel blocks of an m tile, power of two, 4..16.
  parameter int unsigned Groups = 4
) (
  input  logic        clk_i,
  input  logic        rst_ni,
  input  logic        load_i,
  input  logic [31:0] off_i,
  input  logic        add_i,
  input  logic [$clog2(Groups)-1:0] group_i,
  input  logic [63:0] data_i,
  input  logic        write_i,
  output logic        busy_o,
  output logic        done_o,
  // write client
  output logic        run_valid_o,
  input  logic        run_ready_i,
  output logic [31:0] run_off_o,
  output logic [15:0] run_len_o,
  output logic        run_last_o,
  output logic        wdata_valid_o,
  input  logic        wdata_ready_i,
  output logic [63:0] wdata_o
);
  localparam int unsigned GrpW = $clog2(Groups);
  if (Groups < 4 || Groups > 16 || Groups != 2 ** GrpW) begin : g_check
    $fatal(1, "pt_chan_sum: Groups must be 4, 8 or 16");
  end

  typedef enum logic [1:0] {StIdle, StRun, StWords} state_e;
  state_e      state_q;
  logic [GrpW+1:0] word_q;
  logic [Groups-1:0] live_q;   // groups that hold a sum; others count as zero
  logic [31:0] off_q;
  logic [GrpW-1:0] group;
  logic [47:0] lane_sum [4];
  assign group = state_q == StIdle ? group_i : word_q[GrpW+1:2];
  assign busy_o = state_q != StIdle;

  for (genvar l = 0; l < 4; l++) begin : g_lane
    (* ram_style = "distributed" *)
    logic [47:0] sums [Groups];
    assign lane_sum[l] = live_q[group] ? sums[group] : 48'd0;
    always_ff @(posedge clk_i) begin
      if (add_i) sums[group] <= lane_sum[l] + 48'($signed(data_i[16*l+:16]));
    end
  end

  assign run_valid_o = state_q == StRun;
  assign run_off_o = off_q;
  assign run_len_o = 16'(4 * Groups);
  assign run_last_o = 1'b1;
  assign wdata_valid_o = state_q == StWords;
  assign wdata_o = 64'($signed(lane_sum[word_q[1:0]]));
  assign done_o = wdata_valid_o && wdata_ready_i && (&word_q);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= StIdle;
    end else begin
      unique case (state_q)
        StIdle:  if (write_i) state_q <= StRun;
        StRun:   if (run_ready_i) state_q <= StWords;
        default: if (done_o) state_q <= StIdle;
      endcase
    end
    if (load_i || done_o) live_q <= '0;
    else if (add_i) live_q[group] <= 1'b1;
    if (state_q == StIdle) word_q <= '0;
    else if (wdata_valid_o && wdata_ready_i) word_q <= word_q + (GrpW + 2)'(1);
    if (load_i) off_q <= off_i;
    else if (done_o) off_q <= off_q + 32'(32 * Groups);
  end
endmodule
