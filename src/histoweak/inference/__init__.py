"""Trained networks at work: saved models, tiles, maps of whole images, ONNX."""
