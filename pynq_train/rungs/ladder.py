"""The ladder of adaptation: rungs by name, each a change of a network and a list of what learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pynq_train.errors import BadInput, UnknownName, UnsupportedModel
from pynq_train.graph import BatchNorm, Graph, Model
from pynq_train.graph.shapes import require_int
from pynq_train.layers import fold_batchnorm, init_params
from pynq_train.rungs import adapters
from pynq_train.rungs.sparse import PART, sparse

RUNGS = ("lora", "skip-lora", "da3", "lite-residual", "sparse")
"""Rungs that change a network; ``all``, ``last-layer`` and others change none."""
RANK = 4
"""Rank of a low-rank pair: a channel block."""
_ENDINGS = (adapters.LORA_A, ".skip_a", ".da3_a", ".lite_a", f"{PART}0")
"""Ends of the names of what the rungs add."""
TILE = 16
"""Output channels of a tile that learns alone: lanes of the array."""


@dataclass(frozen=True)
class Adapted:
    """A network with adapters.

    Attributes:
        model: the network; it computes what it computed before.
        trainable: names of layers and parameters that learn.
        rung: name of the rung.
        note: what was done with the normalisations, empty without any.
    """

    model: Model
    trainable: tuple[str, ...]
    rung: str
    note: str = ""


def with_adapters(model: Model | Graph, rung: str, *, rank: int = RANK, seed: int = 0,
                  tile: int = TILE, blocks: int | None = None) -> Adapted:
    """Return a network with the adapters of a rung.

    Normalisations are folded into the layers before them (:func:`~pynq_train.fold_batchnorm`), or
    keep and use their running statistics where that is not possible.

    Args:
        model: the network; a graph alone gets the weights of ``seed``.
        rung: ``lora``, ``skip-lora``, ``da3``, ``lite-residual`` or ``sparse``.
        rank: of low-rank pairs.
        seed: of the adapters' weights.
        tile: output channels that learn alone (``sparse``).
        blocks: how many of the last blocks have a branch (``da3``, ``lite-residual``; default: a
            third of all, rounded), or how many of all a pair (``skip-lora``; default: four).

    Raises:
        UnknownName: no such rung.
        BadInput: the network has nothing that the rung could adapt, or adapters already; or a
            number that is none.
    """
    if rung not in RUNGS:
        raise UnknownName.among("rung", rung, RUNGS)
    require_int("rank", rank, 1)
    require_int("tile", tile, 1)
    if blocks is not None:
        require_int("blocks", blocks, 1)
    if isinstance(model, Graph):
        model = Model(model, init_params(model, seed))
    if not isinstance(model, Model):
        raise BadInput("model", expected="a Model or a Graph", found=type(model).__name__)
    _check_plain(model.graph)
    model, note = without_statistics(model)
    if rung == "lora":
        changed, learning = adapters.lora(model, rank, seed)
    elif rung == "skip-lora":
        changed, learning = adapters.skip_lora(model, rank, seed, blocks)
    elif rung == "da3":
        changed, learning = adapters.additive(model, seed, blocks)
    elif rung == "lite-residual":
        changed, learning = adapters.lite_residual(model, seed, blocks)
    else:
        changed, learning = sparse(model, tile)
    return Adapted(changed, learning, rung, note)


def _check_plain(graph: Graph) -> None:
    """Check that a network has no adapters.

    Raises:
        BadInput: it has; some are named.
    """
    found = [op.name for op in graph.ops if op.name.endswith(_ENDINGS)]
    if found:
        raise BadInput(f"network {graph.name!r}", expected="one without adapters",
                       found=", ".join(found[:3]) + (", ..." if len(found) > 3 else ""),
                       fix="merge them first (pynq_train.merge), train those that are there "
                       "(trainable=[...]), or begin with the network without them")


def without_statistics(model: Model) -> tuple[Model, str]:
    """Return a model none of whose normalisations measures, and what was done, for people."""
    if not any(isinstance(op, BatchNorm) for op in model.graph.ops):
        return model, ""
    try:
        return fold_batchnorm(model), "normalisations folded into the layers before them"
    except UnsupportedModel:
        # Behind something else than a layer of its own, or too large folded.
        ops = tuple(replace(op, frozen=True) if isinstance(op, BatchNorm) else op
                    for op in model.graph.ops)
        graph = Graph(model.graph.input_shape, ops, model.graph.name)
        return replace(model, graph=graph), "normalisations keep and use their running statistics"


def given(model: Model | Graph, trainable: str | Sequence[str], seed: int
          ) -> tuple[Model | Graph, str | Sequence[str]]:
    """Return a network and what learns of it, where ``trainable`` may name a rung.

    Args:
        model: the network as a user gave it.
        trainable: what learns: the name of a rung, or anything else, which stays as it is.
        seed: of new weights.

    Raises:
        BadInput: as :func:`with_adapters`.
    """
    if not isinstance(trainable, str) or trainable not in RUNGS:
        return model, trainable
    adapted = with_adapters(model, trainable, seed=seed)
    return adapted.model, adapted.trainable
