"""Trees of networks: groups from confusions, training, placement, simulation."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import combinations, product

import numpy as np
import pytest

from pynq_train.errors import BadInput, DoesNotFit
from pynq_train.fleet.hierarchy import Hierarchy, groups_of
from pynq_train.fleet.hierarchy.groups import confusion_of
from pynq_train.fleet.hierarchy.placement import Placement, Task, _balanced, on_one_board, place
from pynq_train.fleet.link import Link
from pynq_train.fleet.power import Power
from pynq_train.fleet.simulation.tree import simulate_tree
from pynq_train.fleet.splits.split import Setting
from pynq_train.graph import Graph, Model, Sequential
from pynq_train.layers import fuse, init_params
from pynq_train.train import SGD

POWER = Power(3.0, 1.0, 2.0)


# -- groups --------------------------------------------------------------------------------------

def test_confusions_are_counted() -> None:
    found = confusion_of([0, 0, 1, 2, 2, 2], [0, 1, 1, 2, 0, 0], 3)
    assert found.tolist() == [[1, 1, 0], [0, 1, 0], [2, 0, 1]]


@pytest.mark.parametrize("seed", range(6))
def test_groups_that_are_planted_are_found(seed: int) -> None:
    """Classes of a group are taken for each other; numbers and group sizes are drawn."""
    rng = np.random.RandomState(seed)
    order, cuts = rng.permutation(9), sorted(rng.choice(np.arange(1, 9), 2, replace=False))
    planted = [sorted(map(int, part)) for part in np.split(order, cuts)]
    confusion = rng.randint(0, 4, (9, 9))
    for group in planted:
        confusion[np.ix_(group, group)] += 20
    confusion[np.arange(9), np.arange(9)] += rng.randint(50, 500, 9)
    assert sorted(map(list, groups_of(confusion, 3))) == sorted(planted)


def test_rare_classes_count_like_others() -> None:
    """Parts of a class's images decide, not how many there are."""
    confusion = np.array([[900, 50, 50], [1, 1, 8], [0, 3, 7]])
    assert groups_of(confusion, 2) == ((0,), (1, 2))


def test_groups_have_a_largest_size() -> None:
    confusion = np.full((6, 6), 5)
    confusion[:4, :4] += 30
    assert {len(group) for group in groups_of(confusion, 3, most=2)} == {2}
    assert sorted(map(len, groups_of(confusion, 2, most=4))) == [2, 4]
    # Joining 0, 1 and 2 first would leave sizes that make no two groups of three.
    assert sorted(map(len, groups_of(confusion, 2, most=3))) == [3, 3]


@pytest.mark.parametrize(("call", "words"), [
    (lambda: groups_of(np.zeros((2, 3), int), 2), "expected counts (classes, classes)"),
    (lambda: groups_of(np.eye(3), 2),  # type: ignore[arg-type]
     "expected counts (classes, classes), found float64"),
    (lambda: groups_of(-np.eye(3, dtype=int), 2), "expected counts"),
    (lambda: groups_of(np.eye(3, dtype=int), 4), "expected 1 to 3, as there are classes, found 4"),
    (lambda: groups_of(np.eye(5, dtype=int), 2, 2), "expected room for 5 classes"),
    (lambda: confusion_of([0, 1], [0], 2), "as many answers as labels"),
    (lambda: confusion_of([0, 2], [0, 1], 2), "expected classes 0 to 1, found 0 to 2"),
])
def test_refused_groups(call: Callable[[], object], words: str) -> None:
    with pytest.raises(BadInput, match=re.escape(words)):
        call()


# -- the tree ------------------------------------------------------------------------------------

def net(outputs: int) -> Graph:
    return Sequential((1, 6, 6), f"tree{outputs}").conv(4, 3, padding=1).relu().pool().dense(
        outputs).build()


