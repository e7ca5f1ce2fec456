"""A trained network as files that need no archimed: its own source, torch.export, ONNX, a MONAI bundle."""
