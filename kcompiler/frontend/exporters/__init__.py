"""Operators of the graph as ONNX nodes; the folder is the registry."""
