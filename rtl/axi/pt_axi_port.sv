// SPDX-License-Identifier: Apache-2.0
// One 64-bit AXI master port: a read master and a write master side by side, constant attributes included.
//
// Contract: as pt_axi_rd and pt_axi_wr.
module pt_axi_port (
  input  logic        clk_i,
  input  logic        rst_ni,
  input  logic        halt_i,
  input  logic [39:0] base_i,
  input  logic [31:0] limit_i,
  // read client
  input  logic        rd_run_valid_i,
  output logic        rd_run_ready_o,
  input  logic [31:0] rd_run_off_i,
  input  logic [15:0] rd_run_len_i,
  input  logic        rd_run_last_i,
  output logic        rd_valid_o,
  input  logic        rd_ready_i,
  output logic [63:0] rd_data_o,
  output logic        rd_idle_o,
  output logic        rd_beat_o,
  output logic [1:0]  rd_err_o,
  output logic        rd_stray_o,
  // write client
  input  logic        wr_run_valid_i,
  output logic        wr_run_ready_o,
  input  logic [31:0] wr_run_off_i,
  input  logic [15:0] wr_run_len_i,
  input  logic        wr_run_last_i,
  input  logic        wr_valid_i,
  output logic        wr_ready_o,
  input  logic [63:0] wr_data_i,
  output logic        wr_idle_o,
  output logic        wr_run_done_o,
  output logic        wr_beat_o,
  output logic [1:0]  wr_err_o,
  output logic        wr_stray_o,
  // AXI
  output logic [39:0] m_axi_araddr,
  output logic [7:0]  m_axi_arlen,
  output logic [2:0]  m_axi_arsize,
  output logic [1:0]  m_axi_arburst,
  output logic [3:0]  m_axi_arcache,
  output logic [2:0]  m_axi_arprot,
  output logic        m_axi_arvalid,
  input  logic        m_axi_arready,
  input  logic [63:0] m_axi_rdata,
  input  logic [1:0]  m_axi_rresp,
  input  logic        m_axi_rlast,
  input  logic        m_axi_rvalid,
  output logic        m_axi_rready,
  output logic [39:0] m_axi_awaddr,
  output logic [7:0]  m_axi_awlen,
  output logic [2:0]  m_axi_awsize,
  output logic [1:0]  m_axi_awburst,
  output logic [3:0]  m_axi_awcache,
  output logic [2:0]  m_axi_awprot,
  output logic        m_axi_awvalid,
  input  logic        m_axi_awready,
  output logic [63:0] m_axi_wdata,
  output logic [7:0]  m_axi_wstrb,
  output logic        m_axi_wlast,
  output logic        m_axi_wvalid,
  input  logic        m_axi_wready,
  input  logic [1:0]  m_axi_bresp,
  input  logic        m_axi_bvalid,
  output logic        m_axi_bready
);
  // Words of 8 bytes, incrementing, modifiable, unprivileged data. Writes are not bufferable: their
  // answer tells that the other ports see them, on which the semaphores build.
  assign m_axi_arsize = 3'd3;
  assign m_axi_arburst = 2'b01;
  assign m_axi_arcache = 4'b0011;
  assign m_axi_arprot = 3'b000;
  assign m_axi_awsize = 3'd3;
  assign m_axi_awburst = 2'b01;
  assign m_axi_awcache = 4'b0010;
  assign m_axi_awprot = 3'b000;
  assign m_axi_wstrb = 8'hff;

  pt_axi_rd u_rd (
    .clk_i,
    .rst_ni,
    .halt_i,
    .base_i,
    .limit_i,
    .run_valid_i(rd_run_valid_i),
    .run_ready_o(rd_run_ready_o),
    .run_off_i(rd_run_off_i),
    .run_len_i(rd_run_len_i),
    .run_last_i(rd_run_last_i),
    .data_valid_o(rd_valid_o),
    .data_ready_i(rd_ready_i),
    .data_o(rd_data_o),
    .err_o(rd_err_o),
    .idle_o(rd_idle_o),
    .beat_o(rd_beat_o),
    .stray_o(rd_stray_o),
    .araddr_o(m_axi_araddr),
    .arlen_o(m_axi_arlen),
    .arvalid_o(m_axi_arvalid),
    .arready_i(m_axi_arready),
    .rdata_i(m_axi_rdata),
    .rresp_i(m_axi_rresp),
    .rlast_i(m_axi_rlast),
    .rvalid_i(m_axi_rvalid),
    .rready_o(m_axi_rready)
  );

  pt_axi_wr u_wr (
    .clk_i,
    .rst_ni,
    .halt_i,
    .base_i,
    .limit_i,
    .run_valid_i(wr_run_valid_i),
    .run_ready_o(wr_run_ready_o),
    .run_off_i(wr_run_off_i),
    .run_len_i(wr_run_len_i),
    .run_last_i(wr_run_last_i),
    .data_valid_i(wr_valid_i),
    .data_ready_o(wr_ready_o),
    .data_i(wr_data_i),
    .err_o(wr_err_o),
    .idle_o(wr_idle_o),
    .run_done_o(wr_run_done_o),
    .beat_o(wr_beat_o),
    .stray_o(wr_stray_o),
    .awaddr_o(m_axi_awaddr),
    .awlen_o(m_axi_awlen),
    .awvalid_o(m_axi_awvalid),
    .awready_i(m_axi_awready),
    .wdata_o(m_axi_wdata),
    .wlast_o(m_axi_wlast),
    .wvalid_o(m_axi_wvalid),
    .wready_i(m_axi_wready),
    .bresp_i(m_axi_bresp),
    .bvalid_i(m_axi_bvalid),
    .bready_o(m_axi_bready)
  );
endmodule
