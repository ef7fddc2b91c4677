"""Rules over a whole program, from geometry: which computations there are, and that each is whole.

A computation is everything that descriptors of one work do for one layer, or one node of the
backward graph: parts of the mini-batch, sections of a grouped layer, row phases, slices of weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pynq_train.errors import IllegalProgram
from pynq_train.hw.commands import LoadMode, Opcode, Pass
from pynq_train.hw.geometry import Work
from pynq_train.hw.words import CHANNELS_PER_WORD, WORD_BYTES
from pynq_train.program.meaning import Meaning
from pynq_train.program.program import Fields, Program, Region
from pynq_train.program.spans import Spans
from pynq_train.program.unit_meaning import flag_spans, touched_by_units

_SHARED_ENTRY = {
    Work.STATISTICS: Work.FORWARD, Work.BARRIER: Work.FORWARD,
    Work.BIAS_GRADIENT: Work.WEIGHT_GRADIENT, Work.UPDATE_GAMMA: Work.WEIGHT_GRADIENT,
    Work.GRADIENT_SUMS: Work.NODE}
"""Works that refer to the step-block entry of another one of the same layer or node."""
_SUMMED_BY = {Work.COEFFICIENTS: Work.STATISTICS, Work.GRADIENT_COEFFICIENTS: Work.GRADIENT_SUMS}
_OF_A_NODE = (Work.GRADIENT_SUMS, Work.GRADIENT_COEFFICIENTS, Work.NODE)


def check_computations(program: Program, labels: Sequence[str], before: Program | None = None,
                       given: Sequence[Region] = ()) -> None:
    """Check that every computation of a program is whole and follows what it needs.

    Args:
        program: the program; its descriptors agree with their geometry.
        labels: names of the descriptors for messages.
        before: the program that always runs before it, in the same arena.
        given: spans of flags that another engine has made.

    Raises:
        IllegalProgram: the first rule that it breaks.
    """
    earlier = [] if before is None else [(f, f"descriptor {f['pre.number']} of {before.name!r}")
                                         for f in before.fields]
    both = [*earlier, *zip(program.fields, labels)]
    checks = _Computations(program, [fields for fields, _ in both], given)
    for fields, label in both:
        if fields["pre.opcode"] != Opcode.FENCE and fields["gc.work"] != Work.NONE:
            checks.take(fields, label)
    checks.finish()


@dataclass
class _Images:
    """Images of the mini-batch that one share of a computation has taken so far."""

    label: str
    batch: int
    taken: list[tuple[int, int]] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)


class _Computations:
    """What the descriptors so far have done.

    Args:
        program: the program.
        fields: its descriptors, and those of what runs before it.
        given: spans of flags that are there.
    """

    def __init__(self, program: Program, fields: Sequence[Fields], given: Sequence[Region]
                 ) -> None:
        self._program = program
        self._images: dict[tuple[int, ...], _Images] = {}
        self._entries: dict[int, tuple[tuple[int, ...], str]] = {}
        self._entry_of: dict[tuple[int, ...], int] = {}
        self._sums: dict[tuple[int, int, int], list[tuple[Fields, str]]] = {}
        # By layer: bytes of the flags that its forward pass has written and of the sums of its
        # biases; the descriptor that leaves the gradients of gamma and beta.
        self._flags: dict[int, list[Spans]] = {
            -1 - number: [Spans.one(one.offset, one.nbytes)] for number, one in enumerate(given)}
        self._biases: dict[int, list[Spans]] = {}
        self._norms: dict[int, Fields] = {}
        self._without_products: set[int] = set()
        self._forward = {f["gc.layer"] for f in fields
                         if f["pre.opcode"] != Opcode.FENCE and f["gc.work"] == Work.FORWARD}

    def take(self, f: Fields, label: str) -> None:
        """Check one descriptor against those before it, and keep what it does."""
        work = f["gc.work"]
        if work not in list(Work):
            raise IllegalProgram(f"{label}: gc.work", expected=f"0..{max(Work)}", found=work)
        self._entry(f, label)
        if work != Work.BARRIER:
            self._take_images(f, label)
        self._check_flags(f, label)
        opcode = f["pre.opcode"]
        if opcode == Opcode.NORM:
            self._statistics(f, label)
        elif opcode == Opcode.UPDATE:
            self._update(f, label)
        elif opcode == Opcode.VECTOR:
            if f["gv.has_sums"]:
                self._sums.setdefault(self._who(f), []).append((f, label))
            if work == Work.FORWARD and f["gv.a_table"]:
                self._normalised(f, label)
        elif opcode == Opcode.GRADIENT and f["g.g_bias"]:
            self._biases.setdefault(f["gc.layer"], []).append(Meaning(f).biases())

    @staticmethod
    def _who(f: Fields, work: int | None = None) -> tuple[int, int, int]:
        """Return the computation of a descriptor: work, layer, node; or another one beside it."""
        work = f["gc.work"] if work is None else work
        return work, f["gc.layer"], f["gc.node"] if work in _OF_A_NODE else 0

    def _entry(self, f: Fields, label: str) -> None:
        """Check that a step-block entry serves one computation, and a computation has one."""
        entry, work = f["gc.entry"], Work(f["gc.work"])
        owner = self._who(f, _SHARED_ENTRY.get(work, work))
        before, first = self._entries.setdefault(entry, (owner, label))
        if before != owner:
            raise IllegalProgram(f"{label}: step-block entry {entry}",
                                 expected=f"one of {_name(owner)} alone",
                                 found=f"that of {_name(before)}, {first}")
        other = self._entry_of.setdefault(owner, entry)
        if other != entry:
            raise IllegalProgram(f"{label}: step-block entry of {_name(owner)}",
                                 expected=f"{other}, as before", found=entry)

    def _take_images(self, f: Fields, label: str) -> None:
        """Note which images of the mini-batch a computation has taken, share by share."""
        share: tuple[int, ...] = ()
        if f["pre.opcode"] in (Opcode.CONV, Opcode.GRADIENT):
            share = (f["g.g_phase"], f["g.g_x"], f["g.g_y"], f["g.g_b"])
            images = f["g.g_out_cols"] if f["g.g_images"] == 1 else f["g.g_images"]
            if f["gc.count"] not in (images, f["g.g_images"]):
                raise IllegalProgram(f"{label}: g_images", expected=f"{f['gc.count']}, gc.count",
                                     found=f["g.g_images"])
        first, count, batch = f["gc.first"], f["gc.count"], f["gc.batch"]
        if count < 1 or first + count > batch:
            raise IllegalProgram(f"{label}: images", expected=f"some of 0..{batch - 1}",
                                 found=f"{first}..{first + count - 1}")
        taken = self._images.setdefault((*self._who(f), *share), _Images(label, batch))
        taken.taken.append((first, first + count))
        taken.parts.append(f["gc.part"])

    def _check_flags(self, f: Fields, label: str) -> None:
        """Check that flags are read where the forward pass has written them before."""
        layer, opcode = f["gc.layer"], f["pre.opcode"]
        written, read = None, None
        if opcode in (Opcode.CONV, Opcode.GRADIENT):
            if f["g.g_pass"] == Pass.FORWARD:
                written = Meaning(f).flags() if f["g.g_flags"] else None
            elif f["g.g_mode"] != LoadMode.PLAIN:
                read = Meaning(f).flags()
        elif opcode == Opcode.VECTOR:
            if f["gv.flags"]:
                written = flag_spans(f)
            elif f["gv.mask_a"] or f["gv.mask_b"]:
                # Whose flags they are, their bytes say.
                self._require_flags(f, label, flag_spans(f), sorted(self._flags))
        elif opcode == Opcode.POOL:
            spans = [s for what, _, s in touched_by_units(f) if what == "argmax indices"]
            written = None if f["gp.back"] or not spans else spans[0]
            read = spans[0] if f["gp.back"] else None
        if written is not None:
            self._flags.setdefault(layer, []).append(written)
        if read is not None and layer in self._forward:
            self._require_flags(f, label, read, [layer])

    def _require_flags(self, f: Fields, label: str, read: Spans, layers: Sequence[int]) -> None:
        """Require that one of the forward passes of ``layers`` has written the bytes ``read``."""
        for layer in layers:
            have = self._flags.get(layer)
            if have and Spans.union(have).missing(read) is None:
                return
        raise IllegalProgram(
            f"{label} reads flags at {self._program.locate(read.low)}",
            expected="flags that the forward pass of one layer has written before, for images "
            f"{f['gc.first']}..{f['gc.first'] + f['gc.count'] - 1}", found="others")

    def _statistics(self, f: Fields, label: str) -> None:
        """Check that coefficients come from the sums of the whole mini-batch, of one map."""
        work = Work(f["gc.work"])
        if f["gn.back"]:
            self._norms[f["gc.layer"]] = f
        if f["gn.frozen"] and not f["gn.back"]:
            return
        sums = self._sums.get(self._who(f, _SUMMED_BY.get(work, work)), [])
        where = self._program.locate(f["gn.sums"])
        what = f"{label}: sums at {where}"
        if f["gn.group"] and not sums:
            raise IllegalProgram(what, expected="sums of all images, taken before", found="none")
        if f["gn.group"]:
            # Each image has sums of its own, and there may be any number of parts.
            self._same(f, what, sums)
            return
        if len(sums) != f["gn.parts"]:
            raise IllegalProgram(what, expected=f"{f['gn.parts']} parts, all summed before",
                                 found=f"{len(sums)} descriptors that sum for it")
        if sorted(one["gc.part"] for one, _ in sums) != list(range(f["gn.parts"])):
            raise IllegalProgram(what, expected="each part once", found=[
                one["gc.part"] for one, _ in sums])
        self._same(f, what, sums)

    def _same(self, f: Fields, what: str, sums: Sequence[tuple[Fields, str]]) -> None:
        """Check that what was summed is the map of these coefficients, of all images.

        Args:
            f: the descriptor that computes coefficients.
            what: names its sums, for messages.
            sums: the descriptors that sum for it, with their names.
        """
        wanted = {"gv.sums": f["gn.sums"], "gv.part_bytes": f["gn.part_bytes"],
                  "gv.group": f["gn.group"],
                  "gv.blocks": f["gn.blocks"], "gv.pixels": f["gn.pixels"],
                  "gv.a": sums[0][0]["gv.a"], "gv.a_image": sums[0][0]["gv.a_image"],
                  "gc.batch": f["gc.count"], "gv.square": int(not f["gn.back"])}
        if f["gn.back"] and not f["gn.frozen"]:
            wanted["gv.has_b"] = 1
        if f["gn.back"] and not all(one["gv.has_b"] for one, _ in sums):
            self._without_products.add(f["gc.layer"])
        for one, name in sums:
            for key, value in wanted.items():
                if one[key] != value:
                    raise IllegalProgram(f"{what}: {key} of {name}", expected=value,
                                         found=one[key])
        _whole(sums[-1][1], f["gc.count"],
               [(one["gc.first"], one["gc.first"] + one["gc.count"]) for one, _ in sums])

    def _normalised(self, f: Fields, label: str) -> None:
        """Check that the map that is normalised is the one whose statistics were taken."""
        for one, name in self._sums.get(self._who(f, Work.STATISTICS), []):
            if one["gv.group"] != f["gv.group"]:
                raise IllegalProgram(f"{label}: gv.group", expected=f"{one['gv.group']}, of {name}",
                                     found=f["gv.group"])
            if (one["gv.a"], one["gv.a_image"]) != (f["gv.a"], f["gv.a_image"]):
                raise IllegalProgram(
                    f"{label}: the map that it normalises",
                    expected=f"{self._program.locate(one['gv.a'])}, summed by {name}",
                    found=self._program.locate(f["gv.a"]))

    def _update(self, f: Fields, label: str) -> None:
        """Check that an update takes all elements of a gradient of its layer."""
        norm = self._norms.get(f["gc.layer"])
        if norm is not None:
            name = "gamma" if f["gc.work"] == Work.UPDATE_GAMMA else "beta"
            if name == "gamma" and f["gc.layer"] in self._without_products:
                raise IllegalProgram(f"{label}: sums of gamma", expected="products with the map",
                                     found="sums of the gradient alone")
            wanted = {"sums": norm[f"gn.d_{name}"], "masters": norm[f"gn.{name}"],
                      "elements": CHANNELS_PER_WORD * norm["gn.blocks"]}
            for key, value in wanted.items():
                if f[f"gu.{key}"] != value:
                    text = str if key == "elements" else self._program.locate
                    raise IllegalProgram(f"{label}: {key} of {name}", expected=text(value),
                                         found=text(f[f"gu.{key}"]))
            return
        sums = self._biases.get(f["gc.layer"])
        if sums is None and f["gc.layer"] not in self._forward:
            return  # one pass alone: nobody sums
        whole = Spans.union(sums) if sums else Spans.one(0, 0)
        read = Spans.one(f["gu.sums"], WORD_BYTES * f["gu.elements"])
        if whole.missing(read) is not None or read.missing(whole) is not None:
            raise IllegalProgram(f"{label}: gradient sums",
                                 expected=f"all of the layer, {_extent(self._program, whole)}",
                                 found=_extent(self._program, read))

    def finish(self) -> None:
        """Check that every computation has taken the whole mini-batch, each image once."""
        for key, taken in self._images.items():
            _whole(f"{_name(key)}, {taken.label}", taken.batch, taken.taken)
            if sorted(taken.parts) != list(range(len(taken.parts))):
                raise IllegalProgram(f"{_name(key)}: parts of the mini-batch",
                                     expected=f"0..{len(taken.parts) - 1}, each once",
                                     found=taken.parts)


def _whole(what: str, batch: int, taken: Sequence[tuple[int, int]]) -> None:
    """Check that ranges of images (first, behind the last) are all of the mini-batch, once."""
    ranges = sorted(taken)
    ends = [0, *(behind for _, behind in ranges)]
    if ends != [*(first for first, _ in ranges), batch]:
        raise IllegalProgram(f"{what}: images of the mini-batch",
                             expected=f"each of 0..{batch - 1} once",
                             found=", ".join(f"{a}..{b - 1}" for a, b in ranges))


def _name(key: Sequence[int]) -> str:
    """Return a computation as text."""
    work, layer, node = key[:3]
    text = f"{Work(work).name.lower().replace('_', ' ')} of layer {layer}"
    return f"{text}, node {node}" if work in _OF_A_NODE else text


def _extent(program: Program, spans: Spans) -> str:
    """Return where a set of bytes begins and ends, as text."""
    if not spans:
        return "none"
    return f"{program.locate(spans.low)} to {program.locate(spans.high - 1)}"
