// SPDX-License-Identifier: Apache-2.0
// Random bits from a counter: Threefry-2x32 with 13 rounds, a block of 64 bits per cycle.
//
//   13 rounds: low += high, high = rotate(high) ^ low; the key is added before the first round and
//   after every fourth (pynq_train/fixed/counter_hash.py). One stage for a round, one for a key.
//
// Contract: a pipeline that moves while en_i is high; bits_o and valid_o come 17 moves after
// block_i and valid_i. Key and tensor are stable from the cycle before the first block on, while
// blocks are inside.
module pt_threefry (
  input  logic        clk_i,
  input  logic        rst_ni,
  input  logic        en_i,
  input  logic [31:0] seed_i,    // first word of the key
  input  logic [31:0] step_i,    // second word of the key
  input  logic [31:0] tensor_i,  // second word of the counter
  input  logic        valid_i,
  input  logic [31:0] block_i,   // first word of the counter
  output logic        valid_o,
  output logic [63:0] bits_o
);
  localparam int unsigned Stages = 17;
  localparam logic [31:0] Parity = 32'h1bd1_1bda;
  // Left rotations of rounds 0..7, 8 bits each, the first one lowest.
  localparam logic [63:0] Turns = {8'd24, 8'd16, 8'd29, 8'd17, 8'd6, 8'd26, 8'd15, 8'd13};

  logic [2:0][31:0] key_q;
  logic [31:0]      add1_q, add2_q, add3_q, tensor_q;  // what the second word gets
  always_ff @(posedge clk_i) begin
    key_q    <= {seed_i ^ step_i ^ Parity, step_i, seed_i};
    add1_q   <= key_q[2] + 32'd1;
    add2_q   <= key_q[0] + 32'd2;
    add3_q   <= key_q[1] + 32'd3;
    tensor_q <= tensor_i + step_i;
  end

  logic [Stages-1:0]       valid_q;
  logic [Stages-1:0][31:0] low_q, high_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= '0;
    else if (en_i) valid_q <= {valid_q[Stages-2:0], valid_i};
    if (en_i) begin
      low_q[0]  <= block_i + key_q[0];
      high_q[0] <= tensor_q;
    end
  end
  for (genvar s = 1; s < int'(Stages); s++) begin : g_stage
    if (s % 5 == 0) begin : g_key
      localparam int unsigned Entry = s / 5;
      logic [31:0] add;
      assign add = Entry == 1 ? add1_q : Entry == 2 ? add2_q : add3_q;
      always_ff @(posedge clk_i) begin
        if (en_i) begin
          low_q[s]  <= low_q[s-1] + key_q[Entry%3];
          high_q[s] <= high_q[s-1] + add;
        end
      end
    end else begin : g_round
      localparam int unsigned Turn = 32'(Turns[8*((s-1-s/5)%8)+:8]);
      logic [31:0] sum;
      assign sum = low_q[s-1] + high_q[s-1];
      always_ff @(posedge clk_i) begin
        if (en_i) begin
          low_q[s]  <= sum;
          high_q[s] <= {high_q[s-1][31-Turn:0], high_q[s-1][31:32-Turn]} ^ sum;
        end
      end
    end
  end
  assign valid_o = valid_q[Stages-1];
  assign bits_o = {high_q[Stages-1], low_q[Stages-1]};
endmodule
