"""The program verifier: what is refused here never reaches a backend.

It checks identity and memory map, prefix and limits of every descriptor, that address generators
touch exactly the tensors that the descriptor's geometry names, that the update unit gets the sums
of all weights in order, and that descriptors which may overlap in time do not meet in memory
(:mod:`pynq_train.program.hazards` states the ordering model).

Of all this the engine checks opcodes and the end of the arena only: a wrong program would compute
wrong numbers, write into other tensors or never end. Programs are made once and run often, so they
are checked here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pynq_train.errors import IllegalProgram
from pynq_train.hw.commands import PARAM_BYTES, RECORD_WORDS, Opcode, Unit, reserved_names
from pynq_train.hw.contract import contract_hash
from pynq_train.hw.words import CHANNELS_PER_WORD, TENSOR_ALIGN_BYTES, WORD_BYTES
from pynq_train.program.access import Access, accesses
from pynq_train.program.codec import title
from pynq_train.program.computations import check_computations
from pynq_train.program.gradients import check_gradient
from pynq_train.program.hazards import check_hazards, check_signals
from pynq_train.program.limits import Limits
from pynq_train.program.meaning import Meaning
from pynq_train.program.pooling import check_pool
from pynq_train.program.program import Fields, Program, Region
from pynq_train.program.spans import Spans
from pynq_train.program.unit_meaning import agreements, touched_by_units
from pynq_train.program.vectors import check_norm, check_vector

_CONVOLUTIONS = (Opcode.CONV, Opcode.GRADIENT)
_WRITTEN = ("stored tensor", "stored flags", "channel sums")
"""What the array writes to memory."""
_CONSTANT_KINDS = ("program", "taps", "step block")
_MAX_COUNT = 1 << 16


def verify_program(program: Program, before: Program | None = None,
                   given: Sequence[Region] = ()) -> None:
    """Check a program before it runs.

    Args:
        program: the program.
        before: the program that always runs before it, in the same arena: the forward half of a
            step, of which it is the backward half.
        given: spans of flags that another engine has made.

    Raises:
        IllegalProgram: the first rule that it breaks; the text names descriptor and tensor.
        UnknownName: it was made for a hardware configuration that does not exist here.
    """
    config = program.hw_config
    if program.contract != contract_hash(config):
        raise IllegalProgram(f"program {program.name!r}: contract hash",
                             expected=contract_hash(config)[:8], found=program.contract[:8],
                             fix="make the program again with this version")
    _check_map(program)
    labels = [f"descriptor {i} ({title(f)})" for i, f in enumerate(program.fields)]
    check_signals(program.fields, labels)
    _check_records(program, labels)
    touched: list[list[Access]] = []
    for index, (fields, label) in enumerate(zip(program.fields, labels)):
        _check_prefix(program, index, label)
        taps = program.tap_table(index)
        opcode = Opcode(fields["pre.opcode"])
        if opcode in _CONVOLUTIONS:
            Limits(label, fields, taps, config).check()
        if opcode == Opcode.GRADIENT:
            check_gradient(label, fields, taps, config)
        elif opcode == Opcode.UPDATE:
            _check_count(label, "u_count", fields["u.u_count"], CHANNELS_PER_WORD, None,
                         CHANNELS_PER_WORD)
        elif opcode == Opcode.NORM:
            check_norm(label, fields)
        elif opcode == Opcode.VECTOR:
            check_vector(label, fields)
        elif opcode == Opcode.POOL:
            check_pool(label, fields, config)
        elif opcode == Opcode.SOFTMAX:
            _check_count(label, "f_classes", fields["f.f_classes"], 1, config.max_classes)
            _check_count(label, "f_batch", fields["f.f_batch"], 1, None)
        # Limits first: the replay of accesses trusts sizes and counts that they have checked.
        found = accesses(fields, taps)
        for access in found:
            _check_place(program, label, access)
        if opcode in _CONVOLUTIONS:
            expected = Meaning(fields).expected()
            _check_meaning(program, label, [one for one in found if one.unit != Unit.UPDATE], {
                (what, what in _WRITTEN): value for what, value in expected.items()})
        touched.append(found)
    check_hazards(program, labels, touched)
    for fields, label, found in zip(program.fields, labels, touched):
        _check_unit(program, label, fields, found)
    check_computations(program, labels, before, given)


def _check_count(label: str, what: str, found: int, low: int, high: int | None,
                 multiple: int = 1) -> None:
    """Check that a number is ``low`` or more, at most ``high``, and a multiple of ``multiple``."""
    if found < low or found % multiple or (high is not None and found > high):
        expected = f"{low} or more" if high is None else f"{low}..{high}"
        if multiple > 1:
            expected += f", a multiple of {multiple}"
        raise IllegalProgram(f"{label}: {what}", expected=expected, found=found)


def _check_map(program: Program) -> None:
    """Check that regions are aligned, in the arena and disjoint; the program lies in its own."""
    end, before = 0, ""
    for region in program.regions:
        if region.offset % TENSOR_ALIGN_BYTES:
            raise IllegalProgram(f"tensor {region.symbol}: offset",
                                 expected=f"a multiple of {TENSOR_ALIGN_BYTES}",
                                 found=region.offset)
        if region.offset < 0 or region.nbytes < 0 or region.end > program.arena_bytes:
            raise IllegalProgram(f"tensor {region.symbol}",
                                 expected=f"bytes 0..{program.arena_bytes} of the arena",
                                 found=f"{region.offset}..{region.end}")
        if region.offset < end:
            raise IllegalProgram(f"tensors {before} and {region.symbol} overlap at "
                                 f"{region.offset:#x}")
        end, before = region.end, region.symbol
    if not 1 <= program.count <= _MAX_COUNT:
        raise IllegalProgram("descriptors", expected=f"1..{_MAX_COUNT}", found=program.count)
    for what, (offset, data) in zip(("descriptors", "taps"), program.image()):
        home = program.region_at(offset)
        if home is None or offset + len(data) > home.end or offset % WORD_BYTES:
            raise IllegalProgram(f"{what} of program {program.name!r}",
                                 expected="a place inside one region, aligned to 8 bytes",
                                 found=f"{len(data)} bytes at {program.locate(offset)}")


def _check_prefix(program: Program, index: int, label: str) -> None:
    """Check reserved fields, number and step-block entry of a descriptor."""
    fields = program.fields[index]
    for name in reserved_names(Opcode(fields["pre.opcode"])):
        if fields[name]:
            raise IllegalProgram(f"{label}: reserved field {name}", expected=0, found=fields[name])
    if fields["pre.number"] != index:
        raise IllegalProgram(f"{label}: number", expected=index, found=fields["pre.number"])
    if fields["pre.opcode"] == Opcode.FENCE:
        return
    entry_bytes = PARAM_BYTES
    entry = program.step_off + entry_bytes * fields["pre.param"]
    region = program.region_at(program.step_off)
    if region is None or entry + entry_bytes > region.end:
        last = -1 if region is None else (region.end - program.step_off) // entry_bytes - 1
        raise IllegalProgram(f"{label}: step-block entry", expected=f"0..{last}",
                             found=fields["pre.param"])


def _check_records(program: Program, labels: Sequence[str]) -> None:
    """Check that every descriptor has a record of its own."""
    owner: dict[int, str] = {}
    for fields, label in zip(program.fields, labels):
        if fields["pre.opcode"] == Opcode.FENCE:
            continue
        first = fields["pre.rec_off"] // WORD_BYTES
        for word in range(first, first + RECORD_WORDS):
            if word in owner:
                raise IllegalProgram(f"{label}: its record at "
                                     f"{program.locate(fields['pre.rec_off'])} overlaps that of "
                                     f"{owner[word]}")
            owner[word] = label


def _check_place(program: Program, label: str, access: Access) -> None:
    """Check that an access is aligned, inside the arena, and inside one tensor."""
    verb, spans = _verb(access.write), access.spans
    if (spans.starts % WORD_BYTES).any():
        odd = int(spans.starts[spans.starts % WORD_BYTES != 0][0])
        raise IllegalProgram(f"{label} {verb} its {access.what} at {program.locate(odd)}",
                             expected=f"a multiple of {WORD_BYTES}", found=odd)
    if spans.high > program.arena_bytes:
        raise IllegalProgram(f"{label} {verb} its {access.what} outside the arena",
                             expected=f"bytes below {program.arena_bytes}", found=spans.high)
    region = program.region_at(spans.low)
    if region is None:
        raise IllegalProgram(f"{label} {verb} its {access.what} at {program.locate(spans.low)}",
                             expected="a tensor of the memory map", found="none there")
    if spans.high > region.end:
        behind = program.locate(int(spans.ends[spans.ends > region.end][0]) - 1)
        raise IllegalProgram(f"{label} {verb} its {access.what}",
                             expected=f"bytes of {region.symbol} alone",
                             found=f"also {behind}")
    if access.write and region.kind in _CONSTANT_KINDS:
        raise IllegalProgram(f"{label} writes its {access.what} to {region.symbol}, which is "
                             "constant during a run")


def _check_unit(program: Program, label: str, fields: Fields, found: Sequence[Access]) -> None:
    """Check entry, record and what small units do against the geometry of a descriptor.

    Of a GRADIENT that is its update; what the array does has been checked.
    """
    opcode = Opcode(fields["pre.opcode"])
    if opcode == Opcode.FENCE:
        return
    for one in agreements(fields):
        value = fields[one.field]
        if value != one.expected:
            name = program.locate if one.address else str
            raise IllegalProgram(f"{label}: {one.field}, {one.what}",
                                 expected=f"{name(one.expected)}, as its geometry says",
                                 found=name(value))
    if opcode != Opcode.CONV:
        if opcode == Opcode.GRADIENT:
            found = [one for one in found if one.unit == Unit.UPDATE]
        _check_meaning(program, label, found, {
            (what, write): (spans, True) for what, write, spans in touched_by_units(fields)})


def _check_meaning(program: Program, label: str, found: Sequence[Access],
                   expected: Mapping[tuple[str, bool], tuple[Spans, bool]]) -> None:
    """Check that no byte beside the tensors of the geometry is touched, and that results are whole.

    Args:
        program: the program.
        label: name of the descriptor for messages.
        found: what it touches.
        expected: what its geometry names, by access and whether that writes: the bytes, and whether
            all of them must be touched. Of what a convolution reads, a stride or padding may leave
            out parts.
    """
    touched: dict[tuple[str, bool], list[Spans]] = {}
    for access in found:
        if access.what != "record":  # one of its own: its place is a field
            touched.setdefault((access.what, access.write), []).append(access.spans)
    none = Spans.one(0, 0)
    for key, parts in touched.items():
        byte = expected.get(key, (none, False))[0].missing(Spans.union(parts))
        if byte is not None:
            raise IllegalProgram(f"{label} {_verb(key[1])} {program.locate(byte)} as its {key[0]}, "
                                 "which its geometry does not name",
                                 expected=_places(program, expected.get(key, (none, False))[0]),
                                 found=_places(program, Spans.union(parts)))
    for key, (whole, complete) in expected.items():
        if not complete:
            continue
        byte = Spans.union(touched.get(key, [none])).missing(whole)
        if byte is not None:
            raise IllegalProgram(f"{label} leaves out {program.locate(byte)} of its {key[0]}",
                                 expected=_places(program, whole),
                                 found=_places(program, Spans.union(touched.get(key, [none]))))


def _verb(write: bool) -> str:
    return "writes" if write else "reads"


def _places(program: Program, spans: Spans) -> str:
    """Return where a set of bytes begins and ends, as text."""
    if not spans:
        return "no bytes"
    return f"{program.locate(spans.low)} to {program.locate(spans.high - 1)}"
