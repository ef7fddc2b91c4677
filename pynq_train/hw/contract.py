"""The contract hash: a digest of everything that the hardware decodes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from pynq_train.hw import commands, layouts, norm, registers, tables
from pynq_train.hw.config import HwConfig
from pynq_train.hw.geometry import GEOMETRY_SECTIONS


def contract_dict(config: HwConfig) -> dict[str, Any]:
    """Everything that the hardware decodes, as plain values in a fixed order."""
    return {
        "abi": registers.ABI_VERSION,
        "config": asdict(config),
        "opcodes": {op.name: int(op) for op in commands.Opcode},
        "sections": {
            name: [(p.name, p.word, p.lsb, p.field.bits, p.field.signed) for p in section.places]
            for name, section in commands.SECTIONS.items()
            if name not in GEOMETRY_SECTIONS
        },
        "units": {
            op.name: sorted(map(int, units)) for op, units in commands.UNITS_OF.items()
        },
        "waits": {unit.name: wait for unit, wait in commands.WAIT_OF.items()},
        "layouts": {
            name: [(p.name, p.word, p.lsb, p.field.bits, p.field.signed) for p in layout.places]
            for name, layout in layouts.LAYOUTS.items()
        },
        "taps": [(f.name, f.bits) for f in commands.TAP_FIELDS],
        "params": {
            op.name: [(f.name, f.bits) for f in fields]
            for op, fields in commands.PARAM_FIELDS.items()
        },
        "registers": [
            (r.name, r.offset, int(r.access), [(f.name, f.lsb, f.bits) for f in r.fields])
            for r in registers.REGISTERS
        ],
        "norm": [list(norm.rom()), list(norm.starts()), list(tables.ROOT_SEEDS)],
        "tables": [list(tables.EXP2), list(tables.LOG2), tables.LOG2_E],
    }


def contract_hash(config: HwConfig) -> str:
    """SHA-256 of the contract of ``config``, 64 hexadecimal digits."""
    text = json.dumps(contract_dict(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def hash_word(config: HwConfig) -> int:
    """The 32 bit of the hash that stand in the HASH register."""
    return int(contract_hash(config)[:8], 16)
