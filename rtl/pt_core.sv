// SPDX-License-Identifier: Apache-2.0
// The engine: registers, sequencer, units and AXI masters. Wiring, counters and the interrupt only.
//
//   port  reads                             writes
//   0     X loader                          stored tensors
//   1     S loader                          flags, result records, channel sums
//   2     program, bias masters, softmax,   logit gradients, 16-bit copies
//         vector: map b, flags, coefficients
//   3     update: masters, bias sums;       masters, results and sums of the vector unit, records
//         vector: map a                     of both
module pt_core (
  input  logic              clk_i,
  input  logic              rst_ni,
  output logic              irq_o,
  input  logic [11:0]       s_axi_awaddr,
  input  logic              s_axi_awvalid,
  output logic              s_axi_awready,
  input  logic [31:0]       s_axi_wdata,
  input  logic [3:0]        s_axi_wstrb,
  input  logic              s_axi_wvalid,
  output logic              s_axi_wready,
  output logic [1:0]        s_axi_bresp,
  output logic              s_axi_bvalid,
  input  logic              s_axi_bready,
  input  logic [11:0]       s_axi_araddr,
  input  logic              s_axi_arvalid,
  output logic              s_axi_arready,
  output logic [31:0]       s_axi_rdata,
  output logic [1:0]        s_axi_rresp,
  output logic              s_axi_rvalid,
  input  logic              s_axi_rready,
  output logic [3:0][39:0]  m_axi_araddr,
  output logic [3:0][7:0]   m_axi_arlen,
  output logic [3:0][2:0]   m_axi_arsize,
  output logic [3:0][1:0]   m_axi_arburst,
  output logic [3:0][3:0]   m_axi_arcache,
  output logic [3:0][2:0]   m_axi_arprot,
  output logic [3:0]        m_axi_arvalid,
  input  logic [3:0]        m_axi_arready,
  input  logic [3:0][63:0]  m_axi_rdata,
  input  logic [3:0][1:0]   m_axi_rresp,
  input  logic [3:0]        m_axi_rlast,
  input  logic [3:0]        m_axi_rvalid,
  output logic [3:0]        m_axi_rready,
  output logic [3:0][39:0]  m_axi_awaddr,
  output logic [3:0][7:0]   m_axi_awlen,
  output logic [3:0][2:0]   m_axi_awsize,
  output logic [3:0][1:0]   m_axi_awburst,
  output logic [3:0][3:0]   m_axi_awcache,
  output logic [3:0][2:0]   m_axi_awprot,
  output logic [3:0]        m_axi_awvalid,
  input  logic [3:0]        m_axi_awready,
  output logic [3:0][63:0]  m_axi_wdata,
  output logic [3:0][7:0]   m_axi_wstrb,
  output logic [3:0]        m_axi_wlast,
  output logic [3:0]        m_axi_wvalid,
  input  logic [3:0]        m_axi_wready,
  input  logic [3:0][1:0]   m_axi_bresp,
  input  logic [3:0]        m_axi_bvalid,
  output logic [3:0]        m_axi_bready
);
  localparam int unsigned Ports = 4;
  // Counted events: busy, four stalls, drain, and the words of each port.
  localparam int unsigned Events = 6 + 2 * Ports;

  if (pt_spec_pkg::Ports != Ports) begin : g_check
    $fatal(1, "pt_core: the configuration must have 4 ports");
  end

  // ---- registers --------------------------------------------------------------------------------
  pt_abi_pkg::ctrl_reg_t     ctrl;
  logic                      unarmed;
  pt_abi_pkg::mode_reg_t     mode;
  pt_abi_pkg::status_reg_t   status;
  pt_abi_pkg::arena_hi_reg_t arena_hi;
  pt_abi_pkg::strays_reg_t   strays;
  logic [31:0] arena_lo, arena_bytes, program_off, program_count, step_off, error_index, retired;
  logic [63:0] cycles;
  logic        busy, done, halted, failed;
  logic [7:0]  error_code, error_source;
  logic [Events-1:0][31:0] counts;
  always_comb begin
    status = '0;
    status.busy = busy;
    status.done = done;
    status.halted = halted;
    status.failed = failed;
    status.stray = strays.ports != 8'd0;
    status.error = error_code;
    status.source = error_source;
  end

  pt_regs u_regs (
    .clk_i,
    .rst_ni,
    .lock_i(busy),
    .s_axi_awaddr,
    .s_axi_awvalid,
    .s_axi_awready,
    .s_axi_wdata,
    .s_axi_wstrb,
    .s_axi_wvalid,
    .s_axi_wready,
    .s_axi_bresp,
    .s_axi_bvalid,
    .s_axi_bready,
    .s_axi_araddr,
    .s_axi_arvalid,
    .s_axi_arready,
    .s_axi_rdata,
    .s_axi_rresp,
    .s_axi_rvalid,
    .s_axi_rready,
    .ctrl_o(ctrl),
    .unarmed_o(unarmed),
    .status_i(status),
    .error_index_i(error_index),
    .retired_i(retired),
    .mode_o(mode),
    .arena_lo_o(arena_lo),
    .arena_hi_o(arena_hi),
    .arena_bytes_o(arena_bytes),
    .program_off_o(program_off),
    .program_count_o(program_count),
    .step_off_o(step_off),
    .strays_i(strays),
    .cycles_i(cycles[31:0]),
    .cycles_hi_i(cycles[63:32]),
    .busy_cycles_i(counts[0]),
    .stall_x_i(counts[1]),
    .stall_s_i(counts[2]),
    .stall_acc_i(counts[3]),
    .stall_gap_i(counts[4]),
    .drain_cycles_i(counts[5]),
    .read_beats0_i(counts[6]),
    .read_beats1_i(counts[7]),
    .read_beats2_i(counts[8]),
    .read_beats3_i(counts[9]),
    .write_beats0_i(counts[10]),
    .write_beats1_i(counts[11]),
    .write_beats2_i(counts[12]),
    .write_beats3_i(counts[13])
  );

  assign irq_o = mode.irq_enable && (done || halted);

  // ---- AXI masters ------------------------------------------------------------------------------
  logic               halt, core_rst, unit_rst_n;
  logic [39:0]        arena_base;
  logic [Ports-1:0]   rd_run_valid, rd_run_ready, rd_run_last, rd_valid, rd_ready, rd_idle, rd_beat;
  logic [31:0]        rd_run_off [Ports];
  logic [15:0]        rd_run_len [Ports];
  logic [63:0]        rd_data [Ports];
  logic [1:0]         rd_err [Ports];
  logic [Ports-1:0]   wr_run_valid, wr_run_ready, wr_run_last, wr_valid, wr_ready, wr_idle, wr_beat;
  logic [31:0]        wr_run_off [Ports];
  logic [15:0]        wr_run_len [Ports];
  logic [63:0]        wr_data [Ports];
  logic [1:0]         wr_err [Ports];
  logic [Ports-1:0]   wr_run_done, rd_stray, wr_stray;
  assign arena_base = {arena_hi.address, arena_lo};
  always_ff @(posedge clk_i) unit_rst_n <= rst_ni && !core_rst;

  // Each block has its own copy of the reset, a cycle later.
  logic [Ports-1:0] port_rst_n;
  for (genvar p = 0; p < Ports; p++) begin : g_port
    pt_reset u_reset (
      .clk_i,
      .rst_ni(unit_rst_n),
      .rst_no(port_rst_n[p])
    );
    pt_axi_port u_port (
      .clk_i,
      .rst_ni(port_rst_n[p]),
      .halt_i(halt),
      .base_i(arena_base),
      .limit_i(arena_bytes),
      .rd_run_valid_i(rd_run_valid[p]),
      .rd_run_ready_o(rd_run_ready[p]),
      .rd_run_off_i(rd_run_off[p]),
      .rd_run_len_i(rd_run_len[p]),
      .rd_run_last_i(rd_run_last[p]),
      .rd_valid_o(rd_valid[p]),
      .rd_ready_i(rd_ready[p]),
      .rd_data_o(rd_data[p]),
      .rd_idle_o(rd_idle[p]),
      .rd_beat_o(rd_beat[p]),
      .rd_err_o(rd_err[p]),
      .rd_stray_o(rd_stray[p]),
      .wr_run_valid_i(wr_run_valid[p]),
      .wr_run_ready_o(wr_run_ready[p]),
      .wr_run_off_i(wr_run_off[p]),
      .wr_run_len_i(wr_run_len[p]),
      .wr_run_last_i(wr_run_last[p]),
      .wr_valid_i(wr_valid[p]),
      .wr_ready_o(wr_ready[p]),
      .wr_data_i(wr_data[p]),
      .wr_idle_o(wr_idle[p]),
      .wr_run_done_o(wr_run_done[p]),
      .wr_beat_o(wr_beat[p]),
      .wr_err_o(wr_err[p]),
      .wr_stray_o(wr_stray[p]),
      .m_axi_araddr(m_axi_araddr[p]),
      .m_axi_arlen(m_axi_arlen[p]),
      .m_axi_arsize(m_axi_arsize[p]),
      .m_axi_arburst(m_axi_arburst[p]),
      .m_axi_arcache(m_axi_arcache[p]),
      .m_axi_arprot(m_axi_arprot[p]),
      .m_axi_arvalid(m_axi_arvalid[p]),
      .m_axi_arready(m_axi_arready[p]),
      .m_axi_rdata(m_axi_rdata[p]),
      .m_axi_rresp(m_axi_rresp[p]),
      .m_axi_rlast(m_axi_rlast[p]),
      .m_axi_rvalid(m_axi_rvalid[p]),
      .m_axi_rready(m_axi_rready[p]),
      .m_axi_awaddr(m_axi_awaddr[p]),
      .m_axi_awlen(m_axi_awlen[p]),
      .m_axi_awsize(m_axi_awsize[p]),
      .m_axi_awburst(m_axi_awburst[p]),
      .m_axi_awcache(m_axi_awcache[p]),
      .m_axi_awprot(m_axi_awprot[p]),
      .m_axi_awvalid(m_axi_awvalid[p]),
      .m_axi_awready(m_axi_awready[p]),
      .m_axi_wdata(m_axi_wdata[p]),
      .m_axi_wstrb(m_axi_wstrb[p]),
      .m_axi_wlast(m_axi_wlast[p]),
      .m_axi_wvalid(m_axi_wvalid[p]),
      .m_axi_wready(m_axi_wready[p]),
      .m_axi_bresp(m_axi_bresp[p]),
      .m_axi_bvalid(m_axi_bvalid[p]),
      .m_axi_bready(m_axi_bready[p])
    );
  end

  // Answers that nobody asked for. Behind a soft reset, which drops what was counted, come those that
  // a stray has taken the place of.
  logic        strays_clear;
  logic [3:0]  stray_now;
  logic [16:0] stray_count;
  assign strays_clear = core_rst || ctrl.start;
  always_comb begin
    stray_now = 4'd0;
    for (int unsigned p = 0; p < Ports; p++) begin
      stray_now = stray_now + 4'(rd_stray[p]) + 4'(wr_stray[p]);
    end
    stray_count = {1'b0, strays_clear ? 16'd0 : strays.count} + 17'(stray_now);
  end
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      strays <= '0;
    end else begin
      strays.ports <= (strays_clear ? 8'd0 : strays.ports) | {wr_stray, rd_stray};
      strays.count <= stray_count[16] ? 16'hffff : stray_count[15:0];
    end
  end

  // The first error of any port. A stray in a run may have come before one that was owed, whose
  // place it took.
  logic       err_valid;
  logic [7:0] err_code, err_source;
  always_comb begin
    {err_valid, err_code, err_source} = 17'd0;
    for (int unsigned p = 0; p < Ports; p++) begin
      if ((wr_err[p] | rd_err[p]) != 2'd0) begin
        err_valid = 1'b1;
        err_code = {6'd0, rd_err[p] != 2'd0 ? rd_err[p] : wr_err[p]};
        err_source = rd_err[p] != 2'd0 ? 8'(pt_abi_pkg::SourceRead0 + p) :
                                           8'(pt_abi_pkg::SourceWrite0 + p);
      end else if (rd_stray[p] || wr_stray[p]) begin
        err_valid = 1'b1;
        err_code = 8'(pt_abi_pkg::ErrStrayAnswer);
        err_source = rd_stray[p] ? 8'(pt_abi_pkg::SourceRead0 + p) :
                                   8'(pt_abi_pkg::SourceWrite0 + p);
      end
    end
  end

  // ---- sequencer --------------------------------------------------------------------------------
  localparam int unsigned Units = pt_abi_pkg::Units;
  logic [Units-1:0] cfg_req, cfg_valid, unit_done;
  logic [7:0]       cfg_idx;
  logic [63:0]      cfg_data;
  logic             cfg_last;
  // Read clients of port 2: sequencer, bias, softmax, vector.
  logic [3:0]       p2_run_valid, p2_run_ready, p2_valid, p2_ready;
  logic [1:0]       p2_last_unused;
  logic [31:0]      p2_off [4];
  logic [15:0]      p2_len [4];
  logic [63:0]      p2_data;

  pt_sequencer #(.MaxTaps(pt_spec_pkg::MaxTaps)) u_sequencer (
    .clk_i,
    .rst_ni,
    .start_i(ctrl.start),
    .unarmed_i(unarmed),
    .resume_i(ctrl.resume),
    .soft_reset_i(ctrl.soft_reset),
    .clear_i(ctrl.clear),
    .step_mode_i(mode.step),
    .program_off_i(program_off),
    .program_count_i(program_count),
    .step_off_i(step_off),
    .run_valid_o(p2_run_valid[0]),
    .run_ready_i(p2_run_ready[0]),
    .run_off_o(p2_off[0]),
    .run_len_o(p2_len[0]),
    .run_last_o(p2_last_unused[0]),
    .data_valid_i(p2_valid[0]),
    .data_ready_o(p2_ready[0]),
    .data_i(p2_data),
    .cfg_req_i(cfg_req),
    .cfg_valid_o(cfg_valid),
    .cfg_idx_o(cfg_idx),
    .cfg_data_o(cfg_data),
    .cfg_last_o(cfg_last),
    .unit_done_i(unit_done),
    .err_valid_i(err_valid),
    .err_code_i(err_code),
    .err_source_i(err_source),
    .axi_idle_i((&rd_idle) && (&wr_idle)),
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

  pt_rd_arb #(.Clients(4)) u_port2_rd (
    .clk_i,
    .rst_ni(port_rst_n[2]),
    .run_valid_i(p2_run_valid),
    .run_ready_o(p2_run_ready),
    .run_off_i({p2_off[3], p2_off[2], p2_off[1], p2_off[0]}),
    .run_len_i({p2_len[3], p2_len[2], p2_len[1], p2_len[0]}),
    .data_valid_o(p2_valid),
    .data_ready_i(p2_ready),
    .data_o(p2_data),
    .run_valid_o(rd_run_valid[2]),
    .run_ready_i(rd_run_ready[2]),
    .run_off_o(rd_run_off[2]),
    .run_len_o(rd_run_len[2]),
    .run_last_o(rd_run_last[2]),
    .data_valid_i(rd_valid[2]),
    .data_ready_o(rd_ready[2]),
    .data_i(rd_data[2])
  );

  // ---- convolution ------------------------------------------------------------------------------
  // Gradient queue to update unit; the cycle that goes into records.
  logic        gq_valid, gq_ready;
  logic [47:0] gq_data;
  logic [31:0] stamp;
  assign stamp = mode.profile ? cycles[31:0] : 32'd0;

  logic ev_busy, ev_x, ev_s, ev_acc, ev_gap, ev_drain;
  pt_conv u_conv (
    .clk_i,
    .rst_ni(unit_rst_n),
    .cfg_req_o(cfg_req[pt_abi_pkg::UnitStore:0]),
    .cfg_valid_i(cfg_valid[pt_abi_pkg::UnitStore:0]),
    .cfg_idx_i(cfg_idx),
    .cfg_data_i(cfg_data),
    .cfg_last_i(cfg_last),
    .unit_done_o(unit_done[pt_abi_pkg::UnitStore:0]),
    .rd_run_valid_o({p2_run_valid[1], rd_run_valid[1:0]}),
    .rd_run_ready_i({p2_run_ready[1], rd_run_ready[1:0]}),
    .rd_run_off_o({p2_off[1], rd_run_off[1], rd_run_off[0]}),
    .rd_run_len_o({p2_len[1], rd_run_len[1], rd_run_len[0]}),
    .rd_run_last_o({p2_last_unused[1], rd_run_last[1:0]}),
    .rd_valid_i({p2_valid[1], rd_valid[1:0]}),
    .rd_ready_o({p2_ready[1], rd_ready[1:0]}),
    .rd_data_i({p2_data, rd_data[1], rd_data[0]}),
    .wr_run_valid_o(wr_run_valid[1:0]),
    .wr_run_ready_i(wr_run_ready[1:0]),
    .wr_run_off_o({wr_run_off[1], wr_run_off[0]}),
    .wr_run_len_o({wr_run_len[1], wr_run_len[0]}),
    .wr_run_last_o(wr_run_last[1:0]),
    .wr_valid_o(wr_valid[1:0]),
    .wr_ready_i(wr_ready[1:0]),
    .wr_data_o({wr_data[1], wr_data[0]}),
    .wr_idle_i(wr_idle[1:0]),
    .wr_run_done_i(wr_run_done[1]),
    .gq_valid_o(gq_valid),
    .gq_ready_i(gq_ready),
    .gq_data_o(gq_data),
    .stamp_i(stamp),
    .busy_o(ev_busy),
    .stall_x_o(ev_x),
    .stall_s_o(ev_s),
    .stall_acc_o(ev_acc),
    .stall_gap_o(ev_gap),
    .drain_o(ev_drain)
  );

  // ---- units that work element by element ---------------------------------------------------------
  pt_elementwise u_elementwise (
    .clk_i,
    .rst_ni(unit_rst_n),
    .cfg_req_o(cfg_req[Units-1:pt_abi_pkg::UnitUpdate]),
    .cfg_valid_i(cfg_valid[Units-1:pt_abi_pkg::UnitUpdate]),
    .cfg_idx_i(cfg_idx),
    .cfg_data_i(cfg_data),
    .cfg_last_i(cfg_last),
    .unit_done_o(unit_done[Units-1:pt_abi_pkg::UnitUpdate]),
    .stamp_i(stamp),
    .gq_valid_i(gq_valid),
    .gq_ready_o(gq_ready),
    .gq_data_i(gq_data),
    .p2_run_valid_o(p2_run_valid[3:2]),
    .p2_run_ready_i(p2_run_ready[3:2]),
    .p2_off_o({p2_off[3], p2_off[2]}),
    .p2_len_o({p2_len[3], p2_len[2]}),
    .p2_valid_i(p2_valid[3:2]),
    .p2_ready_o(p2_ready[3:2]),
    .p2_data_i(p2_data),
    .rd_run_valid_o(rd_run_valid[3]),
    .rd_run_ready_i(rd_run_ready[3]),
    .rd_run_off_o(rd_run_off[3]),
    .rd_run_len_o(rd_run_len[3]),
    .rd_run_last_o(rd_run_last[3]),
    .rd_valid_i(rd_valid[3]),
    .rd_ready_o(rd_ready[3]),
    .rd_data_i(rd_data[3]),
    .wr_run_valid_o(wr_run_valid[3:2]),
    .wr_run_ready_i(wr_run_ready[3:2]),
    .wr_run_off_o({wr_run_off[3], wr_run_off[2]}),
    .wr_run_len_o({wr_run_len[3], wr_run_len[2]}),
    .wr_run_last_o(wr_run_last[3:2]),
    .wr_valid_o(wr_valid[3:2]),
    .wr_ready_i(wr_ready[3:2]),
    .wr_data_o({wr_data[3], wr_data[2]}),
    .wr_idle_i(wr_idle[3:2]),
    .wr_run_done_i(wr_run_done[3:2])
  );

  // ---- counters ---------------------------------------------------------------------------------
  pt_counters #(.Count(Events)) u_counters (
    .clk_i,
    .rst_ni,
    .clear_i(ctrl.start),
    .event_i({wr_beat, rd_beat, ev_drain, ev_gap, ev_acc, ev_s, ev_x, ev_busy}),
    .count_o(counts)
  );

  logic unused;
  assign unused = &{1'b0, ctrl, mode, arena_hi, p2_last_unused, wr_run_done[0]};
endmodule
