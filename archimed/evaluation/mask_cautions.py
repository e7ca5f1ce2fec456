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
    """What the rule for empty masks left out, class by class; every training answers each of its test cases once."""
    sentences = []
    for name, one in counts.items():
        wrong = []
        if one.missed:
            wrong.append(f"{one.missed} of {one.present} answers to test cases with {name} hold nothing of it")
        if one.invented:
            wrong.append(f"{one.invented} of {one.cases - one.present} answers to test cases without {name} hold some")
        if wrong:
            sentences.append(
                f"Of {chosen}, {' and '.join(wrong)}. They count as zero in Dice, Jaccard and surface Dice; no "
                f"distance is defined for them, so the Hausdorff distance leaves them out and looks better than it is."
            )
        if one.absent:
            sentences.append(
                f"Of {chosen}, {one.absent} of {one.cases} answers rightly hold no {name}: its figures leave them out."
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
