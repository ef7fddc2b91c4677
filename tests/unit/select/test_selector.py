"""A selector: tickets, what is refused and changes nothing, files that go on with the same choices.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from select_kit import arms, live, situation

import pynq_train as pt
from pynq_train.errors import BadInput, DoesNotFit, UnknownName
from pynq_train.files.tensors import checksum
from pynq_train.select import FEATURES, POLICIES, Selector, Situation

HOME = {"kitchen": "pynq-z2", "hall": "kv260", "shed": "pynq-z1"}


class Clock:
    """A clock that stands until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def selector(policy: str = "linucb", **options: Any) -> Selector:
    return Selector(arms(), HOME, policy=policy, **{"clock": Clock(), **options})


def saved(one: Selector, path: Path) -> bytes:
    one.save(path)
    return path.read_bytes()


def test_a_choice_says_what_it_costs(rng: np.random.Generator) -> None:
    one = selector()
    choice = one.choose("hall", situation(rng, samples=50))
    assert choice.ticket == "hall#0" and choice.arm in one.arms
    cost = choice.arm.costs["kv260"]
    assert choice.nbytes == cost.nbytes
    assert choice.seconds == pytest.approx(cost.image_s * 50 * one.epochs)
    assert one.choose("hall", situation(rng)).ticket == "hall#1"
    assert one.choose("shed", situation(rng)).ticket == "shed#0"


def test_a_user_is_satisfied_soon(rng: np.random.Generator) -> None:
    """One arm satisfies on a full battery, another on an empty one: both are found."""
    one, right = selector(), []
    for _ in range(400):
        now = situation(rng)
        best = "large/last-layer" if now.battery > 0.5 else "small/all"
        choice = one.choose("kitchen", now)
        right.append(choice.arm.name == best)
        one.reward(choice.ticket, 0.9 if right[-1] else 0.4)
    assert np.mean(right[-100:]) > 0.9


@pytest.mark.parametrize("policy", POLICIES)
def test_devices_do_not_disturb_each_other(policy: str, rng: np.random.Generator) -> None:
    """The choices of one are the same with others about; nothing is shared unasked."""
    alone, among = Selector(arms(), {"kitchen": "pynq-z2"}, policy=policy), selector(policy)
    for _ in range(60):
        now, qoe = situation(rng), rng.uniform()
        for name in ("hall", "shed"):
            among.reward(among.choose(name, situation(rng)).ticket, rng.uniform())
        first, second = alone.choose("kitchen", now), among.choose("kitchen", now)
        assert first == second
        for each in (alone, among):
            each.reward(first.ticket, qoe)


def test_memory_and_boards(rng: np.random.Generator) -> None:
    one = selector()
    for _ in range(40):
        choice = one.choose("kitchen", situation(rng, free_bytes=45_000))
        assert choice.nbytes <= 45_000
        one.reward(choice.ticket, rng.uniform())
        assert one.choose("shed", situation(rng)).arm.name != "large/all"
    with pytest.raises(DoesNotFit, match="arms on pynq-z2: expected 10000 free bytes or more, "
                                         "for small/last-layer, found 9999"):
        one.choose("kitchen", situation(rng, free_bytes=9_999))
    one.add("attic", "zcu104")
    with pytest.raises(DoesNotFit, match="arms on zcu104: expected one that this board has"):
        one.choose("attic", situation(rng))


