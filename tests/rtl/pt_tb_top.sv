// SPDX-License-Identifier: Apache-2.0
// Test harness: the engine with the transaction ids that cocotbext-axi expects, all zero.
`define PT_AXI_PORT(NAME) \
  output wire        NAME``_arid,    output wire [39:0] NAME``_araddr,  \
  output wire [7:0]  NAME``_arlen,   output wire [2:0]  NAME``_arsize,  \
  output wire [1:0]  NAME``_arburst, output wire [3:0]  NAME``_arcache, \
  output wire [2:0]  NAME``_arprot,  output wire        NAME``_arvalid, \
  input  wire        NAME``_arready, input  wire        NAME``_rid,     \
  input  wire [63:0] NAME``_rdata,   input  wire [1:0]  NAME``_rresp,   \
  input  wire        NAME``_rlast,   input  wire        NAME``_rvalid,  \
  output wire        NAME``_rready,  output wire        NAME``_awid,    \
  output wire [39:0] NAME``_awaddr,  output wire [7:0]  NAME``_awlen,   \
  output wire [2:0]  NAME``_awsize,  output wire [1:0]  NAME``_awburst, \
  output wire [3:0]  NAME``_awcache, output wire [2:0]  NAME``_awprot,  \
  output wire        NAME``_awvalid, input  wire        NAME``_awready, \
  output wire [63:0] NAME``_wdata,   output wire [7:0]  NAME``_wstrb,   \
  output wire        NAME``_wlast,   output wire        NAME``_wvalid,  \
  input  wire        NAME``_wready,  input  wire        NAME``_bid,     \
  input  wire [1:0]  NAME``_bresp,   input  wire        NAME``_bvalid,  \
  output wire        NAME``_bready

module pt_tb_top (
  input  wire        aclk,
  input  wire        aresetn,
  output wire        irq,
  input  wire [11:0] s_axi_awaddr,
  input  wire        s_axi_awvalid,
  output wire        s_axi_awready,
  input  wire [31:0] s_axi_wdata,
  input  wire [3:0]  s_axi_wstrb,
  input  wire        s_axi_wvalid,
  output wire        s_axi_wready,
  output wire [1:0]  s_axi_bresp,
  output wire        s_axi_bvalid,
  input  wire        s_axi_bready,
  input  wire [11:0] s_axi_araddr,
  input  wire        s_axi_arvalid,
  output wire        s_axi_arready,
  output wire [31:0] s_axi_rdata,
  output wire [1:0]  s_axi_rresp,
  output wire        s_axi_rvalid,
  input  wire        s_axi_rready,
  `PT_AXI_PORT(m_axi0),
  `PT_AXI_PORT(m_axi1),
  `PT_AXI_PORT(m_axi2),
  `PT_AXI_PORT(m_axi3)
);
  assign {m_axi0_arid, m_axi1_arid, m_axi2_arid, m_axi3_arid} = 4'b0000;
  assign {m_axi0_awid, m_axi1_awid, m_axi2_awid, m_axi3_awid} = 4'b0000;

  pt_top u_top (.*);
endmodule
