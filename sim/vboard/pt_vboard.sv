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
  // The pins as the engine sees them.
  logic         arready_q [4];
  logic [63:0]  rdata_q [4];
  logic [1:0]   rresp_q [4];
  logic         rlast_q [4];
  logic         rvalid_q [4];
  logic         awready_q [4];
  logic         wready_q [4];
  logic [1:0]   bresp_q [4];
  logic         bvalid_q [4];

  for (genvar p = 0; p < 4; p++) begin : g_pins
    logic run_q, clk;
    always_ff @(negedge aclk) run_q <= moved[p];
    assign clk = aclk && run_q;
    always_ff @(posedge clk) begin
      arready_q[p] <= m_axi_arready[p];
      rdata_q[p] <= m_axi_rdata[p];
      rresp_q[p] <= m_axi_rresp[p];
      rlast_q[p] <= m_axi_rlast[p];
      rvalid_q[p] <= m_axi_rvalid[p];
      awready_q[p] <= m_axi_awready[p];
      wready_q[p] <= m_axi_wready[p];
      bresp_q[p] <= m_axi_bresp[p];
      bvalid_q[p] <= m_axi_bvalid[p];
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
    .m_axi0_arready(arready_q[0]),
    .m_axi0_rdata(rdata_q[0]),
    .m_axi0_rresp(rresp_q[0]),
    .m_axi0_rlast(rlast_q[0]),
    .m_axi0_rvalid(rvalid_q[0]),
    .m_axi0_awready(awready_q[0]),
    .m_axi0_wready(wready_q[0]),
    .m_axi0_bresp(bresp_q[0]),
    .m_axi0_bvalid(bvalid_q[0]),
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
    .m_axi1_arready(arready_q[1]),
    .m_axi1_rdata(rdata_q[1]),
    .m_axi1_rresp(rresp_q[1]),
    .m_axi1_rlast(rlast_q[1]),
    .m_axi1_rvalid(rvalid_q[1]),
    .m_axi1_awready(awready_q[1]),
    .m_axi1_wready(wready_q[1]),
    .m_axi1_bresp(bresp_q[1]),
    .m_axi1_bvalid(bvalid_q[1]),
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
    .m_axi2_arready(arready_q[2]),
    .m_axi2_rdata(rdata_q[2]),
    .m_axi2_rresp(rresp_q[2]),
    .m_axi2_rlast(rlast_q[2]),
    .m_axi2_rvalid(rvalid_q[2]),
    .m_axi2_awready(awready_q[2]),
    .m_axi2_wready(wready_q[2]),
    .m_axi2_bresp(bresp_q[2]),
    .m_axi2_bvalid(bvalid_q[2]),
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
    .m_axi3_arready(arready_q[3]),
    .m_axi3_rdata(rdata_q[3]),
    .m_axi3_rresp(rresp_q[3]),
    .m_axi3_rlast(rlast_q[3]),
    .m_axi3_rvalid(rvalid_q[3]),
    .m_axi3_awready(awready_q[3]),
    .m_axi3_wready(wready_q[3]),
    .m_axi3_bresp(bresp_q[3]),
    .m_axi3_bvalid(bvalid_q[3]),
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
