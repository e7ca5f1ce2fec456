"""Which labels of a multi-label task are used, and cases of which none of them is known."""

from collections.abc import Sequence
from dataclasses import replace

from archimed.data.dataset import Dataset
from archimed.data.formats.fields import enumerated, nearest
from archimed.data.problems import Problems
from archimed.errors import DataError


def with_labels(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """The data set with these labels alone, in this order; without names as it is.

    Raises:
        DataError: it has no labels to choose from, or not these, or one is named twice.
    """
    if not names:
        return dataset
    known = dataset.task.class_names
    if dataset.task.kind != "multi-label":
        raise DataError(
            f"data.labels chooses labels of a multi-label task; {dataset.name} is a {dataset.task.kind} task. Leave it "
            "out."
        )
    if unknown := [name for name in names if name not in known]:
        raise DataError(
            f"data.labels names labels of the data; {dataset.name} has {enumerated(known)}, not {unknown[0][:50]!r}."
            f"{nearest(unknown[0], known)} Correct the setting."
        )
    if repeated := [name for name in names if list(names).count(name) > 1]:
        raise DataError(f"data.labels names each label once; {repeated[0]!r} is named twice. Leave one out.")
    columns = [known.index(name) for name in names]
    return replace(
        dataset, task=replace(dataset.task, class_names=tuple(names)), target=dataset.target[:, columns].contiguous()
    )


def without_unlabelled(dataset: Dataset, problems: Problems) -> Dataset:
    """The data set without the cases of which no label is known, which could neither teach nor test; they are counted.

    Raises:
        DataError: of no case is any label known.
    """
    if dataset.task.kind != "multi-label":
        return dataset
    rows = (~dataset.target.isnan()).any(1).nonzero().flatten().tolist()
    left_out = len(dataset.cases) - len(rows)
    if not left_out:
        return dataset
    if not rows:
        raise DataError(
            f"A multi-label task needs cases of which a label is known; of none of the {len(dataset.cases)} cases of "
            f"{dataset.name} is any of {enumerated(dataset.task.class_names)}. Fill in labels, as 0 or 1."
        )
    problems.caution(
        f"{left_out} of {len(dataset.cases)} cases are left out, as none of their labels is known "
        f"({enumerated(dataset.task.class_names, 6)})."
    )
    return replace(
        dataset,
        cases=tuple(dataset.cases[row] for row in rows),
        images=dataset.images.select(rows),
        target=dataset.target[rows],
        spacing=tuple(dataset.spacing[row] for row in rows) if dataset.spacing else (),
    )
