"""Renderer of ``pt_spec_pkg.sv``: the sizes of one configuration, and the hash of its contract."""

from __future__ import annotations

from dataclasses import asdict

from pynq_train.hw.config import HwConfig
from pynq_train.hw.contract import hash_word
from pynq_train.hw.emit.text import HEADER, camel, constant


def render(config: HwConfig) -> str:
    """Return the text of ``pt_spec_pkg.sv`` for one configuration."""
    return "\n".join([
        HEADER + f"// Configuration {config.name}: sizes of the engine. All else: pt_abi_pkg.",
        "package pt_spec_pkg;",
        "  // No single module uses every constant.", "  /* verilator lint_off UNUSEDPARAM */",
        f"  localparam logic [31:0] ContractHash = 32'h{hash_word(config):08x};",
        *(constant(camel(key), value) for key, value in asdict(config).items() if key != "name"),
        "endpackage", ""])
