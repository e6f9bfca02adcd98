"""One function for each ONNX operator, by topic; every module of this folder is found by itself."""
