"""Training behind frozen layers: their maps are computed once for each image and kept.

A cache lives while weights and exponents of the frozen layers stay: the exponents of their maps do
not follow the mini-batches meanwhile, since a step that does not run them measures nothing there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynq_train.arrays import Array
from pynq_train.backends import Backend
from pynq_train.errors import BadInput
from pynq_train.quant import ExponentPolicy, Measures, StepExponents
from pynq_train.run.batch import Batch, Codes, Images
from pynq_train.run.frame import Frame
from pynq_train.run.masters import Masters
from pynq_train.run.session import Session
from pynq_train.schedule.lower.step_arrays import StepArrays
from pynq_train.schedule.passes.symbols import output_symbol
from pynq_train.schedule.plan import Plan

Indices = NDArray[np.int64]
_MOST_ROUNDS = 8
"""Passes over the images in which exponents must settle; each widens at least one of them."""


class ActivationCache:
    """The maps of the frozen layers that others read, of all images of a training.

    Args:
        plan: a plan with a cached step.
        images: number of images.
        path: a file that holds the maps; None: they stand in memory.

    Attributes:
        exponents: those of the maps, by layer in the order of ``plan.boundary``; None: it is empty.

    Raises:
        BadInput: the file cannot be written.
    """

    def __init__(self, plan: Plan, images: int, path: str | os.PathLike[str] | None = None
                 ) -> None:
        self._layouts = [plan.specs[place].y for place in plan.boundary]
        self.symbols = tuple(output_symbol(plan, place) for place in plan.boundary)
        self.exponents: tuple[int, ...] | None = None
        wide = [symbol for symbol, one in zip(self.symbols, self._layouts)
                if one.extent != one.nbytes]
        if wide:
            raise BadInput("cache", expected="maps whose images follow each other",
                           found=f"gaps between those of {wide[0]!r}, beside a concatenation",
                           fix="train without cache")
        # A dense map stands in memory with its images innermost: its columns.
        self._dense = [one.images != plan.batch for one in self._layouts]
        words = [one.nbytes // 8 // plan.batch for one in self._layouts]
        self._ends = np.cumsum([0, *words])
        shape = images, int(self._ends[-1])
        if path is None:
            self._maps: NDArray[Any] = np.zeros(shape, np.int64)
            return
        try:
            self._maps = np.memmap(path, np.int64, "w+", shape=shape)
        except OSError as error:
            raise BadInput(f"cache file {os.fspath(path)!r}", found=error.strerror,
                           fix="choose another file") from None

    @property
    def nbytes(self) -> int:
        """Bytes of all maps."""
        return int(self._maps.nbytes)

    def put(self, rows: Indices, maps: Sequence[Array]) -> None:
        """Keep the maps of some images, as they stand in the arena: uint8, one array a symbol."""
        for at, (layout, data) in enumerate(zip(self._layouts, maps)):
            words = data.view(np.int64)
            each = words.reshape(-1, layout.cols).T if self._dense[at] else words.reshape(
                layout.images, -1)
            self._maps[rows, self._ends[at] : self._ends[at + 1]] = each[: len(rows)]

    def get(self, rows: Indices) -> tuple[Array, ...]:
        """Return the maps of a whole mini-batch, as :meth:`put` takes them."""
        found = []
        for at in range(len(self._layouts)):
            own = self._maps[rows, self._ends[at] : self._ends[at + 1]]
            found.append(np.ascontiguousarray(own.T if self._dense[at] else own).reshape(-1)
                         .view(np.uint8))
        return tuple(found)


@dataclass(frozen=True)
class CachedBatch:
    """A mini-batch whose maps are in a cache; as a batch it is that of its images.

    Attributes:
        images: the images.
        rows: their numbers ``(n,)`` in the cache.
    """

    images: Batch
    rows: Indices

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def values(self) -> NDArray[np.float32]:
        """Return the images as the network sees them."""
        return self.images.values()

    def fill(self, exponent: int, out: Codes) -> None:
        """Write the codes of the images."""
        self.images.fill(exponent, out)

    def range_k(self, known: int) -> int:
        """Return the range of the images."""
        return self.images.range_k(known)


class CachedSession(Session):
    """A session that trains from a cache, once it is filled.

    Exponents are found with whole steps, as ever (:meth:`prepare`); then :meth:`fill` computes the
    maps, and steps with :class:`CachedBatch` begin with them. Exponents of frozen layers move
    again when the cache is dropped.

    Args:
        plan: a plan with a cached step.
        backend, masters, policy, more: as for :class:`~pynq_train.run.session.Session`.
    """

    def __init__(self, plan: Plan, backend: Backend, *args: Any, **more: Any) -> None:
        if not plan.cached:
            raise BadInput("plan of a cached training", expected="one with a cached step",
                           found="none", fix="make_plan(..., cache=True)")
        self._cache: ActivationCache | None = None
        super().__init__(plan, backend, *args, **more)
        assert self.programs.cached is not None
        self._whole_step, self._cached_step = self.training, self.programs.cached
        self._put(f"{self._cached_step.name}.program", self._cached_step.program)
        self._put(f"{self._cached_step.name}.taps", self._cached_step.taps)
        self._names[self._cached_step.name] = tuple(
            f"{one.role.value} of {plan.specs[one.layer].name}" for one in plan.cached)

    def fill(self, cache: ActivationCache,
             batches: Callable[[], Iterator[tuple[Indices, Batch]]]) -> int:
        """Compute the maps of all images, and train from them from now on.

        Where a frozen layer saturates, its exponents get room and all begins anew, so that they
        are the same for all images. A second time nothing is widened: a training that goes on
        fills its cache with the same bits.

        Args:
            cache: takes the maps.
            batches: yields the numbers and images of mini-batches; the last one may be smaller.

        Returns:
            The number of runs.

        Raises:
            BadInput: the exponents do not settle.
        """
        self.drop()
        runs = 0
        for _ in range(_MOST_ROUNDS):
            used = self.policy.exponents(self.plan.batch, training=False)
            settled = True
            for rows, images in batches():
                self._write_evaluation(images, None, used)
                self._run(self.evaluation)
                runs += 1
                said = self.records(self.evaluation)
                if self._frozen_saturate(said.saturations):
                    wider = self._with_room(used, said.measures)
                    settled = settled and wider == used
                    used = wider
                cache.put(rows, [self._get(symbol, np.uint8) for symbol in cache.symbols])
            if settled:
                cache.exponents = self._boundary_exponents(self.policy.exponents(self.plan.batch))
                self._switch(cache)
                return runs
        raise BadInput("cache", expected="exponents that suit all images",
                       found=f"others after each of {_MOST_ROUNDS} passes",
                       fix="train without cache")

    def _frozen_saturate(self, saturations: Mapping[str, int]) -> bool:
        return any(saturations.get(f"{spec.name}.{what}") for spec, active
                   in zip(self.plan.specs, self.plan.active) if not active for what in "ya")

    def _with_room(self, used: StepExponents, measures: Measures) -> StepExponents:
        """Give the frozen layers room for what was measured; return the exponents then."""
        policy = self.policy
        wide = policy.widened(used, measures)
        for at, (layer, active) in enumerate(zip(policy.layers, self.plan.active)):
            if not active:
                policy.feature[at] = wide.feature[at]
                name = f"{layer.name}.a"
                if name in wide.extra:
                    policy.extra[name] = wide.extra[name]
        self.policy = policy
        return policy.exponents(self.plan.batch, training=False)

    def drop(self) -> None:
        """Train with whole steps from now on."""
        if self._cache is not None:
            self._switch(None)

    @property
    def cached(self) -> bool:
        """Whether training steps begin with a cache."""
        return self._cache is not None

    @property
    def policy(self) -> ExponentPolicy:
        """Exponent state that belongs to the masters; with other exponents a cache is dropped."""
        return super().policy

    @policy.setter
    def policy(self, policy: ExponentPolicy) -> None:
        cache = self._cache
        if cache is not None and cache.exponents != self._boundary_exponents(
                policy.exponents(self.plan.batch)):
            self.drop()
        Session.policy.fset(self, policy)  # type: ignore[attr-defined]

    def write_masters(self, masters: Mapping[str, Masters]) -> None:
        """Write weights (:meth:`Session.write_masters`); what a cache held is no longer true."""
        self.drop()
        super().write_masters(masters)

    def calibrate(self, images: Images, labels: Array) -> int:
        """Find exponents with whole steps (:meth:`Session.calibrate`), without a cache."""
        self.drop()
        return super().calibrate(images, labels)

    def calibrate_forward(self, images: Images) -> int:
        """Find exponents with evaluations (:meth:`Session.calibrate_forward`), without a cache."""
        self.drop()
        return super().calibrate_forward(images)

    def _switch(self, cache: ActivationCache | None) -> None:
        """Let training steps run one or the other program."""
        self._catch_up()
        policy = self.policy  # what the arrays have goes there
        self._journal.forget()
        self._cache = cache
        self.training = self._whole_step if cache is None else self._cached_step
        self._arrays = StepArrays.of(self.plan, self.training.descriptors, policy)
        self._train_records = f"{self.training.name}.records"
        self._ahead = None

    def _frame(self, batch: Batch, labels: Array | None, exponent: int) -> Frame:
        if not isinstance(batch, CachedBatch) or self._cache is None:
            return super()._frame(batch, labels, exponent)
        frame = self._journal.frame()
        frame.carry(tuple(zip(self._cache.symbols, self._cache.get(batch.rows))))
        frame.between = None
        frame.set_labels(None if self.plan.loss.on_host else labels)
        return frame

    def _prepare(self) -> None:
        """Make nothing ready: the maps of the next mini-batch are there."""
        if self._cache is None:
            super()._prepare()

    def _boundary_exponents(self, used: StepExponents) -> tuple[int, ...]:
        return tuple(used.layers[place].y for place in self.plan.boundary)
