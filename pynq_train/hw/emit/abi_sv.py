"""Renderer of ``rtl/gen/pt_abi_pkg.sv``: constants, structs and tables of every configuration."""

from __future__ import annotations

from collections.abc import Collection

from pynq_train.hw import commands, curves, layouts, limits, norm, registers, tables
from pynq_train.hw.config import FETCH_AHEAD, FETCH_REST_CYCLES
from pynq_train.hw.emit.text import (
    HEADER,
    camel,
    constant,
    flat_struct,
    members,
    rom,
    section_struct,
)
from pynq_train.hw.fields import Field, Section
from pynq_train.hw.geometry import GEOMETRY_SECTIONS
from pynq_train.hw.registers import Register
from pynq_train.hw.words import ABSENT_WEIGHT, MASTER_EXPONENT

PATH = "rtl/gen/pt_abi_pkg.sv"
"""Path of the generated package, from the project's folder."""

_WAITS = ("", "x", "s", "y")
"""Waits of the prefix as ``wait_of`` says them; 0: the unit waits for none."""


def _constants() -> list[str]:
    """Return the lines of all constants."""
    lines = [constant("AbiVersion", registers.ABI_VERSION),
             f"  localparam logic [31:0] IdValue = 32'h{registers.ID_VALUE:08x};",
             constant("FlagRowWords", limits.FLAG_ROW_WORDS),
             constant("RingMargin", limits.RING_MARGIN),
             constant("MapSizeMost", limits.MAX_SIZE, "rows, columns and channels"),
             constant("FetchAhead", FETCH_AHEAD, "descriptors"),
             constant("FetchRestCycles", FETCH_REST_CYCLES),
             constant("DescriptorWords", commands.DESCRIPTOR_WORDS),
             constant("DescriptorBytes", commands.DESCRIPTOR_BYTES),
             constant("ParamIndex", commands.PARAM_INDEX, "of the step-block entry on the bus"),
             constant("ParamWords", commands.PARAM_WORDS),
             constant("ParamBytes", commands.PARAM_BYTES),
             constant("TapIndex", commands.TAP_INDEX, "of the first tap on the configuration bus"),
             constant("RecordWords", commands.RECORD_WORDS),
             constant("CoefficientWords", layouts.COEFFICIENT.words, "of a channel"),
             constant("TileLevels", commands.TILE_LEVELS),
             f"  localparam logic [15:0] NoLimit = 16'd{limits.NO_LIMIT};  // clips nothing",
             f"  localparam logic [31:0] AbsentWeight = 32'h{ABSENT_WEIGHT & 0xFFFF_FFFF:08x};",
             f"  localparam logic signed [15:0] MasterExponent = -16'sd{-MASTER_EXPONENT};"]
    lines += [constant(f"Op{camel(op.name)}", int(op)) for op in commands.Opcode]
    lines += [constant(f"Unit{camel(unit.name)}", int(unit)) for unit in commands.Unit]
    lines.append(constant("Units", len(commands.Unit)))
    lines += [constant(f"Sem{camel(one.name)}", int(one)) for one in commands.Semaphore]
    lines.append(constant("Semaphores", len(commands.Semaphore)))
    lines += [constant(f"Load{camel(mode.name)}", int(mode)) for mode in commands.LoadMode]
    lines += [constant(f"Pix{camel(mode.name)}", int(mode)) for mode in commands.PixelMode]
    lines += [constant(f"Factor{camel(one.name)}", int(one)) for one in curves.Factor]
    lines += [constant("MaxSegmentBits", curves.MAX_SEGMENT_BITS),
              constant("SlopeBits", curves.SLOPE_BITS),
              constant("OffsetBits", curves.OFFSET_BITS),
              constant("WidthBits", curves.WIDTH_BITS)]
    lines += [constant(f"Err{camel(one.name)}", int(one)) for one in registers.Status]
    lines += [constant(f"Source{camel(one.name)}", int(one)) for one in registers.ErrorSource]
    lines += ["", "  // Least and most of what a configuration may ask for."]
    for name, (least, most) in limits.CONFIG_RANGES.items():
        lines += [constant(f"{camel(name)}Least", least), constant(f"{camel(name)}Most", most)]
    lines.append(constant("GradWordsPerLane", limits.GRAD_WORDS_PER_LANE, "least, per output lane"))
    return lines


