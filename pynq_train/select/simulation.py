"""Simulated devices choose arms by several policies, side by side in the same contexts.

Regret is the true QoE of the best arm that fits, which an oracle knows, minus that of the arm that
was taken. Nothing is shared between devices: each begins with nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pynq_train.errors import BadInput
from pynq_train.select.arms import Arm
from pynq_train.select.features import SIZE
from pynq_train.select.policies import (
    ALPHA,
    MOST_SEED,
    UCB1,
    UCB1_FACTOR,
    EpsilonGreedy,
    LinearEpsilon,
    LinUCB,
    Policy,
    make_policy,
    number,
)
from pynq_train.select.ridge import Floats
from pynq_train.select.world import MISFIT, NOISE, World

RIVALS: tuple[tuple[str, dict[str, float]], ...] = (
    (LinUCB.kind, {"alpha": ALPHA}),
    (UCB1.kind, {"factor": UCB1_FACTOR}), (UCB1.kind, {"factor": 0.02}),
    (EpsilonGreedy.kind, {"decay": 1.0}), (EpsilonGreedy.kind, {"decay": 5.0}),
    (EpsilonGreedy.kind, {"decay": 0.0, "floor": 0.05}),
    (LinearEpsilon.kind, {"decay": 2.0}))
"""Policies with their settings: LinUCB as it is by default, of the others the best of a few."""
BASELINES = (UCB1.kind, EpsilonGreedy.kind)
"""Policies that LinUCB has to beat."""
LESS_REGRET, MOST_EXPONENT, NEAR_ORACLE = 0.30, 0.5, 0.95
"""What is asked of LinUCB: regret below the best baseline's, growth, share of the oracle's QoE."""
LEAST_ROUNDS, MOST_ROUNDS, MOST_DEVICES, MOST_SEEDS = 100, 1_000_000, 10_000, 100
_POINTS = 40
_NEAR = 2000
"""Rounds after which the QoE is compared with the oracle's; a fifth of a shorter simulation."""


@dataclass(frozen=True)
class Row:
    """What became of one policy.

    Attributes:
        kind: name of the policy.
        settings: its settings.
        regret: mean regret per device up to each point, float64 ``(seeds, points)``.
        near: share of the oracle's QoE in the tenth of the rounds behind :attr:`Result.after`,
            ``(seeds,)``.
        worst: mean regret of the tenth of the devices that have the most, ``(seeds,)``.
    """

    kind: str
    settings: Mapping[str, float]
    regret: Floats
    near: Floats
    worst: Floats

    @property
    def label(self) -> str:
        """Name and settings."""
        return f"{self.kind} ({', '.join(f'{k} {v:g}' for k, v in self.settings.items())})"

    @property
    def final(self) -> float:
        """Mean regret per device at the end."""
        return float(self.regret[:, -1].mean())


