"""The contract of a data set."""

from collections.abc import Callable

import torch

from archimed.data.contract import flaw_of
from archimed.data.dataset import Dataset
from archimed.errors import ContractError


def check_dataset(dataset: Dataset | Callable[[], Dataset]) -> None:
    """Check a data set that a program makes; `archimed data check file.py:object` then says what a run thinks of it.

    Images are of a type and form that networks take and are finite; targets and masks are classes that the task names;
    the same call gives the same data, on which resuming a run depends.

    Args:
        dataset: a Dataset, or a function without arguments that returns one.

    Raises:
        ContractError: the first law that does not hold.
    """
    first, second = (_made(dataset) for _ in range(2))
    if flaw := flaw_of(first):
        raise ContractError(f"{flaw}.")
    if [case.id for case in first.cases] != [case.id for case in second.cases]:
        raise ContractError(
            "A data set gives the same cases in the same order each time; two calls differ. Sort what you list, and "
            "draw from a generator with a fixed seed."
        )
    for row, case in enumerate(first.cases):
        same = torch.equal(first.images[row], second.images[row])
        if not same or not torch.equal(first.target[row].nan_to_num(-1), second.target[row].nan_to_num(-1)):
            raise ContractError(
                f"A data set gives the same images and targets each time; those of case {case.id} differ between two "
                "calls. Draw from a generator with a fixed seed."
            )


def _made(dataset: Dataset | Callable[[], Dataset]) -> Dataset:
    found: object = dataset if isinstance(dataset, Dataset) else dataset()
    if not isinstance(found, Dataset):
        raise ContractError(
            f"A data set is an archimed.data.dataset.Dataset, or a function without arguments that returns one; got "
            f"{type(found).__name__}. Return a Dataset."
        )
    return found
