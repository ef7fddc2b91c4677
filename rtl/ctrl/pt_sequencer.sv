// SPDX-License-Identifier: Apache-2.0
// Runs a program: fetches descriptors ahead, hands them to the units, retires them in order.
//
//            fetch               serve (one unit at a time)          done pulses
//   memory ---------> slots x 256 words -----------> cfg bus ---> units --------> count, retire
//                     index = index on the bus
//
// Contract: a unit is served when it requests, its opcode is concerned, and its wait is satisfied;
// the first word follows three cycles later, one word per cycle. A unit's n-th pulse on unit_done_i
// belongs to the n-th descriptor that it takes part in. When all pulses of a descriptor are there
// and all earlier ones with the same signal have counted, its semaphore counts, at most one
// descriptor per semaphore and cycle; it retires when it is the oldest. A fence (and with
// step_mode_i every descriptor) holds all later ones back until it has retired. An illegal
// descriptor fails when it is the oldest, a START that nothing armed at once. After an error only
// soft_reset_i leads back to work. halt_o stays high from the error or soft reset to the end of
// core_rst_o, which waits for axi_idle_i and lasts four cycles.
module pt_sequencer #(
  // Longest tap table, 1..126 (8-bit index on the configuration bus).
  parameter int unsigned MaxTaps = 121
) (
  input  logic                          clk_i,
  input  logic                          rst_ni,
  // commands (pulses) and program, stable while busy
  input  logic                          start_i,
  input  logic                          unarmed_i,  // in place of start_i
  input  logic                          resume_i,
  input  logic                          soft_reset_i,
  input  logic                          clear_i,
  input  logic                          step_mode_i,
  input  logic [31:0]                   program_off_i,
  input  logic [31:0]                   program_count_i,
  input  logic [31:0]                   step_off_i,
  // read client
  output logic                          run_valid_o,
  input  logic                          run_ready_i,
  output logic [31:0]                   run_off_o,
  output logic [15:0]                   run_len_o,
  output logic                          run_last_o,
  input  logic                          data_valid_i,
  output logic                          data_ready_o,
  input  logic [63:0]                   data_i,
  // configuration bus; bits by unit number
  input  logic [pt_abi_pkg::Units-1:0] cfg_req_i,
  output logic [pt_abi_pkg::Units-1:0] cfg_valid_o,
  output logic [7:0]                    cfg_idx_o,
  output logic [63:0]                   cfg_data_o,
  output logic                          cfg_last_o,
  input  logic [pt_abi_pkg::Units-1:0] unit_done_i,
  // errors and stopping
  input  logic                          err_valid_i,
  input  logic [7:0]                    err_code_i,
  input  logic [7:0]                    err_source_i,
  input  logic                          axi_idle_i,
  output logic                          halt_o,
  output logic                          core_rst_o,
  // state
  output logic                          busy_o,
  output logic                          done_o,
  output logic                          halted_o,
  output logic                          failed_o,
  output logic [7:0]                    error_code_o,
  output logic [7:0]                    error_source_o,
  output logic [31:0]                   error_index_o,
  output logic [31:0]                   retired_o,
  output logic [63:0]                   cycles_o
);
  if (MaxTaps < pt_abi_pkg::MaxTapsLeast || MaxTaps > pt_abi_pkg::MaxTapsMost) begin : g_check
    $fatal(1, "pt_sequencer: MaxTaps must be %0d..%0d", pt_abi_pkg::MaxTapsLeast,
           pt_abi_pkg::MaxTapsMost);
  end
  if (pt_abi_pkg::FetchAhead < 1 || pt_abi_pkg::FetchAhead >= pt_spec_pkg::Slots ||
      pt_abi_pkg::FetchRestCycles < 2) begin : g_rest
    $fatal(1, "pt_sequencer: FetchAhead must be 1..Slots-1, FetchRestCycles 2 or more");
  end
  if (pt_spec_pkg::Slots < 2 || (pt_spec_pkg::Slots & (pt_spec_pkg::Slots - 1)) != 0) begin : g_pow2
    $fatal(1, "pt_sequencer: Slots must be a power of two, 2 or more");
  end

  localparam int unsigned Slots = pt_spec_pkg::Slots;
  localparam int unsigned SlotW = $clog2(Slots);
  localparam int unsigned PtrW = SlotW + 1;  // slot and one more bit: full differs from empty
  localparam int unsigned Units = pt_abi_pkg::Units;
  localparam int unsigned Sems = pt_abi_pkg::Semaphores;
  localparam int unsigned SemW = $clog2(Sems);
  localparam int unsigned UnitW = $clog2(Units);
  // Words behind the last section that a unit sees are not fetched.
  localparam int unsigned FetchWords = pt_abi_pkg::FetchWords;
  localparam int unsigned PreW = 64 * pt_abi_pkg::SecPreWords;
  localparam logic [7:0] ParamIdx = 8'(pt_abi_pkg::ParamIndex);

  // ---- main state -------------------------------------------------------------------------------
  typedef enum logic [2:0] {StIdle, StRun, StStop, StFailed, StDrain, StReset} state_e;
  state_e state_q, state_d;
  logic   running, begin_run, refused, illegal, stop_done, program_end, halted_q, done_q;
  logic [3:0] settle_q;  // cycles in the state, saturating
  assign running = state_q == StRun;
  assign refused = state_q == StIdle && unarmed_i && !soft_reset_i;
  assign begin_run = state_q == StIdle && start_i && !soft_reset_i;
  assign stop_done = settle_q[3] && axi_idle_i;  // 8 cycles until halt_o has acted everywhere

  always_comb begin
    state_d = state_q;
    unique case (state_q)
      StIdle:  if (refused) state_d = StStop;
               else if (begin_run) state_d = StRun;
      StRun:   if (err_valid_i || illegal) state_d = StStop;
               else if (program_end) state_d = StIdle;
      StStop:  if (stop_done) state_d = StFailed;
      StFailed: state_d = StFailed;
      StDrain: if (stop_done) state_d = StReset;
      StReset: if (settle_q == 4'd3) state_d = StIdle;
      default: state_d = StIdle;
    endcase
    if (soft_reset_i && state_q != StDrain && state_q != StReset) state_d = StDrain;
  end

  // ---- slots ------------------------------------------------------------------------------------
  logic [PtrW-1:0]             head_q, tail_q, used;
  logic [Slots-1:0][Units-1:0] uses_q;
  logic [Units-1:0][Slots-1:0] pending_q, pending_d;
  logic [Slots-1:0]            finished_q;     // no unit is pending
  logic [Slots-1:0]            stop_q, bad_q;  // fence or illegal; illegal
  logic [Slots-1:0][SemW:0]    signal_q;  // Sems: none
  logic [SlotW-1:0]            head, tail;
  logic                        retire, slot_filled;
  // Taps; semaphore and count to reach of X, S and store unit.
  (* ram_style = "distributed" *)
  logic [7:0]                  taps [Slots];
  (* ram_style = "distributed" *)
  logic [SemW+15:0]            wait_x [Slots], wait_s [Slots], wait_y [Slots];
  assign head = head_q[SlotW-1:0];
  assign tail = tail_q[SlotW-1:0];
  assign used = tail_q - head_q;

  // ---- fetch ------------------------------------------------------------------------------------
  typedef enum logic [2:0] {FtIdle, FtDesc, FtHead, FtParam, FtTaps, FtWait} fetch_e;
  fetch_e            fetch_q;
  logic [31:0]       desc_off_q, left_q;
  logic [7:0]        widx_q, widx_next, end_idx;
  logic [PreW-1:0]   pre_q;
  pt_abi_pkg::pre_t pre;
  logic              fence, bad_head, bad_count, bad_sem, no_more;
  logic [Units-1:0]  uses;
  // Cycles for which the next fetch rests if the units have enough to do.
  localparam int unsigned RestW = $clog2(pt_abi_pkg::FetchRestCycles);
  logic [RestW-1:0]  rest_q;
  logic              hungry;
  assign hungry = used < PtrW'(pt_abi_pkg::FetchAhead) || rest_q == '0;
  assign pre = pre_q;
  assign fence = pre.opcode == 8'(pt_abi_pkg::OpFence);
  assign widx_next = widx_q == 8'(FetchWords - 1) ? ParamIdx : widx_q + 8'd1;

  always_comb begin
    uses = pt_abi_pkg::units_of(pre.opcode);
    bad_count = 1'b0;
    for (int unsigned l = 0; l < pt_abi_pkg::TileLevels; l++) begin
      bad_count = bad_count | (pt_abi_pkg::is_tiled(pre.opcode) && pre.t[l] == 16'd0);
    end
    bad_head = pre.n_taps > 8'(MaxTaps) || (!fence && uses == '0);
    bad_sem = pre.signal >= 8'(Sems) || pre.wait_x_sem >= 8'(Sems) ||
              pre.wait_s_sem >= 8'(Sems) || pre.wait_y_sem >= 8'(Sems);
    no_more = fence || bad_head;
    end_idx = no_more ? ParamIdx : 8'(pt_abi_pkg::TapIndex) + pre.n_taps;
  end

  always_comb begin
    run_valid_o = fetch_q == FtDesc || fetch_q == FtParam || fetch_q == FtTaps;
    run_last_o = 1'b1;
    run_off_o = desc_off_q;
    run_len_o = 16'(FetchWords);
    if (fetch_q == FtParam) begin
      run_off_o = step_off_i + 32'(pre.param) * 32'(pt_abi_pkg::ParamBytes);
      run_len_o = 16'(pt_abi_pkg::ParamWords);
    end
    if (fetch_q == FtTaps) begin
      run_off_o = pre.taps_off;
      run_len_o = {8'd0, pre.n_taps};
    end
  end
  assign data_ready_o = 1'b1;
  assign slot_filled = running && fetch_q == FtWait && widx_q == end_idx;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || begin_run || state_q == StReset) begin
      fetch_q <= FtIdle;
    end else begin
      unique case (fetch_q)
        FtIdle:  if (running && left_q != 32'd0 && !used[PtrW-1] && hungry) fetch_q <= FtDesc;
        FtDesc:  if (run_ready_i) fetch_q <= FtHead;
        FtHead:  if (widx_q >= 8'(pt_abi_pkg::SecPreWords)) fetch_q <= no_more ? FtWait : FtParam;
        FtParam: if (run_ready_i) fetch_q <= pre.n_taps == 8'd0 ? FtWait : FtTaps;
        FtTaps:  if (run_ready_i) fetch_q <= FtWait;
        FtWait:  if (slot_filled) fetch_q <= FtIdle;
        default: fetch_q <= FtIdle;
      endcase
    end
    if (begin_run) begin
      desc_off_q <= program_off_i;
      left_q     <= program_count_i;
    end else if (slot_filled) begin
      desc_off_q <= desc_off_q + 32'(pt_abi_pkg::DescriptorBytes);
      left_q     <= left_q - 32'd1;
    end
    if (begin_run) rest_q <= '0;
    else if (slot_filled) rest_q <= RestW'(pt_abi_pkg::FetchRestCycles - 1);
    else if (rest_q != '0) rest_q <= rest_q - RestW'(1);
    if (fetch_q == FtIdle) widx_q <= 8'd0;
    else if (data_valid_i) widx_q <= widx_next;
    if (data_valid_i && widx_q < 8'(pt_abi_pkg::SecPreWords)) begin
      pre_q <= {data_i, pre_q[PreW-1:64]};
    end
    if (slot_filled) begin
      uses_q[tail]   <= uses;
      stop_q[tail]   <= no_more || bad_count || bad_sem;
      bad_q[tail]    <= bad_head || bad_count || bad_sem;
      // Fences and illegal descriptors count on no semaphore.
      signal_q[tail] <= no_more || bad_count || bad_sem ?
                        (SemW+1)'(Sems) : {1'b0, pre.signal[SemW-1:0]};
      taps[tail]     <= pre.n_taps;
      wait_x[tail]   <= {pre.wait_x_sem[SemW-1:0], pre.wait_x};
      wait_s[tail]   <= {pre.wait_s_sem[SemW-1:0], pre.wait_s};
      wait_y[tail]   <= {pre.wait_y_sem[SemW-1:0], pre.wait_y};
    end
  end

  // ---- scan: one unit per cycle, decision in the cycle after ------------------------------------
  logic [Units-1:0][PtrW-1:0] ptr_q;  // next descriptor of each unit, between head and tail
  logic [Sems-1:0][15:0]      sem_q;
  logic [UnitW-1:0]           scan_q, cand_unit_q, serve_unit_q;
  logic [PtrW-1:0]            scan_ptr, cand_ptr_q;
  logic [SlotW-1:0]           scan_slot;
  logic                       cand_valid_q, cand_uses_q, cand_stop_q, cand_req_q, cand_ok;
  logic [15:0]                cand_wait_q, cand_sem;
  logic [SemW-1:0]            cand_sem_q;
  logic                       serve_q, serve_start, skip, last1_q;
  assign scan_ptr = ptr_q[scan_q];
  assign scan_slot = scan_ptr[SlotW-1:0];

  always_ff @(posedge clk_i) begin
    scan_q       <= scan_q >= UnitW'(Units - 1) ? '0 : scan_q + UnitW'(1);
    cand_unit_q  <= scan_q;
    cand_ptr_q   <= scan_ptr;
    cand_valid_q <= running && !serve_q && !last1_q && scan_ptr != tail_q;
    cand_uses_q  <= uses_q[scan_slot][scan_q];
    cand_stop_q  <= stop_q[scan_slot];
    cand_req_q   <= cfg_req_i[scan_q];
    unique case (pt_abi_pkg::wait_of(scan_q))
      pt_abi_pkg::WaitX: {cand_sem_q, cand_wait_q} <= wait_x[scan_slot];
      pt_abi_pkg::WaitS: {cand_sem_q, cand_wait_q} <= wait_s[scan_slot];
      pt_abi_pkg::WaitY: {cand_sem_q, cand_wait_q} <= wait_y[scan_slot];
      default: {cand_sem_q, cand_wait_q} <= '0;
    endcase
    if (!rst_ni) begin
      scan_q       <= '0;
      cand_valid_q <= 1'b0;
    end
  end

  assign cand_sem = sem_q[cand_sem_q];
  assign cand_ok = cand_valid_q && running && cand_ptr_q == ptr_q[cand_unit_q] && !cand_stop_q;
  assign skip = cand_ok && !cand_uses_q;
  assign serve_start = cand_ok && cand_uses_q && cand_req_q && !serve_q && !halted_q &&
                       cand_sem >= cand_wait_q && (!step_mode_i || cand_ptr_q == head_q);

  // A pointer never stays behind the oldest descriptor.
  for (genvar u = 0; u < Units; u++) begin : g_ptr
    logic move;
    assign move = (retire && ptr_q[u] == head_q) ||
                  ((skip || serve_start) && cand_unit_q == UnitW'(u));
    always_ff @(posedge clk_i) begin
      if (!rst_ni || begin_run) ptr_q[u] <= '0;
      else if (move) ptr_q[u] <= ptr_q[u] + PtrW'(1);
    end
  end

  // ---- serve ------------------------------------------------------------------------------------
  typedef enum logic [1:0] {SgPre, SgOwn, SgTail} segment_e;
  segment_e         segment_q;
  logic [SlotW-1:0] serve_slot_q;
  logic [7:0]       sidx_q, own_first, own_last, serve_end_q;
  logic             serve_last, last2_q;
  logic [Units-1:0] valid1_q, valid2_q;
  logic [7:0]       idx1_q, idx2_q;
  logic [63:0]      slot_word;
  // The first word is read while it is decided whether a unit gets it.
  logic [SlotW-1:0] read_slot;
  logic [7:0]       read_idx;
  assign read_slot = serve_q ? serve_slot_q : cand_ptr_q[SlotW-1:0];
  assign read_idx = serve_q ? sidx_q : 8'd0;
  assign serve_last = serve_q && segment_q == SgTail && sidx_q == serve_end_q;

  assign own_first = pt_abi_pkg::cfg_first(serve_unit_q);
  assign own_last = pt_abi_pkg::cfg_last(serve_unit_q);

  always_ff @(posedge clk_i) begin
    if (!rst_ni || !running) begin
      serve_q  <= 1'b0;
      valid1_q <= '0;
      valid2_q <= '0;
    end else begin
      if (serve_start) serve_q <= 1'b1;
      else if (serve_last) serve_q <= 1'b0;
      valid1_q <= serve_start ? Units'(1) << cand_unit_q :
                  serve_q ? Units'(1) << serve_unit_q : '0;
      valid2_q <= valid1_q;
    end
    idx1_q  <= read_idx;
    idx2_q  <= idx1_q;
    last1_q <= serve_last;
    last2_q <= last1_q;
    if (serve_start) begin
      serve_unit_q <= cand_unit_q;
      serve_slot_q <= cand_ptr_q[SlotW-1:0];
      serve_end_q  <= ParamIdx + 8'(pt_abi_pkg::ParamWords - 1);
      if (pt_abi_pkg::TapUnits[cand_unit_q]) begin
        serve_end_q <= ParamIdx + 8'(pt_abi_pkg::ParamWords - 1) + taps[cand_ptr_q[SlotW-1:0]];
      end
      segment_q <= SgPre;
      sidx_q    <= 8'd1;
    end else if (segment_q == SgPre && sidx_q == 8'(pt_abi_pkg::SecPreWords - 1)) begin
      segment_q <= SgOwn;
      sidx_q    <= own_first;
    end else if (segment_q == SgOwn && sidx_q == own_last) begin
      segment_q <= SgTail;
      sidx_q    <= ParamIdx;
    end else begin
      sidx_q <= sidx_q + 8'd1;
    end
  end

  pt_ram_sdp #(.Depth(Slots * 256), .Width(64), .OutReg(1'b1)) u_slots (
    .clk_i,
    .we_i(data_valid_i),
    .waddr_i({tail, widx_q}),
    .wdata_i(data_i),
    .re_i(1'b1),
    .raddr_i({read_slot, read_idx}),
    .rdata_o(slot_word)
  );

  // All units hang on this bus: it leaves from registers, which a tool may copy, not from the memory.
  (* max_fanout = 64 *)
  logic [63:0] cfg_data_q;
  (* max_fanout = 64 *)
  logic [7:0]  cfg_idx_q;
  logic [Units-1:0] cfg_valid_q;
  logic             cfg_last_q;
  always_ff @(posedge clk_i) begin
    cfg_data_q  <= slot_word;
    cfg_idx_q   <= idx2_q;
    cfg_last_q  <= last2_q;
    cfg_valid_q <= rst_ni && running ? valid2_q : '0;
  end
  assign cfg_data_o = cfg_data_q;
  assign cfg_valid_o = cfg_valid_q;
  assign cfg_idx_o = cfg_idx_q;
  assign cfg_last_o = cfg_last_q;

  // ---- completion: the oldest descriptor that waits for a unit gets its pulse -------------------
  logic [Units-1:0] unit_done_q;
  logic [Slots-1:0] filling, behind, pending;
  logic             starts;
  assign filling = slot_filled ? Slots'(1) << tail : '0;
  assign behind = {Slots{1'b1}} << head;  // slots from head to the last are older than the others
  assign starts = !no_more && !bad_count && !bad_sem;
  for (genvar u = 0; u < Units; u++) begin : g_done
    logic [Slots-1:0] older, from, oldest;
    assign older = pending_q[u] & behind;
    assign from = older != '0 ? older : pending_q[u];
    assign oldest = unit_done_q[u] ? from & (~from + Slots'(1)) : '0;
    assign pending_d[u] = (pending_q[u] & ~oldest & ~filling) | (starts && uses[u] ? filling : '0);
  end
  always_comb begin
    pending = '0;
    for (int unsigned u = 0; u < Units; u++) pending = pending | pending_d[u];
  end

  // ---- semaphores: each looks at one descriptor per cycle, in program order ---------------------
  logic [Sems-1:0][PtrW-1:0] sem_ptr_q;  // next descriptor, between head and tail
  for (genvar k = 0; k < Sems; k++) begin : g_sem
    logic [SlotW-1:0] slot;
    logic             mine, move;
    assign slot = sem_ptr_q[k][SlotW-1:0];
    assign mine = signal_q[slot] == (SemW+1)'(k);
    // What is finished never waits: the pointer leaves a descriptor at the latest when it retires.
    assign move = running && sem_ptr_q[k] != tail_q && (!mine || finished_q[slot]);
    always_ff @(posedge clk_i) begin
      if (!rst_ni || begin_run) begin
        sem_ptr_q[k] <= '0;
        sem_q[k]     <= 16'd0;
      end else if (move) begin
        sem_ptr_q[k] <= sem_ptr_q[k] + PtrW'(1);
        sem_q[k]     <= sem_q[k] + 16'(mine);
      end
    end
  end

  // ---- retire -----------------------------------------------------------------------------------
  logic occupied;
  assign occupied = running && !halted_q && head_q != tail_q;
  assign retire = occupied && !bad_q[head] && finished_q[head];
  assign illegal = occupied && bad_q[head];
  assign program_end = !halted_q && retired_o == program_count_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || begin_run) begin
      head_q      <= '0;
      tail_q      <= '0;
      pending_q   <= '0;
      unit_done_q <= '0;
    end else begin
      head_q      <= head_q + PtrW'(retire);
      tail_q      <= tail_q + PtrW'(slot_filled);
      pending_q   <= pending_d;
      unit_done_q <= unit_done_i;
    end
    finished_q <= ~pending;
  end

  // ---- state registers --------------------------------------------------------------------------
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q       <= StIdle;
      settle_q      <= 4'd0;
      halted_q      <= 1'b0;
      done_q        <= 1'b0;
      error_code_o  <= 8'd0;
      error_source_o  <= 8'd0;
      error_index_o <= 32'd0;
      retired_o     <= 32'd0;
      cycles_o      <= 64'd0;
    end else begin
      state_q <= state_d;
      if (state_q != state_d) settle_q <= 4'd0;
      else if (!settle_q[3]) settle_q <= settle_q + 4'd1;
      if (retire && step_mode_i) halted_q <= 1'b1;
      else if (resume_i || !running) halted_q <= 1'b0;
      if (begin_run || refused || clear_i || state_q == StReset) done_q <= 1'b0;
      else if (running && state_d == StIdle) done_q <= 1'b1;
      else if (state_q == StStop && state_d == StFailed) done_q <= 1'b1;
      if (begin_run || state_q == StReset) begin
        error_code_o  <= 8'd0;
        error_source_o  <= 8'd0;
        error_index_o <= 32'd0;
      end else if (refused) begin
        error_code_o  <= 8'(pt_abi_pkg::ErrNotArmed);
        error_source_o  <= 8'(pt_abi_pkg::SourceSequencer);
        error_index_o <= 32'd0;
      end else if (running && (err_valid_i || illegal)) begin
        error_code_o  <= err_valid_i ? err_code_i : 8'(pt_abi_pkg::ErrIllegalDescriptor);
        error_source_o  <= err_valid_i ? err_source_i : 8'(pt_abi_pkg::SourceSequencer);
        error_index_o <= retired_o;
      end
      if (begin_run || refused || state_q == StReset) retired_o <= 32'd0;
      else if (retire) retired_o <= retired_o + 32'd1;
      if (begin_run) cycles_o <= 64'd0;
      else if (running || state_q == StStop) cycles_o <= cycles_o + 64'd1;
    end
  end

  assign busy_o = state_q != StIdle && state_q != StFailed;
  assign done_o = done_q;
  assign halted_o = halted_q;
  assign failed_o = state_q == StFailed;
  assign halt_o = state_q == StStop || state_q == StFailed || state_q == StDrain ||
                  state_q == StReset;
  assign core_rst_o = state_q == StReset;

  logic unused;
  assign unused = &{1'b0, pre};
endmodule