@pytest.mark.parametrize(("ticket", "qoe", "text"), [
    ("kitchen#9", math.nan, r"QoE of ticket 'kitchen#9': expected a number of 0 to 1, found nan"),
    ("kitchen#9", 1.01, r"QoE .* expected a number of 0 to 1, found 1.01"),
    ("kitchen#9", -1e-9, r"QoE .* expected a number of 0 to 1, found -1e-09"),
    ("kitchen#9", math.inf, r"QoE .* expected a number of 0 to 1, found inf"),
    ("kitchen#9", "good", r"QoE .* expected a number of 0 to 1, found 'good'"),
    ("kitchen#9", None, r"QoE .* expected a number of 0 to 1, found None"),
    ("kitchen#9", True, r"QoE .* expected a number of 0 to 1, found True"),
    ("kitchen#9", [0.5], r"QoE .* expected a number of 0 to 1, found \[0.5\]"),
    ("kitchen#8", 0.5, "ticket 'kitchen#8': expected one without an answer, found one that has"),
    ("kitchen#0", 0.5, "ticket 'kitchen#0' is late: expected one of the last 8 of 'kitchen', "
                       "found 10 given"),
    ("kitchen#10", 0.5, "ticket 'kitchen#10': expected one that has been given, found 10 tickets"),
    ("kitchen#09", 0.5, "ticket 'kitchen#09': expected one that has been given"),
    ("cellar#0", 0.5, "unknown device 'cellar': expected one of kitchen, hall, shed; add it"),
    ("hall#0", 0.5, "ticket 'hall#0': expected one that has been given, found 0 tickets"),
    ("kitchen", 0.5, "ticket: expected one that choose has given, such as 'kitchen#7'"),
    ("kitchen#-1", 0.5, "ticket: expected one that choose has given"),
    ("kitchen#²", 0.5, "ticket: expected one that choose has given"),
    ("kitchen#" + "9" * 5000, 0.5, "ticket: expected one that choose has given"),
    (7, 0.5, "ticket: expected one that choose has given, such as 'kitchen#7', found 7"),
])
@pytest.mark.parametrize("policy", POLICIES)
def test_bad_answers_change_nothing(policy: str, ticket: Any, qoe: Any, text: str, tmp_path: Path,
                                    rng: np.random.Generator) -> None:
    one = selector(policy)
    for _ in range(10):
        choice = one.choose("kitchen", situation(rng))
        if choice.ticket != "kitchen#9":
            one.reward(choice.ticket, 0.5)
    before = saved(one, tmp_path / "x")
    with pytest.raises(BadInput, match=text) as caught:
        one.reward(ticket, qoe)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    assert saved(one, tmp_path / "x") == before
    one.reward("kitchen#9", 0.5)
    assert saved(one, tmp_path / "x") != before, "the comparison sees an answer that is taken"


def test_an_answer_after_its_time(tmp_path: Path, rng: np.random.Generator) -> None:
    clock = Clock()
    one = selector(clock=clock, lifetime_s=60.0)
    first, second = (one.choose("kitchen", situation(rng)).ticket for _ in range(2))
    clock.now += 60.0
    one.reward(first, 0.5)
    before = saved(one, tmp_path / "x")
    clock.now += 0.5
    with pytest.raises(BadInput, match=r"ticket 'kitchen#1' is late: expected an answer within "
                                       r"60 s, found 6[01] s"):
        one.reward(second, 0.5)
    assert saved(one, tmp_path / "x") == before
    clock.now = 0.0  # a board's clock that is set back
    one.reward(second, 0.5)


def test_tickets_are_few(rng: np.random.Generator, tmp_path: Path) -> None:
    one = selector(most_open=3)
    sizes = []
    for at in range(50):
        one.choose("kitchen", situation(rng))
        if at in (9, 49):
            sizes.append(len(saved(one, tmp_path / "x")))
    assert abs(sizes[1] - sizes[0]) < 300
    one.reward("kitchen#47", 0.5)
    with pytest.raises(BadInput, match="'kitchen#46' is late: expected one of the last 3"):
        one.reward("kitchen#46", 0.5)


@pytest.mark.parametrize(("ask", "error", "text"), [
    (lambda one, now: one.choose("cellar", now), UnknownName, "unknown device 'cellar'"),
    (lambda one, now: one.choose(None, now), UnknownName, "unknown device 'None'"),
    (lambda one, now: one.choose("kitchen", {}), BadInput, "situation: expected a pynq_train.sel"),
    (lambda one, now: one.add("kitchen", "pynq-z2"), BadInput, "found one that is there"),
    (lambda one, now: one.add("", "pynq-z2"), BadInput, "device: expected a name of 1 to 200"),
    (lambda one, now: one.add("cellar", "pynq-z9"), UnknownName, "unknown board 'pynq-z9'"),
    (lambda one, now: one.add("cellar", "pynq-z2", -1), BadInput, "warm: expected a number of 0"),
])
def test_bad_questions_change_nothing(ask: Callable[[Selector, Any], Any], error: type[Exception],
                                      text: str, tmp_path: Path, rng: np.random.Generator) -> None:
    one = selector()
    live(one, rng, 10)
    before = saved(one, tmp_path / "x")
    with pytest.raises(error, match=text):
        ask(one, situation(rng))
    assert saved(one, tmp_path / "x") == before


