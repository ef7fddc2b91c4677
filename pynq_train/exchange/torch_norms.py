"""What PyTorch's group, layer and instance normalisations become."""

from __future__ import annotations

from typing import Any

from pynq_train.exchange.draft import Refused, Value
from pynq_train.exchange.group_norms import group_norm, layer_norm
from pynq_train.exchange.torch_call import Call, array_of, frozen_of, numbers_of, owner_of, tied


def group_norm_call(call: Call) -> Value:
    weight, bias = _gamma_beta(call, 2)
    made = group_norm(call.draft, call.value, call.number("num_groups", 1), call.number(
        "eps", 4, 1e-5), array_of(weight), array_of(bias), **_learns(call, weight, bias))
    return tied(call, made, bias)


def layer_norm_call(call: Call) -> Value:
    weight, bias = _gamma_beta(call, 2)
    made = layer_norm(call.draft, call.value, numbers_of(call.number("normalized_shape", 1)),
                      call.number("eps", 4, 1e-5), array_of(weight), array_of(bias),
                      **_learns(call, weight, bias))
    return tied(call, made, bias)


def instance_norm_call(call: Call) -> Value:
    running = (call.module.running_mean is not None if call.module is not None
               else not call.option(5, "use_input_stats", True))
    if running:
        raise Refused("has running statistics", "use track_running_stats=False")
    weight, bias = _gamma_beta(call, 3)
    call.option(6, "momentum")  # of running statistics
    made = group_norm(call.draft, call.value, -1, call.number("eps", 7, 1e-5), array_of(weight),
                      array_of(bias), **_learns(call, weight, bias))
    return tied(call, made, bias)


def _gamma_beta(call: Call, place: int) -> tuple[Any, Any]:
    """Return gamma and beta, None without; ``place``: of gamma among a function's arguments."""
    if call.module is not None:
        return call.module.weight, call.module.bias
    return call.tensor(place, "weight"), call.tensor(place + 1, "bias")


def _learns(call: Call, weight: Any, bias: Any) -> dict[str, Any]:
    """Return names, owner and what does not learn of gamma and beta."""
    return {"label": call.label, "owner": None if weight is None else owner_of(weight),
            "frozen": frozen_of(weight, bias)}
