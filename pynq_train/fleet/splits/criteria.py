"""Gacoin's criteria of a split: images until a battery is empty, accuracy per joule, relays."""

from __future__ import annotations

from collections.abc import Iterable

from pynq_train.fleet.power import Power


def frames_per_joule(stages_s: Iterable[float], power: Power) -> float:
    """Return N / E: images per joule of the battery that is empty first.

    The slowest board of a pipeline computes all the time; links cost nothing.

    Args:
        stages_s: seconds that each board computes per image.
        power: watts of a board.
    """
    return 1.0 / (power.compute_w * max(stages_s))


def relay_frames_per_joule(whole_s: float, power: Power, boards: int) -> float:
    """Return N / E of boards that take turns: each runs the whole network until it is empty.

    Whoever waits draws the power of idleness. With q = 1 - Pidle / Pc the n-th board has q ** n of
    its battery left when its turn comes.

    Args:
        whole_s: seconds of the whole network per image.
        power: watts of a board.
        boards: how many.
    """
    left = 1 - power.idle_w / power.compute_w
    return frames_per_joule([whole_s], power) * sum(left ** turn for turn in range(boards))


def accuracy_per_joule(accuracy: float, boards_s: Iterable[float], power: Power | None) -> float:
    """Return P: accuracy over the energy that all boards need to compute one image.

    Args:
        accuracy: part of the images that are classified rightly, 0 to 1.
        boards_s: seconds that each board computes per image.
        power: watts of a board; None: per second, as Gacoin prints it.
    """
    seconds = sum(boards_s)
    return accuracy / (seconds if power is None else power.compute_w * seconds)
