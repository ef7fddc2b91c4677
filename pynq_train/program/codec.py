"""Programs as files, and as text.

A file is ``PTRPROG1``, the SHA-256 of the rest (32 bytes), the length of a JSON header (8 bytes,
little endian), the header, the descriptors and the taps.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pynq_train.errors import BadInput
from pynq_train.files import parse_json, read_bytes, write_atomic
from pynq_train.files.schema import Anything, Items, Record, Schema, Text, Whole
from pynq_train.hw.commands import Opcode, Pass, Semaphore
from pynq_train.program.meaning import sides
from pynq_train.program.program import Fields, Program, Region

MAGIC = b"PTRPROG1"
_DIGEST, _LENGTH = 32, 8
_KEYS = ("name", "config", "contract", "arena_bytes", "program_off", "taps_off", "step_off")
_PLACE = Whole(0, 1 << 62)
_HEADER = Record({
    "name": Text(), "config": Text(), "contract": Text(), "arena_bytes": _PLACE,
    "program_off": _PLACE, "taps_off": _PLACE, "step_off": _PLACE, "descriptor_bytes": _PLACE,
    "regions": Items(Items(Anything(), least=4, most=4), most=1 << 20)})


def to_bytes(program: Program) -> bytes:
    """Return the contents of a program file."""
    header: dict[str, Any] = {key: getattr(program, key) for key in _KEYS}
    header["descriptor_bytes"] = len(program.descriptors)
    header["regions"] = [[r.symbol, r.offset, r.nbytes, r.kind] for r in program.regions]
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    body = len(text).to_bytes(_LENGTH, "little") + text + program.descriptors + program.taps
    return MAGIC + hashlib.sha256(body).digest() + body


def from_bytes(data: bytes, where: str = "program file") -> Program:
    """Rebuild a program from the contents of a file.

    Raises:
        BadInput: it is not a program file, or it is damaged.
    """
    start = len(MAGIC) + _DIGEST
    body = data[start:]
    if data[: len(MAGIC)] != MAGIC:
        raise BadInput(f"{where} is not a program file", expected=f"it to start with {MAGIC!r}",
                       found=data[: len(MAGIC)])
    if hashlib.sha256(body).digest() != data[len(MAGIC) : start]:
        raise BadInput(f"{where} is damaged: its checksum does not match", fix="save it again")
    length = int.from_bytes(body[:_LENGTH], "little")
    rest = body[_LENGTH + length :]
    try:
        header = _HEADER.check(parse_json(body[_LENGTH : _LENGTH + length]), where)
        schemas: tuple[Schema, ...] = (Text(), _PLACE, _PLACE, Text())
        for region in header["regions"]:
            for one, schema in zip(region, schemas):
                schema.check(one, f"{where}: regions")
    except (BadInput, ValueError) as error:
        raise BadInput(f"{where} has a malformed header ({error})") from None
    size = header["descriptor_bytes"]
    regions = tuple(Region(*region) for region in header["regions"])
    return Program(descriptors=rest[:size], taps=rest[size:], regions=regions,
                   **{key: header[key] for key in _KEYS})


def save(program: Program, path: str | Path) -> None:
    """Write a program file.

    An existing file is replaced in one step: who reads meanwhile finds the old one or the new one.
    """
    write_atomic(path, to_bytes(program))


def load(path: str | Path) -> Program:
    """Read a program file.

    Raises:
        BadInput: there is none, it is not one, or it is damaged.
    """
    return from_bytes(read_bytes(path, "program file"), str(path))


_ADDRESSES = {
    Opcode.FENCE: (),
    Opcode.CONV: ("g.g_x", "g.g_y", "g.g_flag", "g.g_w", "g.g_b"),
    Opcode.UPDATE: ("u.g_off", "u.wv_off", "u.w16_off"),
    Opcode.GRADIENT: ("g.g_x", "g.g_y", "g.g_flag", "g.g_b", "u.wv_off", "u.w16_off"),
    Opcode.SOFTMAX: ("f.logit_off", "f.label_off", "f.dlogit_off"),
    Opcode.VECTOR: ("v.a_off", "v.b_off", "v.m_off", "v.k_off", "v.v_off", "v.s_off"),
    Opcode.NORM: ("n.s_off", "n.p_off", "n.r_off", "n.q_off", "n.k_off", "n.d_off"),
    Opcode.POOL: ("p.i_off", "p.o_off", "p.w_off"),
}


def title(fields: Fields) -> str:
    """Return what a descriptor does, in a few words."""
    opcode = Opcode(fields["pre.opcode"])
    if opcode != Opcode.CONV:
        return opcode.name
    kind = fields["g.g_pass"]
    name = Pass(kind).name if kind in list(Pass) else f"pass {kind}"
    return f"CONV {name}"


def _sides(fields: Fields, name: str) -> str:
    """Return kernel or stride of a convolution as text: ``3``, or ``3x5`` where sides differ."""
    rows, cols = sides(fields, name)
    return str(rows) if rows == cols else f"{rows}x{cols}"


def _waits(fields: Fields) -> str:
    """Return the waits of a descriptor as text: unit, semaphore and count of each."""
    parts = []
    for unit in ("x", "s", "y"):
        if fields[f"pre.wait_{unit}"]:
            semaphore = fields[f"pre.wait_{unit}_sem"]
            name = Semaphore(semaphore).name if semaphore in list(Semaphore) else str(semaphore)
            parts.append(f"{unit} waits {name}>={fields[f'pre.wait_{unit}']}")
    return ", ".join(parts) or "no waits"


def disassemble(program: Program, *, full: bool = False) -> str:
    """Return a program as text, a few lines per descriptor.

    Args:
        program: the program.
        full: list every field that is not zero, and the taps.
    """
    lines = [f"program {program.name}: {program.count} descriptors for {program.config}, arena of "
             f"{program.arena_bytes} bytes, contract {program.contract[:8]}"]
    for index, fields in enumerate(program.fields):
        opcode = Opcode(fields["pre.opcode"])
        lines.append(f"{index:4} {title(fields)} param {fields['pre.param']}, {_waits(fields)}")
        places = [f"{name.split('.')[1]} {program.locate(fields[name])}"
                  for name in _ADDRESSES[opcode] if fields[name]]
        if opcode in (Opcode.CONV, Opcode.GRADIENT):
            kernel, stride = (_sides(fields, name) for name in ("kernel", "stride"))
            places.insert(0, f"{{g_m}}x{{g_n}} k{kernel} s{stride}, {{g_images}} images, "
                          "{g_in_rows}x{g_in_cols} -> {g_out_rows}x{g_out_cols}".format(
                              **{k[2:]: v for k, v in fields.items() if k.startswith("g.")}))
        if places:
            lines.append("       " + "; ".join(places))
        if full:
            lines += [f"       {name} = {value}" for name, value in fields.items() if value]
            lines += [f"       tap {i}: " + " ".join(f"{k}={v}" for k, v in tap.items() if v)
                      for i, tap in enumerate(program.tap_table(index))]
    return "\n".join(lines)
