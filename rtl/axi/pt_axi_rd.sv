// SPDX-License-Identifier: Apache-2.0
// AXI read master: runs of words in, words out in order; bursts of 16 beats, several outstanding.
//
// Contract: base_i is a multiple of 4096. A burst is requested only when the data queue is sure to
// hold it, so RREADY never falls. err_o: 0 none, else a status code (outside arena, slave error,
// decode error), kept until reset. halt_i: no new requests, runs and answers are thrown away; so
// does a run outside the arena, by itself. Only a reset ends either. idle_o: nothing asked for.
// What comes while the memory owes nothing (left over from another design, or one word too many) is
// dropped; stray_o is high in the cycle after. idle_o depends on words owed alone, so that strays
// that were taken for others do not keep a reset from coming.
module pt_axi_rd #(
  // Words of the data queue, power of two, 64..4096.
  parameter int unsigned Depth = 256,
  // Bursts outstanding, 1..8.
  parameter int unsigned MaxOutstanding = 8
) (
  input  logic        clk_i,
  input  logic        rst_ni,
  input  logic        halt_i,
  input  logic [39:0] base_i,
  input  logic [31:0] limit_i,
  input  logic        run_valid_i,
  output logic        run_ready_o,
  input  logic [31:0] run_off_i,
  input  logic [15:0] run_len_i,
  input  logic        run_last_i,
  output logic        data_valid_o,
  input  logic        data_ready_i,
  output logic [63:0] data_o,
  output logic [1:0]  err_o,
  output logic        idle_o,
  output logic        beat_o,
  output logic        stray_o,
  output logic [39:0] araddr_o,
  output logic [7:0]  arlen_o,
  output logic        arvalid_o,
  input  logic        arready_i,
  input  logic [63:0] rdata_i,
  input  logic [1:0]  rresp_i,
  input  logic        rlast_i,
  input  logic        rvalid_i,
  output logic        rready_o
);
  // Clock of all registers below.
  logic clk, active;

  localparam int unsigned CountW = $clog2(Depth + 1);

  if (Depth < 64) begin : g_check
    $fatal(1, "pt_axi_rd: Depth must be 64 or more");
  end

  logic        burst_valid, burst_ready, burst_end_unused, outside, empty, stop, burst_active;
  logic [31:0] burst_off;
  logic [4:0]  burst_beats;
  assign stop = halt_i || outside;
  pt_burst #(.MaxBeats(16)) u_burst (
    .clk_i(clk),
    .rst_ni,
    .clear_i(stop),
    .limit_i,
    .run_valid_i,
    .run_ready_o,
    .run_off_i,
    .run_len_i,
    .run_last_i,
    .burst_valid_o(burst_valid),
    .burst_ready_i(burst_ready),
    .burst_off_o(burst_off),
    .burst_beats_o(burst_beats),
    .burst_end_o(burst_end_unused),
    .outside_o(outside),
    .empty_o(empty),
    .active_o(burst_active)
  );

  // Credits: words of the queue that no request has claimed.
  logic [CountW-1:0] credit_q;
  logic [3:0]        outstanding_q;
  logic              issue, pop, last_beat, accept;

  // Words that the memory owes: those of requests that it has taken. The credits bound them; strays
  // that end a burst let MaxOutstanding be exceeded.
  logic [CountW-1:0] owed_q;
  logic              asked, take;
  assign asked = arvalid_o && arready_i;
  assign take = rvalid_i && owed_q != '0;

  logic [1:0]        resp_err_q;
  assign accept = !arvalid_o || arready_i;
  assign burst_ready = stop || (accept && outstanding_q != 4'(MaxOutstanding) &&
                                credit_q >= CountW'(burst_beats));
  assign issue = burst_valid && burst_ready && !stop;
  assign pop = data_valid_o && data_ready_i;
  assign last_beat = take && rlast_i && outstanding_q != 4'd0;
  assign rready_o = 1'b1;
  assign beat_o = take;
  assign idle_o = empty && !arvalid_o && owed_q == '0;
  assign err_o = outside ? 2'(pt_abi_pkg::ErrOutsideArena) : resp_err_q;

  always_ff @(posedge clk) begin
    if (!rst_ni) begin
      arvalid_o     <= 1'b0;
      credit_q      <= CountW'(Depth);
      outstanding_q <= 4'd0;
      owed_q        <= '0;
      stray_o       <= 1'b0;
      resp_err_q    <= 2'd0;
    end else begin
      if (accept) arvalid_o <= issue;
      credit_q      <= credit_q - (issue ? CountW'(burst_beats) : CountW'(0)) + CountW'(pop);
      outstanding_q <= outstanding_q + 4'(issue) - 4'(last_beat);
      owed_q        <= owed_q + (asked ? CountW'(arlen_o[3:0]) + CountW'(1) : CountW'(0)) -
                       CountW'(take);
      stray_o       <= rvalid_i && !take;
      if (take && rresp_i[1] && resp_err_q == 2'd0) begin
        resp_err_q <= rresp_i[0] ? 2'(pt_abi_pkg::ErrDecodeError)
                                 : 2'(pt_abi_pkg::ErrSlaveError);
      end
    end
    if (accept) begin
      araddr_o <= base_i + {8'd0, burst_off};
      arlen_o  <= {3'd0, burst_beats} - 8'd1;
    end
  end

  logic              fifo_ready_unused;
  logic [CountW-1:0] fifo_count_unused;
  pt_fifo_bram #(.Width(64), .Depth(Depth)) u_data (
    .clk_i(clk),
    .rst_ni,
    .valid_i(take && !stop),
    .ready_o(fifo_ready_unused),
    .data_i(rdata_i),
    .valid_o(data_valid_o),
    .ready_i(data_ready_i),
    .data_o(data_o),
    .count_o(fifo_count_unused)
  );
  // ---- clock ------------------------------------------------------------------------------------
  // The data queue settles within four cycles of a word that comes or goes.
  assign active = stop || burst_active || (accept && (issue || arvalid_o)) || rvalid_i || pop;
  pt_clock_gate #(.Rest(6)) u_clock (
    .clk_i,
    .rst_ni,
    .active_i(active),
    .clk_o(clk)
  );

  logic unused;
  assign unused = &{1'b0, burst_end_unused, fifo_ready_unused, fifo_count_unused};
endmodule
