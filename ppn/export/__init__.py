"""A network as one graph that runs without this package: ONNX, or torch.export."""
