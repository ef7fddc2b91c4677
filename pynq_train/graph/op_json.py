"""Operations as plain values for JSON, and back."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from pynq_train.errors import BadInput, UnsupportedModel
from pynq_train.graph.ops import OP_TYPES, Op

_LATER = {"dilation": 1}
"""Fields that came later: graphs without them are saved as they always were."""


def op_to_dict(op: Op) -> dict[str, Any]:
    """Return ``op`` as plain values for JSON."""
    values = {f.name: getattr(op, f.name) for f in fields(op)}
    values = {name: value for name, value in values.items()
              if name not in _LATER or value != _LATER[name]}
    return {"op": op.kind, **values, "inputs": list(op.inputs)}


def op_from_dict(entry: Any) -> Op:
    """Rebuild an operation from :func:`op_to_dict`; raise :class:`BadInput` if it is malformed.

    Fields that an older format did not have take their defaults.
    """
    kind = entry.get("op") if isinstance(entry, dict) else None
    if not isinstance(kind, str) or kind not in OP_TYPES:
        found = entry.get("op") if isinstance(entry, dict) else entry
        raise UnsupportedModel("operation of a saved graph",
                               expected="one of " + ", ".join(OP_TYPES), found=repr(found)[:80])
    cls = OP_TYPES[entry["op"]]
    known = {f.name for f in fields(cls)}
    values = {key: value for key, value in entry.items() if key != "op"}
    wrong = sorted(set(values) - known)
    if wrong:
        raise BadInput(f"fields of operation {entry['op']}", expected=", ".join(sorted(known)),
                       found=", ".join(wrong))
    if isinstance(values.get("inputs"), list):
        values["inputs"] = tuple(values["inputs"])
    try:
        op: Op = cls(**values)
    except TypeError as error:
        raise BadInput(f"saved operation {entry['op']} is incomplete ({error})") from None
    return op
