// SPDX-License-Identifier: Apache-2.0
// Test harness: both AXI masters directly, and both behind arbiters of three clients.
module pt_tb_axi (
  input  logic         clk_i,
  input  logic         rst_ni,
  input  logic         halt_i,
  input  logic [39:0]  base_i,
  input  logic [31:0]  limit_i,
  // Direct masters.
  input  logic         rrun_valid_i,
  output logic         rrun_ready_o,
  input  logic [31:0]  rrun_off_i,
  input  logic [15:0]  rrun_len_i,
  input  logic         rrun_last_i,
  output logic         rdata_valid_o,
  input  logic         rdata_ready_i,
  output logic [63:0]  rdata_o,
  output logic [1:0]   rerr_o,
  output logic         ridle_o,
  output logic         rbeat_o,
  output logic         rstray_o,
  input  logic         wrun_valid_i,
  output logic         wrun_ready_o,
  input  logic [31:0]  wrun_off_i,
  input  logic [15:0]  wrun_len_i,
  input  logic         wrun_last_i,
  input  logic         wdata_valid_i,
  output logic         wdata_ready_o,
  input  logic [63:0]  wdata_i,
  output logic [1:0]   werr_o,
  output logic         widle_o,
  output logic         wdone_o,
  output logic         wbeat_o,
  output logic         wstray_o,
  // Three clients behind arbiters.
  input  logic [2:0]   crrun_valid_i,
  output logic [2:0]   crrun_ready_o,
  input  logic [95:0]  crrun_off_i,
  input  logic [47:0]  crrun_len_i,
  output logic [2:0]   crdata_valid_o,
  input  logic [2:0]   crdata_ready_i,
  output logic [63:0]  crdata_o,
  input  logic [2:0]   cwrun_valid_i,
  output logic [2:0]   cwrun_ready_o,
  input  logic [95:0]  cwrun_off_i,
  input  logic [47:0]  cwrun_len_i,
  input  logic [2:0]   cwdata_valid_i,
  output logic [2:0]   cwdata_ready_o,
  input  logic [191:0] cwdata_i,
  output logic [2:0]   cwidle_o,
  // Memory of the direct masters, memory of the clients.
  output logic         d_axi_arid,
  output logic [39:0]  d_axi_araddr,
  output logic [7:0]   d_axi_arlen,
  output logic [2:0]   d_axi_arsize,
  output logic [1:0]   d_axi_arburst,
  output logic         d_axi_arvalid,
  input  logic         d_axi_arready,
  input  logic         d_axi_rid,
  input  logic [63:0]  d_axi_rdata,
  input  logic [1:0]   d_axi_rresp,
  input  logic         d_axi_rlast,
  input  logic         d_axi_rvalid,
  output logic         d_axi_rready,
  output logic         d_axi_awid,
  output logic [39:0]  d_axi_awaddr,
  output logic [7:0]   d_axi_awlen,
  output logic [2:0]   d_axi_awsize,
  output logic [1:0]   d_axi_awburst,
  output logic         d_axi_awvalid,
  input  logic         d_axi_awready,
  output logic [63:0]  d_axi_wdata,
  output logic [7:0]   d_axi_wstrb,
  output logic         d_axi_wlast,
  output logic         d_axi_wvalid,
  input  logic         d_axi_wready,
  input  logic         d_axi_bid,
  input  logic [1:0]   d_axi_bresp,
  input  logic         d_axi_bvalid,
  output logic         d_axi_bready,
  output logic         c_axi_arid,
  output logic [39:0]  c_axi_araddr,
  output logic [7:0]   c_axi_arlen,
  output logic [2:0]   c_axi_arsize,
  output logic [1:0]   c_axi_arburst,
  output logic         c_axi_arvalid,
  input  logic         c_axi_arready,
  input  logic         c_axi_rid,
  input  logic [63:0]  c_axi_rdata,
  input  logic [1:0]   c_axi_rresp,
  input  logic         c_axi_rlast,
  input  logic         c_axi_rvalid,
  output logic         c_axi_rready,
  output logic         c_axi_awid,
  output logic [39:0]  c_axi_awaddr,
  output logic [7:0]   c_axi_awlen,
  output logic [2:0]   c_axi_awsize,
  output logic [1:0]   c_axi_awburst,
  output logic         c_axi_awvalid,
  input  logic         c_axi_awready,
  output logic [63:0]  c_axi_wdata,
  output logic [7:0]   c_axi_wstrb,
  output logic         c_axi_wlast,
  output logic         c_axi_wvalid,
  input  logic         c_axi_wready,
  input  logic         c_axi_bid,
  input  logic [1:0]   c_axi_bresp,
  input  logic         c_axi_bvalid,
  output logic         c_axi_bready
);
  pt_axi_rd #(.Depth(256)) u_rd (
    .clk_i, .rst_ni, .halt_i, .base_i, .limit_i,
    .run_valid_i(rrun_valid_i), .run_ready_o(rrun_ready_o), .run_off_i(rrun_off_i),
    .run_len_i(rrun_len_i), .run_last_i(rrun_last_i),
    .data_valid_o(rdata_valid_o), .data_ready_i(rdata_ready_i), .data_o(rdata_o),
    .err_o(rerr_o), .idle_o(ridle_o), .beat_o(rbeat_o), .stray_o(rstray_o),
    .araddr_o(d_axi_araddr), .arlen_o(d_axi_arlen), .arvalid_o(d_axi_arvalid),
    .arready_i(d_axi_arready), .rdata_i(d_axi_rdata), .rresp_i(d_axi_rresp),
    .rlast_i(d_axi_rlast), .rvalid_i(d_axi_rvalid), .rready_o(d_axi_rready)
  );
  pt_axi_wr #(.Depth(64)) u_wr (
    .clk_i, .rst_ni, .halt_i, .base_i, .limit_i,
    .run_valid_i(wrun_valid_i), .run_ready_o(wrun_ready_o), .run_off_i(wrun_off_i),
    .run_len_i(wrun_len_i), .run_last_i(wrun_last_i),
    .data_valid_i(wdata_valid_i), .data_ready_o(wdata_ready_o), .data_i(wdata_i),
    .err_o(werr_o), .idle_o(widle_o), .run_done_o(wdone_o), .beat_o(wbeat_o), .stray_o(wstray_o),
    .awaddr_o(d_axi_awaddr), .awlen_o(d_axi_awlen), .awvalid_o(d_axi_awvalid),
    .awready_i(d_axi_awready), .wdata_o(d_axi_wdata), .wlast_o(d_axi_wlast),
    .wvalid_o(d_axi_wvalid), .wready_i(d_axi_wready), .bresp_i(d_axi_bresp),
    .bvalid_i(d_axi_bvalid), .bready_o(d_axi_bready)
  );

  logic        ar_valid, ar_ready, ar_last, rd_valid, rd_ready;
  logic [31:0] ar_off;
  logic [15:0] ar_len;
  logic [63:0] rd;
  logic [1:0]  rd_err_unused;
  logic        rd_idle_unused, rd_beat_unused, rd_stray_unused;
  pt_rd_arb #(.Clients(3)) u_rd_arb (
    .clk_i, .rst_ni,
    .run_valid_i(crrun_valid_i), .run_ready_o(crrun_ready_o), .run_off_i(crrun_off_i),
    .run_len_i(crrun_len_i), .data_valid_o(crdata_valid_o), .data_ready_i(crdata_ready_i),
    .data_o(crdata_o),
    .run_valid_o(ar_valid), .run_ready_i(ar_ready), .run_off_o(ar_off), .run_len_o(ar_len),
    .run_last_o(ar_last), .data_valid_i(rd_valid), .data_ready_o(rd_ready), .data_i(rd)
  );
  pt_axi_rd #(.Depth(256)) u_crd (
    .clk_i, .rst_ni, .halt_i, .base_i, .limit_i,
    .run_valid_i(ar_valid), .run_ready_o(ar_ready), .run_off_i(ar_off),
    .run_len_i(ar_len), .run_last_i(ar_last),
    .data_valid_o(rd_valid), .data_ready_i(rd_ready), .data_o(rd),
    .err_o(rd_err_unused), .idle_o(rd_idle_unused), .beat_o(rd_beat_unused),
    .stray_o(rd_stray_unused),
    .araddr_o(c_axi_araddr), .arlen_o(c_axi_arlen), .arvalid_o(c_axi_arvalid),
    .arready_i(c_axi_arready), .rdata_i(c_axi_rdata), .rresp_i(c_axi_rresp),
    .rlast_i(c_axi_rlast), .rvalid_i(c_axi_rvalid), .rready_o(c_axi_rready)
  );

  logic        aw_valid, aw_ready, aw_last, wd_valid, wd_ready, order_idle, wd_idle, wd_done;
  logic [31:0] aw_off;
  logic [15:0] aw_len;
  logic [63:0] wd;
  logic [1:0]  wd_err_unused;
  logic        wd_beat_unused, wd_stray_unused;
  pt_wr_arb #(.Clients(3)) u_wr_arb (
    .clk_i, .rst_ni,
    .run_valid_i(cwrun_valid_i), .run_ready_o(cwrun_ready_o), .run_off_i(cwrun_off_i),
    .run_len_i(cwrun_len_i), .data_valid_i(cwdata_valid_i), .data_ready_o(cwdata_ready_o),
    .data_i(cwdata_i), .idle_o(order_idle),
    .run_valid_o(aw_valid), .run_ready_i(aw_ready), .run_off_o(aw_off), .run_len_o(aw_len),
    .run_last_o(aw_last), .data_valid_o(wd_valid), .data_ready_i(wd_ready), .data_o(wd)
  );
  pt_axi_wr #(.Depth(64)) u_cwr (
    .clk_i, .rst_ni, .halt_i, .base_i, .limit_i,
    .run_valid_i(aw_valid), .run_ready_o(aw_ready), .run_off_i(aw_off),
    .run_len_i(aw_len), .run_last_i(aw_last),
    .data_valid_i(wd_valid), .data_ready_o(wd_ready), .data_i(wd),
    .err_o(wd_err_unused), .idle_o(wd_idle), .run_done_o(wd_done), .beat_o(wd_beat_unused),
    .stray_o(wd_stray_unused),
    .awaddr_o(c_axi_awaddr), .awlen_o(c_axi_awlen), .awvalid_o(c_axi_awvalid),
    .awready_i(c_axi_awready), .wdata_o(c_axi_wdata), .wlast_o(c_axi_wlast),
    .wvalid_o(c_axi_wvalid), .wready_i(c_axi_wready), .bresp_i(c_axi_bresp),
    .bvalid_i(c_axi_bvalid), .bready_o(c_axi_bready)
  );
  pt_wr_idle #(.Clients(3)) u_wr_idle (
    .clk_i, .rst_ni, .grant_i(cwrun_valid_i & cwrun_ready_o), .done_i(wd_done),
    .drained_i(order_idle && wd_idle), .idle_o(cwidle_o)
  );

  assign d_axi_arid = 1'b0;
  assign d_axi_arsize = 3'd3;
  assign d_axi_arburst = 2'b01;
  assign d_axi_awid = 1'b0;
  assign d_axi_awsize = 3'd3;
  assign d_axi_awburst = 2'b01;
  assign d_axi_wstrb = 8'hff;
  assign c_axi_arid = 1'b0;
  assign c_axi_arsize = 3'd3;
  assign c_axi_arburst = 2'b01;
  assign c_axi_awid = 1'b0;
  assign c_axi_awsize = 3'd3;
  assign c_axi_awburst = 2'b01;
  assign c_axi_wstrb = 8'hff;
  logic unused;
  assign unused = &{1'b0, d_axi_rid, d_axi_bid, c_axi_rid, c_axi_bid, rd_err_unused,
                    rd_idle_unused, rd_beat_unused, wd_err_unused, wd_beat_unused,
                    rd_stray_unused, wd_stray_unused};
endmodule
