"""Training a network: the recipe, the machine it runs on, the loop and its checkpoints, and predictions."""