@pytest.mark.parametrize(("options", "text"), [
    ({"policy": "greedy"}, "unknown policy 'greedy'"), ({"alpha": -1}, "alpha: expected"),
    ({"epochs": 0}, "epochs: expected an integer of 1 to"),
    ({"most_open": 0}, "most_open: expected an integer of 1 to 1000, found 0"),
    ({"lifetime_s": math.nan}, "lifetime_s: expected a number of 0 to"),
])
def test_bad_options(options: dict[str, Any], text: str) -> None:
    with pytest.raises(BadInput, match=text):
        selector(**options)


def test_bad_arms() -> None:
    with pytest.raises(BadInput, match="arms: expected one or more, each named once, found none"):
        Selector([], HOME)
    with pytest.raises(BadInput, match="each named once, found small/last-layer, small/last-lay"):
        Selector([arms()[0], arms()[0]], HOME)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_saved_selector_goes_on_with_the_same_choices(policy: str, seed: int, tmp_path: Path
                                                        ) -> None:
    one = selector(policy, **({"seed": (1 << 53) - 1} if "epsilon" in policy else {}))
    live(one, np.random.default_rng(seed), 100)
    one.add("porch", "kv260", warm=20.0)
    last = one.choose("porch", situation(np.random.default_rng(seed)))
    one.save(tmp_path / "mine.safetensors")
    other = Selector.load(tmp_path / "mine.safetensors", clock=Clock())
    assert other.devices == (*HOME, "porch") and other.arms == one.arms
    for each in (one, other):
        each.reward(last.ticket, 0.7)
    assert live(one, np.random.default_rng(1), 100) == live(other, np.random.default_rng(1), 100)
    assert saved(one, tmp_path / "a") == saved(other, tmp_path / "b")


def test_a_warm_start_helps(rng: np.random.Generator) -> None:
    """A new device of a fleet of like minds makes fewer bad choices in its first rounds."""
    fleet = {f"home{at}": "pynq-z2" for at in range(10)}
    one = Selector(arms(), fleet)

    def bad(device: str, rounds: int) -> int:
        wrong = 0
        for _ in range(rounds):
            now = situation(rng)
            best = "large/all" if now.battery > 0.5 else "small/last-layer"
            choice = one.choose(device, now)
            wrong += choice.arm.name != best
            one.reward(choice.ticket, 0.9 if choice.arm.name == best else 0.3)
        return wrong

    for name in fleet:
        bad(name, 60)
    one.add("cold", "pynq-z2")
    one.add("warm", "pynq-z2", warm=20.0)
    assert bad("warm", 40) < bad("cold", 40) - 5


@pytest.fixture
def file(tmp_path: Path, rng: np.random.Generator) -> Path:
    one = selector()
    live(one, rng, 30)
    one.save(tmp_path / "one.safetensors")
    return tmp_path / "one.safetensors"


def test_a_damaged_file_is_refused(file: Path, seed: int) -> None:
    """Any byte that is another, anywhere, and any end that is missing."""
    whole = file.read_bytes()
    draw = np.random.default_rng(seed)
    for at in [*range(16), *draw.integers(0, len(whole), 150).tolist(), len(whole) - 1]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(draw.integers(8))
        file.write_bytes(bytes(damaged))
        with pytest.raises(BadInput, match="selector file") as caught:
            Selector.load(file)
        assert "\n" not in str(caught.value)
    for size in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        with pytest.raises(BadInput, match="is damaged or not a selector"):
            Selector.load(file)
    file.write_bytes(whole)
    assert Selector.load(file).devices == tuple(HOME)


