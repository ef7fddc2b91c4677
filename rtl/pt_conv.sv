// SPDX-License-Identifier: Apache-2.0
// The convolution unit: X and S loaders, compute, store and the gradient queue. All three passes of
// a layer run through it. Wiring only.
module pt_conv (
  input  logic                          clk_i,
  input  logic                          rst_ni,
  // configuration bus; bits by unit number
  output logic [pt_abi_pkg::UnitStore:0]   cfg_req_o,
  input  logic [pt_abi_pkg::UnitStore:0]   cfg_valid_i,
  input  logic [7:0]                    cfg_idx_i,
  input  logic [63:0]                   cfg_data_i,
  input  logic                          cfg_last_i,
  output logic [pt_abi_pkg::UnitStore:0]   unit_done_o,
  // read clients: 0 X, 1 S, 2 bias
  output logic [2:0]                    rd_run_valid_o,
  input  logic [2:0]                    rd_run_ready_i,
  output logic [2:0][31:0]              rd_run_off_o,
  output logic [2:0][15:0]              rd_run_len_o,
  output logic [2:0]                    rd_run_last_o,
  input  logic [2:0]                    rd_valid_i,
  output logic [2:0]                    rd_ready_o,
  input  logic [2:0][63:0]              rd_data_i,
  // write ports: 0 stored tensor, 1 flags, records, channel sums
  output logic [1:0]                    wr_run_valid_o,
  input  logic [1:0]                    wr_run_ready_i,
  output logic [1:0][31:0]              wr_run_off_o,
  output logic [1:0][15:0]              wr_run_len_o,
  output logic [1:0]                    wr_run_last_o,
  output logic [1:0]                    wr_valid_o,
  input  logic [1:0]                    wr_ready_i,
  output logic [1:0][63:0]              wr_data_o,
  input  logic [1:0]                    wr_idle_i,
  input  logic                          wr_run_done_i,  // port 1
  // gradient sums to the update unit
  output logic                          gq_valid_o,
  input  logic                          gq_ready_i,
  output logic [47:0]                   gq_data_o,
  // cycle for records, zero without profiling
  input  logic [31:0]                   stamp_i,
  // counters: one pulse per cycle
  output logic                          busy_o,
  output logic                          stall_x_o,
  output logic                          stall_s_o,
  output logic                          stall_acc_o,
  output logic                          stall_gap_o,
  output logic                          drain_o
);
  localparam int unsigned XAddrW = $clog2(pt_spec_pkg::XBankWords) - 1;
  localparam int unsigned GroupW = $clog2(pt_spec_pkg::AccGroups) - 1;
  localparam int unsigned GroupBits = pt_spec_pkg::Tp * pt_spec_pkg::Tm * pt_spec_pkg::AccBits;

  // ---- resets -----------------------------------------------------------------------------------
  localparam int unsigned RstX = 0, RstS = 1, RstCompute = 2, RstStore = 3, RstRest = 4;
  logic [RstRest:0] rst_n;
  for (genvar k = 0; k <= RstRest; k++) begin : g_reset
    pt_reset u_reset (
      .clk_i,
      .rst_ni,
      .rst_no(rst_n[k])
    );
  end

  // ---- loaders ----------------------------------------------------------------------------------
  logic        x_slot_free, x_take, x_tile, x_we, x_slot, s_space, s_we;
  logic [1:0]  x_bank, s_skip;
  logic [13:0] x_addr;
  logic [63:0] x_data, s_data;
  // Unused halves of the two loaders.
  logic        xl_s_we_unused, xl_wrun_unused, xl_wlast_unused, xl_wdata_unused;
  logic [1:0]  xl_skip_unused;
  logic [63:0] xl_sdata_unused, xl_wword_unused;
  logic [31:0] xl_woff_unused;
  logic [15:0] xl_wlen_unused;
  logic        sl_take_unused, sl_tile_unused, sl_we_unused, sl_slot_unused;
  logic [1:0]  sl_bank_unused;
  logic [13:0] sl_addr_unused;
  logic [63:0] sl_data_unused;
  // Write clients of port 1: flags and records, channel sums.
  logic [1:0]       p1_run_valid, p1_run_ready, p1_valid, p1_ready, p1_last_unused;
  logic [1:0][31:0] p1_off;
  logic [1:0][15:0] p1_len;
  logic [1:0][63:0] p1_data;
  logic             p1_order_idle;
  logic [1:0]       p1_idle;

  pt_tile_load #(.Kind(0), .ClaimAhead(1'b1)) u_x_load (
    .clk_i,
    .rst_ni(rst_n[RstX]),
    .cfg_req_o(cfg_req_o[pt_abi_pkg::UnitX]),
    .cfg_valid_i(cfg_valid_i[pt_abi_pkg::UnitX]),
    .cfg_idx_i,
    .cfg_data_i,
    .cfg_last_i,
    .done_o(unit_done_o[pt_abi_pkg::UnitX]),
    .run_valid_o(rd_run_valid_o[0]),
    .run_ready_i(rd_run_ready_i[0]),
    .run_off_o(rd_run_off_o[0]),
    .run_len_o(rd_run_len_o[0]),
    .run_last_o(rd_run_last_o[0]),
    .data_valid_i(rd_valid_i[0]),
    .data_ready_o(rd_ready_o[0]),
    .data_i(rd_data_i[0]),
    .slot_free_i(x_slot_free),
    .tile_take_o(x_take),
    .tile_done_o(x_tile),
    .x_we_o(x_we),
    .x_slot_o(x_slot),
    .x_bank_o(x_bank),
    .x_addr_o(x_addr),
    .x_data_o(x_data),
    .s_space_i(1'b0),
    .s_we_o(xl_s_we_unused),
    .s_skip_o(xl_skip_unused),
    .s_data_o(xl_sdata_unused),
    .wrun_valid_o(xl_wrun_unused),
    .wrun_ready_i(1'b0),
    .wrun_off_o(xl_woff_unused),
    .wrun_len_o(xl_wlen_unused),
    .wrun_last_o(xl_wlast_unused),
    .wdata_valid_o(xl_wdata_unused),
    .wdata_ready_i(1'b0),
    .wdata_o(xl_wword_unused),
    .wr_idle_i(1'b1)
  );

  pt_tile_load #(.Kind(1)) u_s_load (
    .clk_i,
    .rst_ni(rst_n[RstS]),
    .cfg_req_o(cfg_req_o[pt_abi_pkg::UnitS]),
    .cfg_valid_i(cfg_valid_i[pt_abi_pkg::UnitS]),
    .cfg_idx_i,
    .cfg_data_i,
    .cfg_last_i,
    .done_o(unit_done_o[pt_abi_pkg::UnitS]),
    .run_valid_o(rd_run_valid_o[1]),
    .run_ready_i(rd_run_ready_i[1]),
    .run_off_o(rd_run_off_o[1]),
    .run_len_o(rd_run_len_o[1]),
    .run_last_o(rd_run_last_o[1]),
    .data_valid_i(rd_valid_i[1]),
    .data_ready_o(rd_ready_o[1]),
    .data_i(rd_data_i[1]),
    .slot_free_i(1'b1),
    .tile_take_o(sl_take_unused),
    .tile_done_o(sl_tile_unused),
    .x_we_o(sl_we_unused),
    .x_slot_o(sl_slot_unused),
    .x_bank_o(sl_bank_unused),
    .x_addr_o(sl_addr_unused),
    .x_data_o(sl_data_unused),
    .s_space_i(s_space),
    .s_we_o(s_we),
    .s_skip_o(s_skip),
    .s_data_o(s_data),
    .wrun_valid_o(p1_run_valid[1]),
    .wrun_ready_i(p1_run_ready[1]),
    .wrun_off_o(p1_off[1]),
    .wrun_len_o(p1_len[1]),
    .wrun_last_o(p1_last_unused[1]),
    .wdata_valid_o(p1_valid[1]),
    .wdata_ready_i(p1_ready[1]),
    .wdata_o(p1_data[1]),
    .wr_idle_i(p1_idle[1])
  );

  // ---- compute ----------------------------------------------------------------------------------
  logic                 acc_tile_valid, acc_half, acc_release, drain_valid, drain_ready;
  logic                 group_valid;
  logic [GroupW-1:0]    drain_group;
  logic [GroupBits-1:0] group;

  pt_compute #(
    .XBankWords(pt_spec_pkg::XBankWords),
    .SRingWords(pt_spec_pkg::SRingWords),
    .Groups(pt_spec_pkg::AccGroups),
    .Rows(pt_spec_pkg::TableRows),
    .MaxTaps(pt_spec_pkg::MaxTaps),
    .SweepMin(pt_spec_pkg::SweepMinCycles),
    .Tm(pt_spec_pkg::Tm),
    .Tr(pt_spec_pkg::Tr),
    .Tp(pt_spec_pkg::Tp)
  ) u_compute (
    .clk_i,
    .rst_ni(rst_n[RstCompute]),
    .pix_req_o(cfg_req_o[pt_abi_pkg::UnitPix]),
    .pix_cfg_valid_i(cfg_valid_i[pt_abi_pkg::UnitPix]),
    .pix_done_o(unit_done_o[pt_abi_pkg::UnitPix]),
    .c_req_o(cfg_req_o[pt_abi_pkg::UnitCompute]),
    .c_cfg_valid_i(cfg_valid_i[pt_abi_pkg::UnitCompute]),
    .c_done_o(unit_done_o[pt_abi_pkg::UnitCompute]),
    .cfg_idx_i,
    .cfg_data_i,
    .cfg_last_i,
    .x_we_i(x_we),
    .x_bank_i(x_bank),
    .x_addr_i(x_addr[XAddrW-1:0]),
    .x_slot_i(x_slot),
    .x_data_i(x_data),
    .x_take_i(x_take),
    .x_tile_i(x_tile),
    .x_slot_free_o(x_slot_free),
    .s_we_i(s_we),
    .s_data_i(s_data),
    .s_skip_i(s_skip),
    .s_space_o(s_space),
    .acc_tile_valid_o(acc_tile_valid),
    .acc_half_o(acc_half),
    .acc_release_i(acc_release),
    .drain_req_valid_i(drain_valid),
    .drain_req_ready_o(drain_ready),
    .drain_group_i(drain_group),
    .group_valid_o(group_valid),
    .group_o(group),
    .busy_o,
    .stall_x_o,
    .stall_s_o,
    .stall_acc_o,
    .stall_gap_o
  );

  // ---- store unit -------------------------------------------------------------------------------
  logic         store_busy_unused, gq_room, gq_push_valid, gq_push_last;
  logic [191:0] gq_push_sums;
  logic [1:0]   gq_push_lane, gq_push_ch;
  logic [$clog2(pt_spec_pkg::Tm/4)-1:0] gq_push_block;
  logic [2:0]   gq_push_keep;
  pt_store #(
    .StageWords(pt_spec_pkg::StageWords),
    .FlagWords(pt_spec_pkg::FlagWords),
    .PoolColumns(pt_spec_pkg::PoolColumns),
    .Groups(pt_spec_pkg::AccGroups),
    .Blocks(pt_spec_pkg::Tm / 4)
  ) u_store (
    .clk_i,
    .rst_ni(rst_n[RstStore]),
    .cfg_req_o(cfg_req_o[pt_abi_pkg::UnitStore]),
    .cfg_valid_i(cfg_valid_i[pt_abi_pkg::UnitStore]),
    .cfg_idx_i,
    .cfg_data_i,
    .cfg_last_i,
    .done_o(unit_done_o[pt_abi_pkg::UnitStore]),
    .stamp_i,
    .acc_tile_valid_i(acc_tile_valid),
    .acc_release_o(acc_release),
    .drain_req_valid_o(drain_valid),
    .drain_req_ready_i(drain_ready),
    .drain_group_o(drain_group),
    .group_valid_i(group_valid),
    .group_i(group),
    .b_run_valid_o(rd_run_valid_o[2]),
    .b_run_ready_i(rd_run_ready_i[2]),
    .b_run_off_o(rd_run_off_o[2]),
    .b_run_len_o(rd_run_len_o[2]),
    .b_run_last_o(rd_run_last_o[2]),
    .b_data_valid_i(rd_valid_i[2]),
    .b_data_ready_o(rd_ready_o[2]),
    .b_data_i(rd_data_i[2]),
    .w_run_valid_o(wr_run_valid_o[0]),
    .w_run_ready_i(wr_run_ready_i[0]),
    .w_run_off_o(wr_run_off_o[0]),
    .w_run_len_o(wr_run_len_o[0]),
    .w_run_last_o(wr_run_last_o[0]),
    .w_wdata_valid_o(wr_valid_o[0]),
    .w_wdata_ready_i(wr_ready_i[0]),
    .w_wdata_o(wr_data_o[0]),
    .w_wr_idle_i(wr_idle_i[0]),
    .f_run_valid_o(p1_run_valid[0]),
    .f_run_ready_i(p1_run_ready[0]),
    .f_run_off_o(p1_off[0]),
    .f_run_len_o(p1_len[0]),
    .f_run_last_o(p1_last_unused[0]),
    .f_wdata_valid_o(p1_valid[0]),
    .f_wdata_ready_i(p1_ready[0]),
    .f_wdata_o(p1_data[0]),
    .f_wr_idle_i(p1_idle[0]),
    .gq_room_i(gq_room),
    .gq_push_valid_o(gq_push_valid),
    .gq_push_sums_o(gq_push_sums),
    .gq_push_lane_o(gq_push_lane),
    .gq_push_block_o(gq_push_block),
    .gq_push_ch_o(gq_push_ch),
    .gq_push_keep_o(gq_push_keep),
    .gq_push_last_o(gq_push_last),
    .drain_busy_o(store_busy_unused)
  );

  pt_grad_queue #(.Sums(pt_spec_pkg::GradWords), .Blocks(pt_spec_pkg::Tm / 4)) u_grad_queue (
    .clk_i,
    .rst_ni(rst_n[RstRest]),
    .room_o(gq_room),
    .push_valid_i(gq_push_valid),
    .push_sums_i(gq_push_sums),
    .push_lane_i(gq_push_lane),
    .push_block_i(gq_push_block),
    .push_ch_i(gq_push_ch),
    .push_keep_i(gq_push_keep),
    .push_last_i(gq_push_last),
    .valid_o(gq_valid_o),
    .ready_i(gq_ready_i),
    .data_o(gq_data_o)
  );

  pt_wr_arb #(.Clients(2)) u_port1_wr (
    .clk_i,
    .rst_ni(rst_n[RstRest]),
    .run_valid_i(p1_run_valid),
    .run_ready_o(p1_run_ready),
    .run_off_i(p1_off),
    .run_len_i(p1_len),
    .data_valid_i(p1_valid),
    .data_ready_o(p1_ready),
    .data_i(p1_data),
    .idle_o(p1_order_idle),
    .run_valid_o(wr_run_valid_o[1]),
    .run_ready_i(wr_run_ready_i[1]),
    .run_off_o(wr_run_off_o[1]),
    .run_len_o(wr_run_len_o[1]),
    .run_last_o(wr_run_last_o[1]),
    .data_valid_o(wr_valid_o[1]),
    .data_ready_i(wr_ready_i[1]),
    .data_o(wr_data_o[1])
  );
  pt_wr_idle #(.Clients(2)) u_port1_idle (
    .clk_i,
    .rst_ni(rst_n[RstRest]),
    .grant_i(p1_run_valid & p1_run_ready),
    .done_i(wr_run_done_i),
    .drained_i(p1_order_idle && wr_idle_i[1]),
    .idle_o(p1_idle)
  );

  assign drain_o = drain_valid && drain_ready;

  logic unused;
  assign unused = &{1'b0, x_addr, xl_s_we_unused, xl_skip_unused, xl_sdata_unused, xl_wrun_unused,
                    xl_woff_unused, xl_wlen_unused, xl_wlast_unused, xl_wdata_unused,
                    xl_wword_unused, sl_take_unused, sl_tile_unused, sl_we_unused, sl_slot_unused,
                    sl_bank_unused, sl_addr_unused, sl_data_unused, store_busy_unused, acc_half,
                    p1_last_unused};
endmodule
