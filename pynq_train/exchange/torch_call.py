"""Calls of a traced PyTorch module, and what is asked of the tensors that they name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pynq_train.exchange.draft import Draft, Refused, Value
from pynq_train.exchange.shared_tensors import BIAS


@dataclass(frozen=True)
class Call:
    """A call in the traced module: values for tensors, plain Python for the rest."""

    draft: Draft
    label: str
    kind: str
    module: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    ends: bool
    asked: set[str] = field(default_factory=set)

    @property
    def value(self) -> Value:
        """The tensor that it reads."""
        first = self.args[0] if self.args else self.kwargs.get("input")
        if not isinstance(first, Value):
            raise Refused("reads no tensor of the network", "compute it outside the network")
        return first

    def option(self, place: int, name: str, default: Any = None) -> Any:
        """Return an argument of a function: positional, named, or the default."""
        return self.args[place] if len(self.args) > place else self.named(name, default)

    def named(self, name: str, default: Any = None) -> Any:
        """Return an argument that is given by its name (or NumPy's name for it), or the default."""
        for one in (name, *_ALIASES.get(name, ())):
            self.asked.add(one)
            if one in self.kwargs:
                return self.kwargs[one]
        return default

    def check_all_read(self) -> None:
        """Check that what the call says by name has been read.

        Raises:
            Refused: it has not, and may mean something else.
        """
        for name, value in self.kwargs.items():
            if name not in self.asked | _MEANS_NOTHING and value is not None:
                shown = repr(value) if isinstance(value, (bool, int, float, str)) else ""
                raise Refused(f"has the argument {name}={shown}, which is not read",
                              "leave it out")

    def tensor(self, place: int, name: str) -> Any:
        """Return a constant tensor that is an argument of a function, None if there is none.

        Raises:
            Refused: the network computes it.
        """
        found = self.option(place, name)
        if found is not None and not hasattr(found, "requires_grad"):
            raise Refused(f"has a computed {name}", "make it a parameter of the module")
        return found

    def number(self, name: str, place: int, default: Any = None) -> Any:
        """Return an attribute of the module or an argument of the function, or the default."""
        if self.module is not None:
            return getattr(self.module, name, default)
        return self.option(place, name, default)


_ALIASES = {"dim": ("axis",), "keepdim": ("keepdims",)}
"""What PyTorch takes for NumPy's sake."""
_MEANS_NOTHING = frozenset(("input", "inplace", "dtype", "memory_format", "training",
                            "_stacklevel"))
"""Arguments that change no value, or are read elsewhere."""


def array_of(tensor: Any) -> Any:
    """Return a tensor as an array, as float32 if NumPy has no such type.

    Raises:
        Refused: it has no data (device meta), or is quantised.
    """
    if tensor is None:
        return None
    if tensor.is_meta or tensor.is_quantized or tensor.is_complex():
        raise Refused("has weights without data" if tensor.is_meta else "has weights of type "
                      f"{str(tensor.dtype).removeprefix('torch.')}", "use a float module with its "
                      "weights loaded")
    array = tensor.detach().cpu()
    return (array if array.dtype.itemsize >= 4 else array.float()).numpy()


def owner_of(tensor: Any) -> Any:
    """Return what equal tensors, also of several parameters in one memory, have in common."""
    return tensor.data_ptr(), tensor.numel()


def tied(call: Call, made: Value, bias: Any) -> Value:
    """Return ``made``, and note whose its biases are."""
    if bias is not None:
        call.draft.note_owner(made.name, BIAS, owner_of(bias))
    return made


def frozen_of(weight: Any, bias: Any) -> list[str]:
    """Return which of the two do not learn in PyTorch: constants, and ``requires_grad=False``."""
    return [name for name, tensor in (("weight", weight), ("bias", bias))
            if tensor is None or not tensor.requires_grad]


def numbers_of(value: Any) -> tuple[Any, ...]:
    """Return one number, or several, as several."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)
