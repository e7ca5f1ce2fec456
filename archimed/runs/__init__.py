"""The run directory: what its files are called, who holds it, and where it was made."""

from archimed.runs.directory import NetworkFolder, RunDirectory, place_name, read_place
from archimed.runs.environment import describe_environment

__all__ = ["NetworkFolder", "RunDirectory", "describe_environment", "place_name", "read_place"]