def rows(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of five classes: a bright row, or, in class 4, a bright column."""
    rng = np.random.RandomState(seed)
    y = rng.randint(0, 5, count)
    x = 0.3 * rng.standard_normal((count, 1, 6, 6)).astype(np.float32)
    for at, label in enumerate(y):
        if label < 4:
            x[at, 0, label + 1] += 1
        else:
            x[at, 0, :, 3] += 1
    return x, y


def test_a_tree_learns_and_counts_its_visits() -> None:
    x, y = rows(200, 1)
    with Hierarchy([[0, 1], [3, 2], [4]], net, batch=20, optimizer=SGD(lr=0.1)) as tree:
        assert tree.leaves[2] is None and tree.classes == 5
        tree.fit(x, y, epochs=12, progress=False)
        xv, yv = rows(100, 2)
        found = tree.evaluate(xv, yv)
        routes, answers = tree.route(xv), tree.predict(xv)
        leaf = tree.leaves[1]
        assert leaf is not None
        own = routes == 1
        # Each leaf answers the classes of its group, in the order in which they were given.
        assert np.array_equal(answers[own], np.array([3, 2])[leaf.predict(xv[own])])
    assert found.accuracy == np.mean(answers == yv) and found.accuracy > 0.8
    assert found.root_accuracy >= found.accuracy and found.images == 100
    assert found.visits == pytest.approx([np.mean(routes == group) for group in range(3)])
    assert set(answers[routes == 2]) <= {4}


@pytest.mark.parametrize(("groups", "words"), [
    ([[0, 1, 2]], "two or more"), ([[0], [2]], "each class from 0 up"), ([[0], [0, 1]], "two or"),
    ([[0, 1], []], "two or more")])
def test_refused_trees(groups: list[list[int]], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        Hierarchy(groups, net)


def test_wrong_networks_and_labels() -> None:
    with pytest.raises(BadInput, match="of the tree: expected 2 outputs, found 3"):
        Hierarchy([[0, 1], [2, 3]], lambda outputs: net(outputs + 1))
    with Hierarchy([[0, 1], [2, 3]], net) as tree:
        x = np.zeros((4, 1, 6, 6), np.float32)
        with pytest.raises(BadInput, match="labels: expected classes 0 to 3, found 0 to 4"):
            tree.fit(x, np.array([0, 1, 2, 4]))
        with pytest.raises(BadInput, match="images of the classes 2, 3: expected one or more"):
            tree.fit(x, np.array([0, 1, 1, 0]))
        with pytest.raises(BadInput, match=re.escape("expected class numbers (n,)")):
            tree.evaluate(x, np.zeros(4))


def test_a_tree_of_networks_with_weights() -> None:
    """The root's comes first, then those of the leaves, in the order of the groups."""
    made = [net(2), net(3), net(2)]
    models = [Model(graph, init_params(fuse(graph), 5 + at)) for at, graph in enumerate(made)]
    left = list(models)
    with Hierarchy([[0, 3, 4], [1, 2]], lambda outputs: left.pop(0)) as tree:
        assert not left
        for learner, model in zip((tree.root, *tree.leaves), models):
            assert learner is not None
            for name, own in learner.masters.items():
                assert np.abs(own.params().weight - model.params[name].weight).max() < 1e-4
    with pytest.raises(BadInput, match="of the tree: expected 2 outputs, found 3"):
        Hierarchy([[0, 3, 4], [1, 2]], lambda outputs: models[1])


# -- placement -----------------------------------------------------------------------------------

def drawn(seed: int) -> tuple[list[Task], Setting, int]:
    rng = np.random.RandomState(seed)
    visits = rng.dirichlet(np.ones(3))
    tasks = [Task("root", float(rng.uniform(0.5e-3, 2e-3)), 1.0, int(rng.randint(1, 5) * 1000))]
    tasks += [Task(f"leaf{at}", float(rng.uniform(0.5e-3, 4e-3)), float(part),
                   int(rng.randint(1, 5) * 1000)) for at, part in enumerate(visits)]
    setting = Setting(Link(float(rng.choice([1e6, 1e8]))), POWER,
                      float(rng.choice([0.0, 1e-4, 5e-4])))
    return tasks, setting, int(rng.choice([256, 3072]))


def check(found: Placement) -> None:
    """Every frame is answered once by each network that it visits."""
    for task, own in zip(found.tasks, found.shares):
        assert sum(own) == pytest.approx(task.visits) and min(own) >= 0
    sent, taken = (sum(one) for one in zip(*found.messages))
    assert sent == pytest.approx(taken)


@pytest.mark.parametrize("seed", range(8))
def test_placements_are_near_the_best_of_equal_shares(seed: int) -> None:
    """No placement whose boards share frames equally is faster by more than a few percent."""
    tasks, setting, nbytes = drawn(seed)
    boards = 2
    found = place(tasks, boards, setting, nbytes, 10 ** 9)
    check(found)
    sets = [set(own) for count in (1, 2) for own in combinations(range(boards), count)]
    least = min(
        Placement(tuple(tasks), boards, tuple(
            tuple(task.visits / len(own) if here in own else 0.0 for here in range(boards))
            for task, own in zip(tasks, where)), setting, nbytes).period_s
        for where in product(sets, repeat=len(tasks)))
    assert found.period_s <= 1.03 * least
    one = on_one_board(tasks, setting, nbytes)
    check(one)
    assert one.messages == ((0.0, 0.0),) and found.period_s <= one.period_s * 1.001


def test_without_costs_of_messages_boards_share_all_work() -> None:
    tasks, _, nbytes = drawn(3)
    for boards in (2, 3, 4):
        found = place(tasks, boards, Setting(None, POWER), nbytes, 10 ** 9)
        one = on_one_board(tasks, Setting(None, POWER), nbytes)
        assert found.against(one)["frames"] == pytest.approx(boards, rel=0.02)


def test_boards_of_a_network_are_levelled() -> None:
    """Who has other work takes fewer frames, who has too much of it none."""
    tasks = [Task("root", 2e-3, 1.0, 1), Task("a", 4e-3, 0.5, 1), Task("b", 1e-3, 0.5, 1)]
    shares = _balanced(tasks, (frozenset([0]), frozenset([0, 1, 2]), frozenset([1])), 3)
    load = [sum(task.seconds * row[here] for task, row in zip(tasks, shares)) for here in range(3)]
    assert load == pytest.approx([2e-3, 1.25e-3, 1.25e-3])
    assert shares[1] == pytest.approx((0.0, 0.1875, 0.3125))


def test_figures_of_a_placement() -> None:
    tasks = (Task("root", 1e-3, 1.0, 100), Task("a", 2e-3, 0.75, 200), Task("b", 4e-3, 0.25, 300))
    setting = Setting(Link(1e6), POWER, 1e-4)
    found = Placement(tasks, 2, ((1.0, 0.0), (0.25, 0.5), (0.0, 0.25)), setting, 1000)
    assert found.messages == ((0.75, 0.0), (0.0, 0.75))
    assert found.compute_s == pytest.approx((1e-3 + 0.5e-3, 1e-3 + 1e-3))
    assert found.host_s == pytest.approx((0.75e-4, 0.75e-4))
    assert found.period_s == pytest.approx(2.075e-3)
    assert found.memory_bytes == (300, 500)
    joules = [3 * 1.5e-3 + 2 * 0.75e-4 + 1 * (2.075e-3 - 1.575e-3), 3 * 2e-3 + 2 * 0.75e-4]
    assert found.device_j == pytest.approx(joules)
    against = found.against(on_one_board(tasks, setting, 1000))
    assert against["frames"] == pytest.approx(3.5e-3 / 2.075e-3)
    assert against["device_memory_less_pct"] == pytest.approx(100 * (1 - 400 / 600))
    assert against["device_energy_less_pct"] == pytest.approx(
        100 * (1 - sum(joules) / 2 / (3 * 3.5e-3)))
    slow = Placement(tasks, 2, found.shares, Setting(Link(1e5), POWER), 1000)
    assert slow.period_s == pytest.approx(0.75 * 1e-2)
    # Images that are sent together cost the processor less, and the wire the same.
    for nbytes, period in ((1000, 1e-3 + 1e-3 + 0.75e-4 / 5), (10_000, 0.75 * 1e-2)):
        joined = Placement(tasks, 2, found.shares, setting, nbytes, per_message=5)
        assert joined.messages == ((0.15, 0.0), (0.0, 0.15)) and joined.images == found.images
        assert joined.host_s == pytest.approx((0.15e-4, 0.15e-4))
        assert joined.period_s == pytest.approx(period)


def test_memory_limits_placements() -> None:
    tasks, setting, nbytes = drawn(2)
    free = place(tasks, 4, Setting(None, POWER), nbytes, 10 ** 9)
    room = max(task.memory_bytes for task in tasks)
    tight = place(tasks, 4, Setting(None, POWER), nbytes, room)
    assert max(tight.memory_bytes) <= room and tight.period_s >= free.period_s
    with pytest.raises(DoesNotFit, match="a tree on 1 boards: expected at most"):
        place(tasks, 1, setting, nbytes, room)


@pytest.mark.parametrize("per_message", [1, 16])
@pytest.mark.parametrize("seed", range(6))
def test_simulated_trees_have_the_period_of_the_formulas(seed: int, per_message: int) -> None:
    """At most as fast as the busiest board or port, and near it; energy as it was counted."""
    tasks, setting, nbytes = drawn(seed)
    found = place(tasks, 3, setting, nbytes, 10 ** 9, per_message)
    run = simulate_tree(found, 3000, seed)
    assert run.images == 3000
    assert 0.85 / found.period_s < run.images_per_s < 1.06 / found.period_s
    each = np.array(run.stage_j) / run.images
    assert each.sum() == pytest.approx(sum(found.device_j), rel=0.08)
    assert run.latency(0.0) >= min(task.seconds for task in tasks)
    assert simulate_tree(found, 300, 1) == simulate_tree(found, 300, 1)


@pytest.mark.parametrize(("frames", "messages"), [(2, 1), (7, 1), (8, 1), (9, 2), (64, 8)])
def test_images_wait_for_a_message_that_they_fill(frames: int, messages: int) -> None:
    """What is left at the end is sent as it is: all frames end, and no message too many."""
    tasks = (Task("root", 1e-3, 1.0, 1), Task("a", 1e-3, 1.0, 1))
    setting = Setting(None, POWER, 1e-2)
    run = simulate_tree(Placement(tasks, 2, ((1.0, 0.0), (0.0, 1.0)), setting, 1, 8), frames)
    assert run.images == frames
    idle, busy = POWER.idle_w, POWER.handling_w - POWER.idle_w
    active = (POWER.compute_w - idle) * 1e-3 * frames
    for joules in run.stage_j:
        assert (joules - idle * run.seconds - active) / busy / 1e-2 == pytest.approx(messages)


def test_a_tree_on_one_board_is_simulated_exactly() -> None:
    tasks = (Task("root", 1e-3, 1.0, 1), Task("a", 2e-3, 0.5, 1))
    # Nothing is sent: neither a slow link nor a slow host can be noticed.
    slow = Setting(Link(1e3), POWER, 1e-3)
    run = simulate_tree(on_one_board(tasks, slow, 1000), 4000)
    assert run.images_per_s == pytest.approx(1 / 2e-3, rel=0.03)
    # Four frames are under way, root and leaf wait in one queue: none takes longer than all work.
    assert run.latency(0.0) >= 0.001 and run.latency(1.0) <= 4 * 0.003 + 1e-9
    assert sum(run.stage_j) == pytest.approx(3.0 * run.seconds)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: Task("a", 0.0, 0.5, 1), "seconds above 0"),
    (lambda: Task("a", 1.0, 1.5, 1), "visits of 0 to 1"),
    (lambda: place([], 2, Setting(), 1, 1), "visits: expected 1 for the root"),
    (lambda: place([Task("r", 1.0, 0.5, 1)], 2, Setting(), 1, 1), "expected 1 for the root"),
    (lambda: place([Task("r", 1.0, 1.0, 1), Task("a", 1.0, 0.7, 1), Task("b", 1.0, 0.7, 1)], 2,
                   Setting(), 1, 9), "1 at most for all leaves together"),
    (lambda: place([Task("r", 1.0, 1.0, 1)], 0, Setting(), 1, 1), "boards: expected an integer"),
    (lambda: place([Task("r", 1.0, 1.0, 1)], 2, Setting(), 1, 1, 0),
     "images of a message: expected an integer of 1 or more, found 0"),
    (lambda: simulate_tree(on_one_board([Task("r", 1.0, 1.0, 1)], Setting(), 1), 1),
     "frames: expected an integer of 2 or more"),
])
def test_refused_placements(call: Callable[[], object], words: str) -> None:
    with pytest.raises(BadInput, match=re.escape(words)):
        call()