def test_other_files_are_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"selector file .* does not exist; check the path"):
        Selector.load(tmp_path / "none")
    with pytest.raises(BadInput, match="expected a learner saved by pynq_train, found another"):
        pt.load(file)
    pt.Learner("digits", batch=4).save(tmp_path / "learner.safetensors")
    with pytest.raises(BadInput, match="expected a selector saved by pynq_train, found another"):
        Selector.load(tmp_path / "learner.safetensors")


def nan_at_the_end(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flat[-1] = np.nan
    return array


@pytest.mark.parametrize(("change", "text"), [
    ({"version": 2}, "expected version 1, found 2"),
    ({"policy": "best"}, "policy: expected one of linucb"),
    ({"settings": {"alpha": -1.0}}, "alpha: expected a number"),
    ({"settings": {"beta": 1.0}}, "unknown setting of linucb 'beta'"),
    ({"features": ["one"]}, f"features: expected {', '.join(FEATURES)}, found one"),
    ({"arms": []}, "arms: expected a list of 1 to 64"),
    ({"devices": None}, "devices: expected a list"),
    ({"most_open": 1}, "device 'kitchen': expected a new name, and its last tickets in order"),
    ({"epochs": True}, "epochs: expected an integer"),
    ({"lifetime_s": "1"}, "lifetime_s: expected a number"),
])
def test_wrong_values_with_a_right_checksum(change: dict[str, Any], text: str, file: Path) -> None:
    rewrite(file, change, {})
    with pytest.raises(BadInput, match=text):
        Selector.load(file)


@pytest.mark.parametrize(("name", "change", "text"), [
    ("gram", nan_at_the_end, "gram: expected finite numbers"),
    ("inverse", lambda one: 1.01 * one, "inverses of the Gram matrices: expected a deviation"),
    ("moment", lambda one: one[:2], r"moment: expected float64 \(3, 4, 8\), found float64 \(2"),
    ("updates", lambda one: one.astype(np.float64), r"updates: expected int64 \(3, 4\), found fl"),
    ("gram", lambda one: -one, "inverses of the Gram matrices|symmetric ones"),
])
def test_wrong_arrays_with_a_right_checksum(name: str, change: Callable[[np.ndarray], np.ndarray],
                                            text: str, file: Path) -> None:
    rewrite(file, {}, {name: change(load_file(file)[name])})
    with pytest.raises(BadInput, match=text):
        Selector.load(file)


@pytest.mark.parametrize("change", [
    {"arm": 4}, {"number": 0}, {"x": [0.5]}, {"x": [2.0] * 8}, {"given": None}, {"answered": 1}])
def test_wrong_tickets_with_a_right_checksum(change: dict[str, Any], file: Path) -> None:
    meta = metadata(file)
    meta["devices"][0]["tickets"][-1].update(change)
    rewrite(file, {"devices": meta["devices"]}, {})
    with pytest.raises(BadInput, match="selector file"):
        Selector.load(file)


def metadata(path: Path) -> Any:
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return json.loads(header["__metadata__"]["pynq_train"])


def rewrite(path: Path, change: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write a file again with other values, and a right checksum."""
    meta = {**metadata(path), **change}
    whole = {name: np.ascontiguousarray(one) for name, one in {**load_file(path), **arrays}.items()}
    meta["sha256"] = checksum(meta, whole)
    save_file(whole, path, metadata={"pynq_train": json.dumps(meta)})


@pytest.mark.parametrize("values", [
    {"battery": 1.1}, {"battery": math.nan}, {"temperature_c": 300}, {"deadline_s": 0},
    {"free_bytes": 0}, {"free_bytes": 1.5}, {"classes": 0}, {"samples": -1}, {"samples": True},
    {"shift": "far"}, {"shift": -0.1}])
def test_situations_out_of_range(values: dict[str, Any], rng: np.random.Generator) -> None:
    with pytest.raises(BadInput, match=f"{next(iter(values))}: expected"):
        situation(rng, **values)


def test_numpy_scalars_are_numbers(rng: np.random.Generator) -> None:
    now = situation(rng, classes=np.int64(3), battery=np.float32(0.5))
    assert isinstance(now, Situation) and type(now.classes) is int
    one = selector()
    one.reward(one.choose("kitchen", now).ticket, np.float64(0.5))
