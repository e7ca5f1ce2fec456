"""The trainings that a run holds: where each lies, and those of one network."""

from dataclasses import dataclass
from pathlib import Path

from archimed.errors import RunError
from archimed.files import read_json
from archimed.runs import RunDirectory, read_place


@dataclass(frozen=True)
class Trained:
    """Where one trained network of a run lies.

    Attributes:
        path: its folder.
        name: the network's name, with the data set it was trained on where the run has several.
        network: its name in the run.
        fold: its fold.
        seed: its seed.
        dataset: the data set it was trained on; None where the run has one.
    """

    path: Path
    name: str
    network: str
    fold: int
    seed: int
    dataset: str | None


def trained_networks(run: Path) -> list[Trained]:
    """Every trained network of a run, by name and folder.

    Raises:
        RunError: a folder is not named as those of networks are.
    """
    found = []
    for path in sorted(path.parent for path in (run / "networks").glob("*/*/weights.safetensors")):
        place, network = read_place(path.name), path.parent.name
        if place is None:
            raise RunError(f"A network's folder is named fold<k>.seed<s>; got {path}.")
        fold, seed, dataset = place
        found.append(Trained(path, f"{network} ({dataset})" if dataset else network, network, fold, seed, dataset))
    return found


def trainings_of(directory: RunDirectory, network: str | None) -> list[Trained]:
    """All trainings of one network of an evaluated run, by data set, fold and seed; None takes the chosen network.

    Raises:
        RunError: the run is not evaluated, or trained no such network.
    """
    if not directory.summary.exists():
        directory.read_experiment()
        raise RunError(
            f"A run's networks are used once it is evaluated; {directory.path} is not. Go on with: archimed resume "
            f"{directory.path}"
        )
    every = trained_networks(directory.path)
    name = network or read_json(directory.summary)["chosen"]
    found = [one for one in every if one.network == name]
    if not found:
        known = ", ".join(dict.fromkeys(one.network for one in every))
        raise RunError(f"A network is named as one of those that the run trained: {known}; got {name!r}.")
    return sorted(found, key=lambda one: (one.dataset or "", one.fold, one.seed))
