"""Plain PyTorch modules that the search spaces are made of, 2D and 3D from one source."""
