// SPDX-License-Identifier: Apache-2.0
// Address generator of loaders and store writers: tile loop, tiles that are really
// loaded, and the clipped rows of each as records.
//
//   elements of a row:   n_before padding | n_valid | n_after padding
//
// Contract: start_i (while busy_o is low) begins; addr_gen_i, count_i, faddr_i, fdaddr_i, fdrow_i stay
// stable while busy_o is high. Every tile that is loaded (not reused) is offered on tile_valid_o;
// its rows follow the handshake tile_valid_o & tile_ready_i. row_* is a registered valid/ready
// stream, one row per cycle, the first two cycles after the tile's handshake; the next tile is
// prepared meanwhile. busy_o falls after the last row's handshake. tap_woff_i must follow tap_idx_o
// in the same cycle (LUT memory).
// Rows without a valid element: n_valid = row_words = flag_words = 0, n_before = n[0], n_after = 0.
module pt_addr_gen #(
  // Flags and unpooling (loaders). 0 (store writers): flag inputs and outputs are not used.
  parameter bit Flags = 1'b1
) (
  input  logic                clk_i,
  input  logic                rst_ni,
  input  logic                start_i,
  output logic                busy_o,
  input  pt_abi_pkg::addr_gen_t  addr_gen_i,
  input  logic [79:0]         count_i,        // iterations of tile level 0..4, 16 bit each
  input  logic [31:0]         faddr_i,
  input  logic [159:0]        fdaddr_i,
  input  logic [95:0]         fdrow_i,
  // tap table: index of row level 2 -> weight offset
  output logic [7:0]          tap_idx_o,
  input  logic [15:0]         tap_woff_i,
  // gate: one handshake per loaded tile
  output logic                tile_valid_o,
  input  logic                tile_ready_i,
  // rows
  output logic                row_valid_o,
  input  logic                row_ready_i,
  output logic [31:0]         row_off_o,      // byte offset of the first valid element's word
  output logic [15:0]         row_words_o,    // words of the data run (unpooling: pooled columns)
  output logic [31:0]         flag_off_o,     // byte offset of the flag row
  output logic [6:0]          flag_words_o,   // words of the flag run before the data run, 0: none
  output logic [15:0]         n_before_o,
  output logic [15:0]         n_valid_o,
  output logic [15:0]         n_after_o,
  output logic [15:0]         x_first_o,      // coordinate 0 of the first valid element
  output logic                y_odd_o,        // parity of coordinate 1
  output logic [3:0]          idx3_o,         // index of row level 3, low bits
  output logic [1:0]          next_o,         // row level next_o + 1 increments next; 3: tile ends
  output logic                row_last_o,     // last row of the tile (next_o = 3)
  output logic [4:0]          tile_first_o,   // tile level l is at its first index
  output logic [4:0]          tile_last_o,    // tile level l is at its last index
  output logic                addr_gen_last_o     // the tile is the last one that is loaded
);
  // Words of the weights of one tap and n block: the unit of tap_woff_i.
  localparam int unsigned TapShift = $clog2(pt_spec_pkg::Tm);
  // Clock of all registers below.
  logic clk, active;

  // Coordinates: 16-bit signed starts and jumps, limits up to 65535.
  localparam int unsigned CoordW = 18;
  // Addresses inside are word addresses: all offsets and jumps are multiples of 8 bytes.
  localparam int unsigned AddrW = 29;

  logic masked, unpool;
  assign masked = Flags && addr_gen_i.mode == 2'(pt_abi_pkg::LoadMask);
  assign unpool = Flags && addr_gen_i.mode == 2'(pt_abi_pkg::LoadUnpool);

  // ---- tiles ------------------------------------------------------------------------------------
  typedef enum logic [2:0] {StIdle, StLook, StClip, StCount, StRuns, StOffer} state_e;
  state_e       state_q;
  logic         tile_step, tile_take, load, tile_final;
  logic [4:0]   t_first, t_last, t_reused;
  logic [2:0]   t_level;
  logic [79:0]  t_idx_unused;

  pt_loop #(
    .Levels(5),
    .CntW(16)
  ) u_tiles (
    .clk_i(clk),
    .rst_ni,
    .start_i,
    .step_i(tile_step),
    .count_i,
    .idx_o(t_idx_unused),
    .first_o(t_first),
    .last_o(t_last),
    .level_o(t_level)
  );

  for (genvar l = 0; l < 5; l++) begin : g_reused
    assign t_reused[l] = addr_gen_i.reuse > 3'(l);
  end
  assign load = &(t_first | ~t_reused);
  assign tile_final = &(t_last | t_reused);
  assign tile_take = tile_valid_o && tile_ready_i;
  assign tile_step = (state_q == StLook && !load) || (tile_take && !tile_final);

  logic [AddrW-1:0]   addr, faddr;
  logic [5*AddrW-1:0] daddr, fdaddr;
  logic [3*AddrW-1:0] drow, fdrow;
  for (genvar t = 0; t < 5; t++) begin : g_tile_jump
    assign daddr[t*AddrW+:AddrW] = addr_gen_i.daddr[t][31:3];
    assign fdaddr[t*AddrW+:AddrW] = fdaddr_i[32*t+3+:AddrW];
  end
  for (genvar l = 0; l < 3; l++) begin : g_row_jump
    assign drow[l*AddrW+:AddrW] = addr_gen_i.drow[l][31:3];
    assign fdrow[l*AddrW+:AddrW] = fdrow_i[32*l+3+:AddrW];
  end
  pt_affine #(
    .Levels(5),
    .W(AddrW)
  ) u_addr (
    .clk_i(clk),
    .load_i(start_i),
    .base_i(addr_gen_i.addr[31:3]),
    .step_i(tile_step),
    .level_i(t_level),
    .delta_i(daddr),
    .value_o(addr)
  );
  if (Flags) begin : g_faddr
    pt_affine #(
      .Levels(5),
      .W(AddrW)
    ) u_faddr (
      .clk_i(clk),
      .load_i(start_i),
      .base_i(faddr_i[31:3]),
      .step_i(tile_step),
      .level_i(t_level),
      .delta_i(fdaddr),
      .value_o(faddr)
    );
  end else begin : g_no_faddr
    assign faddr = '0;
  end

  logic signed [CoordW-1:0] c [4];
  for (genvar i = 0; i < 4; i++) begin : g_coord
    logic [CoordW-1:0]   value;
    logic [5*CoordW-1:0] jumps;
    for (genvar t = 0; t < 5; t++) begin : g_jump
      assign jumps[t*CoordW+:CoordW] = CoordW'($signed(addr_gen_i.dc[4*t+i]));
    end
    pt_affine #(
      .Levels(5),
      .W(CoordW)
    ) u_c (
      .clk_i(clk),
      .load_i(start_i),
      .base_i(CoordW'($signed(addr_gen_i.c[i]))),
      .step_i(tile_step),
      .level_i(t_level),
      .delta_i(jumps),
      .value_o(value)
    );
    assign c[i] = value;
  end

  // Columns are the same for all rows of a tile: three steps prepare them while the tile waits.
  //   StClip: ends     StCount: elements     StRuns: runs
  logic signed [CoordW-1:0] lim0, n0, first_q, end_q;
  logic [15:0]              before_q, valid_q, after_q, words_q;
  logic [16:0]              skip;
  logic [CoordW-1:0]        last_x;
  logic [6:0]               fwords_q;
  logic [AddrW-1:0]         base_q;
  logic                     some;
  assign lim0 = $signed({2'b00, addr_gen_i.lim[0]});
  assign n0 = $signed({2'b00, addr_gen_i.n[0]});
  assign some = end_q > first_q;
  assign last_x = end_q - CoordW'(1);
  // First data word of the run behind the word of element 0.
  assign skip = unpool ? first_q[CoordW-1:1] - c[0][CoordW-1:1] : {1'b0, before_q};

  always_ff @(posedge clk) begin
    if (state_q == StClip) begin
      first_q  <= c[0][CoordW-1] ? CoordW'(0) : c[0];
      before_q <= c[0][CoordW-1] ? 16'd0 - c[0][15:0] : 16'd0;
      end_q    <= c[0] + n0 < lim0 ? c[0] + n0 : lim0;
    end
    if (state_q == StCount) begin
      if (!some) before_q <= addr_gen_i.n[0];
      valid_q <= some ? 16'(end_q - first_q) : 16'd0;
    end
    if (state_q == StRuns) begin
      after_q  <= addr_gen_i.n[0] - before_q - valid_q;
      words_q  <= unpool ? last_x[16:1] - first_q[16:1] + 16'd1 : valid_q;
      fwords_q <= unpool ? last_x[9:3] + 7'd1 : last_x[10:4] + 7'd1;
      base_q   <= addr + AddrW'(skip);
    end
  end

  // ---- rows -------------------------------------------------------------------------------------
  logic        run_q, row_step;
  logic [1:0]  level;
  logic [2:0]  r_first_unused, r_last;
  logic [47:0] r_idx;

  always_ff @(posedge clk) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      run_q   <= 1'b0;
    end else begin
      unique case (state_q)
        StIdle:  if (start_i) state_q <= StLook;
        StLook:  if (load) state_q <= StClip;
        StClip:  state_q <= StCount;
        StCount: state_q <= StRuns;
        StRuns:  state_q <= StOffer;
        StOffer: if (tile_take) state_q <= tile_final ? StIdle : StLook;
        default: state_q <= StIdle;
      endcase
      if (tile_take) run_q <= 1'b1;
      else if (row_step && &r_last) run_q <= 1'b0;
    end
  end
  assign tile_valid_o = state_q == StOffer && !run_q;
  assign row_step = run_q && (!row_valid_o || row_ready_i);
  assign busy_o = state_q != StIdle || run_q || row_valid_o;

  pt_loop #(
    .Levels(3),
    .CntW(16)
  ) u_rows (
    .clk_i(clk),
    .rst_ni,
    .start_i(tile_take),
    .step_i(row_step),
    .count_i(addr_gen_i.n[3:1]),
    .idx_o(r_idx),
    .first_o(r_first_unused),
    .last_o(r_last),
    .level_o(level)
  );
  assign tap_idx_o = r_idx[23:16];

  // Coordinates of row levels 1..3.
  logic signed [CoordW-1:0] y [3];
  logic [2:0]               inside_lim;
  for (genvar l = 0; l < 3; l++) begin : g_row
    logic signed [CoordW-1:0] start_q, y_q;
    always_ff @(posedge clk) begin
      if (tile_take) begin
        start_q <= c[l+1];
        y_q     <= c[l+1];
      end else if (row_step && level > 2'(l)) begin
        y_q <= start_q;
      end else if (row_step && level == 2'(l)) begin
        y_q <= y_q + CoordW'(1);
      end
    end
    assign y[l] = y_q;
    assign inside_lim[l] = !y_q[CoordW-1] && y_q < $signed({2'b00, addr_gen_i.lim[l+1]});
  end

  // Row addresses. Two rows of an unpooled map share their pooled row.
  logic             jump;
  logic [AddrW-1:0] row_addr, row_faddr, row_q, flag_row_q;
  assign jump = row_step && !(unpool && level == 2'd0 && !y[0][0]);
  pt_affine #(
    .Levels(3),
    .W(AddrW)
  ) u_row_addr (
    .clk_i(clk),
    .load_i(tile_take),
    .base_i(base_q),
    .step_i(jump),
    .level_i(level),
    .delta_i(drow),
    .value_o(row_addr)
  );
  if (Flags) begin : g_row_faddr
    pt_affine #(
      .Levels(3),
      .W(AddrW)
    ) u_row_faddr (
      .clk_i(clk),
      .load_i(tile_take),
      .base_i(faddr),
      .step_i(jump),
      .level_i(level),
      .delta_i(fdrow),
      .value_o(row_faddr)
    );
  end else begin : g_no_row_faddr
    assign row_faddr = '0;
  end

  // The tile's columns and flags while its rows are generated.
  logic [15:0] r_before_q, r_valid_q, r_after_q, r_words_q, r_first_q;
  logic [6:0]  r_fwords_q;
  logic [4:0]  r_tfirst_q, r_tlast_q;
  logic        r_final_q, row_some;
  assign row_some = &inside_lim && r_valid_q != 16'd0;

  always_ff @(posedge clk) begin
    if (tile_take) begin
      r_before_q <= before_q;
      r_valid_q  <= valid_q;
      r_after_q  <= after_q;
      r_words_q  <= words_q;
      r_first_q  <= first_q[15:0];
      r_fwords_q <= masked || unpool ? fwords_q : 7'd0;
      r_tfirst_q <= t_first;
      r_tlast_q  <= t_last;
      r_final_q  <= tile_final;
    end
    if (row_step) begin
      row_q        <= row_addr + (addr_gen_i.taps[0] ? AddrW'(tap_woff_i) << TapShift : AddrW'(0));
      row_words_o  <= row_some ? r_words_q : 16'd0;
      flag_row_q   <= row_faddr;
      flag_words_o <= row_some ? r_fwords_q : 7'd0;
      n_before_o   <= row_some ? r_before_q : addr_gen_i.n[0];
      n_valid_o    <= row_some ? r_valid_q : 16'd0;
      n_after_o    <= row_some ? r_after_q : 16'd0;
      x_first_o    <= r_first_q;
      y_odd_o      <= y[0][0];
      idx3_o       <= r_idx[35:32];
      next_o       <= level;
      row_last_o   <= &r_last;
      tile_first_o <= r_tfirst_q;
      tile_last_o  <= r_tlast_q;
      addr_gen_last_o  <= r_final_q;
    end
    if (!rst_ni) row_valid_o <= 1'b0;
    else if (row_step) row_valid_o <= 1'b1;
    else if (row_ready_i) row_valid_o <= 1'b0;
  end

  assign row_off_o = {row_q, 3'd0};
  assign flag_off_o = {flag_row_q, 3'd0};

  // ---- clock ------------------------------------------------------------------------------------
  assign active = start_i || !(state_q == StIdle || state_q == StOffer) || tile_take || row_step ||
                  (row_valid_o && row_ready_i);
  pt_clock_gate u_clock (
    .clk_i,
    .rst_ni,
    .active_i(active),
    .clk_o(clk)
  );

  logic unused;
  assign unused = &{1'b0, t_idx_unused, r_first_unused, r_idx, addr_gen_i, last_x, faddr,
                    faddr_i, fdaddr_i, fdrow_i, fdaddr, fdrow};
endmodule
