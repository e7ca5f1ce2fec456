"""Which cases of a segmentation are pictured, and what the networks say of them: the best, median and worst by Dice."""

import csv
import math
from collections.abc import Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path

import torch
from torch import Tensor, nn

from archimed.data.arrays import Arrays
from archimed.data.dataset import Dataset
from archimed.evaluation.overlap import dice, overlap_counts
from archimed.experiment.networks import StoredNetwork, load_network
from archimed.experiment.picture_files import Answer, PicturedCase, write_pictures
from archimed.experiment.train_stage import Job
from archimed.experiment.workbench import Workbench
from archimed.methods.baselines import fixed_networks
from archimed.training.machine import Machine
from archimed.training.mask_prediction import predict_masks


def picture_cases(bench: Workbench, every: Sequence[Job]) -> None:
    """Write figures/cases of a run, in place of what is there; nothing where pictures are not wanted.

    Each data set is pictured by its first fold and seed, beside the first fixed baseline trained on it.
    """
    setting = bench.experiment.evaluation.pictures
    pictured: list[PicturedCase] = []
    classes = {}
    for dataset, pair in pairs(bench, every) if setting != "never" else ():
        scores = dice_by_case(pair[0].folder.predictions)
        ranks = ranked(scores)
        if setting == "always" or not any_dicom(dataset, list(ranks)):
            networks = [(job, load_network(job.folder, job.selection.space)) for job in pair]
            pictured += [pictured_case(bench, networks, case, rank, len(scores)) for case, rank in ranks.items()]
            classes[dataset.name] = dataset.task.class_names
    write_pictures(bench.run.path / "figures" / "cases", pictured, classes)


def pairs(bench: Workbench, every: Sequence[Job]) -> list[tuple[Dataset, tuple[Job, ...]]]:
    """Of each data set to segment the first training of the method's own network, and a fixed baseline beside it."""
    found: dict[str, tuple[Dataset, tuple[Job, ...]]] = {}
    for job in every:
        dataset, own = bench.data_of(job.repeat), job.selection.network == bench.experiment.method.name
        if own and dataset.task.kind == "segmentation" and dataset.name not in found:
            fixed = fixed_networks(dataset.task)
            others = (one for one in every if one.repeat == job.repeat and one.selection.network in fixed)
            found[dataset.name] = dataset, (job, *islice(others, 1))
    return list(found.values())


def any_dicom(dataset: Dataset, cases: Sequence[str]) -> bool:
    """Whether any of these cases was read from DICOM."""
    return any(dataset.cases[row].from_dicom for row in dataset.rows(cases))


def pictured_case(
    bench: Workbench, networks: Sequence[tuple[Job, StoredNetwork]], case: str, rank: str, cases: int
) -> PicturedCase:
    """One case with what every exit of the first network, and the answer of the others, say of it."""
    dataset = bench.data_of(networks[0][0].repeat)
    row = dataset.rows([case])[0]
    image, truth = Arrays.of(dataset.images).select([row]), Arrays.of(dataset.masks or ())[row]
    answers: list[Answer] = []
    for number, (job, stored) in enumerate(networks):
        masks = masks_of(image, stored, bench.machine, every_exit=number == 0)
        for place, mask in enumerate(masks, start=1):
            value = mean_dice(mask, truth, stored.task.num_outputs)
            answers.append(Answer(job.selection.network, place, len(masks), mask.numpy(), value))
    return PicturedCase(
        dataset=dataset.name,
        rank=rank,
        case=case,
        cases=cases,
        image=image[0].numpy(),
        truth=truth.numpy(),
        spacing_mm=dataset.spacing[row] if dataset.spacing else None,
        answers=tuple(answers),
    )


def masks_of(image: Arrays, stored: StoredNetwork, machine: Machine, *, every_exit: bool) -> list[Tensor]:
    """The masks that a network answers at each of its exits, the earliest first, or its answer alone."""
    network = EveryExit(stored.network) if every_exit and hasattr(stored.network, "exits") else stored.network
    patch = stored.task.image_size  # as in the evaluation
    (found,) = predict_masks(network, image, stored.normalise, machine, patch_size=patch)
    by_exit = found.unflatten(0, (-1, stored.task.num_outputs))
    return [scores.argmax(0).to(torch.uint8) for scores in by_exit]


class EveryExit(nn.Module):
    """The answers of all exits of a network, one below the other: [batch, exit * class, *space].

    They are logarithms of probabilities, so that a softmax over all of them leaves the order within each exit.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """The answers."""
        exits: tuple[Tensor, ...] = self.network.exits(images)  # type: ignore[operator]
        return torch.cat([logits.log_softmax(1) for logits in exits], dim=1)


def dice_by_case(predictions: Path, split: str = "test") -> dict[str, float]:
    """Dice of each case of a split, the mean over its classes; cases in which no class is defined are left out."""
    with predictions.open(newline="", encoding="utf-8") as file:
        lines = [line for line in csv.DictReader(file) if line["split"] == split and line["dice"]]
    lines.sort(key=lambda line: line["case"])
    found = {case: [float(line["dice"]) for line in own] for case, own in groupby(lines, key=lambda line: line["case"])}
    return {case: sum(values) / len(values) for case, values in found.items()}


def ranked(scores: Mapping[str, float]) -> dict[str, str]:
    """The cases to picture with their ranks, best first; fewer than three where there are fewer cases."""
    order = sorted(scores, key=lambda case: (-scores[case], case))
    places = {0: "best", len(order) // 2: "median", len(order) - 1: "worst"} if len(order) > 1 else {}
    if len(order) == 1:
        places = {0: "only"}
    return {order[place]: places[place] for place in sorted(places)}


def mean_dice(answer: Tensor, truth: Tensor, classes: int) -> float | None:
    """Dice of one case, the mean over the foreground classes in either mask; None where there is none."""
    values = dice(overlap_counts(answer, truth, classes))[1:].tolist()
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else None
