"""Renderer of ``rtl/gen/pt_regs.sv``: the AXI4-Lite register file."""

from __future__ import annotations

from pynq_train.hw.emit.text import HEADER, camel
from pynq_train.hw.registers import ARMED_BY, REGISTERS, RegisterAccess

_CONSTANT = {
    "ID": "pt_abi_pkg::IdValue",
    "ABI": "32'(pt_abi_pkg::AbiVersion)",
    "HASH": "pt_spec_pkg::ContractHash",
}
"""Registers with a constant value, and the constant."""

_BODY = """
  // Write: address and data are taken together, the answer follows one cycle later.
  logic        write, armed_q;
  logic [31:0] wmask;
  assign write = s_axi_awvalid & s_axi_wvalid & ~s_axi_bvalid;
  assign s_axi_awready = write;
  assign s_axi_wready = write;
  assign s_axi_bresp = 2'b00;
  assign s_axi_rresp = 2'b00;
  assign wmask = {{8{s_axi_wstrb[3]}}, {8{s_axi_wstrb[2]}},
                  {8{s_axi_wstrb[1]}}, {8{s_axi_wstrb[0]}}};

  // Read: one outstanding; addresses without a register answer zero.
  logic read;
  assign read = s_axi_arvalid & ~s_axi_rvalid;
  assign s_axi_arready = read;
"""
"""Handshakes of the bus, the same for any registers."""


def render() -> str:
    """Return the text of ``rtl/gen/pt_regs.sv``: all follows from the list of registers."""
    ports, resets, writes, reads, pulses = [], [], [], [], []
    for register in REGISTERS:
        low = register.name.lower()
        label = f"pt_abi_pkg::Reg{camel(register.name)}"
        kind = f"pt_abi_pkg::{low}_reg_t" if register.fields else "logic [31:0]"
        if register.access is RegisterAccess.READ_WRITE:
            ports.append(f"  output {kind} {low}_o,")
            resets.append(f"      {low}_o <= 32'd0;")
            value = f"{low}_o <= ({low}_o & ~wmask) | (s_axi_wdata & wmask);"
            armed = "!armed_q" if register.name == ARMED_BY else "1'b0"
            writes.append(f"""          {label}: if (!lock_i) begin
            {value}
            armed_q <= {armed};
          end""")
            reads.append(f"          {label}: s_axi_rdata <= {low}_o;")
        elif register.access is RegisterAccess.WRITE_PULSE:
            ports.append(f"  output {kind} {low}_o,")
            resets.append(f"      {low}_o <= 32'd0;")
            ports.append("  output logic unarmed_o,")
            resets.append("      unarmed_o <= 1'b0;")
            pulses += [f"      {low}_o <= 32'd0;", "      unarmed_o <= 1'b0;"]
            writes.append(f"""          {label}: begin
            {low}_o <= s_axi_wdata & wmask;
            {low}_o.start <= s_axi_wdata[0] && wmask[0] && armed_q;
            unarmed_o <= s_axi_wdata[0] && wmask[0] && !armed_q;
            if (s_axi_wdata[0] && wmask[0]) armed_q <= 1'b0;
          end""")
        elif register.name in _CONSTANT:
            reads.append(f"          {label}: s_axi_rdata <= {_CONSTANT[register.name]};")
        else:
            ports.append(f"  input  {kind} {low}_i,")
            reads.append(f"          {label}: s_axi_rdata <= {low}_i;")
    # No comma behind the last port.
    ports[-1] = ports[-1].rstrip(",")
    newline = "\n"
    return f"""{HEADER}// AXI4-Lite registers: every address answers, reads have no side effects.
// While lock_i is high only commands can be written. START counts if the write before armed it;
// if not, unarmed_o pulses in its place.
module pt_regs (
  input  logic        clk_i,
  input  logic        rst_ni,
  input  logic        lock_i,
  input  logic [11:0] s_axi_awaddr,
  input  logic        s_axi_awvalid,
  output logic        s_axi_awready,
  input  logic [31:0] s_axi_wdata,
  input  logic [3:0]  s_axi_wstrb,
  input  logic        s_axi_wvalid,
  output logic        s_axi_wready,
  output logic [1:0]  s_axi_bresp,
  output logic        s_axi_bvalid,
  input  logic        s_axi_bready,
  input  logic [11:0] s_axi_araddr,
  input  logic        s_axi_arvalid,
  output logic        s_axi_arready,
  output logic [31:0] s_axi_rdata,
  output logic [1:0]  s_axi_rresp,
  output logic        s_axi_rvalid,
  input  logic        s_axi_rready,
{newline.join(ports)}
);
{_BODY}
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      s_axi_bvalid <= 1'b0;
      armed_q <= 1'b0;
{newline.join(resets)}
    end else begin
      if (s_axi_bready) s_axi_bvalid <= 1'b0;
{newline.join(pulses)}
      if (write) begin
        s_axi_bvalid <= 1'b1;
        case ({{s_axi_awaddr[11:2], 2'b00}})
{newline.join(writes)}
          default: s_axi_bvalid <= 1'b1;
        endcase
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      s_axi_rvalid <= 1'b0;
    end else begin
      if (s_axi_rready) s_axi_rvalid <= 1'b0;
      if (read) begin
        s_axi_rvalid <= 1'b1;
        case ({{s_axi_araddr[11:2], 2'b00}})
{newline.join(reads)}
          default: s_axi_rdata <= 32'd0;
        endcase
      end
    end
  end

  logic unused;
  assign unused = &{{1'b0, s_axi_awaddr[1:0], s_axi_araddr[1:0]}};
endmodule
"""
