"""Programs of a plan that are ready to run, and how a file holds them.

A board that finds them in a model file needs not plan: it takes the places in memory and the bytes
of the programs from there. What follows quickly from the network (layers, specs) is made anew.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynq_train.errors import BadInput, UnknownName
from pynq_train.files.schema import Flag, Items, Record, Table, Text, Whole
from pynq_train.hw import contract
from pynq_train.hw.boards import Board
from pynq_train.hw.commands import DESCRIPTOR_BYTES
from pynq_train.layers.backward_graph import active_layers, inference_mode_norms
from pynq_train.layers.fuse import FusedLayer
from pynq_train.program import Program, verify_program
from pynq_train.program.program import Region
from pynq_train.quant.loss import Loss
from pynq_train.schedule.lower.program import (
    ProgramImage,
    build_cached,
    build_evaluation,
    build_training,
)
from pynq_train.schedule.memory.arena import MemoryMap, check_fits
from pynq_train.schedule.passes.descriptors import Descriptor, Role
from pynq_train.schedule.plan import Plan
from pynq_train.schedule.predict import estimate
from pynq_train.schedule.specs.spec import layer_specs
from pynq_train.schedule.specs.trainable import Trainable, first_trainable

FORMAT_VERSION = 1
"""Changes with every change of what programs and memory maps mean to this package."""
_BYTES = Whole(0, 1 << 32)
_REGION = Items(Whole(0, 1 << 32), least=2, most=2)
_ROLES = [role.name for role in Role]
_DESCRIPTOR = Items(Whole(-1, 1 << 20), least=6, most=6)
COMPILED = Record({
    "version": Whole(1, 1 << 16), "board": Text(100), "contract": Text(100),
    "layers": Text(64), "batch": Whole(1, 4096), "momentum": Flag(), "mse": Flag(),
    "trainable": Items(Items(Flag(), least=2, most=2), least=1, most=1 << 16),
    "parts": Whole(1, 4096), "nbytes": _BYTES, "cycles": Table(Whole(1, 1 << 62), 10),
    "kinds": Items(Text(100)),
    "regions": Table(Items(_BYTES, least=3, most=3), 1000),
    "shared": Table(Text(1000), 1000), "views": Table(Items(_BYTES, least=3, most=3), 1000),
    "descriptors": Table(Items(_DESCRIPTOR, most=1 << 16), 10),
    "sizes": Table(_REGION, 10), "halt": Whole(0, 1 << 16),
}, optional=("halt",))
"""What a file says of compiled programs, besides their bytes."""


@dataclass(frozen=True)
class Programs:
    """The programs of a plan, verified.

    Attributes:
        training: of a training step.
        evaluation: of an evaluation.
        cycles: rough figure of the cycles of each, by its name, for time-outs (of both its runs).
        cached: of a training step behind the frozen layers, None in a plan without.
    """

    training: ProgramImage
    evaluation: ProgramImage
    cycles: Mapping[str, int]
    cached: ProgramImage | None = None


def build_programs(plan: Plan) -> Programs:
    """Return the programs of a plan.

    Raises:
        IllegalProgram: one of them breaks a rule of the contract.
    """
    training, evaluation = build_training(plan), build_evaluation(plan)
    cached = build_cached(plan) if plan.cached else None
    programs = (training, evaluation) if cached is None else (training, evaluation, cached)
    for program in programs:
        _verify(plan, program)
    return Programs(training, evaluation, {one.name: estimate(plan, one.descriptors)
                                           for one in programs}, cached)


def _verify(plan: Plan, program: ProgramImage) -> None:
    """Verify a program, run by run; a second run knows what the first one has left.

    Raises:
        IllegalProgram: it breaks a rule of the contract.
    """
    before: Program | None = None
    for run in program.runs:
        own = Program.make(program.name, program.bytes_of(run), program.taps, plan.memory,
                           plan.memory.nbytes, plan.board.config)
        own = replace(own, program_off=own.program_off + run.start * DESCRIPTOR_BYTES)
        verify_program(own, before)
        before = own


def to_saved(plan: Plan, programs: Programs) -> tuple[dict[str, Any], dict[str, NDArray[np.uint8]]]:
    """Return plain values and arrays, by name, for a file."""
    memory, both = plan.memory, (programs.training, programs.evaluation)
    kinds = sorted({region.kind for region in (*memory, *memory.views.values())})

    def place(region: Region) -> list[int]:
        return [region.offset, region.nbytes, kinds.index(region.kind)]

    values = {
        "version": FORMAT_VERSION, "board": plan.board.name,
        "contract": contract.contract_hash(plan.board.config), "layers": _digest(plan),
        "batch": plan.batch,
        "momentum": plan.momentum, "mse": plan.loss.mse,
        "trainable": [[one.weights, one.bias] for one in plan.trainable], "parts": plan.parts,
        "nbytes": memory.nbytes, "cycles": dict(programs.cycles), "kinds": kinds,
        "regions": {region.symbol: place(region) for region in memory},
        "shared": dict(memory.shared),
        "views": {symbol: place(region) for symbol, region in memory.views.items()},
        "descriptors": {one.name: [_plain(descriptor) for descriptor in one.descriptors]
                        for one in both},
        "sizes": {one.name: [len(one.program), len(one.taps)] for one in both},
        "halt": programs.training.halt}
    arrays = {one.name: np.frombuffer(zlib.compress(one.program + one.taps), np.uint8)
              for one in both}
    return values, arrays


def _digest(plan: Plan) -> str:
    """Return a checksum of the layers as this package sees them, layouts of their maps included."""
    return hashlib.sha256(repr((plan.specs, plan.step_block)).encode()).hexdigest()


def _plain(one: Descriptor) -> list[int]:
    first, count = one.images or (-1, -1)
    return [_ROLES.index(one.role.name), one.layer, first, count, one.part, one.node]


def from_saved(saved: Any, arrays: Mapping[str, NDArray[Any]], layers: tuple[FusedLayer, ...],
               board: Board, where: str) -> tuple[Plan, Programs]:
    """Return plan and programs of a file.

    The plan's descriptors know neither tiles nor costs: it is for running, not for tables and
    predictions.

    Args:
        saved: plain values.
        arrays: arrays by name; as :func:`to_saved` has both.
        layers: the network's layers.
        board: the board that is to run them.
        where: name of the file, for messages.

    Raises:
        BadInput: they are malformed, or were made by another version or for another board.
        DoesNotFit: the board has not the memory.
    """
    what = f"compiled programs of {where}"
    fix = "compile the model again (pynq-train compile), or Learner.load(path, compiled=False)"
    version = saved.get("version") if isinstance(saved, dict) else None
    if version != FORMAT_VERSION:
        raise BadInput(what, expected=f"version {FORMAT_VERSION}", found=version, fix=fix)
    values = COMPILED.check(saved, what)
    own = contract.contract_hash(board.config)
    for label, found, expected in (("board", values["board"], board.name),
                                   ("hardware contract", values["contract"][:12], own[:12])):
        if found != expected:
            raise BadInput(f"{what}: {label}", expected=expected, found=found, fix=fix)
    try:
        plan = _plan(values, layers, board)
        programs = _programs(values, arrays, plan)
        layers_now = _digest(plan)
    except (IndexError, KeyError, UnknownName, ValueError, zlib.error) as error:
        raise BadInput(f"{what} are malformed ({error})", fix=fix) from None
    if layers_now != values["layers"]:
        raise BadInput(f"{what}: layers and their layouts", expected=layers_now[:12],
                       found=values["layers"][:12], fix=fix)
    return plan, programs


def fitting(saved: tuple[Any, Mapping[str, NDArray[Any]]], layers: tuple[FusedLayer, ...],
            board: Board, where: str, wanted: tuple[int, bool, tuple[Trainable, ...], Loss]
            ) -> tuple[Plan, Programs] | None:
    """Return plan and programs of a file if they are for a training; None if for another one.

    Args:
        saved: plain values and arrays.
        layers, board, where: as for :func:`from_saved`, which raises the same.
        wanted: mini-batch, masters with momentum, what is trained, and the loss.
    """
    plan, programs = from_saved(*saved, layers, board, where)
    *same, loss = wanted
    halts = saved[0].get("halt", 0) > 0
    # What the host computes may be any loss: no descriptor says which.
    if [plan.batch, plan.momentum, plan.trainable, halts] != [*same, loss.on_host] or (
            not halts and saved[0]["mse"] != loss.mse):
        return None
    return replace(plan, loss=loss), programs


def _plan(values: Mapping[str, Any], layers: tuple[FusedLayer, ...], board: Board) -> Plan:
    """Return the plan; ValueError if its parts contradict each other."""
    trainable = tuple(Trainable(*one) for one in values["trainable"])
    if len(trainable) != len(layers):
        raise ValueError(f"{len(trainable)} layers")
    batch = values["batch"]
    wanted = [one.anything for one in trainable]
    active, train_from = active_layers(layers, wanted), first_trainable(trainable)
    specs = layer_specs(layers, batch, train_from, board.config.tm, active,
                        inference_mode_norms(layers, wanted, active))
    memory = _memory(values)
    check_fits(memory, board.cma_bytes, board.name, batch)
    train, evaluate = (tuple(_descriptor(one, len(specs)) for one in values["descriptors"][name])
                       for name in ("train", "evaluate"))
    return Plan(board, batch, layers, specs, train_from, train, evaluate, memory,
                values["momentum"], trainable, values["parts"])


def _memory(values: Mapping[str, Any]) -> MemoryMap:
    """Return the arena; ValueError if a span lies outside of it, or regions overlap."""
    kinds, nbytes = values["kinds"], values["nbytes"]

    def spans(of: Mapping[str, Sequence[int]]) -> dict[str, Region]:
        found = {symbol: Region(symbol, offset, size, kinds[kind])
                 for symbol, (offset, size, kind) in of.items()}
        outside = [one.symbol for one in found.values() if one.end > nbytes]
        if outside:
            raise ValueError(f"{outside[0]} outside the arena")
        return found

    regions, views = spans(values["regions"]), spans(values["views"])
    ordered = sorted(regions.values(), key=lambda one: one.offset)
    for one, following in pairwise(ordered):
        if one.end > following.offset:
            raise ValueError(f"{one.symbol} overlaps {following.symbol}")
    if not all(region in regions for region in values["shared"].values()):
        raise ValueError("a tensor in a region that is not there")
    return MemoryMap(MappingProxyType(regions), nbytes, MappingProxyType(values["shared"]),
                     MappingProxyType(views))


def _descriptor(plain: Sequence[int], layers: int) -> Descriptor:
    role, layer, first, count, part, node = plain
    if not 0 <= layer < layers or role < 0:
        raise ValueError(f"a descriptor of layer {layer}")
    return Descriptor(Role[_ROLES[role]], layer, None, None,
                      None if first < 0 else (first, count), part, node)


def _programs(values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], plan: Plan
              ) -> Programs:
    """Return the programs; ValueError if their sizes are not those of their regions."""
    images = []
    for name, descriptors in (("train", plan.train), ("evaluate", plan.evaluate)):
        sizes = values["sizes"][name]
        expected = (len(descriptors) * DESCRIPTOR_BYTES, plan.memory[f"{name}.taps"].nbytes)
        if sizes[0] != expected[0] or sizes[1] > max(expected[1], 1):
            raise ValueError(f"{name}: {sizes} bytes")
        # No more is unpacked than is said, whatever the bytes say.
        unpacked = zlib.decompressobj().decompress(arrays[name].tobytes(), sum(sizes) + 1)
        if len(unpacked) != sum(sizes) or sizes[0] > plan.memory[f"{name}.program"].nbytes:
            raise ValueError(f"{name}: {len(unpacked)} bytes")
        halt = values.get("halt", 0) if name == "train" else 0
        if not 0 <= halt < len(descriptors):
            raise ValueError(f"{name}: a halt behind {halt} of {len(descriptors)} descriptors")
        images.append(ProgramImage(name, descriptors, (), unpacked[: sizes[0]],
                                   unpacked[sizes[0]:], halt))
    return Programs(images[0], images[1], {name: values["cycles"][name]
                                           for name in ("train", "evaluate")})

