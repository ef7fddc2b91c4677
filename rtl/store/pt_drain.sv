// SPDX-License-Identifier: Apache-2.0
// Drain: an address generator over store levels and pixels fetches accumulator groups; one word of
// four sums leaves per cycle.
//
//   scan (a pixel, raw: a group per cycle) -> record queue -+-> words: pixel x 4 channel blocks,
//        `- group requests -> group memory of 4 entries ----'          raw: 3 lanes x 4 blocks
//
// Contract: start_i (busy_o low) begins; cfg_i stays stable while busy_o is high. A request is made
// only with room for its group, groups come back in order after any latency. The half is released
// once its last group was granted (grants and steps share one pipeline). A segment's first word
// waits for seg_ok_i and pulses seg_take_o; then nothing stalls behind this unit. pick_* announce a
// word one cycle before word_* present it. group_valid_i needs no ready.
module pt_drain #(
  // Bits of an accumulator group index in a half, 4..16.
  parameter int unsigned GroupW = 8,
  // Bits of a word address in a staging slot, 8..16.
  parameter int unsigned StageW = 12,
  // Channel blocks of an m tile, power of two, 4..16.
  parameter int unsigned Blocks = 4
) (
  input  logic                clk_i,
  input  logic                rst_ni,
  input  logic                start_i,
  output logic                busy_o,
  input  pt_abi_pkg::y_t     cfg_i,
  // accumulators
  input  logic                acc_tile_valid_i,
  output logic                acc_release_o,
  output logic                drain_req_valid_o,
  input  logic                drain_req_ready_i,
  output logic [GroupW-1:0]   drain_group_o,
  input  logic                group_valid_i,
  input  logic [Blocks*576-1:0] group_i,
  // segment gate
  input  logic                seg_ok_i,
  output logic                seg_take_o,
  // next word: block index for the bias, last word of the segment
  output logic                pick_o,
  output logic [$clog2(Blocks)-1:0] pick_block_o,
  output logic                pick_last_o,
  // words
  output logic                word_valid_o,
  output logic [191:0]        word_acc_o,      // four 48-bit sums
  output logic [$clog2(Blocks)-1:0] word_block_o,
  output logic [1:0]          word_lane_o,     // raw: pixel lane of the group
  output logic [1:0]          word_ch_o,       // raw: group of the segment
  output logic [2:0]          word_keep_o,     // raw: lanes of the segment that are kept
  output logic                word_stored_o,   // inside the stored tensor
  output logic [StageW-1:0]   word_addr_o,     // staging position of block 0
  output logic                word_col_odd_o,
  output logic                word_row_odd_o,
  output logic                word_row_end_o,  // last pixel of the row (pooling: last pooled pixel)
  output logic                word_last_o      // last word of the segment
);
  localparam int unsigned BlkW = $clog2(Blocks);
  // Groups that are stored or on their way, and pixels that wait for them.
  localparam int unsigned GroupSlots = 4;
  localparam int unsigned Records = 16;
  localparam int unsigned RecCountW = $clog2(Records + 1);
  // Coordinates: 16-bit signed starts and jumps, limits up to 65535.
  localparam int unsigned CoordW = 18;

  if (GroupW < $clog2(pt_abi_pkg::AccGroupsLeast) - 1 ||
      GroupW > $clog2(pt_abi_pkg::AccGroupsMost) - 1 ||
      StageW < $clog2(pt_abi_pkg::StageWordsLeast) - 1 ||
      StageW > $clog2(pt_abi_pkg::StageWordsMost) - 1) begin : g_check
    $fatal(1, "pt_drain: GroupW or StageW outside the ranges of the configuration");
  end

  // ---- store levels -----------------------------------------------------------------------------
  typedef enum logic [1:0] {StIdle, StSegment, StPixel, StNext} state_e;
  state_e       state_q, state_d;
  logic         y_step, y_end, seg_start, push, pixel_end, tile_first, tile_last;
  logic [4:0]   y_first, y_last;
  logic [2:0]   y_level;
  logic [79:0]  y_idx_unused;

  pt_loop #(.Levels(5), .CntW(16)) u_segments (
    .clk_i,
    .rst_ni,
    .start_i,
    .step_i(y_step),
    .count_i(cfg_i.y),
    .idx_o(y_idx_unused),
    .first_o(y_first),
    .last_o(y_last),
    .level_o(y_level)
  );

  always_comb begin
    tile_first = 1'b1;
    tile_last = 1'b1;
    for (int unsigned l = 0; l < 5; l++) begin
      if (3'(l) < cfg_i.segs) begin
        tile_first = tile_first & y_first[l];
        tile_last = tile_last & y_last[l];
      end
    end
  end
  assign y_end = &y_last;
  assign y_step = state_q == StNext && !y_end;
  assign seg_start = state_q == StSegment && (!tile_first || acc_tile_valid_i);
  assign acc_release_o = state_q == StNext && tile_last;

  always_comb begin
    state_d = state_q;
    unique case (state_q)
      StIdle:    if (start_i) state_d = StSegment;
      StSegment: if (seg_start) state_d = StPixel;
      StPixel:   if (push && pixel_end) state_d = StNext;
      StNext:    state_d = y_end ? StIdle : StSegment;
      default:   state_d = StIdle;
    endcase
  end
  always_ff @(posedge clk_i) begin
    if (!rst_ni) state_q <= StIdle;
    else state_q <= state_d;
  end

  // Coordinates of a segment's first pixel: column, row, image, channel block.
  logic [CoordW-1:0] seg_c [4];
  for (genvar i = 0; i < 4; i++) begin : g_segment
    logic [5*CoordW-1:0] jumps;
    for (genvar t = 0; t < 5; t++) begin : g_jump
      assign jumps[t*CoordW+:CoordW] = CoordW'($signed(cfg_i.ydc[4*t+i]));
    end
    pt_affine #(.Levels(5), .W(CoordW)) u_c (
      .clk_i,
      .load_i(start_i),
      .base_i(CoordW'($signed(cfg_i.yc[i]))),
      .step_i(y_step),
      .level_i(y_level),
      .delta_i(jumps),
      .value_o(seg_c[i])
    );
  end

  // ---- pixels -----------------------------------------------------------------------------------
  logic [3:0]        q_first_unused, q_last;
  logic [2:0]        q_level;
  logic [63:0]       q_idx;
  logic [StageW-1:0] pos;

  pt_loop #(.Levels(4), .CntW(16)) u_pixels (
    .clk_i,
    .rst_ni,
    .start_i(seg_start),
    .step_i(push),
    .count_i(cfg_i.q),
    .idx_o(q_idx),
    .first_o(q_first_unused),
    .last_o(q_last),
    .level_o(q_level)
  );

  logic [2:0] inside_lim;
  for (genvar i = 0; i < 3; i++) begin : g_pixel
    logic [3:0][15:0]    delta;
    logic [CoordW-1:0]   value;
    logic [4*CoordW-1:0] jumps;
    assign delta = i == 0 ? cfg_i.dcol : i == 1 ? cfg_i.dline : cfg_i.dimg;
    for (genvar l = 0; l < 4; l++) begin : g_jump
      assign jumps[l*CoordW+:CoordW] = CoordW'($signed(delta[l]));
    end
    pt_affine #(.Levels(4), .W(CoordW)) u_c (
      .clk_i,
      .load_i(seg_start),
      .base_i(seg_c[i]),
      .step_i(push),
      .level_i(q_level),
      .delta_i(jumps),
      .value_o(value)
    );
    assign inside_lim[i] = !value[CoordW-1] && value[CoordW-2:0] < {1'b0, cfg_i.ylim[i]};
  end

  logic [4*StageW-1:0] pos_jumps;
  for (genvar l = 0; l < 4; l++) begin : g_pos_jump
    assign pos_jumps[l*StageW+:StageW] = cfg_i.ypos[l][StageW-1:0];
  end
  pt_affine #(.Levels(4), .W(StageW)) u_pos (
    .clk_i,
    .load_i(seg_start),
    .base_i({StageW{1'b0}}),
    .step_i(push),
    .level_i(q_level),
    .delta_i(pos_jumps),
    .value_o(pos)
  );

  // ---- groups and records -----------------------------------------------------------------------
  // Phases start a new group, and so do segments: groups are requested one after another.
  logic [GroupW-1:0] group_q;
  logic [1:0]        lane_q, lane_d;
  logic [1:0]        raw_group_q;
  logic [Blocks-1:0] inside_q;  // of the segment: channel blocks, raw: lanes
  logic [2:0]        slots_q, slots_d;  // groups stored or on their way
  logic              request_q, records_full;
  logic              new_group, granted, last_pixel, group_last, rec_ready, rec_pop, row_end;
  logic              group_pop;
  logic [RecCountW-1:0] rec_count;
  assign new_group = cfg_i.raw[0] || lane_q == 2'd0;
  // The request leaves from a register, for it decides in the same cycle whether the array steps:
  // a new group, room for it and for its pixel, all a cycle ahead.
  assign lane_d = seg_start || (push && group_last) ? 2'd0 : lane_q + 2'(push);
  assign records_full = !rec_pop && rec_count + RecCountW'(push) == RecCountW'(Records);
  assign slots_d = slots_q + 3'(granted) - 3'(group_pop);
  always_ff @(posedge clk_i) begin
    request_q <= rst_ni && state_d == StPixel && (cfg_i.raw[0] || lane_d == 2'd0) &&
                 !records_full && slots_d != 3'(GroupSlots);
  end
  assign drain_req_valid_o = request_q;
  assign drain_group_o = group_q;
  assign granted = drain_req_valid_o && drain_req_ready_i;
  assign push = new_group ? granted : state_q == StPixel && rec_ready;
  assign last_pixel = &q_last;
  assign pixel_end = cfg_i.raw[0] ? &raw_group_q : last_pixel;
  assign group_last = cfg_i.single[0] || lane_q == 2'd2 || (&q_last[2:0]);
  assign row_end = cfg_i.pool[0] ? {1'b0, q_idx[15:0]} + 17'd3 > {1'b0, cfg_i.q[0]} : q_last[0];

  // Coordinate along which a segment's words spread: channel block, raw: column.
  logic [CoordW-1:0] near_c;
  logic [15:0]       near_lim;
  assign near_c = cfg_i.raw[0] ? seg_c[0] : seg_c[3];
  assign near_lim = cfg_i.raw[0] ? cfg_i.ylim[0] : cfg_i.ylim[3];

  always_ff @(posedge clk_i) begin
    if (seg_start) begin
      raw_group_q <= 2'd0;
      for (int unsigned j = 0; j < Blocks; j++) begin
        inside_q[j] <= $signed(near_c) >= -$signed(CoordW'(j)) &&
                       $signed(near_c) + $signed(CoordW'(j)) < $signed({2'b00, near_lim});
      end
    end else if (push) begin
      raw_group_q <= raw_group_q + 2'd1;
    end
    lane_q <= lane_d;
    if (seg_start && tile_first) group_q <= {GroupW{1'b0}};
    else if (granted) group_q <= group_q + GroupW'(1);
  end

  // Record of a pixel (raw: of a group).
  localparam int unsigned RecW = StageW + 7 + Blocks;
  logic [RecW-1:0]   rec_in, rec_out;
  logic              rec_valid;
  logic              r_group_last, r_last, r_row_end, r_row_odd, r_col_odd;
  logic [Blocks-1:0] r_stored;
  logic [1:0]        r_lane;
  logic [StageW-1:0] r_pos;
  assign rec_in = {
    cfg_i.raw[0] || group_last, pixel_end, row_end, q_idx[16], q_idx[0],
    inside_q & {Blocks{(&inside_lim) || cfg_i.raw[0]}},
    cfg_i.raw[0] ? raw_group_q : lane_q, pos
  };
  assign {r_group_last, r_last, r_row_end, r_row_odd, r_col_odd, r_stored, r_lane, r_pos} = rec_out;

  pt_fifo #(.Width(RecW), .Depth(Records)) u_records (
    .clk_i,
    .rst_ni,
    .valid_i(push),
    .ready_o(rec_ready),
    .data_i(rec_in),
    .valid_o(rec_valid),
    .ready_i(rec_pop),
    .data_o(rec_out),
    .count_o(rec_count)
  );

  // ---- words ------------------------------------------------------------------------------------
  logic [2:0] stored_q;             // groups that have arrived
  logic [1:0] wslot_q, rslot_q;
  logic       open_q, pick;
  logic [BlkW-1:0] block_q;
  logic [1:0] p_q;                  // raw: pixel lane
  logic [1:0] lane;
  assign pick = rec_valid && stored_q != 3'd0 && (open_q || seg_ok_i);
  assign seg_take_o = pick && !open_q;
  assign pick_o = pick;
  assign pick_block_o = block_q;
  assign rec_pop = pick && (&block_q) && (!cfg_i.raw[0] || p_q == 2'd2);
  assign group_pop = rec_pop && r_group_last;
  assign pick_last_o = rec_pop && r_last;
  assign lane = cfg_i.raw[0] ? p_q : r_lane;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      slots_q  <= 3'd0;
      stored_q <= 3'd0;
      wslot_q  <= 2'd0;
      rslot_q  <= 2'd0;
      open_q   <= 1'b0;
      block_q  <= '0;
      p_q      <= 2'd0;
    end else begin
      slots_q  <= slots_d;
      stored_q <= stored_q + 3'(group_valid_i) - 3'(group_pop);
      wslot_q  <= wslot_q + 2'(group_valid_i);
      rslot_q  <= rslot_q + 2'(group_pop);
      if (pick) begin
        open_q  <= !pick_last_o;
        block_q <= block_q + BlkW'(1);
        if (cfg_i.raw[0] && (&block_q)) p_q <= p_q == 2'd2 ? 2'd0 : p_q + 2'd1;
      end
    end
  end

  // Group memory: one distributed RAM of four sums per pixel lane and channel block.
  logic [191:0] sums [4*Blocks];  // lane 3 does not exist
  for (genvar k = 0; k < 3 * Blocks; k++) begin : g_group
    (* ram_style = "distributed" *)
    logic [191:0] mem [GroupSlots];
    always_ff @(posedge clk_i) begin
      if (group_valid_i) mem[wslot_q] <= group_i[k*192+:192];
    end
    assign sums[k] = mem[rslot_q];
  end
  for (genvar k = 3 * Blocks; k < 4 * Blocks; k++) begin : g_none
    assign sums[k] = 192'd0;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) word_valid_o <= 1'b0;
    else word_valid_o <= pick;
    if (pick) begin
      word_acc_o     <= sums[{lane, block_q}];
      word_block_o   <= block_q;
      word_lane_o    <= lane;
      word_ch_o      <= r_lane;
      word_keep_o    <= r_stored[2:0];
      word_stored_o  <= r_stored[block_q];
      word_addr_o    <= r_pos;
      word_col_odd_o <= r_col_odd;
      word_row_odd_o <= r_row_odd;
      word_row_end_o <= r_row_end;
      word_last_o    <= pick_last_o;
    end
  end

  assign busy_o = state_q != StIdle || rec_valid || word_valid_o;

  logic unused;
  assign unused = &{1'b0, y_idx_unused, q_first_unused, q_idx, cfg_i};
endmodule
