// SPDX-License-Identifier: Apache-2.0
// Coefficients of the vector unit: those of the step block, or of each channel block a table's; or
// the segments of a curve, which pt_vector_curve keeps.
//
// Contract: start_i starts a scan over the table (with on_i) and takes the step block's values.
// While load_i is high the eight words of the next block are taken, of a curve (curve_i) all its
// segments, each with take_o in word_o; loaded_o with the last of them. Coefficients are there a
// cycle later and stay. Runs and data as in pt_vector_in.
module pt_vector_coeff (
  input  logic                       clk_i,
  input  logic                       rst_ni,
  input  logic                       start_i,
  input  logic                       on_i,
  input  logic                       curve_i,
  input  pt_abi_pkg::v_t            cfg_i,
  input  pt_abi_pkg::vector_param_t param_i,
  output logic                       run_valid_o,
  input  logic                       run_ready_i,
  output logic [31:0]                run_off_o,
  output logic [15:0]                run_len_o,
  input  logic                       data_valid_i,
  output logic                       data_ready_o,
  input  logic [63:0]                data_i,
  input  logic                       load_i,
  output logic                       loaded_o,
  output logic                       take_o,
  output logic [63:0]                word_o,
  output logic [3:0][23:0]           scale_a_o,
  output logic [3:0][23:0]           scale_b_o,
  output logic [3:0][47:0]           offset_o
);
  // Words of coefficients of a channel block.
  localparam int unsigned BlockWords = 4 * pt_abi_pkg::CoefficientWords;

  // Bits of the bytes of a table of one block.
  localparam int unsigned TableBits = $clog2(8 * BlockWords);
  localparam int unsigned StepW = pt_abi_pkg::MaxSegmentBits;
  logic             there, pop;
  logic [StepW-1:0] step_q, last_step;
  logic [31:0]      table_off;  // of the curve's table for this step
  logic [15:0]      blocks;     // of eight words
  // A curve has 2**k_log segments of a word, at least eight.
  assign blocks = curve_i ? 16'd1 << (cfg_i.k_log - 4'd3) : cfg_i.v_blocks;
  assign table_off = curve_i ? (32'(param_i.limit) << TableBits) << (cfg_i.k_log - 4'd3) : 32'd0;
  assign last_step = curve_i ? ~({StepW{1'b1}} << cfg_i.k_log) : StepW'(BlockWords - 1);
  logic [63:0] word;
  pt_vector_in #(.Depth(32), .Words(BlockWords)) u_table (
    .clk_i,
    .rst_ni,
    .start_i,
    .on_i,
    .off_i(cfg_i.k_off + table_off),
    .words_i(32'(BlockWords)),
    .images_i(16'd1),
    .blocks_i(blocks),
    .image_step_i(32'd0),
    .block_jump_i(32'd0),
    .run_valid_o,
    .run_ready_i,
    .run_off_o,
    .run_len_o,
    .data_valid_i,
    .data_ready_o,
    .data_i,
    .valid_o(there),
    .ready_i(pop),
    .data_o(word)
  );
  // A and B stand in the first word of a channel, C in the second: the same bits of any word.
  pt_abi_pkg::coefficient_t coefficient;
  assign coefficient = {word, word};
  assign pop = load_i && there;
  assign loaded_o = pop && step_q == last_step;
  assign take_o = pop && curve_i;
  assign word_o = word;
  always_ff @(posedge clk_i) begin
    if (start_i) begin
      step_q    <= '0;
      scale_a_o <= {4{param_i.a_scale}};
      scale_b_o <= {4{param_i.b_scale}};
      offset_o  <= '0;
    end else if (pop) begin
      step_q <= loaded_o ? '0 : step_q + 1'b1;
      for (int unsigned l = 0; l < 4; l++) begin
        if (step_q[2:0] == 3'(2 * l)) begin
          if (cfg_i.v_table[0]) scale_a_o[l] <= coefficient.a;
          if (cfg_i.v_btable[0]) scale_b_o[l] <= coefficient.b;
        end
        if (step_q[2:0] == 3'(2 * l + 1) && cfg_i.v_table[0]) offset_o[l] <= coefficient.c;
      end
    end
  end

  logic unused;
  assign unused = &{1'b0, cfg_i, param_i, coefficient};
endmodule
