"""Update (SGD on the masters) and losses (cross-entropy, squared error), in integers.

``docs/numerics.md`` 4 and 5 define them.
"""

from __future__ import annotations

import numpy as np

from pynq_train.arrays import Array
from pynq_train.backends.golden.memory import ArenaViews
from pynq_train.backends.golden.workers import Workers
from pynq_train.fixed import rne_shift, saturate, wrap
from pynq_train.hw import tables
from pynq_train.hw.commands import Opcode
from pynq_train.hw.words import ABSENT_WEIGHT, CHANNELS_PER_WORD, ceil_div
from pynq_train.program.program import Fields

GRADIENT_BITS, MASTER_BITS, CODE_BITS = 48, 32, 16
_PRE_SHIFT, _SUM_SHIFT = 16, 24
_CHUNK = 1 << 14
"""Elements that a thread updates at once."""
_EXP2 = np.array(tables.EXP2, np.int64)
_LOG2 = np.array(tables.LOG2, np.int64)
_TARGET_ONE = 1 << 16
"""A target of one as an integer with 16 fraction bits."""


def _update(p: Fields, sums: Array, masters: Array, copy: Array | None) -> tuple[int, int]:
    """Do one step of SGD on masters, in place.

    What is absent stays so, its momentum and its copy are zero.

    Args:
        p: fields of the step-block entry.
        sums: gradient sums, int64.
        masters: int32, {weight, momentum} in a last axis; or plain, of the shape of ``sums``.
        copy: int16 of the shape of ``sums``, gets the 16-bit weights; None: not wanted.

    Returns:
        Measure of the new masters, saturations of the copy.
    """
    plain = masters.ndim == sums.ndim
    # 48 bits and 16 more are just int64: nothing is lost in front of the shift.
    g = rne_shift(wrap(sums, GRADIENT_BITS) << _PRE_SHIFT, p["g_shift"])
    weight = (masters if plain else masters[..., 0]).astype(np.int64)
    # Weight decay and gradient, 24 bits below the momentum's last place: decay is Q0.20 and weights
    # have 4 fraction bits more than momentum.
    slope = weight * p["decay"]
    slope += saturate(g, MASTER_BITS) << _SUM_SHIFT
    total = slope
    if not plain:
        total = slope + ((masters[..., 1].astype(np.int64) * p["momentum"]) << 8)
    velocity = saturate(rne_shift(total, _SUM_SHIFT), MASTER_BITS)
    # Nesterov looks one step ahead: the same formula with the new momentum in place of the old one.
    step = velocity
    if p["nesterov"]:
        step = saturate(rne_shift(slope + ((velocity * p["momentum"]) << 8), _SUM_SHIFT),
                        MASTER_BITS)
    delta = saturate(rne_shift(step * p["lr"], p["lr_shift"]), MASTER_BITS)
    absent = weight == ABSENT_WEIGHT
    weight = saturate(weight - delta, MASTER_BITS)
    # Before the measure: an absent weight must not widen the range.
    if absent.any():
        weight[absent] = velocity[absent] = 0
    if plain:
        masters[:] = weight
        masters[absent] = ABSENT_WEIGHT
    else:
        masters[..., 0], masters[..., 1] = weight, velocity
        masters[absent, 0] = ABSENT_WEIGHT
    measure = int(np.bitwise_or.reduce(weight ^ (weight >> 63), axis=None))
    if copy is None:
        return measure, 0
    exact = rne_shift(weight, p["w_shift"])
    codes = saturate(exact, CODE_BITS)
    copy[...] = codes
    return measure, int(np.count_nonzero(codes != exact))


def update(memory: ArenaViews, d: Fields, p: Fields,
           workers: Workers) -> tuple[int, int]:
    """Run the update unit on sums that stand in memory (UPDATE: biases).

    Args:
        memory: the arena.
        d: fields of the descriptor.
        p: fields of the step-block entry.
        workers: the threads.

    Returns:
        Its record: measure, saturations.
    """
    sums = memory.view("the gradient sums", d["gu.sums"], (d["gu.elements"],), np.int64)
    return update_from(memory, d, p, sums, workers)


