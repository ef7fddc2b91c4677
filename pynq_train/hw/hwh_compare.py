"""Hold a .hwh file that Vivado wrote against the one that the contract gives.

Both files are reduced to facts, a table from names to texts: type of the engine, address ranges,
registers and fields, parameters, memory windows and clock. Instances are named by what
they are, so that names that a design tool chose do not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

from pynq_train.errors import BadInput
from pynq_train.hw import design
from pynq_train.hw.boards import Board
from pynq_train.hw.emit import hwh

_ENGINE = design.VLNV.split(":")[2]
_CLOSED = ("register", "field", "range", "memory")
"""Kinds of facts of which a file may state no more than the contract does."""


def compare(path: Path, board: Board, clock_mhz: float | None = None) -> list[str]:
    """Differences between a .hwh file and the contract of ``board``, one sentence each.

    Args:
        path: the file.
        board: the board.
        clock_mhz: clock that the file must give (default: any that a build may have).

    Raises:
        BadInput: the file is missing, no .hwh file, or holds no engine.
    """
    try:
        root = ET.parse(path).getroot()
    except (OSError, ET.ParseError) as error:
        raise BadInput(f"{path} is no .hwh file", expected="the XML that Vivado writes",
                       found=str(error)) from error
    found = facts(root, board)
    wanted = facts(ET.fromstring(hwh.render(board)), board)
    wanted["clock"] = _accepted_clock(found.get("clock", ""), board, clock_mhz)
    if "type engine" not in found:
        kinds = sorted({module.get("MODTYPE", "?") for module in root.iter("MODULE")})
        raise BadInput(f"{path} holds no engine", expected=f"a module {_ENGINE}",
                       found=", ".join(kinds) or "no module",
                       fix="build it with 'make overlay'")
    return differences(wanted, found)


def differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """Sentences on the facts that differ."""
    lines = []
    for name, value in expected.items():
        have = found.get(name, "none")
        if have != value:
            lines.append(f"{name}: expected {value}, found {have}")
    extra = [name for name in found if name not in expected and name.split()[0] in _CLOSED]
    return lines + [f"{name}: expected none, found {found[name]}" for name in extra]


def facts(root: ET.Element, board: Board) -> dict[str, str]:
    """The facts of a .hwh file that the driver of ``board`` relies on."""
    modules = {m.get("INSTANCE", ""): m for m in root.iter("MODULE")}
    ps = design.processing_system(board).kind
    found = {"device": _device(root.find("SYSTEMINFO"), board.part)}
    for module in modules.values():
        kind = module.get("MODTYPE", "")
        if kind == _ENGINE:
            found["type engine"] = module.get("VLNV", "")
            found.update(_registers(module))
            found.update(_parameters(module, design.parameters(board)))
            found.update(_memory(module))
        elif kind == ps:
            found.update(_parameters(module, design.port_widths(board)))
            found.update(_clock(module, board))
            found.update(_ranges(module, modules))
    return found


def _device(element: ET.Element | None, part: str) -> str:
    """The part if a SYSTEMINFO names it. Vivado splits it: DEVICE 7z020, PACKAGE clg400."""
    if element is None:
        return "none"
    name = (element.get("DEVICE", "") + element.get("PACKAGE", "")).lower()
    short = part.removeprefix("xc")
    return part if name and short.startswith(name.removeprefix("xc")) else name or "none"


def _properties(element: ET.Element) -> dict[str, str]:
    return {p.get("NAME", ""): p.get("VALUE", "") for p in element.findall("PROPERTY")}


def _registers(module: ET.Element) -> Iterator[tuple[str, str]]:
    for block in module.iter("ADDRESSBLOCK"):
        bus = block.get("INTERFACE", "").lower()
        for register in block.iter("REGISTER"):
            name, values = register.get("NAME", ""), _properties(register)
            offset = int(values.get("ADDRESS_OFFSET", "0"), 0)
            yield (f"register {name}",
                   f"0x{offset:03x} of {bus}, {values.get('SIZE')} bits, {values.get('ACCESS')}")
            for field in register.iter("FIELD"):
                bits = _properties(field)
                yield (f"field {name}.{field.get('NAME')}",
                       f"{int(bits.get('BIT_WIDTH', '0'), 0)} bits from bit "
                       f"{int(bits.get('BIT_OFFSET', '0'), 0)}")


def _all_parameters(module: ET.Element) -> dict[str, str]:
    return {p.get("NAME", ""): p.get("VALUE", "") for p in module.findall("PARAMETERS/PARAMETER")}


def _parameters(module: ET.Element, wanted: dict[str, str] | dict[str, int]
                ) -> Iterator[tuple[str, str]]:
    have = _all_parameters(module)
    for name in wanted:
        if name in have:
            yield f"parameter {name}", have[name]


def _clock(module: ET.Element, board: Board) -> Iterator[tuple[str, str]]:
    """Clock in MHz as ``pynq`` will set it: the PLL over both divisors."""
    values = _all_parameters(module)
    product = 1
    for name in design.processing_system(board).divisor_properties:
        product *= int(values.get(name, "0"))
    yield "clock", _mhz(board.preset.pll_mhz / product) if product else "unknown"


def _mhz(clock: float) -> str:
    return f"{clock:.3f} MHz"


def _accepted_clock(found: str, board: Board, clock_mhz: float | None) -> str:
    """The clock that a file must give: ``found`` if it may, else what was expected."""
    choices = [_mhz(board.preset.pll_mhz / design.clock_divisor(board, choice))
               for choice in (design.clock_choices(board) if clock_mhz is None else [clock_mhz])]
    return found if found in choices else " or ".join(choices)


def _span(element: ET.Element) -> str:
    low, high = (int(element.get(key, "0"), 0) for key in ("BASEVALUE", "HIGHVALUE"))
    return f"0x{low:08x} to 0x{high:08x}"


def _ranges(module: ET.Element, modules: dict[str, ET.Element]) -> Iterator[tuple[str, str]]:
    for element in module.iter("MEMRANGE"):
        name = element.get("INSTANCE", "")
        kind = modules[name].get("MODTYPE") if name in modules else name
        if element.get("MEMTYPE", "REGISTER").upper() == "REGISTER":
            yield f"range {kind}", f"{_span(element)} on {element.get('MASTERBUSINTERFACE')}"


def _memory(module: ET.Element) -> Iterator[tuple[str, str]]:
    for element in module.iter("MEMRANGE"):
        base = int(element.get("BASEVALUE", "0"), 0)
        yield (f"memory {element.get('MASTERBUSINTERFACE')} at 0x{base:x}",
               f"{_span(element)} through {element.get('SLAVEBUSINTERFACE')}")
