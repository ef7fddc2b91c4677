// SPDX-License-Identifier: Apache-2.0
// Fetches what normalisation needs of each channel block into one half of the scratch memory.
//
//   sums (each part: 8 words), gamma (4), beta (4), statistics (8) of block 0, then of block 1, ...
//   (plain_i: no gamma and beta, and forward no statistics)
//
// Contract: start_i loads the scan. Block k goes to half k % 2, requested while fewer than two
// blocks are requested and not yet taken_i. ready_o: the oldest block that was not taken is there.
// Parts of the sums are added up as they come, those of channels that differ in the bits of join_i
// likewise: the sum stands at the channel without these bits. data_ready_o is always high.
module pt_norm_load (
  input  logic        clk_i,
  input  logic        rst_ni,
  input  logic        start_i,
  input  logic [31:0] sums_off_i,   // bytes, as all offsets and steps
  input  logic [31:0] part_step_i,
  input  logic [7:0]  parts_i,      // 0: no sums are read
  input  logic [31:0] gamma_off_i,
  input  logic [31:0] beta_off_i,
  input  logic [31:0] stats_off_i,
  input  logic        kept_i,       // statistics are mean and reciprocal, not running ones
  input  logic        plain_i,      // neither gamma and beta nor running statistics
  input  logic [1:0]  join_i,
  input  logic [15:0] blocks_i,     // at least 1
  output logic        ready_o,
  input  logic        taken_i,
  output logic        scratch_we_o,
  output logic [5:0]  scratch_addr_o,
  output logic [63:0] scratch_data_o,
  input  logic [63:0] scratch_old_i,
  output logic        run_valid_o,
  input  logic        run_ready_i,
  output logic [31:0] run_off_o,
  output logic [15:0] run_len_o,
  input  logic        data_valid_i,
  output logic        data_ready_o,
  input  logic [63:0] data_i
);
  if (pt_abi_pkg::NormScratchSum2 != pt_abi_pkg::NormScratchSum1 + 1 ||
      pt_abi_pkg::NormScratchRunVar != pt_abi_pkg::NormScratchRunMean + 1 ||
      pt_abi_pkg::NormScratchReciprocal != pt_abi_pkg::NormScratchMean + 1) begin : g_check
    $fatal(1, "pt_norm_load: scratch words of one run must follow each other");
  end
  typedef enum logic [1:0] {KiSums, KiGamma, KiBeta, KiStats} kind_e;

  // ---- requests ---------------------------------------------------------------------------------
  kind_e       ask_q, first_kind, behind_sums, last_kind;
  logic        asking_q, begun_q, ask, accept, block_end;
  logic [1:0]  ahead_q;  // blocks requested, in part or whole, and not taken
  logic [7:0]  ask_part_q;
  logic [15:0] ask_block_q;
  logic [31:0] sums_q, part_q, gamma_q, beta_q, stats_q;
  assign first_kind = parts_i == 8'd0 ? KiGamma : KiSums;
  assign behind_sums = plain_i ? (kept_i ? KiStats : KiSums) : KiGamma;
  assign last_kind = plain_i && !kept_i ? KiSums : KiStats;
  assign ask = asking_q && (begun_q || ahead_q < 2'd2);
  assign accept = ask && run_ready_i;
  assign block_end = accept && ask_q == last_kind && (ask_q == KiStats || ask_part_q == 8'd1);
  assign run_valid_o = ask;
  always_comb begin
    run_len_o = 16'd8;
    unique case (ask_q)
      KiSums:  run_off_o = part_q;
      KiGamma: run_off_o = gamma_q;
      KiBeta:  run_off_o = beta_q;
      default: run_off_o = stats_q;
    endcase
    if (ask_q == KiGamma || ask_q == KiBeta) run_len_o = 16'd4;
  end
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      asking_q <= 1'b0;
      begun_q  <= 1'b0;
      ahead_q  <= 2'd0;
    end else begin
      if (start_i) asking_q <= 1'b1;
      else if (block_end && ask_block_q == 16'd1) asking_q <= 1'b0;
      if (accept) begun_q <= !block_end;
      ahead_q <= ahead_q + 2'(accept && !begun_q) - 2'(taken_i);
    end
    if (start_i) begin
      ask_q       <= first_kind;
      ask_part_q  <= parts_i;
      ask_block_q <= blocks_i;
      sums_q      <= sums_off_i;
      part_q      <= sums_off_i;
      gamma_q     <= gamma_off_i;
      beta_q      <= beta_off_i;
      stats_q     <= stats_off_i;
    end else if (accept) begin
      unique case (ask_q)
        KiSums: begin
          part_q     <= part_q + part_step_i;
          ask_part_q <= ask_part_q - 8'd1;
          if (ask_part_q == 8'd1) ask_q <= behind_sums;
        end
        KiGamma: ask_q <= KiBeta;
        default: ask_q <= KiStats;
      endcase
      if (block_end) begin
        ask_q       <= first_kind;
        ask_part_q  <= parts_i;
        ask_block_q <= ask_block_q - 16'd1;
        sums_q      <= sums_q + 32'd64;
        part_q      <= sums_q + 32'd64;
        gamma_q     <= gamma_q + 32'd32;
        beta_q      <= beta_q + 32'd32;
        stats_q     <= stats_q + 32'd64;
      end
    end
  end

  // ---- words that come --------------------------------------------------------------------------
  kind_e       got_q;
  logic        half_q, got_end, run_end, stored_q, adds_q, full_end_q;
  logic [2:0]  word_q, base;
  logic [7:0]  got_part_q;
  logic [1:0]  full_q;  // blocks that are there and not taken
  logic [5:0]  addr_q;
  logic [63:0] data_q;
  assign run_end = word_q == (got_q == KiGamma || got_q == KiBeta ? 3'd3 : 3'd7);
  assign got_end = data_valid_i && run_end && got_q == last_kind &&
                   (got_q == KiStats || got_part_q == 8'd1);
  assign data_ready_o = 1'b1;
  logic [1:0]  joined;  // bits of a channel that do not count
  assign joined = got_q == KiSums ? join_i : 2'd0;
  pt_abi_pkg::master_t master;
  assign master = data_i;
  always_comb begin
    unique case (got_q)
      KiSums:  base = 3'(pt_abi_pkg::NormScratchSum1);
      KiGamma: base = 3'(pt_abi_pkg::NormScratchGamma);
      KiBeta:  base = 3'(pt_abi_pkg::NormScratchBeta);
      default: base = kept_i ? 3'(pt_abi_pkg::NormScratchMean)
                             : 3'(pt_abi_pkg::NormScratchRunMean);
    endcase
  end
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      stored_q   <= 1'b0;
      full_end_q <= 1'b0;
      full_q     <= 2'd0;
    end else begin
      stored_q   <= data_valid_i;
      full_end_q <= got_end;
      full_q     <= full_q + 2'(full_end_q) - 2'(taken_i);
    end
    if (start_i) begin
      got_q      <= first_kind;
      got_part_q <= parts_i;
      word_q     <= 3'd0;
      half_q     <= 1'b0;
    end else if (data_valid_i) begin
      word_q <= run_end ? 3'd0 : word_q + 3'd1;
      if (run_end) begin
        unique case (got_q)
          KiSums: begin
            got_part_q <= got_part_q - 8'd1;
            if (got_part_q == 8'd1) got_q <= behind_sums;
          end
          KiGamma: got_q <= KiBeta;
          default: got_q <= KiStats;
        endcase
        if (got_end) begin
          got_q      <= first_kind;
          got_part_q <= parts_i;
          half_q     <= !half_q;
        end
      end
    end
    addr_q <= {half_q, base + 3'(word_q[2]), word_q[1:0] & ~joined};
    adds_q <= got_q == KiSums && (got_part_q != parts_i || (word_q[1:0] & joined) != 2'd0);
    data_q <= data_i;
    if (got_q == KiGamma || got_q == KiBeta) data_q <= 64'($signed(master.weight));
  end
  assign ready_o = full_q != 2'd0;
  assign scratch_we_o = stored_q;
  assign scratch_addr_o = addr_q;
  assign scratch_data_o = adds_q ? data_q + scratch_old_i : data_q;

  logic unused;
  assign unused = &{1'b0, master.momentum};
endmodule