def _sections() -> list[str]:
    """Return the places of all sections that a unit reads, and their structs."""
    lines = [""]
    for name, section in commands.SECTIONS.items():
        if name in GEOMETRY_SECTIONS:
            continue
        lines += [constant(f"Sec{camel(name)}First", section.first, section.doc),
                  constant(f"Sec{camel(name)}Words", section.words)]
    for unit in commands.Unit:
        first, words = commands.config_words(unit)
        lines += [constant(f"Cfg{camel(unit.name)}First", first, "first word a unit receives"),
                  constant(f"Cfg{camel(unit.name)}Words", words)]
    ends = (sum(commands.config_words(unit)) for unit in commands.Unit)
    lines.append(constant("FetchWords", max(ends), "of a descriptor: those that a unit receives"))
    generator = commands.SECTIONS["yw"]
    lines.append(constant("AddrGenWords", generator.words))
    for name, section in commands.SECTIONS.items():
        if name not in (*GEOMETRY_SECTIONS, "yw", "yf"):
            lines += ["", f"  // {section.doc}", *section_struct(section)]
    generator = Section("addr_gen", generator.doc, generator.first, generator.words,
                        generator.places)
    lines += ["", "  // an address generator: the first words of x_t and s_t, all of yw and yf",
              *section_struct(generator), "", "  // all that the store unit receives",
              "  typedef struct packed {"]
    lines += [f"    {'y' if name == 'y' else 'addr_gen'}_t {name};"
              for name in reversed(commands.SECTION_OF_UNIT[commands.Unit.STORE])]
    lines += ["  } store_t;", "", "  // one tap", *flat_struct("tap_t", commands.TAP_FIELDS, 1)]
    users: dict[tuple[Field, ...], list[str]] = {}
    for op, fields in commands.PARAM_FIELDS.items():
        users.setdefault(fields, []).append(op.name)
    for fields, names in users.items():
        lines += ["", f"  // step-block entry of {', '.join(names)}",
                  *flat_struct(f"{names[0].lower()}_param_t", fields, commands.PARAM_WORDS)]
    return lines


def _register_struct(register: Register) -> list[str]:
    """Return the struct of a register with fields."""
    spans = [(f.lsb, f.bits, "logic" if f.bits == 1 else f"logic [{f.bits - 1}:0]",
              f.name.lower(), f.doc) for f in register.fields]
    return ["", f"  // {register.name}: {register.doc}", "  typedef struct packed {",
            *members(spans, 0, registers.REGISTER_BITS), f"  }} {register.name.lower()}_reg_t;"]


def _register_map() -> list[str]:
    """Return offsets and structs of the registers."""
    lines = [""]
    for register in registers.REGISTERS:
        lines.append(f"  localparam logic [11:0] Reg{camel(register.name)} = "
                     f"12'h{register.offset:03x};")
    for register in registers.REGISTERS:
        if register.fields:
            lines += _register_struct(register)
    return lines


def _layouts() -> list[str]:
    """Return the structs of words in memory; an element that ends within a word is not padded."""
    lines: list[str] = []
    for section in layouts.LAYOUTS.values():
        last = section.places[-1]
        lines += ["", f"  // {section.doc}", *section_struct(section, last.shift + last.field.bits)]
    return lines


def _function(name: str, result: str, argument: str, rows: list[tuple[str, str]],
              default: str) -> list[str]:
    """Return a function that looks ``argument`` up in a table."""
    return [f"  function automatic {result} {name}(input {argument});",
            f"    case ({argument.split()[-1]})",
            *(f"      {key}: {name} = {value};" for key, value in rows),
            f"      default: {name} = {default};", "    endcase", "  endfunction"]


