// SPDX-License-Identifier: Apache-2.0
// AXI slave for a processor, AXI4-Lite master for registers: one transfer at a time.
//
// Contract: bursts are taken apart into single accesses at ascending addresses (INCR; processors
// send no other kind to registers). Address and data of a write are offered together and withdrawn
// one after the other; the response of a burst is the worst of its beats.
module pt_lite_bridge #(
  // Bits of a transfer's identifier.
  parameter int unsigned IdBits = 12,
  // Bits of the register space's addresses.
  parameter int unsigned AddressBits = 12
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,

  input  logic [IdBits-1:0]      s_awid_i,
  input  logic [AddressBits-1:0] s_awaddr_i,
  input  logic                   s_awvalid_i,
  output logic                   s_awready_o,
  input  logic [31:0]            s_wdata_i,
  input  logic [3:0]             s_wstrb_i,
  input  logic                   s_wlast_i,
  input  logic                   s_wvalid_i,
  output logic                   s_wready_o,
  output logic [IdBits-1:0]      s_bid_o,
  output logic [1:0]             s_bresp_o,
  output logic                   s_bvalid_o,
  input  logic                   s_bready_i,
  input  logic [IdBits-1:0]      s_arid_i,
  input  logic [AddressBits-1:0] s_araddr_i,
  input  logic [7:0]             s_arlen_i,
  input  logic                   s_arvalid_i,
  output logic                   s_arready_o,
  output logic [IdBits-1:0]      s_rid_o,
  output logic [31:0]            s_rdata_o,
  output logic [1:0]             s_rresp_o,
  output logic                   s_rlast_o,
  output logic                   s_rvalid_o,
  input  logic                   s_rready_i,

  output logic [AddressBits-1:0] m_awaddr_o,
  output logic                   m_awvalid_o,
  input  logic                   m_awready_i,
  output logic [31:0]            m_wdata_o,
  output logic [3:0]             m_wstrb_o,
  output logic                   m_wvalid_o,
  input  logic                   m_wready_i,
  input  logic [1:0]             m_bresp_i,
  input  logic                   m_bvalid_i,
  output logic                   m_bready_o,
  output logic [AddressBits-1:0] m_araddr_o,
  output logic                   m_arvalid_o,
  input  logic                   m_arready_i,
  input  logic [31:0]            m_rdata_i,
  input  logic [1:0]             m_rresp_i,
  input  logic                   m_rvalid_i,
  output logic                   m_rready_o
);
  typedef enum logic [2:0] {WrIdle, WrBeat, WrSend, WrWait, WrDone} write_e;
  typedef enum logic [1:0] {RdIdle, RdSend, RdWait} read_e;

  write_e write_q;
  logic   aw_pending_q, w_pending_q, last_q;

  assign s_awready_o = write_q == WrIdle;
  assign s_wready_o  = write_q == WrBeat;
  assign s_bvalid_o  = write_q == WrDone;
  assign m_awvalid_o = write_q == WrSend && aw_pending_q;
  assign m_wvalid_o  = write_q == WrSend && w_pending_q;
  assign m_bready_o  = write_q == WrWait;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      write_q <= WrIdle;
    end else begin
      case (write_q)
        WrIdle: if (s_awvalid_i) begin
          write_q    <= WrBeat;
          s_bid_o    <= s_awid_i;
          s_bresp_o  <= 2'b00;
          m_awaddr_o <= s_awaddr_i;
        end
        WrBeat: if (s_wvalid_i) begin
          write_q      <= WrSend;
          m_wdata_o    <= s_wdata_i;
          m_wstrb_o    <= s_wstrb_i;
          last_q       <= s_wlast_i;
          aw_pending_q <= 1'b1;
          w_pending_q  <= 1'b1;
        end
        WrSend: begin
          if (m_awready_i) aw_pending_q <= 1'b0;
          if (m_wready_i) w_pending_q <= 1'b0;
          if ((m_awready_i || !aw_pending_q) && (m_wready_i || !w_pending_q)) write_q <= WrWait;
        end
        WrWait: if (m_bvalid_i) begin
          write_q    <= last_q ? WrDone : WrBeat;
          s_bresp_o  <= s_bresp_o | m_bresp_i;
          m_awaddr_o <= m_awaddr_o + AddressBits'(4);
        end
        WrDone: if (s_bready_i) write_q <= WrIdle;
        default: write_q <= WrIdle;
      endcase
    end
  end

  read_e      read_q;
  logic [7:0] left_q;

  assign s_arready_o = read_q == RdIdle;
  assign m_arvalid_o = read_q == RdSend;
  assign s_rvalid_o  = read_q == RdWait && m_rvalid_i;
  assign m_rready_o  = read_q == RdWait && s_rready_i;
  assign s_rdata_o   = m_rdata_i;
  assign s_rresp_o   = m_rresp_i;
  assign s_rlast_o   = left_q == 8'd0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      read_q <= RdIdle;
    end else begin
      case (read_q)
        RdIdle: if (s_arvalid_i) begin
          read_q     <= RdSend;
          s_rid_o    <= s_arid_i;
          left_q     <= s_arlen_i;
          m_araddr_o <= s_araddr_i;
        end
        RdSend: if (m_arready_i) read_q <= RdWait;
        RdWait: if (m_rvalid_i && s_rready_i) begin
          read_q     <= s_rlast_o ? RdIdle : RdSend;
          left_q     <= left_q - 8'd1;
          m_araddr_o <= m_araddr_o + AddressBits'(4);
        end
        default: read_q <= RdIdle;
      endcase
    end
  end
endmodule
