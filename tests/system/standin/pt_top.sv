// SPDX-License-Identifier: Apache-2.0
// Stand-in for the engine: the same pins and registers, but its programs only copy words.
//
// Descriptor: word 0 opcode (1 copy, 255 hang, else illegal), word 1 {destination, source} byte
// offsets, word 2 bursts of 16 words. Each word is stored plus the first word of the step block.
// Descriptor i reads on port i mod 4 and writes on the next one.
module pt_top
  import pt_abi_pkg::*;
(
  input  logic aclk,
  input  logic aresetn,
  output logic irq,
  input  logic [11:0] s_axi_awaddr,
  input  logic s_axi_awvalid,
  output logic s_axi_awready,
  input  logic [31:0] s_axi_wdata,
  input  logic [3:0] s_axi_wstrb,
  input  logic s_axi_wvalid,
  output logic s_axi_wready,
  output logic [1:0] s_axi_bresp,
  output logic s_axi_bvalid,
  input  logic s_axi_bready,
  input  logic [11:0] s_axi_araddr,
  input  logic s_axi_arvalid,
  output logic s_axi_arready,
  output logic [31:0] s_axi_rdata,
  output logic [1:0] s_axi_rresp,
  output logic s_axi_rvalid,
  input  logic s_axi_rready,
  output logic [39:0] m_axi0_araddr,
  output logic [7:0] m_axi0_arlen,
  output logic [2:0] m_axi0_arsize,
  output logic [1:0] m_axi0_arburst,
  output logic [3:0] m_axi0_arcache,
  output logic [2:0] m_axi0_arprot,
  output logic m_axi0_arvalid,
  input  logic m_axi0_arready,
  input  logic [63:0] m_axi0_rdata,
  input  logic [1:0] m_axi0_rresp,
  input  logic m_axi0_rlast,
  input  logic m_axi0_rvalid,
  output logic m_axi0_rready,
  output logic [39:0] m_axi0_awaddr,
  output logic [7:0] m_axi0_awlen,
  output logic [2:0] m_axi0_awsize,
  output logic [1:0] m_axi0_awburst,
  output logic [3:0] m_axi0_awcache,
  output logic [2:0] m_axi0_awprot,
  output logic m_axi0_awvalid,
  input  logic m_axi0_awready,
  output logic [63:0] m_axi0_wdata,
  output logic [7:0] m_axi0_wstrb,
  output logic m_axi0_wlast,
  output logic m_axi0_wvalid,
  input  logic m_axi0_wready,
  input  logic [1:0] m_axi0_bresp,
  input  logic m_axi0_bvalid,
  output logic m_axi0_bready,
  output logic [39:0] m_axi1_araddr,
  output logic [7:0] m_axi1_arlen,
  output logic [2:0] m_axi1_arsize,
  output logic [1:0] m_axi1_arburst,
  output logic [3:0] m_axi1_arcache,
  output logic [2:0] m_axi1_arprot,
  output logic m_axi1_arvalid,
  input  logic m_axi1_arready,
  input  logic [63:0] m_axi1_rdata,
  input  logic [1:0] m_axi1_rresp,
  input  logic m_axi1_rlast,
  input  logic m_axi1_rvalid,
  output logic m_axi1_rready,
  output logic [39:0] m_axi1_awaddr,
  output logic [7:0] m_axi1_awlen,
  output logic [2:0] m_axi1_awsize,
  output logic [1:0] m_axi1_awburst,
  output logic [3:0] m_axi1_awcache,
  output logic [2:0] m_axi1_awprot,
  output logic m_axi1_awvalid,
  input  logic m_axi1_awready,
  output logic [63:0] m_axi1_wdata,
  output logic [7:0] m_axi1_wstrb,
  output logic m_axi1_wlast,
  output logic m_axi1_wvalid,
  input  logic m_axi1_wready,
  input  logic [1:0] m_axi1_bresp,
  input  logic m_axi1_bvalid,
  output logic m_axi1_bready,
  output logic [39:0] m_axi2_araddr,
  output logic [7:0] m_axi2_arlen,
  output logic [2:0] m_axi2_arsize,
  output logic [1:0] m_axi2_arburst,
  output logic [3:0] m_axi2_arcache,
  output logic [2:0] m_axi2_arprot,
  output logic m_axi2_arvalid,
  input  logic m_axi2_arready,
  input  logic [63:0] m_axi2_rdata,
  input  logic [1:0] m_axi2_rresp,
  input  logic m_axi2_rlast,
  input  logic m_axi2_rvalid,
  output logic m_axi2_rready,
  output logic [39:0] m_axi2_awaddr,
  output logic [7:0] m_axi2_awlen,
  output logic [2:0] m_axi2_awsize,
  output logic [1:0] m_axi2_awburst,
  output logic [3:0] m_axi2_awcache,
  output logic [2:0] m_axi2_awprot,
  output logic m_axi2_awvalid,
  input  logic m_axi2_awready,
  output logic [63:0] m_axi2_wdata,
  output logic [7:0] m_axi2_wstrb,
  output logic m_axi2_wlast,
  output logic m_axi2_wvalid,
  input  logic m_axi2_wready,
  input  logic [1:0] m_axi2_bresp,
  input  logic m_axi2_bvalid,
  output logic m_axi2_bready,
  output logic [39:0] m_axi3_araddr,
  output logic [7:0] m_axi3_arlen,
  output logic [2:0] m_axi3_arsize,
  output logic [1:0] m_axi3_arburst,
  output logic [3:0] m_axi3_arcache,
  output logic [2:0] m_axi3_arprot,
  output logic m_axi3_arvalid,
  input  logic m_axi3_arready,
  input  logic [63:0] m_axi3_rdata,
  input  logic [1:0] m_axi3_rresp,
  input  logic m_axi3_rlast,
  input  logic m_axi3_rvalid,
  output logic m_axi3_rready,
  output logic [39:0] m_axi3_awaddr,
  output logic [7:0] m_axi3_awlen,
  output logic [2:0] m_axi3_awsize,
  output logic [1:0] m_axi3_awburst,
  output logic [3:0] m_axi3_awcache,
  output logic [2:0] m_axi3_awprot,
  output logic m_axi3_awvalid,
  input  logic m_axi3_awready,
  output logic [63:0] m_axi3_wdata,
  output logic [7:0] m_axi3_wstrb,
  output logic m_axi3_wlast,
  output logic m_axi3_wvalid,
  input  logic m_axi3_wready,
  input  logic [1:0] m_axi3_bresp,
  input  logic m_axi3_bvalid,
  output logic m_axi3_bready
);
  typedef enum logic [3:0] {
    Idle, Fetch, Decode, Copy, Read, Write, Data, Answer, Retire, Halt, Hang, Done
  } state_e;

  state_e state, after;
  logic [31:0] ctrl, mode, arena_lo, arena_hi, arena_bytes, program_off, program_count, step_off;
  logic [31:0] index, retired, error_index, read_beats[4], write_beats[4];
  logic [63:0] cycles, add, buffer[16];
  logic [31:0] bursts, from, to;
  logic [39:0] address;
  logic [7:0] length, code, unit;
  logic [3:0] beat;
  logic [1:0] read_port, write_port;
  logic failed, arvalid, awvalid, wvalid, resetting;

  logic arready, rvalid, rlast, awready, wready, bvalid;
  logic [1:0] rresp, bresp;
  logic [63:0] rdata;
  always_comb begin
    case (read_port)
      2'd0: begin
        arready = m_axi0_arready;
        rvalid = m_axi0_rvalid;
        rlast = m_axi0_rlast;
        rresp = m_axi0_rresp;
        rdata = m_axi0_rdata;
      end
      2'd1: begin
        arready = m_axi1_arready;
        rvalid = m_axi1_rvalid;
        rlast = m_axi1_rlast;
        rresp = m_axi1_rresp;
        rdata = m_axi1_rdata;
      end
      2'd2: begin
        arready = m_axi2_arready;
        rvalid = m_axi2_rvalid;
        rlast = m_axi2_rlast;
        rresp = m_axi2_rresp;
        rdata = m_axi2_rdata;
      end
      default: begin
        arready = m_axi3_arready;
        rvalid = m_axi3_rvalid;
        rlast = m_axi3_rlast;
        rresp = m_axi3_rresp;
        rdata = m_axi3_rdata;
      end
    endcase
  end
  always_comb begin
    case (write_port)
      2'd0: begin
        awready = m_axi0_awready;
        wready = m_axi0_wready;
        bvalid = m_axi0_bvalid;
        bresp = m_axi0_bresp;
      end
      2'd1: begin
        awready = m_axi1_awready;
        wready = m_axi1_wready;
        bvalid = m_axi1_bvalid;
        bresp = m_axi1_bresp;
      end
      2'd2: begin
        awready = m_axi2_awready;
        wready = m_axi2_wready;
        bvalid = m_axi2_bvalid;
        bresp = m_axi2_bresp;
      end
      default: begin
        awready = m_axi3_awready;
        wready = m_axi3_wready;
        bvalid = m_axi3_bvalid;
        bresp = m_axi3_bresp;
      end
    endcase
  end

  assign m_axi0_araddr = address;
  assign m_axi0_arlen = length;
  assign m_axi0_arsize = 3'd3;
  assign m_axi0_arburst = 2'd1;
  assign m_axi0_arcache = 4'd3;
  assign m_axi0_arprot = 3'd0;
  assign m_axi0_arvalid = arvalid && read_port == 2'd0;
  assign m_axi0_rready = 1'b1;
  assign m_axi0_awaddr = address;
  assign m_axi0_awlen = length;
  assign m_axi0_awsize = 3'd3;
  assign m_axi0_awburst = 2'd1;
  assign m_axi0_awcache = 4'd3;
  assign m_axi0_awprot = 3'd0;
  assign m_axi0_awvalid = awvalid && write_port == 2'd0;
  assign m_axi0_wdata = buffer[beat] + add;
  assign m_axi0_wstrb = 8'hFF;
  assign m_axi0_wlast = beat == 4'd15;
  assign m_axi0_wvalid = wvalid && write_port == 2'd0;
  assign m_axi0_bready = 1'b1;

  assign m_axi1_araddr = address;
  assign m_axi1_arlen = length;
  assign m_axi1_arsize = 3'd3;
  assign m_axi1_arburst = 2'd1;
  assign m_axi1_arcache = 4'd3;
  assign m_axi1_arprot = 3'd0;
  assign m_axi1_arvalid = arvalid && read_port == 2'd1;
  assign m_axi1_rready = 1'b1;
  assign m_axi1_awaddr = address;
  assign m_axi1_awlen = length;
  assign m_axi1_awsize = 3'd3;
  assign m_axi1_awburst = 2'd1;
  assign m_axi1_awcache = 4'd3;
  assign m_axi1_awprot = 3'd0;
  assign m_axi1_awvalid = awvalid && write_port == 2'd1;
  assign m_axi1_wdata = buffer[beat] + add;
  assign m_axi1_wstrb = 8'hFF;
  assign m_axi1_wlast = beat == 4'd15;
  assign m_axi1_wvalid = wvalid && write_port == 2'd1;
  assign m_axi1_bready = 1'b1;

  assign m_axi2_araddr = address;
  assign m_axi2_arlen = length;
  assign m_axi2_arsize = 3'd3;
  assign m_axi2_arburst = 2'd1;
  assign m_axi2_arcache = 4'd3;
  assign m_axi2_arprot = 3'd0;
  assign m_axi2_arvalid = arvalid && read_port == 2'd2;
  assign m_axi2_rready = 1'b1;
  assign m_axi2_awaddr = address;
  assign m_axi2_awlen = length;
  assign m_axi2_awsize = 3'd3;
  assign m_axi2_awburst = 2'd1;
  assign m_axi2_awcache = 4'd3;
  assign m_axi2_awprot = 3'd0;
  assign m_axi2_awvalid = awvalid && write_port == 2'd2;
  assign m_axi2_wdata = buffer[beat] + add;
  assign m_axi2_wstrb = 8'hFF;
  assign m_axi2_wlast = beat == 4'd15;
  assign m_axi2_wvalid = wvalid && write_port == 2'd2;
  assign m_axi2_bready = 1'b1;

  assign m_axi3_araddr = address;
  assign m_axi3_arlen = length;
  assign m_axi3_arsize = 3'd3;
  assign m_axi3_arburst = 2'd1;
  assign m_axi3_arcache = 4'd3;
  assign m_axi3_arprot = 3'd0;
  assign m_axi3_arvalid = arvalid && read_port == 2'd3;
  assign m_axi3_rready = 1'b1;
  assign m_axi3_awaddr = address;
  assign m_axi3_awlen = length;
  assign m_axi3_awsize = 3'd3;
  assign m_axi3_awburst = 2'd1;
  assign m_axi3_awcache = 4'd3;
  assign m_axi3_awprot = 3'd0;
  assign m_axi3_awvalid = awvalid && write_port == 2'd3;
  assign m_axi3_wdata = buffer[beat] + add;
  assign m_axi3_wstrb = 8'hFF;
  assign m_axi3_wlast = beat == 4'd15;
  assign m_axi3_wvalid = wvalid && write_port == 2'd3;
  assign m_axi3_bready = 1'b1;

  function automatic logic [7:0] code_of(input logic [1:0] resp);
    code_of = 8'(resp == 2'd2 ? ErrSlaveError : ErrDecodeError);
  endfunction

  logic [39:0] arena;
  assign arena = {arena_hi[7:0], arena_lo};
  logic unarmed;
  assign irq = mode[1] && (state == Done || state == Halt);

  always_ff @(posedge aclk) begin
    if (!aresetn) begin
      state <= Idle;
      arvalid <= 1'b0;
      awvalid <= 1'b0;
      wvalid <= 1'b0;
      resetting <= 1'b0;
      failed <= 1'b0;
      code <= 8'd0;
      unit <= 8'd0;
    end else begin
      if (state != Idle && state != Done) cycles <= cycles + 1;
      if (ctrl[2]) resetting <= 1'b1;
      if (arvalid && arready) arvalid <= 1'b0;
      if (awvalid && awready) awvalid <= 1'b0;
      if (rvalid) read_beats[read_port] <= read_beats[read_port] + 1;
      case (state)
        Idle, Done: if (ctrl[0]) begin
          state <= Fetch;
          after <= Decode;
          index <= 0;
          retired <= 0;
          cycles <= 0;
          failed <= 1'b0;
          code <= 8'd0;
          unit <= 8'd0;
          for (int i = 0; i < 4; i++) begin
            read_beats[i] <= 0;
            write_beats[i] <= 0;
          end
        end else if (unarmed && state == Idle) begin
          state <= Done;
          failed <= 1'b1;
          code <= 8'(ErrNotArmed);
          unit <= 8'(SourceSequencer);
          retired <= 0;
        end else if (ctrl[3]) state <= Idle;
        Fetch: begin
          read_port <= index[1:0];
          write_port <= index[1:0] + 2'd1;
          address <= arena + 40'(program_off) + (40'(index) << 10);
          length <= 8'd2;
          arvalid <= 1'b1;
          beat <= 0;
          state <= Read;
        end
        Decode: begin
          from <= buffer[1][31:0];
          to <= buffer[1][63:32];
          bursts <= buffer[2][31:0];
          if (buffer[0][7:0] == 8'd255) state <= Hang;
          else if (buffer[0][7:0] != 8'd1) begin
            failed <= 1'b1;
            code <= 8'(ErrIllegalDescriptor);
            unit <= 8'(SourceSequencer);
          end else begin
            address <= arena + 40'(step_off);
            length <= 8'd0;
            arvalid <= 1'b1;
            beat <= 0;
            state <= Read;
            after <= Copy;
          end
        end
        Copy: begin
          if (length == 8'd0) add <= buffer[0];
          if (bursts == 0) state <= Retire;
          else if (from + 128 > arena_bytes || to + 128 > arena_bytes) begin
            failed <= 1'b1;
            code <= 8'(ErrOutsideArena);
            unit <= 8'd1;
          end else begin
            address <= arena + 40'(from);
            length <= 8'd15;
            arvalid <= 1'b1;
            beat <= 0;
            state <= Read;
            after <= Write;
          end
        end
        Read: if (rvalid) begin
          buffer[beat] <= rdata;
          beat <= beat + 1;
          if (rresp != 0) begin
            failed <= 1'b1;
            code <= code_of(rresp);
            unit <= 8'(read_port);
          end
          if (rlast) state <= resetting ? Idle : after;
        end
        Write: begin
          address <= arena + 40'(to);
          awvalid <= 1'b1;
          wvalid <= 1'b1;
          beat <= 0;
          state <= Data;
        end
        Data: if (wready) begin
          beat <= beat + 1;
          write_beats[write_port] <= write_beats[write_port] + 1;
          if (beat == 15) begin
            wvalid <= 1'b0;
            state <= Answer;
          end
        end
        Answer: if (bvalid) begin
          from <= from + 128;
          to <= to + 128;
          bursts <= bursts - 1;
          state <= resetting ? Idle : Copy;
          if (bresp != 0) begin
            failed <= 1'b1;
            code <= code_of(bresp);
            unit <= 8'(write_port) + 8'd4;
          end
        end
        Retire: begin
          retired <= retired + 1;
          index <= index + 1;
          after <= Decode;
          state <= retired + 1 == program_count ? Done : mode[0] ? Halt : Fetch;
        end
        Halt: if (ctrl[1]) state <= Fetch;
        default: state <= state;
      endcase
      // An error or a reset ends the run where no burst is open.
      if (state inside {Fetch, Decode, Copy, Write, Halt, Hang}) begin
        if (failed) begin
          state <= Done;
          error_index <= index;
          arvalid <= 1'b0;
          awvalid <= 1'b0;
          wvalid <= 1'b0;
        end
        if (resetting) begin
          state <= Idle;
          arvalid <= 1'b0;
          awvalid <= 1'b0;
          wvalid <= 1'b0;
        end
      end
      if (resetting && state == Done) state <= Idle;
      if (resetting && state == Idle) resetting <= 1'b0;
    end
  end

  logic [31:0] status;
  assign status = {8'd0, unit, code, 4'd0, state == Done && failed, state == Halt, state == Done,
                   state != Idle && state != Done};

  pt_regs u_regs (
    .clk_i(aclk), .rst_ni(aresetn), .lock_i(status[0]), .strays_i('0),
    .s_axi_awaddr, .s_axi_awvalid, .s_axi_awready, .s_axi_wdata, .s_axi_wstrb, .s_axi_wvalid,
    .s_axi_wready, .s_axi_bresp, .s_axi_bvalid, .s_axi_bready, .s_axi_araddr, .s_axi_arvalid,
    .s_axi_arready, .s_axi_rdata, .s_axi_rresp, .s_axi_rvalid, .s_axi_rready,
    .ctrl_o(ctrl), .unarmed_o(unarmed), .status_i(status), .error_index_i(error_index), .retired_i(retired),
    .mode_o(mode), .arena_lo_o(arena_lo), .arena_hi_o(arena_hi), .arena_bytes_o(arena_bytes),
    .program_off_o(program_off), .program_count_o(program_count), .step_off_o(step_off),
    .cycles_i(cycles[31:0]), .cycles_hi_i(cycles[63:32]), .busy_cycles_i(0), .stall_x_i(0),
    .stall_s_i(0), .stall_acc_i(0), .stall_gap_i(0), .drain_cycles_i(0),
    .read_beats0_i(read_beats[0]), .read_beats1_i(read_beats[1]), .read_beats2_i(read_beats[2]),
    .read_beats3_i(read_beats[3]), .write_beats0_i(write_beats[0]),
    .write_beats1_i(write_beats[1]), .write_beats2_i(write_beats[2]),
    .write_beats3_i(write_beats[3])
  );
endmodule
