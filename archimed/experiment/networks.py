"""A network of a run on disk: how it is described, built again and loaded with its weights."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from archimed.batch import Batch
from archimed.data.normalisation import Normalisation
from archimed.errors import RunError
from archimed.files import read_json
from archimed.genotype import describe, parse
from archimed.indicators import score
from archimed.methods.protocol import Selection
from archimed.networks.fitted import Fitted
from archimed.networks.members import Members
from archimed.runs import NetworkFolder, RunDirectory
from archimed.seeding import torch_seed
from archimed.spaces import SearchSpace, space_from_settings, space_settings
from archimed.task import ImagingTask

# what a value of a wrong kind leads to when a network is built of it
DAMAGED = (AttributeError, LookupError, OverflowError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class StoredNetwork:
    """A trained network with all that is needed to use it."""

    network: nn.Module
    task: ImagingTask
    normalise: Normalisation


def architecture_document(
    selection: Selection, task: ImagingTask, normalise: Normalisation, members: int = 1
) -> dict[str, Any]:
    """What architecture.json says: the network can be built again from it alone."""
    return {
        "space": space_settings(selection.space),
        "genotype": describe(selection.genotype, selection.space.choices),
        "members": members,
        "task": asdict(task),
        "normalisation": normalise.to_json(),
    }


def build_network(document: dict[str, Any], seed: int, own_space: SearchSpace | None = None) -> nn.Module:
    """Build the network that architecture.json describes, with the initial weights that belong to the seed.

    What is fitted in one go is one network, however many members are asked for.
    """
    space, task = read_space(document["space"], own_space), read_task(document["task"])
    genotype = parse(document["genotype"], space.choices)
    with torch_seed(seed, "weights"):
        network = space.build(genotype, task)
        if document.get("members", 1) == 1 or isinstance(network, Fitted):
            return network
        others = [space.build(genotype, task) for _ in range(document["members"] - 1)]
    return Members([network, *others], each_output_alone=task.kind == "multi-label")


def read_space(document: dict[str, Any], own_space: SearchSpace | None = None) -> SearchSpace:
    """The space that a file of a run names; a user's own class is only taken from what this command loaded itself."""
    if own_space is not None and json.loads(json.dumps(space_settings(own_space))) == document:
        return own_space
    fields = dict(document)
    return space_from_settings(fields.pop("name"), fields)


def network_size(document: dict[str, Any], own_space: SearchSpace | None = None) -> dict[str, int]:
    """Parameters, and MACs for one image."""
    task = read_task(document["task"])
    network = build_network(document, 0, own_space)
    target = torch.zeros(1, task.num_outputs) if task.kind == "multi-label" else torch.zeros(1, dtype=torch.int64)
    batch = Batch(torch.zeros(1, task.channels, *task.image_size), target)
    return {name: round(value) for name, value in score(network, batch, ["parameters", "macs"]).items()}


def read_task(document: dict[str, Any]) -> ImagingTask:
    """An imaging task from its JSON form."""
    return ImagingTask(
        kind=document["kind"],
        class_names=tuple(document["class_names"]),
        channels=document["channels"],
        image_size=tuple(document["image_size"]),
        channel_names=tuple(document.get("channel_names", ())),
        normal_label=document.get("normal_label"),
    )


def load_network(
    folder: NetworkFolder, own_space: SearchSpace | None = None, weights: Path | None = None
) -> StoredNetwork:
    """The trained network of a folder, in eval mode, with its own weights or those of another checkpoint.

    Raises:
        RunError: it was not trained yet, or its files are damaged or do not belong together.
    """
    from safetensors.torch import load_file

    document = read_json(folder.architecture)
    try:
        network = build_network(document, 0, own_space)
        task, normalise = read_task(document["task"]), Normalisation.from_json(document["normalisation"])
    except DAMAGED as error:
        raise RunError(f"The description of a network is damaged: {folder.architecture} ({_reason(error)}).") from error
    weights = weights or folder.weights
    if not folder.training.exists() or not weights.exists():
        raise RunError(f"{folder.path} holds no trained network. Train it with: archimed resume RUN")
    try:
        network.load_state_dict(load_file(weights))
    except Exception as error:
        raise RunError(f"The weights of a network are damaged: {weights} ({_reason(error)}).") from error
    network.eval()
    return StoredNetwork(network, task, normalise)


def _reason(error: Exception) -> str:
    """What an error says, on one short line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def load_chosen(run: str | Path, dataset: str | None = None) -> StoredNetwork:
    """The chosen network of a finished run with its task and normalisation; of several data sets that of one.

    Raises:
        RunError: the run is unfinished or damaged, or has no such data set.
    """
    directory = RunDirectory(Path(run))
    try:
        seed = directory.read_experiment()["seed"]
        names, chosen = [*read_json(directory.data).get("datasets", {})], read_json(directory.summary)["chosen"]
    except DAMAGED as error:
        raise RunError(f"The files of a run are damaged: {run} ({_reason(error)}). Restore them.") from error
    if dataset is not None and dataset not in names:
        known = f"it has {', '.join(names)}" if names else "it has one data set, which needs no name"
        raise RunError(f"A network is loaded for a data set of its run; {run} has no {dataset!r}: {known}.")
    name = dataset or (names[0] if names else None)
    return load_network(directory.network(chosen, 0, seed, name))
