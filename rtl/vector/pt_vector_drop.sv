// SPDX-License-Identifier: Apache-2.0
// Which elements of a map a dropout keeps: four bits per word, from the number of the word.
//
// Numbers are counted in the order in which the vector unit takes words (block, image, word), but
// belong to the place of the word in the whole tensor: d_first, then jumps. Random bits are made
// ahead of the words, so that they cost no cycle but the first 19.
//
// Contract: start_i starts a scan; configuration, step block and on_i are stable from then on until
// its end. One entry of the stream valid_o/ready_i for each word. Without on_i nothing moves.
module pt_vector_drop (
  input  logic                       clk_i,
  input  logic                       rst_ni,
  input  logic                       start_i,
  input  logic                       on_i,
  input  pt_abi_pkg::v_t            cfg_i,
  input  pt_abi_pkg::vector_param_t param_i,
  output logic                       valid_o,
  input  logic                       ready_i,
  output logic [3:0]                 keep_o
);
  // Entries on their way and in the queue: more than the way is long.
  localparam int unsigned Depth = 32;
  localparam int unsigned CntW = $clog2(Depth + 1);

  // ---- scan -------------------------------------------------------------------------------------
  logic            busy_q, plane_end_q, go, image_end;
  logic [31:0]     number_q, left_q;          // left: words of the plane to come
  logic [15:0]     image_q, block_q;
  logic [CntW-1:0] held_q, count_unused;      // asked for and not yet taken
  assign go = busy_q && !held_q[CntW-1];
  assign image_end = image_q == 16'd1;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      busy_q <= 1'b0;
      held_q <= '0;
    end else begin
      if (start_i) busy_q <= on_i;
      else if (go && plane_end_q && image_end && block_q == 16'd1) busy_q <= 1'b0;
      held_q <= held_q + CntW'(go) - CntW'(valid_o && ready_i);
    end
    if (start_i) begin
      number_q    <= cfg_i.d_first;
      left_q      <= cfg_i.v_words;
      plane_end_q <= cfg_i.v_words == 32'd1;
      image_q     <= cfg_i.v_images;
      block_q     <= cfg_i.v_blocks;
    end else if (go) begin
      number_q    <= number_q + (!plane_end_q ? cfg_i.d_step
                                 : image_end ? cfg_i.d_block : cfg_i.d_image);
      left_q      <= plane_end_q ? cfg_i.v_words : left_q - 32'd1;
      plane_end_q <= plane_end_q ? cfg_i.v_words == 32'd1 : left_q == 32'd2;
      if (plane_end_q) image_q <= image_end ? cfg_i.v_images : image_q - 16'd1;
      if (plane_end_q && image_end) block_q <= block_q - 16'd1;
    end
  end

  // ---- random bits ------------------------------------------------------------------------------
  logic        bits_valid, keep_valid_q, room_unused;
  logic [63:0] bits;
  logic [3:0]  keep_q;
  pt_threefry u_bits (
    .clk_i,
    .rst_ni,
    .en_i(on_i),
    .seed_i(param_i.drop_seed),
    .step_i({8'd0, param_i.drop_step}),
    .tensor_i({16'd0, cfg_i.d_tensor}),
    .valid_i(go),
    .block_i(number_q),
    .valid_o(bits_valid),
    .bits_o(bits)
  );
  always_ff @(posedge clk_i) begin
    keep_valid_q <= rst_ni && on_i && bits_valid;
    for (int unsigned l = 0; l < 4; l++) keep_q[l] <= bits[16*l+:16] >= cfg_i.d_least;
  end
  pt_fifo #(.Width(4), .Depth(Depth)) u_queue (
    .clk_i,
    .rst_ni,
    .valid_i(keep_valid_q),
    .ready_o(room_unused),
    .data_i(keep_q),
    .valid_o,
    .ready_i,
    .data_o(keep_o),
    .count_o(count_unused)
  );

  logic unused;
  assign unused = &{1'b0, cfg_i, param_i, room_unused, count_unused};
endmodule