def _tables() -> list[str]:
    """Return which units an opcode concerns, and what a unit receives and waits for."""
    units = len(commands.Unit)
    bits = (units - 1).bit_length()

    def mask(chosen: Collection[commands.Unit]) -> str:
        """A bit for each unit of ``chosen``."""
        return f"{units}'b" + "".join(str(int(unit in chosen)) for unit in reversed(commands.Unit))

    ranges = {unit: commands.config_words(unit) for unit in commands.Unit}
    unit_in = f"logic [{bits - 1}:0] unit"
    lines = ["", "  // Units that receive taps.",
             f"  localparam logic [Units-1:0] TapUnits = {mask(commands.TAPPED)};",
             "", "  // Units that take part in an opcode; none: it is FENCE, or not known."]
    lines += _function("units_of", "logic [Units-1:0]", "logic [7:0] opcode",
                       [(f"8'(Op{camel(op.name)})", mask(chosen))
                        for op, chosen in commands.UNITS_OF.items() if chosen], "'0")
    lines += ["", "  // Whether the prefix of an opcode has tile counts."]
    lines += _function("is_tiled", "logic", "logic [7:0] opcode",
                       [(f"8'(Op{camel(op.name)})", "1'b1") for op in sorted(commands.TILED)],
                       "1'b0")
    lines += ["", "  // The words of its section that a unit receives: first and last."]
    for name, place in (("cfg_first", 0), ("cfg_last", 1)):
        values = {unit: (first, first + words - 1)[place]
                  for unit, (first, words) in ranges.items()}
        lines += _function(name, "logic [7:0]", unit_in,
                           [(f"{bits}'(Unit{camel(unit.name)})", f"8'd{value}")
                            for unit, value in values.items()], "8'd0")
    lines += ["", "  // Which wait of the prefix a unit observes."]
    lines += [f"  localparam logic [1:0] Wait{camel(name) or 'None'} = 2'd{number};"
              for number, name in enumerate(_WAITS)]
    lines += _function("wait_of", "logic [1:0]", unit_in,
                       [(f"{bits}'(Unit{camel(unit.name)})", f"Wait{camel(name)}")
                        for unit, name in commands.WAIT_OF.items()], "WaitNone")
    return lines


def _arithmetic() -> list[str]:
    """Return tables and micro-programs of softmax and normalisation."""
    lines = ["", f"  localparam int unsigned Log2E = {tables.LOG2_E};  // log2(e), Q.16"]
    for enum in (norm.NormProgram, norm.NormOp, norm.Scratch, norm.Out, norm.Exponent,
                 norm.Constant):
        lines += [constant(f"Norm{enum.__name__.removeprefix('Norm')}{camel(member.name)}",
                           int(member)) for member in enum]
    lines += ["", "  // instruction of a micro-program", "  typedef struct packed {",
              *(f"    logic [{norm.FIELD_BITS - 1}:0] {name};" for name in norm.FIELDS),
              "  } norm_instruction_t;"]
    return [*lines, *rom("norm_rom", norm.INSTRUCTION_BITS, norm.rom()),
            *rom("norm_start_rom", 9, norm.starts()), *rom("root_seed_rom", 8, tables.ROOT_SEEDS),
            *rom("exp2_rom", 23, tables.EXP2), *rom("log2_rom", 17, tables.LOG2)]


def render() -> str:
    """Return the text of ``pt_abi_pkg.sv``."""
    return "\n".join([
        HEADER + "// The hardware contract: constants, descriptor structs, registers, tables.",
        "package pt_abi_pkg;",
        "  // No single module uses every constant.", "  /* verilator lint_off UNUSEDPARAM */",
        *_constants(), *_sections(), *_register_map(), *_layouts(), *_tables(), *_arithmetic(),
        "endpackage", ""])
