"""predictions.csv of a segmentation: how each class of each validation and test case was answered."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

from archimed.evaluation.masks import ClassScores, RepeatMasks, mask_metrics
from archimed.task import ImagingTask

SCORES = tuple(field.name for field in fields(ClassScores) if field.name != "name")
SIZES = ("true_size", "answered_size")
COLUMNS = ("case", "split", "class", *SCORES)


@dataclass(frozen=True)
class SplitMasks:
    """How well a network's masks of the cases of one split agree with the true ones.

    Attributes:
        split: validation, test or external.
        cases: case ids.
        scores: of every class but the background, in the task's order [case][class].
    """

    split: str
    cases: tuple[str, ...]
    scores: tuple[tuple[ClassScores, ...], ...]

    def metrics(self, task: ImagingTask) -> dict[str, float | None]:
        """Every metric of the split; None where the data leave it undefined."""
        return mask_metrics(task, self.scores)

    def tested(self, fold: int, seed: int, patients: Mapping[str, str]) -> RepeatMasks:
        """The same as the evaluation takes it, with the patient of each case."""
        return RepeatMasks(fold, seed, self.cases, tuple(patients[case] for case in self.cases), self.scores)

    def rows(self) -> Iterator[list[str]]:
        """The lines of the split, one for each class of each case; an undefined score is empty."""
        for case, scores in zip(self.cases, self.scores, strict=True):
            for one in scores:
                yield [case, self.split, one.name, *(_written(getattr(one, name)) for name in SCORES)]


def read_masks(task: ImagingTask, split: str, lines: Sequence[Mapping[str, str]]) -> SplitMasks:
    """The split of these lines, which `SplitMasks.rows` wrote.

    Raises:
        KeyError, ValueError: the lines are not of this task.
    """
    by_case: dict[str, list[ClassScores]] = {}
    for line in lines:
        by_case.setdefault(line["case"], []).append(_read(line))
    for case, scores in by_case.items():
        if tuple(one.name for one in scores) != task.class_names[1:]:
            raise ValueError(f"case {case} has not one line for each class")
    return SplitMasks(split, tuple(by_case), tuple(map(tuple, by_case.values())))


def _read(line: Mapping[str, str]) -> ClassScores:
    scores = {name: float(line[name]) if line[name] else None for name in SCORES if name not in SIZES}
    sizes = {name: int(line[name]) for name in SIZES}
    return ClassScores(name=line["class"], **scores, **sizes)  # type: ignore[arg-type]  # by the fields' names


def _written(value: float | None) -> str:
    return "" if value is None else repr(value)
