"""ONNX -> Graph: the only place that reads ONNX."""

from kcompiler.frontend.load import Imported, load_model

__all__ = ["Imported", "load_model"]
