// SPDX-License-Identifier: Apache-2.0
// Tables of the softmax unit: 256 exponentials, then 256 logarithms, each with the next one's step.
//
//   word = {value[21:0], step[13:0]}
//   exponential: 2^22 * 2^(-i/256), falling; entry 0 is 2^22 and stands as 0
//   logarithm:   2^16 * log2(1 + i/256), rising
//
// Contract: the word appears two cycles after addr_i.
module pt_softmax_rom (
  input  logic        clk_i,
  input  logic [8:0]  addr_i,  // {logarithm, i}
  output logic [35:0] word_o
);
  localparam int unsigned Depth = 512;
  localparam int unsigned Width = 36;

  // A constant first: synthesis tools differ in what they take in an initial block.
  function automatic logic [Depth*Width-1:0] contents();
    for (int unsigned i = 0; i < 256; i++) begin
      contents[i*Width+:Width] =
          {22'(pt_abi_pkg::exp2_rom(9'(i))),
           14'(pt_abi_pkg::exp2_rom(9'(i)) - pt_abi_pkg::exp2_rom(9'(i + 1)))};
      contents[(256+i)*Width+:Width] =
          {22'(pt_abi_pkg::log2_rom(9'(i))),
           14'(pt_abi_pkg::log2_rom(9'(i + 1)) - pt_abi_pkg::log2_rom(9'(i)))};
    end
  endfunction
  localparam logic [Depth*Width-1:0] Contents = contents();

  (* rom_style = "block" *)
  logic [Width-1:0] mem [Depth];
  logic [Width-1:0] read_q;

  initial begin
    for (int unsigned i = 0; i < Depth; i++) mem[i] = Contents[i*Width+:Width];
  end

  always_ff @(posedge clk_i) begin
    read_q <= mem[addr_i];
    word_o <= read_q;
  end
endmodule