@dataclass(frozen=True)
class Result:
    """A simulation.

    Attributes:
        devices, rounds, seeds: how many; the seeds count from ``seed`` up.
        seed: the first seed.
        arms: names of the arms.
        points: rounds at which regret was noted.
        after: rounds after which the QoE was compared.
        oracle: mean QoE per device of the oracle, summed up to each point, ``(seeds, points)``.
        misfit: root mean square of what no linear model has of the true QoE.
        spread: that of the true QoE about its mean, for comparison.
        noise: scatter of what users report.
        rows: the policies.
    """

    devices: int
    rounds: int
    seeds: int
    seed: int
    arms: tuple[str, ...]
    points: tuple[int, ...]
    after: int
    oracle: Floats
    misfit: float
    spread: float
    noise: float
    rows: tuple[Row, ...]

    def exponent(self, row: Row) -> float:
        """Return the fitted exponent of the growth of regret over the last nine tenths."""
        return _exponent(self.points, row.regret.mean(axis=0))

    def best(self, kind: str) -> Row:
        """Return the row of a policy that has the least regret."""
        return min((row for row in self.rows if row.kind == kind), key=lambda row: row.final)

    def bars(self) -> dict[str, tuple[float, float, bool]]:
        """Return what is asked of LinUCB: what it has in its worst seed, the bar, whether it holds.
        """
        ours = self.best(LinUCB.kind)
        found: dict[str, tuple[float, float, bool]] = {}
        for kind in BASELINES:
            less = float((1 - ours.regret[:, -1] / self.best(kind).regret[:, -1]).min())
            found[f"regret below the best {kind}"] = less, LESS_REGRET, less >= LESS_REGRET
        growth = max(_exponent(self.points, one) for one in ours.regret)
        found["exponent of regret"] = growth, MOST_EXPONENT, growth <= MOST_EXPONENT
        near = float(ours.near.min())
        found[f"share of the oracle's QoE after {self.after} rounds"] = (
            near, NEAR_ORACLE, near >= NEAR_ORACLE)
        return found

    def text(self) -> str:
        """Return tables for people."""
        head = (f"{self.devices} devices, {self.rounds} rounds, {self.seeds} seeds from "
                f"{self.seed}, {len(self.arms)} arms; simulated users (noise {self.noise:g})\n"
                f"of the true QoE no linear model has {self.misfit:.4f} (root mean square; it "
                f"varies by {self.spread:.4f} in all); the oracle has "
                f"{float(self.oracle[:, -1].mean()) / self.rounds:.4f}")
        rows = [("policy", "regret", "worst tenth", "exponent", f"QoE after {self.after}")]
        for row in self.rows:
            rows.append((row.label, f"{row.final:.1f}", f"{float(row.worst.mean()):.1f}",
                         f"{self.exponent(row):.3f}",
                         f"{100 * float(row.near.mean()):.2f} % of the oracle's"))
        widths = [max(map(len, column)) for column in zip(*rows)]
        table = "\n".join("  ".join(
            cell.ljust(width) if at in (0, 4) else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in rows)
        bars = "\n".join(f"{name}: {value:.3f} (bar {bar:g}, worst seed): "
                         f"{'holds' if holds else 'does not hold'}"
                         for name, (value, bar, holds) in self.bars().items())
        return f"{head}\n\n{table}\n\n{bars}"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as values of JSON."""
        return {
            "devices": self.devices, "rounds": self.rounds, "seeds": self.seeds,
            "seed": self.seed, "arms": list(self.arms), "points": list(self.points),
            "after": self.after, "misfit_rms": self.misfit, "qoe_rms": self.spread,
            "noise": self.noise, "oracle_qoe": (self.oracle[:, -1] / self.rounds).tolist(),
            "rows": [{"policy": row.kind, "settings": dict(row.settings),
                      "regret": row.regret.tolist(), "worst_tenth": row.worst.tolist(),
                      "exponent": self.exponent(row), "near_oracle": row.near.tolist()}
                     for row in self.rows],
            "bars": {name: {"found": value, "bar": bar, "holds": holds}
                     for name, (value, bar, holds) in self.bars().items()}}


def simulate(arms: Sequence[Arm], *, devices: int = 1000, rounds: int = 10_000, seeds: int = 5,
             seed: int = 0, misfit: float = MISFIT, noise: float = NOISE,
             rivals: Sequence[tuple[str, Mapping[str, float]]] = RIVALS,
             progress: Callable[[], object] | None = None) -> Result:
    """Return what policies make of simulated devices.

    Args:
        arms: the arms; devices have the boards of their costs, by turns.
        devices: number of devices.
        rounds: choices of each.
        seeds: worlds, each with other users and contexts.
        seed: names the first world.
        misfit: height of the part of the QoE that is not linear, 0 to 1.
        noise: scatter of what users report, 0 to 1.
        rivals: policies with settings: LinUCB and the baselines at least.
        progress: is called after each round.

    Raises:
        BadInput: a figure is out of range, or a policy is missing.
        UnknownName: no such policy or setting.
    """
    check_figures(devices, rounds, seeds, seed, misfit, noise)
    missing = {LinUCB.kind, *BASELINES} - {kind for kind, _ in rivals}
    if missing:
        raise BadInput("rivals", expected=", ".join(sorted(missing)), found="none of it")
    points = np.unique(np.geomspace(10, rounds, _POINTS).astype(np.int64))
    after = min(_NEAR, rounds // 5)
    runs, misfits = [], []
    for at in range(seed, seed + seeds):
        world = World(arms, devices, at, misfit=misfit, noise=noise)
        misfits.append(world.misfit_rms())
        runs.append(_run(world, rounds, after, points, rivals, at, progress))
    oracle = np.stack([run.oracle for run in runs])
    rows = tuple(Row(kind, settings, np.stack([run.regret[at] for run in runs]),
                     np.array([run.near[at] for run in runs]),
                     np.array([run.worst[at] for run in runs]))
                 for at, (kind, settings) in enumerate(rivals))
    rms, spread = np.mean(misfits, axis=0)
    return Result(devices, rounds, seeds, seed, tuple(arm.name for arm in arms),
                  tuple(points.tolist()), after, oracle, float(rms), float(spread), noise, rows)


def check_figures(devices: int, rounds: int, seeds: int, seed: int, misfit: float,
                  noise: float) -> None:
    """Check the figures of a simulation; arguments as of :func:`simulate`.

    Raises:
        BadInput: one is out of range.
    """
    for name, value, least, most in (
            ("devices", devices, 1, MOST_DEVICES), ("rounds", rounds, LEAST_ROUNDS, MOST_ROUNDS),
            ("seeds", seeds, 1, MOST_SEEDS), ("seed", seed, 0, MOST_SEED - MOST_SEEDS)):
        if type(value) is not int or not least <= value <= most:
            raise BadInput(name, expected=f"an integer of {least} to {most}", found=value)
    number("misfit", misfit, 0, 1)
    number("noise", noise, 0, 1)


@dataclass(frozen=True)
class _Run:
    """One world: per rival its regret at the points, share of the oracle's QoE, worst regret."""

    oracle: Floats
    regret: list[Floats]
    near: list[float]
    worst: list[float]


def _run(world: World, rounds: int, after: int, points: Any,
         rivals: Sequence[tuple[str, Mapping[str, float]]], seed: int,
         progress: Callable[[], object] | None) -> _Run:
    """Let all rivals live through one world."""
    policies = [_policy(kind, settings, world, seed) for kind, settings in rivals]
    rows, everyone = np.arange(world.devices), slice(None)
    regret = np.zeros((len(policies), world.devices))
    curves = np.zeros((len(policies), len(points)))
    close = np.zeros(len(policies))
    oracle, oracle_near, passed = 0.0, 0.0, 0
    totals = np.zeros(len(points))
    until = after + rounds // 10
    for turn, now in enumerate(world.rounds(rounds)):
        best = np.where(now.allowed, now.qoe, -1.0).max(axis=1)
        oracle += float(best.mean())
        near = after <= turn < until
        oracle_near += float(best.mean()) * near
        turns = np.full(world.devices, turn)
        for rival, policy in enumerate(policies):
            taken = policy.choose(everyone, now.x, now.allowed, turns)
            policy.learn(rows, taken, now.x[rows, taken], now.reported[rows, taken])
            had = now.qoe[rows, taken]
            regret[rival] += best - had
            close[rival] += float(had.mean()) * near
        if turn + 1 == points[passed]:
            curves[:, passed], totals[passed] = regret.mean(axis=1), oracle
            passed += 1
        if progress:
            progress()
    tenth = -(-world.devices // 10)
    worst = np.sort(regret, axis=1)[:, -tenth:].mean(axis=1)
    return _Run(totals, list(curves), (close / oracle_near).tolist(), worst.tolist())


def _policy(kind: str, settings: Mapping[str, float], world: World, seed: int) -> Policy:
    """Return a rival; what is random in it follows from the world's seed."""
    random = {"seed": seed} if kind in (EpsilonGreedy.kind, LinearEpsilon.kind) else {}
    return make_policy(kind, world.devices, world.arms, SIZE, **settings, **random)


def _exponent(points: Sequence[int], regret: Floats) -> float:
    """Return the slope of log regret over log rounds, over the last nine tenths of the rounds."""
    at = np.asarray(points)
    late = (at >= at[-1] / 10) & (regret > 0)
    if late.sum() < 2:
        return 0.0  # no regret at all
    return float(np.polyfit(np.log(at[late]), np.log(regret[late]), 1)[0])
