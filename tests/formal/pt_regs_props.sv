// SPDX-License-Identifier: Apache-2.0
// Properties of the registers behind the bridge of the processor's port: every address answers.
//
// The processor is free: bursts of any length at any address, in any order of address and data, any
// pauses. It keeps what it offers until it is taken, and marks the last word of a burst. Accesses
// of the bridge are those of pt_regs alone as well, so both are proven together.
module pt_regs_props (
  input logic        clk_i,
  input logic        rst_ni,
  input logic [3:0]  awid_i,
  input logic [11:0] awaddr_i,
  input logic        awvalid_i,
  input logic [3:0]  awlen_i,
  input logic [31:0] wdata_i,
  input logic [3:0]  wstrb_i,
  input logic        wvalid_i,
  input logic        bready_i,
  input logic [3:0]  arid_i,
  input logic [11:0] araddr_i,
  input logic [3:0]  arlen_i,
  input logic        arvalid_i,
  input logic        rready_i,
  input logic        lock_i,
  input logic [31:0] status_i,
  input logic [31:0] cycles_i
);
  // Cycles within which the bridge answers a processor that waits.
  localparam int unsigned Bound = 3;

  logic        awready, wready, bvalid, arready, rvalid, rlast, wlast;
  logic [3:0]  bid, rid;
  logic [1:0]  bresp, rresp;
  logic [31:0] rdata;
  logic [11:0] m_awaddr, m_araddr;
  logic        m_awvalid, m_awready, m_wvalid, m_wready, m_bvalid, m_bready;
  logic        m_arvalid, m_arready, m_rvalid, m_rready;
  logic [31:0] m_wdata, m_rdata;
  logic [3:0]  m_wstrb;
  logic [1:0]  m_bresp, m_rresp;
  pt_lite_bridge #(.IdBits(4), .AddressBits(12)) u_bridge (
    .clk_i,
    .rst_ni,
    .s_awid_i(awid_i),
    .s_awaddr_i(awaddr_i),
    .s_awvalid_i(awvalid_i),
    .s_awready_o(awready),
    .s_wdata_i(wdata_i),
    .s_wstrb_i(wstrb_i),
    .s_wlast_i(wlast),
    .s_wvalid_i(wvalid_i),
    .s_wready_o(wready),
    .s_bid_o(bid),
    .s_bresp_o(bresp),
    .s_bvalid_o(bvalid),
    .s_bready_i(bready_i),
    .s_arid_i(arid_i),
    .s_araddr_i(araddr_i),
    .s_arlen_i({4'd0, arlen_i}),
    .s_arvalid_i(arvalid_i),
    .s_arready_o(arready),
    .s_rid_o(rid),
    .s_rdata_o(rdata),
    .s_rresp_o(rresp),
    .s_rlast_o(rlast),
    .s_rvalid_o(rvalid),
    .s_rready_i(rready_i),
    .m_awaddr_o(m_awaddr),
    .m_awvalid_o(m_awvalid),
    .m_awready_i(m_awready),
    .m_wdata_o(m_wdata),
    .m_wstrb_o(m_wstrb),
    .m_wvalid_o(m_wvalid),
    .m_wready_i(m_wready),
    .m_bresp_i(m_bresp),
    .m_bvalid_i(m_bvalid),
    .m_bready_o(m_bready),
    .m_araddr_o(m_araddr),
    .m_arvalid_o(m_arvalid),
    .m_arready_i(m_arready),
    .m_rdata_i(m_rdata),
    .m_rresp_i(m_rresp),
    .m_rvalid_i(m_rvalid),
    .m_rready_o(m_rready)
  );
  // What pt_regs shows beside these inputs is free.
  pt_abi_pkg::ctrl_reg_t ctrl;
  logic                  unarmed;
  pt_regs u_regs (
    .clk_i,
    .rst_ni,
    .lock_i,
    .s_axi_awaddr(m_awaddr),
    .s_axi_awvalid(m_awvalid),
    .s_axi_awready(m_awready),
    .s_axi_wdata(m_wdata),
    .s_axi_wstrb(m_wstrb),
    .s_axi_wvalid(m_wvalid),
    .s_axi_wready(m_wready),
    .s_axi_bresp(m_bresp),
    .s_axi_bvalid(m_bvalid),
    .s_axi_bready(m_bready),
    .s_axi_araddr(m_araddr),
    .s_axi_arvalid(m_arvalid),
    .s_axi_arready(m_arready),
    .s_axi_rdata(m_rdata),
    .s_axi_rresp(m_rresp),
    .s_axi_rvalid(m_rvalid),
    .s_axi_rready(m_rready),
    .ctrl_o(ctrl),
    .unarmed_o(unarmed),
    .status_i,
    .cycles_i
  );

  // ---- reference: bursts taken apart, one register that is written ------------------------------
  logic        started_q;
  logic        aw_wait_q, w_wait_q, ar_wait_q, b_wait_q, r_wait_q;
  logic [63:0] aw_q, w_q, ar_q, b_q, r_q;   // what was offered a cycle ago
  logic        writing_q, reading_q;        // a burst is taken and not answered
  logic [3:0]  wid_q, rid_q, wleft_q, rleft_q;
  logic [11:0] waddr_q, raddr_q;
  logic        w_all_q;                     // all its words are taken
  logic [2:0]  late_w_q, late_r_q;          // cycles for which the processor waits
  logic        armed_before_q, start_q;   // a cycle ago: armed, START was written
  logic        armed_q;                     // only PROGRAM_COUNT was written since START, once
  logic [31:0] step_q, shown_q;             // STEP_OFF; its value, or a status, when it was read
  logic [31:0] mask;
  logic        stored;                      // pt_regs takes a write
  assign wlast = wleft_q == 4'd0;
  assign stored = u_regs.write;
  assign mask = {{8{m_wstrb[3]}}, {8{m_wstrb[2]}}, {8{m_wstrb[1]}}, {8{m_wstrb[0]}}};
  // Where the bridge is with a write: it waits for a word, sends it on, waits, has it answered.
  logic        at_beat, at_send, at_wait, at_done;
  assign at_beat = u_bridge.write_q == 3'd1;
  assign at_send = u_bridge.write_q == 3'd2;
  assign at_wait = u_bridge.write_q == 3'd3;
  assign at_done = u_bridge.write_q == 3'd4;
  logic        w_wants, r_wants;
  assign w_wants = writing_q ? (w_all_q || wvalid_i) : awvalid_i;
  assign r_wants = reading_q || arvalid_i;
  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    armed_before_q <= rst_ni && armed_q;
    start_q <= rst_ni && stored && m_wdata[0] && mask[0] &&
               {waddr_q[11:2], 2'b00} == pt_abi_pkg::RegCtrl;
    aw_wait_q <= rst_ni && awvalid_i && !awready;
    w_wait_q <= rst_ni && wvalid_i && !wready;
    ar_wait_q <= rst_ni && arvalid_i && !arready;
    b_wait_q <= rst_ni && bvalid && !bready_i;
    r_wait_q <= rst_ni && rvalid && !rready_i;
    aw_q <= 64'({awid_i, awaddr_i, awlen_i});
    w_q <= 64'({wdata_i, wstrb_i});
    ar_q <= 64'({arid_i, araddr_i, arlen_i});
    b_q <= 64'({bid, bresp});
    r_q <= 64'({rid, rdata, rresp, rlast});
    if (!rst_ni) begin
      writing_q <= 1'b0;
      reading_q <= 1'b0;
      w_all_q <= 1'b0;
      late_w_q <= '0;
      late_r_q <= '0;
      step_q <= '0;
      armed_q <= 1'b0;
    end else begin
      if (awvalid_i && awready) begin
        writing_q <= 1'b1;
        w_all_q <= 1'b0;
        wid_q <= awid_i;
        waddr_q <= awaddr_i;
        wleft_q <= awlen_i;
      end else if (bvalid && bready_i) begin
        writing_q <= 1'b0;
      end else if (wvalid_i && wready) begin
        w_all_q <= wlast;
        wleft_q <= wleft_q - 4'd1;
      end
      if (stored) waddr_q <= waddr_q + 12'd4;
      if (arvalid_i && arready) begin
        reading_q <= 1'b1;
        rid_q <= arid_i;
        raddr_q <= araddr_i;
        rleft_q <= arlen_i;
      end else if (rvalid && rready_i) begin
        reading_q <= !rlast;
        rleft_q <= rleft_q - 4'd1;
        raddr_q <= raddr_q + 12'd4;
      end
      late_w_q <= !w_wants || (awvalid_i && awready) || (wvalid_i && wready) || bvalid ? '0
                  : late_w_q + 3'd1;
      late_r_q <= !r_wants || (arvalid_i && arready) || rvalid ? '0 : late_r_q + 3'd1;
      if (stored && {waddr_q[11:2], 2'b00} == pt_abi_pkg::RegCtrl) begin
        if (m_wdata[0] && mask[0]) armed_q <= 1'b0;
      end else if (stored && !lock_i && {waddr_q[11:2], 2'b00} == pt_abi_pkg::RegProgramCount) begin
        armed_q <= !armed_q;
      end else if (stored && !lock_i && ({waddr_q[11:2], 2'b00} == pt_abi_pkg::RegMode ||
                   ({waddr_q[11:2], 2'b00} >= pt_abi_pkg::RegArenaLo &&
                    {waddr_q[11:2], 2'b00} <= pt_abi_pkg::RegStepOff))) begin
        armed_q <= 1'b0;
      end
      if (stored && !lock_i && {waddr_q[11:2], 2'b00} == pt_abi_pkg::RegStepOff) begin
        step_q <= (step_q & ~mask) | (m_wdata & mask);
      end
    end
    if (m_arvalid && m_arready) begin
      shown_q <= {raddr_q[11:2], 2'b00} == pt_abi_pkg::RegStatus ? status_i : step_q;
    end
  end
  initial started_q = 1'b0;

  always_comb begin
    if (!started_q) assume (!rst_ni);
    if (started_q) begin
      // The processor: what is offered stays; no word before its address, none behind the last.
      if (aw_wait_q) assume (awvalid_i && aw_q == 64'({awid_i, awaddr_i, awlen_i}));
      if (w_wait_q) assume (wvalid_i && w_q == 64'({wdata_i, wstrb_i}));
      if (ar_wait_q) assume (arvalid_i && ar_q == 64'({arid_i, araddr_i, arlen_i}));
      assume (!wvalid_i || (writing_q && !w_all_q));
      // Every access is answered in time, once, in order, without an error and with its name.
      assert (32'(late_w_q) < Bound && 32'(late_r_q) < Bound);
      if (bvalid) assert (writing_q && w_all_q && bid == wid_q && bresp == 2'b00);
      if (rvalid) assert (reading_q && rid == rid_q && rresp == 2'b00 && rlast == (rleft_q == '0));
      // An answer stands still until it is taken.
      if (b_wait_q) assert (bvalid && b_q == 64'({bid, bresp}));
      if (r_wait_q) assert (rvalid && r_q == 64'({rid, rdata, rresp, rlast}));
      // What a register is written it has; the engine's state is shown; nothing is shown elsewhere.
      assert (u_regs.step_off_o == step_q);
      // A run starts behind one write of PROGRAM_COUNT, the register that is compared last; each
      // other START is told of.
      assert (u_regs.armed_q == armed_q);
      assert (ctrl.start == (start_q && armed_before_q));
      assert (unarmed == (start_q && !armed_before_q));
      if (rvalid) begin
        if ({raddr_q[11:2], 2'b00} == pt_abi_pkg::RegId) assert (rdata == pt_abi_pkg::IdValue);
        if ({raddr_q[11:2], 2'b00} == pt_abi_pkg::RegStepOff ||
            {raddr_q[11:2], 2'b00} == pt_abi_pkg::RegStatus) begin
          assert (rdata == shown_q);
        end
        if (raddr_q >= 12'h800) assert (rdata == '0);
      end
      // Invariants.
      assert (writing_q == (at_beat || at_send || at_wait || at_done));
      assert (writing_q || u_bridge.write_q == 3'd0);
      assert (reading_q == (u_bridge.read_q != 2'd0) && u_bridge.read_q != 2'd3);
      assert (m_rvalid == (u_bridge.read_q == 2'd2));
      assert (m_bvalid == at_wait);
      if (at_send) assert (u_bridge.aw_pending_q && u_bridge.w_pending_q);
      if (writing_q) begin
        assert (bid == wid_q && bresp == 2'b00);
        assert (m_awaddr == waddr_q - (at_wait ? 12'd4 : 12'd0));
        assert (w_all_q == (u_bridge.last_q && !at_beat));
      end
      if (reading_q) assert (rid == rid_q && u_bridge.left_q == 8'(rleft_q) && m_araddr == raddr_q);
      assert (late_w_q <= (at_wait ? 3'd1 : at_beat || at_done ? 3'd2 : 3'd0));
      assert (late_r_q <= (u_bridge.read_q == 2'd2 ? 3'd1 : 3'd0));
    end
  end
endmodule
