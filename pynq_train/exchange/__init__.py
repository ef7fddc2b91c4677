"""Networks from and to other formats: ONNX, PyTorch, Keras. For a PC; not on the board."""

from pynq_train.exchange.keras_import import from_keras
from pynq_train.exchange.onnx_export import export_onnx
from pynq_train.exchange.onnx_import import from_onnx
from pynq_train.exchange.torch_import import from_torch

__all__ = ["export_onnx", "from_keras", "from_onnx", "from_torch"]
