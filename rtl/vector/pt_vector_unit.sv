// SPDX-License-Identifier: Apache-2.0
// Opcodes VECTOR, NORM and POOL: one unit of the configuration bus, two parts that work in turn.
//
// Contract: as all units on the configuration bus. The opcode in word 0 says which part gets a
// descriptor; the next one is requested when none has one. Normalisation reads through port a.
module pt_vector_unit (
  input  logic        clk_i,
  input  logic        rst_ni,
  output logic        cfg_req_o,
  input  logic        cfg_valid_i,
  input  logic [7:0]  cfg_idx_i,
  input  logic [63:0] cfg_data_i,
  input  logic        cfg_last_i,
  output logic        done_o,
  input  logic [31:0] stamp_i,
  // read client: map a or what is pooled; all that normalisation reads
  output logic        a_run_valid_o,
  input  logic        a_run_ready_i,
  output logic [31:0] a_run_off_o,
  output logic [15:0] a_run_len_o,
  output logic        a_run_last_o,
  input  logic        a_data_valid_i,
  output logic        a_data_ready_o,
  input  logic [63:0] a_data_i,
  // read client: map b, flags or argmax indices, table
  output logic        b_run_valid_o,
  input  logic        b_run_ready_i,
  output logic [31:0] b_run_off_o,
  output logic [15:0] b_run_len_o,
  output logic        b_run_last_o,
  input  logic        b_data_valid_i,
  output logic        b_data_ready_o,
  input  logic [63:0] b_data_i,
  // write client
  output logic        wr_run_valid_o,
  input  logic        wr_run_ready_i,
  output logic [31:0] wr_run_off_o,
  output logic [15:0] wr_run_len_o,
  output logic        wr_run_last_o,
  output logic        wdata_valid_o,
  input  logic        wdata_ready_i,
  output logic [63:0] wdata_o,
  input  logic        wr_idle_i
);
  // ---- which part -------------------------------------------------------------------------------
  localparam int unsigned Parts = 2, Vec = 0, Norm = 1;
  logic             part_q, part;
  pt_abi_pkg::pre_t head;  // its first word holds the opcode
  assign head = $bits(head)'(cfg_data_i);
  logic [Parts-1:0] req, valid, done, busy_q, clk, on_q;
  always_comb begin
    part = part_q;
    if (cfg_valid_i && cfg_idx_i == 8'(pt_abi_pkg::SecPreFirst)) begin
      part = head.opcode == 8'(pt_abi_pkg::OpNorm) ? 1'(Norm) : 1'(Vec);
    end
    for (int unsigned p = 0; p < Parts; p++) valid[p] = cfg_valid_i && part == 1'(p);
  end
  assign cfg_req_o = &req;
  assign done_o = |done;
  always_ff @(posedge clk_i) begin
    part_q <= rst_ni ? part : 1'(Vec);
    busy_q <= rst_ni ? valid | (busy_q & ~done) : '0;
    // A register for each part: it opens many gates.
    for (int unsigned p = 0; p < Parts; p++) on_q[p] <= (rst_ni ? part : 1'(Vec)) == 1'(p);
  end
  for (genvar p = 0; p < Parts; p++) begin : g_clock
    pt_clock_gate #(.Rest(8)) u_clock (
      .clk_i,
      .rst_ni,
      .active_i(valid[p] || busy_q[p]),
      .clk_o(clk[p])
    );
  end

  // ---- the parts --------------------------------------------------------------------------------
  logic [Parts-1:0]       a_valid, a_dready, a_last, b_valid, b_dready, b_last;
  logic [Parts-1:0]       wr_valid, wr_last, w_valid;
  logic [Parts-1:0][31:0] a_off, b_off, wr_off;
  logic [Parts-1:0][15:0] a_len, b_len, wr_len;
  logic [Parts-1:0][63:0] w_data;
  pt_vector u_vector (
    .clk_i(clk[Vec]),
    .rst_ni,
    .cfg_req_o(req[Vec]),
    .cfg_valid_i(valid[Vec]),
    .cfg_idx_i,
    .cfg_data_i,
    .cfg_last_i,
    .done_o(done[Vec]),
    .stamp_i,
    .a_run_valid_o(a_valid[Vec]),
    .a_run_ready_i(a_run_ready_i && on_q[Vec]),
    .a_run_off_o(a_off[Vec]),
    .a_run_len_o(a_len[Vec]),
    .a_run_last_o(a_last[Vec]),
    .a_data_valid_i(a_data_valid_i && on_q[Vec]),
    .a_data_ready_o(a_dready[Vec]),
    .a_data_i,
    .b_run_valid_o(b_valid[Vec]),
    .b_run_ready_i(b_run_ready_i && on_q[Vec]),
    .b_run_off_o(b_off[Vec]),
    .b_run_len_o(b_len[Vec]),
    .b_run_last_o(b_last[Vec]),
    .b_data_valid_i(b_data_valid_i && on_q[Vec]),
    .b_data_ready_o(b_dready[Vec]),
    .b_data_i,
    .wr_run_valid_o(wr_valid[Vec]),
    .wr_run_ready_i(wr_run_ready_i && on_q[Vec]),
    .wr_run_off_o(wr_off[Vec]),
    .wr_run_len_o(wr_len[Vec]),
    .wr_run_last_o(wr_last[Vec]),
    .wdata_valid_o(w_valid[Vec]),
    .wdata_ready_i(wdata_ready_i && on_q[Vec]),
    .wdata_o(w_data[Vec]),
    .wr_idle_i
  );
  pt_norm u_norm (
    .clk_i(clk[Norm]),
    .rst_ni,
    .cfg_req_o(req[Norm]),
    .cfg_valid_i(valid[Norm]),
    .cfg_idx_i,
    .cfg_data_i,
    .cfg_last_i,
    .done_o(done[Norm]),
    .stamp_i,
    .run_valid_o(a_valid[Norm]),
    .run_ready_i(a_run_ready_i && on_q[Norm]),
    .run_off_o(a_off[Norm]),
    .run_len_o(a_len[Norm]),
    .run_last_o(a_last[Norm]),
    .data_valid_i(a_data_valid_i && on_q[Norm]),
    .data_ready_o(a_dready[Norm]),
    .data_i(a_data_i),
    .wr_run_valid_o(wr_valid[Norm]),
    .wr_run_ready_i(wr_run_ready_i && on_q[Norm]),
    .wr_run_off_o(wr_off[Norm]),
    .wr_run_len_o(wr_len[Norm]),
    .wr_run_last_o(wr_last[Norm]),
    .wdata_valid_o(w_valid[Norm]),
    .wdata_ready_i(wdata_ready_i && on_q[Norm]),
    .wdata_o(w_data[Norm]),
    .wr_idle_i
  );

  // Normalisation asks for nothing on port b.
  assign {b_valid[Norm], b_dready[Norm], b_last[Norm]} = '0;
  assign b_off[Norm] = '0;
  assign b_len[Norm] = '0;
  assign a_run_valid_o = a_valid[part_q];
  assign a_run_off_o = a_off[part_q];
  assign a_run_len_o = a_len[part_q];
  assign a_run_last_o = a_last[part_q];
  assign a_data_ready_o = a_dready[part_q];
  assign b_run_valid_o = b_valid[part_q];
  assign b_run_off_o = b_off[part_q];
  assign b_run_len_o = b_len[part_q];
  assign b_run_last_o = b_last[part_q];
  assign b_data_ready_o = b_dready[part_q];
  assign wr_run_valid_o = wr_valid[part_q];
  assign wr_run_off_o = wr_off[part_q];
  assign wr_run_len_o = wr_len[part_q];
  assign wr_run_last_o = wr_last[part_q];
  assign wdata_valid_o = w_valid[part_q];
  assign wdata_o = w_data[part_q];

  logic unused;
  assign unused = &{1'b0, head};
endmodule