def update_from(memory: ArenaViews, d: Fields, p: Fields, sums: Array,
                workers: Workers) -> tuple[int, int]:
    """Run the update unit on given sums (GRADIENT: those of the weight gradient).

    Of a GRADIENT, only the first ``rows`` output channels of each m tile are touched.

    Args:
        memory: the arena.
        d: fields of the descriptor.
        p: fields of the step-block entry.
        sums: int64, flat, in the order of the masters.
        workers: the threads.

    Returns:
        Its record: measure, saturations.

    Raises:
        ValueError: there are not as many sums as the descriptor has elements.
    """
    count = d["gu.elements"]
    if len(sums) != count:
        raise ValueError(f"gu.elements: expected the weights of the geometry ({len(sums)}), "
                         f"found {count}")
    shape = (count,) if d["gu.plain"] else (count, 2)
    masters = memory.view("the masters", d["gu.masters"], shape, np.int32)
    copy = (memory.view("the 16-bit copy", d["gu.copy"], (count,), np.int16)
            if d["gu.copies"] else None)

    if d["pre.opcode"] == Opcode.GRADIENT and d["gu.rows"] < d["g.g_tile"]:
        # The innermost dimensions of the weights are [m of the tile, 4 n]: live rows stand in
        # front.
        live, block = d["gu.rows"] * CHANNELS_PER_WORD, d["g.g_tile"] * CHANNELS_PER_WORD
        sums = sums.reshape(-1, block)[:, :live]
        masters = masters.reshape(-1, block, *shape[1:])[:, :live]
        copy = None if copy is None else copy.reshape(-1, block)[:, :live]
    chunk = max(1, _CHUNK * len(sums) // count)

    def run(start: int) -> tuple[int, int]:
        part = slice(start, start + chunk)
        return _update(p, sums[part], masters[part], None if copy is None else copy[part])

    results = workers.map(run, range(0, len(sums), chunk))
    measure = 0
    for bits, _ in results:
        measure |= bits
    return measure, sum(r[1] for r in results)


def exponent(distance: Array, z_shift: int) -> Array:
    """Return distances of logit codes in log2 units, with 16 fraction bits; rounded down.

    2**-t of a distance t is what e**-d is of d, the distance of the real logits.
    """
    return (distance * tables.LOG2_E) >> z_shift


def exponential(tq: Array) -> Array:
    """Return 2**(22 - t) for t = ``tq`` / 2**16, by table and linear interpolation.

    The table has 256 steps of the fraction; whole powers of two are shifts.
    """
    whole, fraction = tq >> 16, tq & 0xFFFF
    low, high = _EXP2[fraction >> 8], _EXP2[(fraction >> 8) + 1]
    mantissa = low - (((low - high) * (fraction & 255)) >> 8)
    return np.where(whole > 30, 0, mantissa >> np.minimum(whole, 31))


def logarithm(total: Array) -> Array:
    """Return log2(total) - 22 with 16 fraction bits, by table and linear interpolation.

    ``total``: int64, 1 to 2**52. 22 is the scale of :func:`exponential`.
    """
    # Position of the leading one; float64 holds integers up to 2**52 exactly.
    lead = np.frexp(total.astype(np.float64))[1].astype(np.int64) - 1
    left = np.where(lead >= 16, total >> np.maximum(lead - 16, 0),
                    total << np.maximum(16 - lead, 0))
    x = left & 0xFFFF
    low, high = _LOG2[x >> 8], _LOG2[(x >> 8) + 1]
    log = low + (((high - low) * (x & 255)) >> 8)
    return (lead - tables.EXP2_FRACTION_BITS) * 65536 + log


def cross_entropy(z: Array, hit: Array, p: Fields) -> tuple[Array, Array]:
    """Return loss and gradient of each image.

    Args:
        z: logits, int64 ``(images, classes)``.
        hit: bool likewise, True at the label.
        p: fields of the step-block entry.

    Returns:
        Losses int64 ``(images,)`` in log2 units with 16 fraction bits, and gradient codes int64
        ``(images, classes)`` with 15.
    """
    # Distances to the maximum, as always with softmax: powers do not overflow, and the largest is
    # 1.
    tq = exponent(z.max(axis=1, keepdims=True) - z, p["z_shift"])
    e = exponential(tq)
    total = e.sum(axis=1)
    own = tq[np.arange(len(z)), hit.argmax(axis=1)]
    # Loss = log(sum) + sum of target * distance. Without smoothing that is the label's distance;
    # smoothing gives t_off of it to every class and takes t_off + t_drop from the label.
    smooth = p["t_off"] * tq.sum(axis=1) - (p["t_off"] + p["t_drop"]) * own
    target = np.where(hit, _TARGET_ONE - p["t_drop"], p["t_off"])
    share = (e << 16) // total[:, None]
    return (own + (smooth >> 16) + logarithm(total),
            saturate(rne_shift(share - target, 1), CODE_BITS))


def squared_error(z: Array, hit: Array, p: Fields) -> tuple[Array, Array]:
    """Return loss and gradient of each image.

    Arguments as for :func:`cross_entropy`.

    Returns:
        Sums of squared codes int64 ``(images,)``, and the codes of the error int64 ``(images,
        classes)``, which are the gradients.
    """
    difference = z - np.where(hit, 1 << p["z_shift"], 0)
    codes = saturate(rne_shift(difference, p["m_shift"]), CODE_BITS)
    return np.square(codes).sum(axis=1), codes


def softmax(memory: ArenaViews, d: Fields, p: Fields) -> tuple[int, int]:
    """Run the softmax unit, on either loss.

    Args:
        memory: the arena.
        d: fields of the descriptor.
        p: fields of the step-block entry; images from ``valid`` on do not count.

    Returns:
        Its record: sum of losses, correct predictions.
    """
    batch, classes = d["gc.count"], d["gf.classes"]
    blocks = ceil_div(classes, CHANNELS_PER_WORD)
    shape = (blocks, batch, CHANNELS_PER_WORD)
    logits = memory.view("the logits", d["gf.logits"], shape, np.int16)
    labels = memory.view("the labels", d["gf.labels"], (batch,), np.int64)
    z = logits.transpose(1, 0, 2).reshape(batch, -1)[:, :classes].astype(np.int64)
    hit = np.arange(classes) == labels[:, None]
    counted = np.arange(batch) < p["valid"]
    correct = int(((z.argmax(axis=1) == labels) & counted).sum())
    loss, codes = (squared_error if d["gf.mse"] else cross_entropy)(z, hit, p)
    if d["gf.grad"]:
        padded = np.zeros((batch, blocks * CHANNELS_PER_WORD), np.int16)
        padded[:, :classes] = codes * counted[:, None]
        out = memory.view("the logit gradients", d["gf.gradient"], shape, np.int16)
        out[...] = padded.reshape(batch, blocks, CHANNELS_PER_WORD).transpose(1, 0, 2)
    return int(loss[counted].sum()), correct
