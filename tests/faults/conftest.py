"""Faults of the surroundings: disks, signals, kills."""
