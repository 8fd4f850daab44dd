"""Trained models for other programs: their networks as ONNX graphs, and all that is done around these in words."""
