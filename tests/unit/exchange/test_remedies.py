"""What the importers know by name, and what they advise instead of the rest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pynq_train.exchange import keras_layers, onnx_nodes, torch_nodes

ROOT = Path(__file__).resolve().parents[3]
_PREPARE = "prepare the images before the network, or fold it into the weights"
REMEDIES: dict[str, tuple[Mapping[str, str], dict[str, str]]] = {
    "torch": (torch_nodes.INSTEAD, {
        "use ELU": "selu", "use SiLU": "mish",
        "use BatchNorm2d or GroupNorm": "localresponsenorm rmsnorm rms_norm",
        _PREPARE: "sub div truediv isub itruediv",
        "write x = x * y, which is not in place": "imul",
        "use AdaptiveAvgPool2d(1)": "adaptivemaxpool2d",
        "use Conv2d": "conv3d", "use convolutions over time": "lstm gru"}),
    "onnx": (onnx_nodes.INSTEAD, {
        "use Elu": "Selu", "use x * Sigmoid(x)": "Mish",
        "use GlobalAveragePool": "GlobalMaxPool",
        "use BatchNormalization": "LRN",
        "export the float model": "QuantizeLinear DequantizeLinear QLinearConv QLinearMatMul "
                                  "ConvInteger MatMulInteger DynamicQuantizeLinear Quant "
                                  "BipolarQuant IntQuant FloatQuant Trunc MultiThreshold",
        _PREPARE: "Sub Div", "use convolutions over time": "LSTM GRU"}),
    "keras": (keras_layers.INSTEAD, {
        "use BatchNormalization or GroupNormalization": "UnitNormalization RMSNormalization",
        "use convolutions over time": "LSTM GRU SimpleRNN Bidirectional",
        "use GlobalAveragePooling2D": "GlobalMaxPooling2D",
        }),
}
NAMES: dict[str, tuple[Mapping[str, Any], str]] = {
    "torch modules": (torch_nodes.MODULES,
        "Conv1d MaxPool1d AvgPool1d AdaptiveAvgPool1d ZeroPad1d ConstantPad1d "
        "Conv2d Linear BatchNorm2d BatchNorm1d GroupNorm LayerNorm InstanceNorm1d InstanceNorm2d "
        "ReLU ReLU6 PReLU Hardtanh MaxPool2d AvgPool2d "
        "AdaptiveAvgPool2d Flatten Dropout Dropout1d Dropout2d AlphaDropout ZeroPad2d "
        "ConstantPad2d Identity Softmax LogSoftmax Upsample UpsamplingNearest2d "
        "UpsamplingBilinear2d ConvTranspose1d ConvTranspose2d LeakyReLU ELU "
        "Sigmoid Tanh SiLU Hardswish Hardsigmoid GELU"),
    "torch functions": (torch_nodes.FUNCTIONS,
        "sub mul div truediv add iadd cat concat relu relu_ relu6 hardtanh concatenate conv2d "
        "conv1d max_pool1d avg_pool1d adaptive_avg_pool1d "
        "linear prelu group_norm layer_norm instance_norm max_pool2d boolean_dispatch avg_pool2d "
        "adaptive_avg_pool2d flatten mean reshape "
        "squeeze unsqueeze dropout dropout1d dropout2d alpha_dropout softmax log_softmax getattr "
        "pad permute interpolate conv_transpose1d conv_transpose2d "
        "multiply leaky_relu leaky_relu_ elu elu_ sigmoid sigmoid_ "
        "tanh tanh_ silu hardswish hardsigmoid gelu"),
    "torch methods": (torch_nodes.METHODS,
        "relu relu_ prelu sub mul div add add_ flatten view reshape mean squeeze unsqueeze "
        "contiguous size dim numel nelement float permute softmax log_softmax sigmoid sigmoid_ "
        "tanh tanh_ expand expand_as"),
    "keras layers": (keras_layers.LAYERS,
        "Conv2DTranspose Conv1DTranspose PReLU "
        "Conv1D DepthwiseConv1D MaxPooling1D AveragePooling1D GlobalAveragePooling1D "
        "ZeroPadding1D SpatialDropout1D "
        "ReLU Activation Add AveragePooling2D BatchNormalization GroupNormalization "
        "LayerNormalization Concatenate Conv2D Dense "
        "DepthwiseConv2D Dropout SpatialDropout2D Flatten GlobalAveragePooling2D Identity "
        "MaxPooling2D Normalization Rescaling Reshape SeparableConv2D Softmax UpSampling2D "
        "ZeroPadding2D Multiply LeakyReLU ELU Permute"),
    "keras operations": (keras_layers.OPERATIONS, "Add Multiply Relu Relu6 GetItem Split"),
}


@pytest.mark.parametrize("format_", REMEDIES)
def test_what_is_advised(format_: str) -> None:
    found, wanted = REMEDIES[format_]
    assert dict(found) == {name: remedy for remedy, names in wanted.items()
                           for name in names.split()}


@pytest.mark.parametrize("table", NAMES)
def test_what_is_known(table: str) -> None:
    found, wanted = NAMES[table]
    assert set(found) == set(wanted.split())


def test_names_that_mean_the_same() -> None:
    for same in (("dropout", "dropout1d", "alpha_dropout"), ("sub", "mul", "div", "truediv"),
                 ("cat", "concat", "concatenate"), ("add", "iadd"), ("softmax", "log_softmax")):
        assert len({torch_nodes.FUNCTIONS[name] for name in same}) == 1
    assert len({torch_nodes.METHODS[name] for name in ("view", "reshape")}) == 1
    assert len({torch_nodes.MODULES[name] for name in ("BatchNorm1d", "BatchNorm2d")}) == 1
    distinct = [torch_nodes.FUNCTIONS[name] for name in ("sub", "add", "cat", "pad",
                                                         "mean", "flatten", "linear", "conv2d")]
    assert len(set(distinct)) == len(distinct)


@pytest.mark.parametrize("format", REMEDIES)
def test_the_page_names_what_is_refused(format: str) -> None:
    """``docs/refused.md`` says of each name that has no counterpart what to do."""
    page = (ROOT / "docs" / "refused.md").read_text(encoding="utf-8").lower()
    missing = [name for name in REMEDIES[format][0] if f"`{name.lower()}`" not in page]
    assert not missing, "add a row to docs/refused.md"
