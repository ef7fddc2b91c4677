"""The comparison of backends finds what it should find."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from pynq_train.backends import Backend, RunRequest, RunResult, open_backend
from pynq_train.check import random_net, verify
from pynq_train.errors import BadInput, HardwareFault
from pynq_train.graph import Graph
from pynq_train.hw.boards import BOARDS
from pynq_train.layers import fuse, init_params
from pynq_train.quant import SgdStep, StepExponents, StepParams
from pynq_train.run.masters import Masters
from pynq_train.run.session import new_policy
from pynq_train.schedule.lower.program import build_training
from pynq_train.schedule.lower.step_block import plan_params
from pynq_train.schedule.plan import Plan, make_plan

module = import_module("pynq_train.check.verify")


class _Faulty:
    """Golden with one byte changed behind a descriptor of every run."""

    name = "faulty"

    def __init__(self, inner: Backend, descriptor: int, offset: int, free_only: bool) -> None:
        self.inner, self.descriptor, self.offset = inner, descriptor, offset
        self.free_only = free_only
        self.arena_size_bytes = inner.arena_size_bytes

    def __enter__(self) -> _Faulty:
        return self

    def __exit__(self, *_: object) -> None:
        self.inner.close()

    def write(self, offset: int, data: object) -> None:
        self.inner.write(offset, data)  # type: ignore[arg-type]

    def read(self, offset: int, nbytes: int) -> object:
        return self.inner.read(offset, nbytes)

    def run(self, request: RunRequest) -> RunResult:
        result = self.inner.run(request)
        self.flip()
        return result

    def run_step_mode(self, request: RunRequest) -> Iterator[int]:
        for index in self.inner.run_step_mode(request):
            if index == self.descriptor and not self.free_only:
                self.flip()
            yield index

    def flip(self) -> None:
        old = self.inner.read(self.offset, 1)
        self.inner.write(self.offset, old ^ 1)


def plant(monkeypatch: pytest.MonkeyPatch, descriptor: int, offset: int,
          free_only: bool = False) -> None:
    def opened(name: str, nbytes: int) -> object:
        inner = open_backend("golden", nbytes)
        return inner if name == "golden" else _Faulty(inner, descriptor, offset, free_only)

    monkeypatch.setattr(module, "open_backend", opened)


@pytest.mark.parametrize("seed", [1, 2])
def test_golden_equals_itself(net: Graph, seed: int) -> None:
    seen: list[int] = []
    report = verify(net, batch=3, steps=2, board="golden", seed=seed, progress=seen.append)
    program = build_training(make_plan(fuse(net), 3, BOARDS["pynq-z2"]))
    assert report.mismatches == 0 and report.first is None and report.cycles == 0
    assert report.descriptors == 2 * program.count
    assert report.bytes_compared > 2 * program.count * len(program.program)
    assert sum(seen) == 4 * program.count
    assert "mismatches: 0" in report.text()


def test_a_wrong_byte_is_named(net: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(fuse(net), 3, BOARDS["pynq-z2"], momentum=False)
    region = plan.memory["conv1.y"]
    plant(monkeypatch, 0, region.offset + 10)
    report = verify(net, batch=3, steps=1, board="virtual:pynq-z2", seed=1)
    assert report.mismatches == 1 and report.first is not None
    assert report.first.tensor == "conv1.y" and report.first.index == 5
    assert abs(report.first.golden - report.first.board) == 1
    assert report.first.text().startswith("step 1, descriptor 0 (forward of conv1): conv1.y[5] "
                                          "(image 0, channel 1, row 0, column 1) is ")
    assert report.to_dict()["first"]["tensor"] == "conv1.y"


def test_a_fault_of_the_free_running_mode_alone(net: Graph,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(fuse(net), 3, BOARDS["pynq-z2"], momentum=False)
    plant(monkeypatch, 0, plan.memory["dense1.wv"].offset + 4, free_only=True)
    report = verify(net, batch=3, steps=1, board="virtual:pynq-z2", seed=1)
    assert report.first is not None and report.first.tensor == "dense1.wv"
    assert report.first.when == "step 1, free-running, end" and report.first.index == 1


def test_both_kinds_of_masters(net: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even seeds verify masters with momentum, which changes; odd ones bare weights."""
    plans, steps = [], []

    def planned(*args: Any, **more: Any) -> Plan:
        plans.append(make_plan(*args, **more))
        return plans[-1]

    def params(plan: Plan, used: StepExponents, sgd: SgdStep | None) -> StepParams:
        steps.append(sgd)
        return plan_params(plan, used, sgd)

    monkeypatch.setattr(module, "make_plan", planned)
    monkeypatch.setattr(module, "plan_params", params)
    reports = [verify(net, batch=3, steps=1, board="golden", seed=seed) for seed in (4, 5)]
    assert [plan.momentum for plan in plans] == [True, False]
    assert {sgd.momentum for sgd in steps if sgd} == {0.9, 0.0}
    assert steps[0] and steps[0].momentum == 0.9
    assert [report.to_dict()["momentum"] for report in reports] == [0.9, 0.0]
    counts = [{key[2]: count for key, count in report.coverage.counts.items()
               if key[1] == "slice x masters" and count} for report in reports]
    assert counts == [{("whole", "momentum"): 2}, {("whole", "plain"): 2}]


def test_no_steps(net: Graph) -> None:
    with pytest.raises(BadInput, match="steps: expected at least 1, found 0"):
        verify(net, batch=3, steps=0, board="golden")


@pytest.mark.parametrize("seed", range(0, 50, 5))
def test_random_networks_run_on_golden(seed: int) -> None:
    drawn = random_net(seed)
    assert verify(drawn.graph, batch=drawn.batch, steps=1, board="golden",
                  seed=seed, trainable=drawn.trainable).mismatches == 0


@pytest.mark.parametrize("hashes", [(1, 2), (2, 1)])
def test_modes_that_end_differently_are_a_fault(net: Graph, hashes: tuple[int, int],
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    """Both backends agree in each mode: only the memory at the end of a step tells."""
    ends = iter((0, hashes[0], 0, hashes[1]))
    monkeypatch.setattr(module._Pair, "_hash", lambda pair: next(ends))
    with pytest.raises(HardwareFault, match="step mode and free-running mode differ: expected the "
                                            "same memory, found another one after step 2"):
        verify(net, batch=3, steps=2, board="golden", seed=1)


def test_exponents_are_measured_before_the_first_step(net: Graph,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    """A guess would leave half of the words at the ends of their range: few bits to compare."""
    used: list[StepExponents] = []

    def params(plan: Plan, exponents: StepExponents, sgd: SgdStep | None) -> StepParams:
        used.append(exponents)
        return plan_params(plan, exponents, sgd)

    monkeypatch.setattr(module, "plan_params", params)
    verify(net, batch=3, steps=1, board="golden", seed=1)
    plan = make_plan(fuse(net), 3, BOARDS["pynq-z2"])
    masters = {name: Masters.of(p) for name, p in init_params(plan.layers, 1).items()}
    guessed = new_policy(plan, masters, module.INPUT_START).exponents(3)
    assert [e.y for e in used[0].layers] != [e.y for e in guessed.layers]
    assert used[0].layers == used[1].layers, "both modes start from the same"
