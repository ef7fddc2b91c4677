// SPDX-License-Identifier: Apache-2.0
// The units that work element by element: update, softmax and vector, and how they share ports.
//
//            reads                                        writes
//   port 2   softmax; vector: map b, flags, coefficients  softmax, 16-bit copies
//            (two clients of the arbiter outside)
//   port 3   update; vector: map a, normalisation         update: masters; vector
//
// Units are numbered from UnitU: update, softmax, vector. Contract: as on the configuration bus.
module pt_elementwise (
  input  logic              clk_i,
  input  logic              rst_ni,
  output logic [2:0]        cfg_req_o,
  input  logic [2:0]        cfg_valid_i,
  input  logic [7:0]        cfg_idx_i,
  input  logic [63:0]       cfg_data_i,
  input  logic              cfg_last_i,
  output logic [2:0]        unit_done_o,
  input  logic [31:0]       stamp_i,
  input  logic              gq_valid_i,
  output logic              gq_ready_o,
  input  logic [47:0]       gq_data_i,
  output logic [1:0]        p2_run_valid_o,
  input  logic [1:0]        p2_run_ready_i,
  output logic [1:0][31:0]  p2_off_o,
  output logic [1:0][15:0]  p2_len_o,
  input  logic [1:0]        p2_valid_i,
  output logic [1:0]        p2_ready_o,
  input  logic [63:0]       p2_data_i,
  output logic              rd_run_valid_o,
  input  logic              rd_run_ready_i,
  output logic [31:0]       rd_run_off_o,
  output logic [15:0]       rd_run_len_o,
  output logic              rd_run_last_o,
  input  logic              rd_valid_i,
  output logic              rd_ready_o,
  input  logic [63:0]       rd_data_i,
  output logic [1:0]        wr_run_valid_o,
  input  logic [1:0]        wr_run_ready_i,
  output logic [1:0][31:0]  wr_run_off_o,
  output logic [1:0][15:0]  wr_run_len_o,
  output logic [1:0]        wr_run_last_o,
  output logic [1:0]        wr_valid_o,
  input  logic [1:0]        wr_ready_i,
  output logic [1:0][63:0]  wr_data_o,
  input  logic [1:0]        wr_idle_i,
  input  logic [1:0]        wr_run_done_i
);
  if (pt_abi_pkg::UnitSoftmax != pt_abi_pkg::UnitUpdate + 1 ||
      pt_abi_pkg::UnitVector != pt_abi_pkg::UnitUpdate + 2 ||
      pt_abi_pkg::Units != pt_abi_pkg::UnitUpdate + 3) begin : g_check
    $fatal(1, "pt_elementwise: update, softmax and vector must be the last three units");
  end
  localparam int unsigned U = 0, F = 1, V = 2, Rest = 3;

  // ---- resets -----------------------------------------------------------------------------------
  logic [Rest:0] rst_n;
  for (genvar k = 0; k <= Rest; k++) begin : g_reset
    pt_reset u_reset (
      .clk_i,
      .rst_ni,
      .rst_no(rst_n[k])
    );
  end

  // ---- clocks: from a descriptor's first word to its end ------------------------------------------
  logic [2:0] active, clk;
  logic [2:1] busy_q;
  logic       update_active;
  always_ff @(posedge clk_i) begin
    busy_q <= rst_n[Rest] ? cfg_valid_i[2:1] | (busy_q & ~unit_done_o[2:1]) : '0;
  end
  // The update unit waits for the array most of the time; Rest covers its pipeline.
  assign active = cfg_valid_i | {busy_q, update_active};
  for (genvar u = 0; u < 3; u++) begin : g_clock
    pt_clock_gate #(.Rest(32)) u_clock (
      .clk_i,
      .rst_ni(rst_n[Rest]),
      .active_i(active[u]),
      .clk_o(clk[u])
    );
  end

  // ---- update unit ------------------------------------------------------------------------------
  // Read clients of port 3: gradient sums, masters, map a. Write clients: masters, vector.
  logic [2:0]  p3_rd_valid, p3_rd_ready, p3_rd_dvalid, p3_rd_dready, p3_rd_last_unused;
  logic [31:0] p3_rd_off [3];
  logic [15:0] p3_rd_len [3];
  logic [63:0] p3_rd_data;
  logic [1:0]  p3_wr_valid, p3_wr_ready, p3_wr_dvalid, p3_wr_dready, p3_wr_last_unused;
  logic [31:0] p3_wr_off [2];
  logic [15:0] p3_wr_len [2];
  logic [63:0] p3_wr_data [2];
  logic        p3_order_idle;
  logic [1:0]  p3_idle;
  // Write clients of port 2: softmax, 16-bit copies.
  logic [1:0]  p2_wr_valid, p2_wr_ready, p2_wr_dvalid, p2_wr_dready, p2_wr_last_unused;
  logic [31:0] p2_wr_off [2];
  logic [15:0] p2_wr_len [2];
  logic [63:0] p2_wr_data [2];
  logic        p2_order_idle, p2_last_unused, p2_b_last_unused;
  logic [1:0]  p2_idle;

  pt_update u_update (
    .clk_i(clk[U]),
    .rst_ni(rst_n[U]),
    .cfg_req_o(cfg_req_o[U]),
    .cfg_valid_i(cfg_valid_i[U]),
    .cfg_idx_i,
    .cfg_data_i,
    .cfg_last_i,
    .done_o(unit_done_o[U]),
    .active_o(update_active),
    .stamp_i,
    .gq_valid_i,
    .gq_ready_o,
    .gq_data_i,
    .g_run_valid_o(p3_rd_valid[0]),
    .g_run_ready_i(p3_rd_ready[0]),
    .g_run_off_o(p3_rd_off[0]),
    .g_run_len_o(p3_rd_len[0]),
    .g_run_last_o(p3_rd_last_unused[0]),
    .g_data_valid_i(p3_rd_dvalid[0]),
    .g_data_ready_o(p3_rd_dready[0]),
    .g_data_i(p3_rd_data),
    .wv_run_valid_o(p3_rd_valid[1]),
    .wv_run_ready_i(p3_rd_ready[1]),
    .wv_run_off_o(p3_rd_off[1]),
    .wv_run_len_o(p3_rd_len[1]),
    .wv_run_last_o(p3_rd_last_unused[1]),
    .wv_data_valid_i(p3_rd_dvalid[1]),
    .wv_data_ready_o(p3_rd_dready[1]),
    .wv_data_i(p3_rd_data),
    .wvw_run_valid_o(p3_wr_valid[0]),
    .wvw_run_ready_i(p3_wr_ready[0]),
    .wvw_run_off_o(p3_wr_off[0]),
    .wvw_run_len_o(p3_wr_len[0]),
    .wvw_run_last_o(p3_wr_last_unused[0]),
    .wvw_wdata_valid_o(p3_wr_dvalid[0]),
    .wvw_wdata_ready_i(p3_wr_dready[0]),
    .wvw_wdata_o(p3_wr_data[0]),
    .wvw_wr_idle_i(p3_idle[0]),
    .w16_run_valid_o(p2_wr_valid[1]),
    .w16_run_ready_i(p2_wr_ready[1]),
    .w16_run_off_o(p2_wr_off[1]),
    .w16_run_len_o(p2_wr_len[1]),
    .w16_run_last_o(p2_wr_last_unused[1]),
    .w16_wdata_valid_o(p2_wr_dvalid[1]),
    .w16_wdata_ready_i(p2_wr_dready[1]),
    .w16_wdata_o(p2_wr_data[1]),
    .w16_wr_idle_i(p2_idle[1])
  );

  // ---- softmax unit -----------------------------------------------------------------------------
  pt_softmax #(.MaxClasses(pt_spec_pkg::MaxClasses)) u_softmax (
    .clk_i(clk[F]),
    .rst_ni(rst_n[F]),
    .cfg_req_o(cfg_req_o[F]),
    .cfg_valid_i(cfg_valid_i[F]),
    .cfg_idx_i,
    .cfg_data_i,
    .cfg_last_i,
    .done_o(unit_done_o[F]),
    .run_valid_o(p2_run_valid_o[0]),
    .run_ready_i(p2_run_ready_i[0]),
    .run_off_o(p2_off_o[0]),
    .run_len_o(p2_len_o[0]),
    .run_last_o(p2_last_unused),
    .data_valid_i(p2_valid_i[0]),
    .data_ready_o(p2_ready_o[0]),
    .data_i(p2_data_i),
    .wr_run_valid_o(p2_wr_valid[0]),
    .wr_run_ready_i(p2_wr_ready[0]),
    .wr_run_off_o(p2_wr_off[0]),
    .wr_run_len_o(p2_wr_len[0]),
    .wr_run_last_o(p2_wr_last_unused[0]),
    .wdata_valid_o(p2_wr_dvalid[0]),
    .wdata_ready_i(p2_wr_dready[0]),
    .wdata_o(p2_wr_data[0]),
    .wr_idle_i(p2_idle[0]),
    .stamp_i
  );

  // ---- vector unit, with normalisation ----------------------------------------------------------
  pt_vector_unit u_vector (
    .clk_i(clk[V]),
    .rst_ni(rst_n[V]),
    .cfg_req_o(cfg_req_o[V]),
    .cfg_valid_i(cfg_valid_i[V]),
    .cfg_idx_i,
    .cfg_data_i,
    .cfg_last_i,
    .done_o(unit_done_o[V]),
    .stamp_i,
    .a_run_valid_o(p3_rd_valid[2]),
    .a_run_ready_i(p3_rd_ready[2]),
    .a_run_off_o(p3_rd_off[2]),
    .a_run_len_o(p3_rd_len[2]),
    .a_run_last_o(p3_rd_last_unused[2]),
    .a_data_valid_i(p3_rd_dvalid[2]),
    .a_data_ready_o(p3_rd_dready[2]),
    .a_data_i(p3_rd_data),
    .b_run_valid_o(p2_run_valid_o[1]),
    .b_run_ready_i(p2_run_ready_i[1]),
    .b_run_off_o(p2_off_o[1]),
    .b_run_len_o(p2_len_o[1]),
    .b_run_last_o(p2_b_last_unused),
    .b_data_valid_i(p2_valid_i[1]),
    .b_data_ready_o(p2_ready_o[1]),
    .b_data_i(p2_data_i),
    .wr_run_valid_o(p3_wr_valid[1]),
    .wr_run_ready_i(p3_wr_ready[1]),
    .wr_run_off_o(p3_wr_off[1]),
    .wr_run_len_o(p3_wr_len[1]),
    .wr_run_last_o(p3_wr_last_unused[1]),
    .wdata_valid_o(p3_wr_dvalid[1]),
    .wdata_ready_i(p3_wr_dready[1]),
    .wdata_o(p3_wr_data[1]),
    .wr_idle_i(p3_idle[1])
  );

  // ---- shared ports -----------------------------------------------------------------------------
  pt_rd_arb #(.Clients(3)) u_port3_rd (
    .clk_i,
    .rst_ni(rst_n[Rest]),
    .run_valid_i(p3_rd_valid),
    .run_ready_o(p3_rd_ready),
    .run_off_i({p3_rd_off[2], p3_rd_off[1], p3_rd_off[0]}),
    .run_len_i({p3_rd_len[2], p3_rd_len[1], p3_rd_len[0]}),
    .data_valid_o(p3_rd_dvalid),
    .data_ready_i(p3_rd_dready),
    .data_o(p3_rd_data),
    .run_valid_o(rd_run_valid_o),
    .run_ready_i(rd_run_ready_i),
    .run_off_o(rd_run_off_o),
    .run_len_o(rd_run_len_o),
    .run_last_o(rd_run_last_o),
    .data_valid_i(rd_valid_i),
    .data_ready_o(rd_ready_o),
    .data_i(rd_data_i)
  );
  pt_wr_arb #(.Clients(2)) u_port2_wr (
    .clk_i,
    .rst_ni(rst_n[Rest]),
    .run_valid_i(p2_wr_valid),
    .run_ready_o(p2_wr_ready),
    .run_off_i({p2_wr_off[1], p2_wr_off[0]}),
    .run_len_i({p2_wr_len[1], p2_wr_len[0]}),
    .data_valid_i(p2_wr_dvalid),
    .data_ready_o(p2_wr_dready),
    .data_i({p2_wr_data[1], p2_wr_data[0]}),
    .idle_o(p2_order_idle),
    .run_valid_o(wr_run_valid_o[0]),
    .run_ready_i(wr_run_ready_i[0]),
    .run_off_o(wr_run_off_o[0]),
    .run_len_o(wr_run_len_o[0]),
    .run_last_o(wr_run_last_o[0]),
    .data_valid_o(wr_valid_o[0]),
    .data_ready_i(wr_ready_i[0]),
    .data_o(wr_data_o[0])
  );
  pt_wr_arb #(.Clients(2)) u_port3_wr (
    .clk_i,
    .rst_ni(rst_n[Rest]),
    .run_valid_i(p3_wr_valid),
    .run_ready_o(p3_wr_ready),
    .run_off_i({p3_wr_off[1], p3_wr_off[0]}),
    .run_len_i({p3_wr_len[1], p3_wr_len[0]}),
    .data_valid_i(p3_wr_dvalid),
    .data_ready_o(p3_wr_dready),
    .data_i({p3_wr_data[1], p3_wr_data[0]}),
    .idle_o(p3_order_idle),
    .run_valid_o(wr_run_valid_o[1]),
    .run_ready_i(wr_run_ready_i[1]),
    .run_off_o(wr_run_off_o[1]),
    .run_len_o(wr_run_len_o[1]),
    .run_last_o(wr_run_last_o[1]),
    .data_valid_o(wr_valid_o[1]),
    .data_ready_i(wr_ready_i[1]),
    .data_o(wr_data_o[1])
  );
  pt_wr_idle #(.Clients(2)) u_port2_idle (
    .clk_i,
    .rst_ni(rst_n[Rest]),
    .grant_i(p2_wr_valid & p2_wr_ready),
    .done_i(wr_run_done_i[0]),
    .drained_i(p2_order_idle && wr_idle_i[0]),
    .idle_o(p2_idle)
  );
  pt_wr_idle #(.Clients(2)) u_port3_idle (
    .clk_i,
    .rst_ni(rst_n[Rest]),
    .grant_i(p3_wr_valid & p3_wr_ready),
    .done_i(wr_run_done_i[1]),
    .drained_i(p3_order_idle && wr_idle_i[1]),
    .idle_o(p3_idle)
  );

  logic unused;
  assign unused = &{1'b0, p3_rd_last_unused, p3_wr_last_unused, p2_wr_last_unused, p2_last_unused,
                    p2_b_last_unused};
endmodule
