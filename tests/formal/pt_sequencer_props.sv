// SPDX-License-Identifier: Apache-2.0
// Properties of pt_sequencer: no unit starts early, no semaphore counts what is not finished.
//
//   slots, oldest first:   head | ... unit's pointer ... semaphore's pointer ... | tail
//
// The program, memory, units and commands are free; a unit pulses only for descriptors that it was
// served. The rules are shown for one descriptor, any one: watch_i picks it when it is fetched.
// Slots and FetchAhead are small (the test says how), the words of the slots are left out.
module pt_sequencer_props (
  input logic                          clk_i,
  input logic                          rst_ni,
  input logic                          start_i,
  input logic                          unarmed_i,
  input logic                          resume_i,
  input logic                          soft_reset_i,
  input logic                          clear_i,
  input logic                          step_mode_i,
  input logic [31:0]                   program_count_i,
  input logic                          run_ready_i,
  input logic                          data_valid_i,
  input logic [63:0]                   data_i,
  input logic [pt_abi_pkg::Units-1:0]  cfg_req_i,
  input logic [pt_abi_pkg::Units-1:0]  unit_done_i,
  input logic                          err_valid_i,
  input logic                          axi_idle_i,
  input logic                          watch_i
);
  localparam int unsigned Slots = pt_spec_pkg::Slots;
  localparam int unsigned SlotW = $clog2(Slots);
  localparam int unsigned Units = pt_abi_pkg::Units;
  localparam int unsigned Sems = pt_abi_pkg::Semaphores;
  localparam int unsigned SemW = $clog2(Sems);
  typedef logic [SlotW:0] ptr_t;

  logic                           run_valid, run_last, data_ready, cfg_last, halt, core_rst, busy, done;
  logic                           halted, failed;
  logic [31:0]                    run_off, error_index, retired;
  logic [15:0]                    run_len;
  logic [Units-1:0]               cfg_valid;
  logic [7:0]                     cfg_idx, error_code, error_source;
  logic [63:0]                    cfg_data, cycles;
  pt_sequencer u_seq (
    .clk_i,
    .rst_ni,
    .start_i,
    .unarmed_i,
    .resume_i,
    .soft_reset_i,
    .clear_i,
    .step_mode_i,
    .program_off_i('0),
    .program_count_i,
    .step_off_i('0),
    .run_valid_o(run_valid),
    .run_ready_i,
    .run_off_o(run_off),
    .run_len_o(run_len),
    .run_last_o(run_last),
    .data_valid_i,
    .data_ready_o(data_ready),
    .data_i,
    .cfg_req_i,
    .cfg_valid_o(cfg_valid),
    .cfg_idx_o(cfg_idx),
    .cfg_data_o(cfg_data),
    .cfg_last_o(cfg_last),
    .unit_done_i,
    .err_valid_i,
    .err_code_i('0),
    .err_source_i('0),
    .axi_idle_i,
    .halt_o(halt),
    .core_rst_o(core_rst),
    .busy_o(busy),
    .done_o(done),
    .halted_o(halted),
    .failed_o(failed),
    .error_code_o(error_code),
    .error_source_o(error_source),
    .error_index_o(error_index),
    .retired_o(retired),
    .cycles_o(cycles)
  );

  // ---- events -----------------------------------------------------------------------------------
  logic             fill, clear;     // a descriptor is there; a program begins
  logic [Units-1:0] start, takes;    // a unit begins with the one at its pointer; units of a new one
  logic             stops;           // a new one is a fence or illegal
  pt_abi_pkg::pre_t pre;
  assign fill = u_seq.slot_filled;
  assign clear = !rst_ni || u_seq.begin_run;
  assign start = u_seq.serve_start ? Units'(1) << u_seq.cand_unit_q : '0;
  assign pre = u_seq.pre;
  always_comb begin
    stops = pre.opcode == 8'(pt_abi_pkg::OpFence) || pt_abi_pkg::units_of(pre.opcode) == '0 ||
            pre.n_taps > 8'd121 || pre.signal >= 8'(Sems) || pre.wait_x_sem >= 8'(Sems) ||
            pre.wait_s_sem >= 8'(Sems) || pre.wait_y_sem >= 8'(Sems);
    for (int unsigned l = 0; l < pt_abi_pkg::TileLevels; l++) begin
      if (pt_abi_pkg::is_tiled(pre.opcode) && pre.t[l] == '0) stops = 1'b1;
    end
    takes = stops ? '0 : pt_abi_pkg::units_of(pre.opcode);
  end

  // ---- reference --------------------------------------------------------------------------------
  logic                            known_q;              // the first cycle is over
  logic [Units-1:0]                pulse_q;              // unit_done_i of the cycle before
  logic [Units-1:0][SlotW:0]       open_q;               // descriptors begun by a unit, no pulse yet
  logic                            watched_q, stops_q, counted_q;
  ptr_t                            at_q;                 // number of the watched one
  logic [Units-1:0]                takes_q, begun_q, over_q;
  logic [Units-1:0][SlotW:0]       ahead_q;              // pulses of older ones before its own
  logic [SemW-1:0]                 signal_q;
  logic [2:0][SemW-1:0]            wait_sem_q;           // of X, S, store unit
  logic [2:0][15:0]                wait_q;
  // How far behind the oldest descriptor; slots in front of that; how many ones.
  ptr_t first;
  assign first = u_seq.head_q;
  function automatic ptr_t behind(input ptr_t ptr);
    behind = ptr - first;
  endfunction
  function automatic logic [Slots-1:0] older(input ptr_t ptr);
    for (int unsigned k = 0; k < Slots; k++) begin
      older[k] = {1'b0, SlotW'(SlotW'(k) - first[SlotW-1:0])} < behind(ptr);
    end
  endfunction
  function automatic ptr_t ones(input logic [Slots-1:0] bits);
    ones = '0;
    for (int unsigned k = 0; k < Slots; k++) ones = ones + ptr_t'(bits[k]);
  endfunction

  // Semaphores that count the watched one in this cycle.
  logic [Sems-1:0] sem_move, counts;
  for (genvar k = 0; k < Sems; k++) begin : g_sem
    assign sem_move[k] = u_seq.g_sem[k].move;
    assign counts[k] = sem_move[k] && u_seq.g_sem[k].mine && u_seq.sem_ptr_q[k] == at_q;
  end

  always_ff @(posedge clk_i) begin
    known_q <= 1'b1;
    pulse_q <= clear ? '0 : unit_done_i;
    for (int unsigned u = 0; u < Units; u++) begin
      open_q[u] <= clear ? '0 : open_q[u] + ptr_t'(start[u]) - ptr_t'(pulse_q[u]);
    end
    if (clear || !u_seq.running) begin
      watched_q <= 1'b0;
    end else if (watched_q) begin
      begun_q <= begun_q | (u_seq.cand_ptr_q == at_q ? start : '0);
      for (int unsigned u = 0; u < Units; u++) begin
        if (pulse_q[u] && ahead_q[u] != '0) ahead_q[u] <= ahead_q[u] - 1'b1;
        if (pulse_q[u] && ahead_q[u] == '0) over_q[u] <= 1'b1;
      end
      counted_q <= counted_q || counts != '0;
      if (u_seq.retire && u_seq.head_q == at_q) watched_q <= 1'b0;
    end else if (fill && watch_i) begin
      watched_q <= 1'b1;
      at_q <= u_seq.tail_q;
      takes_q <= takes;
      stops_q <= stops;
      begun_q <= '0;
      over_q <= '0;
      counted_q <= 1'b0;
      for (int unsigned u = 0; u < Units; u++) ahead_q[u] <= ones(u_seq.pending_q[u]) - ptr_t'(pulse_q[u]);
      signal_q <= pre.signal[SemW-1:0];
      wait_sem_q <= {pre.wait_y_sem[SemW-1:0], pre.wait_s_sem[SemW-1:0], pre.wait_x_sem[SemW-1:0]};
      wait_q <= {pre.wait_y, pre.wait_s, pre.wait_x};
    end
  end
  initial known_q = 1'b0;

  // Which count a unit waits for, and the count.
  logic [Units-1:0]       waits, starts_it;
  logic [Units-1:0][15:0] need, have;
  always_comb begin
    for (int unsigned u = 0; u < Units; u++) begin
      waits[u] = pt_abi_pkg::wait_of(3'(u)) != pt_abi_pkg::WaitNone;
      need[u] = wait_q[0];
      have[u] = u_seq.sem_q[wait_sem_q[0]];
      if (pt_abi_pkg::wait_of(3'(u)) == pt_abi_pkg::WaitS) begin
        need[u] = wait_q[1];
        have[u] = u_seq.sem_q[wait_sem_q[1]];
      end
      if (pt_abi_pkg::wait_of(3'(u)) == pt_abi_pkg::WaitY) begin
        need[u] = wait_q[2];
        have[u] = u_seq.sem_q[wait_sem_q[2]];
      end
    end
    starts_it = watched_q && u_seq.cand_ptr_q == at_q ? start : '0;
  end

  logic [Slots-1:0] held;   // slots that hold a descriptor
  logic [SlotW-1:0] slot;     // of the watched one
  assign held = older(u_seq.tail_q);
  logic [Units-1:0][Slots-1:0] passed;  // by the unit's pointer
  always_comb for (int unsigned u = 0; u < Units; u++) passed[u] = older(u_seq.ptr_q[u]);
  assign slot = at_q[SlotW-1:0];

  always_comb begin
    if (!known_q) assume (!rst_ni);
    // A unit pulses for what it has begun.
    for (int unsigned u = 0; u < Units; u++) begin
      if (known_q) assume (!unit_done_i[u] || open_q[u] > ptr_t'(pulse_q[u]));
    end
    if (known_q) begin
      // One unit is served at a time.
      assert ((cfg_valid & (cfg_valid - 1'b1)) == '0);
      if (watched_q) begin
        for (int unsigned u = 0; u < Units; u++) begin
          // A unit begins with what it takes part in, once, and when its wait is fulfilled.
          if (starts_it[u]) begin
            assert (takes_q[u] && !begun_q[u]);
            assert (!waits[u] || have[u] >= need[u]);
            assert (!step_mode_i || u_seq.head_q == at_q);
          end
          // Behind a fence nothing begins before it has retired.
          if (stops_q && start[u]) assert (behind(u_seq.cand_ptr_q) < behind(at_q));
        end
        // Only its own semaphore counts it, once, and not before all its units have pulsed.
        if (counts != '0) begin
          assert (!stops_q && !counted_q && counts == Sems'(1) << signal_q);
          assert ((takes_q & ~over_q) == '0);
        end
        // It retires when it is finished and counted, and is illegal or older ones are gone.
        if (u_seq.retire && u_seq.head_q == at_q) begin
          assert ((takes_q & ~over_q) == '0);
          assert (stops_q || counted_q || counts != '0);
        end
      end
      // Invariants: pointers stand between head and tail; a slot is free where one is fetched.
      assert (behind(u_seq.tail_q) <= ptr_t'(Slots));
      if (u_seq.fetch_q != 3'd0) assert (behind(u_seq.tail_q) < ptr_t'(Slots));
      for (int unsigned k = 0; k < Sems; k++) begin
        assert (behind(u_seq.sem_ptr_q[k]) <= behind(u_seq.tail_q));
      end
      assert ((u_seq.valid1_q & (u_seq.valid1_q - 1'b1)) == '0);
      for (int unsigned u = 0; u < Units; u++) begin
        assert (u_seq.unit_done_q[u] == pulse_q[u]);
        assert (behind(u_seq.ptr_q[u]) <= behind(u_seq.tail_q));
        // What a unit owes stands in front of its pointer; behind it, all that it takes part in.
        assert ((u_seq.pending_q[u] & ~held) == '0);
        assert (ones(u_seq.pending_q[u] & older(u_seq.ptr_q[u])) == open_q[u]);
        assert (open_q[u] >= ptr_t'(pulse_q[u]));
        for (int unsigned k = 0; k < Slots; k++) begin
          if (held[k] && !passed[u][k]) begin
            assert (u_seq.pending_q[u][k] == (u_seq.uses_q[k][u] && !u_seq.stop_q[k]));
          end
          if (held[k] && u_seq.finished_q[k]) assert (!u_seq.pending_q[u][k]);
          if (held[k] && u_seq.bad_q[k]) assert (u_seq.stop_q[k]);
        end
      end
      // The candidate is what stands in its slot.
      if (u_seq.cand_valid_q && u_seq.running &&
          u_seq.cand_ptr_q == u_seq.ptr_q[u_seq.cand_unit_q]) begin
        assert (behind(u_seq.cand_ptr_q) < behind(u_seq.tail_q));
        assert (u_seq.cand_stop_q == u_seq.stop_q[u_seq.cand_ptr_q[SlotW-1:0]]);
        assert (u_seq.cand_uses_q == u_seq.uses_q[u_seq.cand_ptr_q[SlotW-1:0]][u_seq.cand_unit_q]);
      end
      if (watched_q) begin
        assert (behind(at_q) < behind(u_seq.tail_q));
        assert (u_seq.stop_q[slot] == stops_q);
        if (!stops_q) assert (u_seq.uses_q[slot] == takes_q);
        assert (u_seq.signal_q[slot] == (stops_q ? (SemW+1)'(Sems) : {1'b0, signal_q}));
        assert (u_seq.wait_x[slot] == {wait_sem_q[0], wait_q[0]});
        assert (u_seq.wait_s[slot] == {wait_sem_q[1], wait_q[1]});
        assert (u_seq.wait_y[slot] == {wait_sem_q[2], wait_q[2]});
        assert (!stops_q || takes_q == '0);
        if (!stops_q) assert (counted_q == (behind(u_seq.sem_ptr_q[signal_q]) > behind(at_q)));
        else assert (!counted_q);
        for (int unsigned u = 0; u < Units; u++) begin
          assert (begun_q[u] == (takes_q[u] && behind(u_seq.ptr_q[u]) > behind(at_q)));
          if (takes_q[u]) begin
            assert (u_seq.pending_q[u][slot] == !over_q[u]);
            if (!over_q[u]) assert (ahead_q[u] == ones(u_seq.pending_q[u] & older(at_q)));
          end
          // A fence keeps the pointers.
          if (stops_q) assert (behind(u_seq.ptr_q[u]) <= behind(at_q));
          if (u_seq.cand_valid_q && u_seq.running && u_seq.cand_unit_q == 3'(u) &&
              u_seq.cand_ptr_q == at_q && u_seq.ptr_q[u] == at_q && waits[u]) begin
            assert (u_seq.cand_wait_q == need[u]);
            assert (u_seq.sem_q[u_seq.cand_sem_q] == have[u]);
          end
        end
      end
    end
  end
endmodule
