"""Hooks of PyTorch modules: what they compute, or why they are not read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pynq_train.exchange.windows import Refused

_PACKAGE = "torch.nn.utils"


class Computed:
    """A module with tensors that its hooks compute before each call, as they are now.

    Those that the module holds are of its last call, and may be older than its parameters.
    """

    def __init__(self, module: Any, tensors: Mapping[str, Any]) -> None:
        self._module, self._tensors = module, dict(tensors)

    def __getattr__(self, name: str) -> Any:
        """Return a computed tensor, or what the module has."""
        tensors = self._tensors
        return tensors[name] if name in tensors else getattr(self._module, name)


def checked_module(torch: Any, module: Any) -> Any:
    """Return a module that is not traced into, with the weights that its hooks compute.

    Old-style weight and spectral normalisation and pruning are such hooks.

    Raises:
        Refused: it has other hooks, or another ``forward`` than its class.
    """
    if "forward" in vars(module):
        raise Refused("has a forward() of its own", "derive a class from it")
    if module._forward_hooks:
        raise Refused("has a hook, which is not read", "put it into forward()")
    tensors: dict[str, Any] = {}
    with torch.enable_grad():  # what is computed of what learns learns
        for hook in module._forward_pre_hooks.values():
            name, tensor = _computed(hook, module)
            tensors[name] = tensor
    return Computed(module, tensors) if tensors else module


def _computed(hook: Any, module: Any) -> tuple[str, Any]:
    """Return the name of the tensor that a hook sets before each call, and the tensor."""
    if type(hook).__module__.startswith(_PACKAGE):
        if hasattr(hook, "apply_mask"):
            return hook._tensor_name, hook.apply_mask(module)
        if type(hook).__name__ == "SpectralNorm":
            return hook.name, hook.compute_weight(module, do_power_iteration=False)
        if type(hook).__name__ == "WeightNorm":
            return hook.name, hook.compute_weight(module)
    raise Refused("has a hook, which is not read", "put it into forward()")
