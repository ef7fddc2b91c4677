// SPDX-License-Identifier: Apache-2.0
// Turns runs of words into bursts: joins contiguous ones, splits at 16 beats and 4 KB.
//
// Contract: the arena starts at a multiple of 4096. A run (1 word or more) is held back for a
// contiguous successor until 16 beats are there, unless it is run_last_i or the waiting run does
// not continue it. burst_valid_o/ready; a run outside the arena raises outside_o for good and is
// dropped. clear_i drops what is held. A run that cannot be joined takes two cycles.
module pt_burst #(
  // Longest burst in beats, power of two.
  parameter int unsigned MaxBeats = 16
) (
  input  logic        clk_i,
  input  logic        rst_ni,
  input  logic        clear_i,
  input  logic [31:0] limit_i,
  input  logic        run_valid_i,
  output logic        run_ready_o,
  input  logic [31:0] run_off_i,
  input  logic [15:0] run_len_i,
  input  logic        run_last_i,
  output logic        burst_valid_o,
  input  logic        burst_ready_i,
  output logic [31:0] burst_off_o,
  output logic [4:0]  burst_beats_o,
  output logic        burst_end_o,    // the last one of its run, or of runs that were joined
  output logic        outside_o,
  output logic        empty_o,
  output logic        active_o        // a register changes: for pt_clock_gate
);
  if (MaxBeats != 16) begin : g_check
    $fatal(1, "pt_burst: MaxBeats must be 16 (AXI3)");
  end

  // A run is checked in one stage and joined in the next.
  logic        in_valid_q, in_last_q;
  logic [31:0] in_off_q;
  logic [15:0] in_len_q;
  logic        take_in, ends;
  logic [32:0] run_end;
  logic        bad;
  assign run_end = {1'b0, run_off_i} + {14'd0, run_len_i, 3'b000};
  assign bad = run_end > {1'b0, limit_i};
  assign run_ready_o = !in_valid_q || take_in;

  // The run being cut: next byte, words left, byte after its end.
  logic        have_q, last_q;
  logic [31:0] off_q, end_q;
  logic [19:0] left_q;
  logic        joins, full, cut, room_small;
  logic [9:0]  room;
  logic [4:0]  beats, left_cap;
  assign joins = have_q && !last_q && in_off_q == end_q && left_q < 20'd65536;
  assign room = 10'd512 - {1'b0, off_q[11:3]};
  assign left_cap = (left_q >= 20'd16) ? 5'd16 : left_q[4:0];
  assign room_small = room < {5'd0, left_cap};
  assign beats = room_small ? room[4:0] : left_cap;
  assign full = left_q >= 20'd16 || room_small;
  assign ends = left_q == {15'd0, beats};

  // A burst leaves through a register.
  logic burst_take;
  assign burst_take = !burst_valid_o || burst_ready_i;
  assign cut = have_q && burst_take && (full || last_q || (in_valid_q && !joins));
  // Join and cut in the same cycle are not mixed.
  assign take_in = in_valid_q && (!have_q || (joins && !cut));
  assign empty_o = !have_q && !in_valid_q && !burst_valid_o;

  assign active_o = clear_i || (run_valid_i && run_ready_o) || take_in || cut ||
                    (burst_valid_o && burst_ready_i);

  logic [31:0] in_end;
  assign in_end = in_off_q + {13'd0, in_len_q, 3'b000};

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      in_valid_q    <= 1'b0;
      have_q        <= 1'b0;
      burst_valid_o <= 1'b0;
      outside_o     <= 1'b0;
    end else if (clear_i) begin
      in_valid_q    <= 1'b0;
      have_q        <= 1'b0;
      if (burst_ready_i) burst_valid_o <= 1'b0;
    end else begin
      if (run_ready_o) begin
        in_valid_q <= run_valid_i && !bad;
        if (run_valid_i && bad) outside_o <= 1'b1;
      end
      if (take_in) have_q <= 1'b1;
      else if (cut && ends) have_q <= 1'b0;
      if (burst_take) burst_valid_o <= cut;
    end
    if (run_ready_o) begin
      in_off_q  <= run_off_i;
      in_len_q  <= run_len_i;
      in_last_q <= run_last_i;
    end
    if (take_in) begin
      last_q <= in_last_q;
      end_q  <= in_end;
      left_q <= (have_q ? left_q : 20'd0) + {4'd0, in_len_q};
      if (!have_q) off_q <= in_off_q;
    end else if (cut) begin
      left_q <= left_q - {15'd0, beats};
      off_q  <= off_q + {24'd0, beats, 3'b000};
    end
    if (burst_take) begin
      burst_off_o   <= off_q;
      burst_beats_o <= beats;
      burst_end_o   <= ends;
    end
  end
endmodule
