// SPDX-License-Identifier: Apache-2.0
// Loader of the softmax unit: label and logits of the next images into two buffers.
//
// Contract: start_i begins with the configuration, which stays stable; nothing is read for images
// from valid_images_i on. image_ready_o: the present image is in its buffer; image_freed_i gives
// the buffer back and turns to the next. buffer_word_o follows read_word_i by 2 cycles.
module pt_softmax_load #(
  // Most classes, a power of two of 16 or more.
  parameter int unsigned MaxClasses = 1024,
  // Bits of a class, $clog2(MaxClasses).
  parameter int unsigned ClassW = 10
) (
  input  logic              clk_i,
  input  logic              rst_ni,
  input  logic              start_i,
  input  logic              active_i,        // may read
  input  logic [31:0]       images_i,
  input  logic [31:0]       valid_images_i,
  input  logic [15:0]       classes_i,
  input  logic [31:0]       label_off_i,
  input  logic [31:0]       logit_off_i,
  // read client
  output logic              run_valid_o,
  input  logic              run_ready_i,
  output logic [31:0]       run_off_o,
  output logic [15:0]       run_len_o,
  output logic              run_last_o,
  input  logic              data_valid_i,
  output logic              data_ready_o,
  input  logic [63:0]       data_i,
  // the present image
  output logic              image_ready_o,
  input  logic              image_freed_i,
  output logic [ClassW-1:0] label_o,
  output logic              label_ok_o,      // it is the number of a class
  input  logic [ClassW-3:0] read_word_i,
  output logic [63:0]       buffer_word_o
);
  if (MaxClasses < 16 || MaxClasses != 1 << ClassW) begin : g_check
    $fatal(1, "pt_softmax_load: MaxClasses must be 2^ClassW and 16 or more");
  end

  localparam int unsigned WordW = ClassW - 2;
  typedef enum logic [1:0] {LdIdle, LdLabel, LdWords} load_e;
  load_e             load_q;
  logic [15:0]       words_up;
  logic [WordW-1:0]  word_end, run_word_q, data_word_q;
  logic [31:0]       stride, load_left_q, load_valid_q, label_off_q, logit_off_q, word_off_q;
  logic [1:0]        held_q, full_q;    // slots reserved, slots filled
  logic              in_slot_q, slot_q;  // written, read
  logic              in_label_q, filled, load_accept;
  logic [ClassW-1:0] label_q [2];
  logic [1:0]        label_ok_q;
  assign words_up = classes_i - 16'd1;
  assign word_end = words_up[ClassW-1:2];
  assign stride = {images_i[28:0], 3'd0};
  assign load_accept = run_valid_o && run_ready_i;
  assign run_valid_o = load_q != LdIdle;
  assign run_off_o = load_q == LdLabel ? label_off_q : word_off_q;
  assign run_len_o = 16'd1;
  assign run_last_o = 1'b1;
  assign data_ready_o = 1'b1;
  assign filled = data_valid_i && !in_label_q && data_word_q == word_end;
  assign image_ready_o = full_q != 2'd0;
  assign label_o = label_q[slot_q];
  assign label_ok_o = label_ok_q[slot_q];

  always_ff @(posedge clk_i) begin
    if (!rst_ni || start_i) begin
      load_q     <= LdIdle;
      held_q     <= 2'd0;
      full_q     <= 2'd0;
      in_slot_q  <= 1'b0;
      slot_q     <= 1'b0;
      in_label_q <= 1'b1;
    end else begin
      unique case (load_q)
        LdIdle: begin
          if (load_left_q != 32'd0 && load_valid_q != 32'd0 && !held_q[1] && active_i &&
              classes_i != 16'd0) begin
            load_q <= LdLabel;
          end
        end
        LdLabel: if (run_ready_i) load_q <= LdWords;
        LdWords: if (run_ready_i && run_word_q == word_end) load_q <= LdIdle;
        default: load_q <= LdIdle;
      endcase
      held_q <= held_q + 2'(load_q == LdLabel && run_ready_i) - 2'(image_freed_i);
      full_q <= full_q + 2'(filled) - 2'(image_freed_i);
      if (filled) in_slot_q <= ~in_slot_q;
      if (image_freed_i) slot_q <= ~slot_q;
      if (data_valid_i) in_label_q <= filled;
    end
    if (start_i) begin
      load_left_q  <= images_i;
      load_valid_q <= valid_images_i;
      label_off_q  <= label_off_i;
      logit_off_q  <= logit_off_i;
    end else if (load_accept && load_q == LdLabel) begin
      load_left_q  <= load_left_q - 32'd1;
      load_valid_q <= load_valid_q - 32'd1;
      label_off_q  <= label_off_q + 32'd8;
      logit_off_q  <= logit_off_q + 32'd8;
    end
    if (load_accept) begin
      word_off_q <= load_q == LdLabel ? logit_off_q : word_off_q + stride;
      run_word_q <= load_q == LdLabel ? WordW'(0) : run_word_q + WordW'(1);
    end
    if (data_valid_i) begin
      data_word_q <= in_label_q ? WordW'(0) : data_word_q + WordW'(1);
      if (in_label_q) begin
        label_q[in_slot_q]    <= data_i[ClassW-1:0];
        label_ok_q[in_slot_q] <= data_i[63:16] == 48'd0 && data_i[15:0] < classes_i;
      end
    end
  end

  pt_ram_sdp #(.Depth(2 * MaxClasses / 4), .Width(64), .OutReg(1'b1)) u_buffer (
    .clk_i,
    .we_i(data_valid_i && !in_label_q),
    .waddr_i({in_slot_q, data_word_q}),
    .wdata_i(data_i),
    .re_i(1'b1),
    .raddr_i({slot_q, read_word_i}),
    .rdata_o(buffer_word_o)
  );

  logic unused;
  assign unused = &{1'b0, words_up, images_i[31:29]};
endmodule
