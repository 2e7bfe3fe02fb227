"""ONNX files: reading, folding, rewriting for engines."""
