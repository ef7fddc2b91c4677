"""Domains: named adapters of one learner, on one backbone that stays as it is.

A learner that trains a part of its network, the adapters, can keep what they have learnt under a
name, learn something else, and go back: masters with momentum, exponents, the format of the images
and the names of the classes of a domain are then those that were kept, bit for bit.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pynq_train.errors import BadInput, UnknownName
from pynq_train.files import path_text
from pynq_train.files.schema import Anything, Items, Record, Table, Text
from pynq_train.files.tensors import TensorFile
from pynq_train.graph import Graph
from pynq_train.graph.image_format import ImageFormat
from pynq_train.layers.fuse import FusedLayer
from pynq_train.run.masters import Masters
from pynq_train.run.tensors import from_tensors, to_tensors
from pynq_train.schedule.plan import Plan
from pynq_train.train.class_names import ClassNames

_FILE = TensorFile("domain", "domains", "pynq_train.domains", version=1, readable=(1,))
MOST_DOMAINS, _MOST_NAME = 4096, 256
_META = Record({
    "backbone": Text(64),
    "domains": Items(Record({"name": Text(_MOST_NAME), "policy": Table(Anything()),
                             "input_format": Table(Anything()), "classes": Table(Anything())}),
                     most=MOST_DOMAINS)}, open=True)


@dataclass(frozen=True)
class Adapters:
    """What a learner has learnt, without its backbone.

    Attributes:
        masters: of the layers that are trained, by name.
        policy: exponents and their histories, as plain values.
        form: format of the images.
        names: of the classes.
    """

    masters: Mapping[str, Masters]
    policy: Mapping[str, Any]
    form: ImageFormat
    names: ClassNames


class Host(Protocol):
    """The learner as its domains see it.

    Attributes:
        graph: the network.
    """

    graph: Graph

    @property
    def adapters(self) -> Adapters:
        """What has been learnt so far."""

    @adapters.setter
    def adapters(self, adapters: Adapters) -> None: ...

    @property
    def backbone(self) -> str:
        """Fingerprint of the network and of all parameters that do not learn."""

    @property
    def learning_layers(self) -> Mapping[str, FusedLayer]:
        """The layers that a training changes, by name."""


def learning(plan: Plan) -> tuple[str, ...]:
    """Return the layers of a plan that a training changes: trained, or with moving statistics."""
    return tuple(spec.name for spec, trained in zip(plan.specs, plan.trainable)
                 if trained.anything or (spec.kind.has_running and not spec.frozen))


def fingerprint(graph: Graph, plan: Plan, masters: Mapping[str, Masters]) -> str:
    """Return the SHA-256 of a network and of all its parameters that do not learn, in hex."""
    digest = hashlib.sha256(graph.to_json().encode())
    changing = learning(plan)
    for spec, trained in zip(plan.specs, plan.trainable):
        own = masters.get(spec.name)
        if own is None or (spec.name in changing and trained.weights):
            continue
        tensors = to_tensors({spec.name: own})
        kept = [f"{spec.name}.weight"] if spec.name in changing else sorted(tensors)
        for name in kept:
            digest.update(name.encode() + tensors[name].tobytes())
    return digest.hexdigest()


class Domains:
    """Named adapters of a learner.

    ``learner.domains.keep("kitchen")`` keeps the present ones; ``learner.domains.use("kitchen")``
    goes back to them, and writes nothing but them to the board.

    Args:
        host: the learner.
        kept: adapters by name, which the learner holds.
    """

    def __init__(self, host: Host, kept: dict[str, Adapters]) -> None:
        self._host, self._kept = host, kept

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the domains, in the order in which they were kept."""
        return tuple(self._kept)

    def __contains__(self, name: object) -> bool:
        """Return whether a domain of this name is kept."""
        return name in self._kept

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self.names)

    def __len__(self) -> int:
        """Return the number of domains."""
        return len(self._kept)

    def __repr__(self) -> str:
        """Return one line with all names."""
        return f"<Domains: {', '.join(self._kept) or 'none'}>"

    def keep(self, name: str) -> None:
        """Keep the present adapters under a name, in place of those that had it.

        Raises:
            BadInput: the name is no text, or too long.
        """
        if not isinstance(name, str) or not 0 < len(name) <= _MOST_NAME:
            raise BadInput("name of a domain", found=repr(name)[:80],
                           expected=f"a text of 1 to {_MOST_NAME} characters")
        self._kept[name] = self._host.adapters

    def use(self, name: str) -> None:
        """Go back to the adapters of a domain; those in use are lost unless they are kept.

        Raises:
            UnknownName: no domain is called so.
        """
        self._host.adapters = self._found(name)

    def forget(self, name: str) -> None:
        """Drop a domain.

        Raises:
            UnknownName: no domain is called so.
        """
        self._found(name)
        del self._kept[name]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all domains to a .safetensors file beside the learner's: adapters alone.

        Raises:
            BadInput: no domain is kept, or the folder does not exist or is not writable.
        """
        if not self._kept:
            raise BadInput("domains", expected="one at least", found="none",
                           fix="keep the present adapters: learner.domains.keep(NAME)")
        tensors = {f"{at}/{name}": array for at, own in enumerate(self._kept.values())
                   for name, array in to_tensors(own.masters).items()}
        _FILE.write(path, {"backbone": self._host.backbone, "domains": [
            {"name": name, "policy": dict(own.policy), "input_format": own.form.to_dict(),
             "classes": own.names.to_state()} for name, own in self._kept.items()]}, tensors)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Take up the domains of a file, in place of those of the same names; none is in use then.

        Raises:
            BadInput: no such file, damaged, or of another backbone.
        """
        name = path_text(path, "domain file")
        where = f"domain file {name!r}"
        meta, arrays = _FILE.read(name)
        checked = _META.check(meta, where)
        own = self._host.backbone
        if checked["backbone"] != own:
            raise BadInput(where, expected=f"adapters of this backbone, {own[:12]}",
                           found=f"those of {checked['backbone'][:12]}",
                           fix="load the learner that the domains were kept beside")
        layers = self._host.learning_layers
        classes, channels = self._host.graph.classes, self._host.graph.input_shape[0]
        read: dict[str, Adapters] = {}
        for at, one in enumerate(checked["domains"]):
            part = {key.removeprefix(f"{at}/"): array for key, array in arrays.items()
                    if key.startswith(f"{at}/")}
            try:
                masters = {name: from_tensors(where, layer, part)
                           for name, layer in layers.items()}
            except KeyError as error:
                raise BadInput(f"{where}: domain {one['name']!r}", expected=f"a tensor {error}",
                               found="none", fix="use a copy") from None
            read[one["name"]] = Adapters(
                masters, one["policy"], ImageFormat.from_dict(one["input_format"], channels),
                ClassNames.from_state(one["classes"], classes))
        self._kept.update(read)

    def _found(self, name: str) -> Adapters:
        if name not in self._kept:
            raise UnknownName.among("domain", name, self._kept)
        return self._kept[name]
