"""What a reader must know before believing the figures of masks, in plain words."""

from collections.abc import Mapping

from archimed.evaluation.masks import LeftOut
from archimed.task import ImagingTask

FEW = 5  # cases with a class, below which its figures say little
FEW_CASES = 10  # in all, below which percentile intervals of means are clearly too narrow


def mask_cautions(chosen: str, counts: Mapping[str, LeftOut], unit: str, tolerance: float) -> list[str]:
    """What the empty masks and the unit of distances mean for the figures.

    Args:
        chosen: name of the method's own network.
        counts: what the rule for empty masks left out of each class's figures, over all test answers of the network.
        unit: of distances, `mm` or `pixels`.
        tolerance: of surface Dice, in that unit.
    """
    return [*empty_masks(chosen, counts), *measured_distances(unit, tolerance)]


def rare_classes(task: ImagingTask, counts: Mapping[str, int]) -> list[str]:
    """Classes that few test masks hold; `counts` are test cases by class."""
    few = [f"{name} ({counts[name]})" for name in task.class_names[1:] if 0 < counts.get(name, 0) < FEW]
    return [f"Few test masks hold {' and '.join(few)}: the figures of a class say little there."] if few else []


def few_cases(cases: int) -> list[str]:
    """A test set so small that resampling it understates what another one would give."""
    if cases >= FEW_CASES:
        return []
    return [
        f"With {cases} test {'image' if cases == 1 else 'images'} every interval is too narrow: resamples of so few "
        f"hardly differ. Take the figures as examples."
    ]


def empty_masks(chosen: str, counts: Mapping[str, LeftOut]) -> list[str]:
    """What the rule for empty masks did, class by class; every training answers each of its test cases once."""
    missed = [f"{name} in {one.missed} of the {one.present} with it" for name, one in counts.items() if one.missed]
    invented = [
        f"{name} in {one.invented} of the {one.cases - one.present} without it"
        for name, one in counts.items()
        if one.invented
    ]
    absent = [f"{name} in {one.absent} of {one.cases}" for name, one in counts.items() if one.absent]
    sentences = []
    if missed or invented:
        told = [f"missed {', '.join(missed)}"] if missed else []
        told += [f"saw {', '.join(invented)}"] if invented else []
        sentences.append(
            f"Of its answers to test cases, {chosen} {'; it '.join(told)}. These count as zero in Dice, Jaccard and "
            f"surface Dice; no distance is defined for them, so the Hausdorff distance leaves them out and looks "
            f"better than it is."
        )
    if absent:
        sentences.append(
            f"Where both truth and answer hold nothing of a class, its figures leave the case out: {', '.join(absent)}."
        )
    return sentences


def measured_distances(unit: str, tolerance: float) -> list[str]:
    """Distances that are not in millimetres."""
    if unit == "mm":
        return []
    return [
        f"Distances between outlines are in pixels of the images as the network saw them, and surface Dice allows "
        f"{tolerance:g}: the spacing of some image is unknown."
    ]
