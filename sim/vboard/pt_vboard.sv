// SPDX-License-Identifier: Apache-2.0
// The engine as the virtual board's C++ sees it: the pins that the memory drives pass registers.
//
// Contract: what the C++ writes to the inputs m_axi_* before a rising edge of aclk stands at the
// engine's pins after it, if moved[port] is high; else that port's pins keep their values. All
// pins change with the clock then, so that the logic behind them is evaluated once per cycle, and
// not at all while they stand still.
module pt_vboard (
  input  logic        aclk,
  input  logic        aresetn,
  output logic        irq,
  // host
  input  logic [11:0]  s_axi_awaddr,
  input  logic        s_axi_awvalid,
  output logic        s_axi_awready,
  input  logic [31:0]  s_axi_wdata,
  input  logic [3:0]   s_axi_wstrb,
  input  logic        s_axi_wvalid,
  output logic        s_axi_wready,
  output logic [1:0]   s_axi_bresp,
  output logic        s_axi_bvalid,
  input  logic        s_axi_bready,
  input  logic [11:0]  s_axi_araddr,
  input  logic        s_axi_arvalid,
  output logic        s_axi_arready,
  output logic [31:0]  s_axi_rdata,
  output logic [1:0]   s_axi_rresp,
  output logic        s_axi_rvalid,
  input  logic        s_axi_rready,
  // memory, per port: changes at the next edge
  input  logic [3:0]   moved,
  input  logic         m_axi_arready [4],
  input  logic [63:0]  m_axi_rdata [4],
  input  logic [1:0]   m_axi_rresp [4],
  input  logic         m_axi_rlast [4],
  input  logic         m_axi_rvalid [4],
  input  logic         m_axi_awready [4],
  input  logic         m_axi_wready [4],
  input  logic [1:0]   m_axi_bresp [4],
  input  logic         m_axi_bvalid [4],
  output logic [39:0]  m_axi_araddr [4],
  output logic [7:0]   m_axi_arlen [4],
  output logic [2:0]   m_axi_arsize [4],
  output logic [1:0]   m_axi_arburst [4],
  output logic         m_axi_arvalid [4],
  output logic         m_axi_rready [4],
  output logic [39:0]  m_axi_awaddr [4],
  output logic [7:0]   m_axi_awlen [4],
  output logic [2:0]   m_axi_awsize [4],
  output logic [1:0]   m_axi_awburst [4],
  output logic         m_axi_awvalid [4],
  output logic [63:0]  m_axi_wdata [4],
  output logic [7:0]   m_axi_wstrb [4],
  output logic         m_axi_wlast [4],
  output logic         m_axi_wvalid [4],
  output logic         m_axi_bready [4]
);
  for (genvar p = 0; p < 4; p++) begin : g_pins
    logic run_q, clk;
    // The pins as the engine sees them.
    logic         arready_q;
    logic [63:0]  rdata_q;
    logic [1:0]   rresp_q;
    logic         rlast_q;
    logic         rvalid_q;
    logic         awready_q;
    logic         wready_q;
    logic [1:0]   bresp_q;
    logic         bvalid_q;
    // A latch that is open while the clock is low: nothing waits for the falling edge.
    always_latch begin
      if (!aclk) run_q = moved[p];
    end
    assign clk = aclk && run_q;
    always_ff @(posedge clk) begin
      arready_q <= m_axi_arready[p];
      rdata_q <= m_axi_rdata[p];
      rresp_q <= m_axi_rresp[p];
      rlast_q <= m_axi_rlast[p];
      rvalid_q <= m_axi_rvalid[p];
      awready_q <= m_axi_awready[p];
      wready_q <= m_axi_wready[p];
      bresp_q <= m_axi_bresp[p];
      bvalid_q <= m_axi_bvalid[p];
    end
  end

  // The memory does not look at the constant attributes.
  /* verilator lint_off PINCONNECTEMPTY */
  pt_top u_top (
    .aclk,
    .aresetn,
    .irq,
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
    .m_axi0_arready(g_pins[0].arready_q),
    .m_axi0_rdata(g_pins[0].rdata_q),
    .m_axi0_rresp(g_pins[0].rresp_q),
    .m_axi0_rlast(g_pins[0].rlast_q),
    .m_axi0_rvalid(g_pins[0].rvalid_q),
    .m_axi0_awready(g_pins[0].awready_q),
    .m_axi0_wready(g_pins[0].wready_q),
    .m_axi0_bresp(g_pins[0].bresp_q),
    .m_axi0_bvalid(g_pins[0].bvalid_q),
    .m_axi0_araddr(m_axi_araddr[0]),
    .m_axi0_arlen(m_axi_arlen[0]),
    .m_axi0_arsize(m_axi_arsize[0]),
    .m_axi0_arburst(m_axi_arburst[0]),
    .m_axi0_arvalid(m_axi_arvalid[0]),
    .m_axi0_rready(m_axi_rready[0]),
    .m_axi0_awaddr(m_axi_awaddr[0]),
    .m_axi0_awlen(m_axi_awlen[0]),
    .m_axi0_awsize(m_axi_awsize[0]),
    .m_axi0_awburst(m_axi_awburst[0]),
    .m_axi0_awvalid(m_axi_awvalid[0]),
    .m_axi0_wdata(m_axi_wdata[0]),
    .m_axi0_wstrb(m_axi_wstrb[0]),
    .m_axi0_wlast(m_axi_wlast[0]),
    .m_axi0_wvalid(m_axi_wvalid[0]),
    .m_axi0_bready(m_axi_bready[0]),
    .m_axi0_arcache(),
    .m_axi0_arprot(),
    .m_axi0_awcache(),
    .m_axi0_awprot(),
    .m_axi1_arready(g_pins[1].arready_q),
    .m_axi1_rdata(g_pins[1].rdata_q),
    .m_axi1_rresp(g_pins[1].rresp_q),
    .m_axi1_rlast(g_pins[1].rlast_q),
    .m_axi1_rvalid(g_pins[1].rvalid_q),
    .m_axi1_awready(g_pins[1].awready_q),
    .m_axi1_wready(g_pins[1].wready_q),
    .m_axi1_bresp(g_pins[1].bresp_q),
    .m_axi1_bvalid(g_pins[1].bvalid_q),
    .m_axi1_araddr(m_axi_araddr[1]),
    .m_axi1_arlen(m_axi_arlen[1]),
    .m_axi1_arsize(m_axi_arsize[1]),
    .m_axi1_arburst(m_axi_arburst[1]),
    .m_axi1_arvalid(m_axi_arvalid[1]),
    .m_axi1_rready(m_axi_rready[1]),
    .m_axi1_awaddr(m_axi_awaddr[1]),
    .m_axi1_awlen(m_axi_awlen[1]),
    .m_axi1_awsize(m_axi_awsize[1]),
    .m_axi1_awburst(m_axi_awburst[1]),
    .m_axi1_awvalid(m_axi_awvalid[1]),
    .m_axi1_wdata(m_axi_wdata[1]),
    .m_axi1_wstrb(m_axi_wstrb[1]),
    .m_axi1_wlast(m_axi_wlast[1]),
    .m_axi1_wvalid(m_axi_wvalid[1]),
    .m_axi1_bready(m_axi_bready[1]),
    .m_axi1_arcache(),
    .m_axi1_arprot(),
    .m_axi1_awcache(),
    .m_axi1_awprot(),
    .m_axi2_arready(g_pins[2].arready_q),
    .m_axi2_rdata(g_pins[2].rdata_q),
    .m_axi2_rresp(g_pins[2].rresp_q),
    .m_axi2_rlast(g_pins[2].rlast_q),
    .m_axi2_rvalid(g_pins[2].rvalid_q),
    .m_axi2_awready(g_pins[2].awready_q),
    .m_axi2_wready(g_pins[2].wready_q),
    .m_axi2_bresp(g_pins[2].bresp_q),
    .m_axi2_bvalid(g_pins[2].bvalid_q),
    .m_axi2_araddr(m_axi_araddr[2]),
    .m_axi2_arlen(m_axi_arlen[2]),
    .m_axi2_arsize(m_axi_arsize[2]),
    .m_axi2_arburst(m_axi_arburst[2]),
    .m_axi2_arvalid(m_axi_arvalid[2]),
    .m_axi2_rready(m_axi_rready[2]),
    .m_axi2_awaddr(m_axi_awaddr[2]),
    .m_axi2_awlen(m_axi_awlen[2]),
    .m_axi2_awsize(m_axi_awsize[2]),
    .m_axi2_awburst(m_axi_awburst[2]),
    .m_axi2_awvalid(m_axi_awvalid[2]),
    .m_axi2_wdata(m_axi_wdata[2]),
    .m_axi2_wstrb(m_axi_wstrb[2]),
    .m_axi2_wlast(m_axi_wlast[2]),
    .m_axi2_wvalid(m_axi_wvalid[2]),
    .m_axi2_bready(m_axi_bready[2]),
    .m_axi2_arcache(),
    .m_axi2_arprot(),
    .m_axi2_awcache(),
    .m_axi2_awprot(),
    .m_axi3_arready(g_pins[3].arready_q),
    .m_axi3_rdata(g_pins[3].rdata_q),
    .m_axi3_rresp(g_pins[3].rresp_q),
    .m_axi3_rlast(g_pins[3].rlast_q),
    .m_axi3_rvalid(g_pins[3].rvalid_q),
    .m_axi3_awready(g_pins[3].awready_q),
    .m_axi3_wready(g_pins[3].wready_q),
    .m_axi3_bresp(g_pins[3].bresp_q),
    .m_axi3_bvalid(g_pins[3].bvalid_q),
    .m_axi3_araddr(m_axi_araddr[3]),
    .m_axi3_arlen(m_axi_arlen[3]),
    .m_axi3_arsize(m_axi_arsize[3]),
    .m_axi3_arburst(m_axi_arburst[3]),
    .m_axi3_arvalid(m_axi_arvalid[3]),
    .m_axi3_rready(m_axi_rready[3]),
    .m_axi3_awaddr(m_axi_awaddr[3]),
    .m_axi3_awlen(m_axi_awlen[3]),
    .m_axi3_awsize(m_axi_awsize[3]),
    .m_axi3_awburst(m_axi_awburst[3]),
    .m_axi3_awvalid(m_axi_awvalid[3]),
    .m_axi3_wdata(m_axi_wdata[3]),
    .m_axi3_wstrb(m_axi_wstrb[3]),
    .m_axi3_wlast(m_axi_wlast[3]),
    .m_axi3_wvalid(m_axi_wvalid[3]),
    .m_axi3_bready(m_axi_bready[3]),
    .m_axi3_arcache(),
    .m_axi3_arprot(),
    .m_axi3_awcache(),
    .m_axi3_awprot()
  );
  /* verilator lint_on PINCONNECTEMPTY */
endmodule
