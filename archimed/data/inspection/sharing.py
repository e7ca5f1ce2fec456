"""Data sets of one run that share patients or images: what one trains on must not be what another is tested on."""

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

from archimed.data.dataset import Dataset
from archimed.data.settings import DataSettings
from archimed.data.source_options import own_settings
from archimed.errors import DataError

Digests = Sequence[bytes]


def source_folder(source: str) -> Path | None:
    """The folder that a source lies in: itself, or that of its file; None if it is no path."""
    name = own_settings(source, DataSettings())[0]
    file, is_object, _ = name.rpartition(".py:")
    path = Path(f"{file}.py" if is_object else name).expanduser()
    if not path.exists():
        return None
    return path.resolve() if path.is_dir() else path.resolve().parent


def refuse_shared(datasets: Sequence[Dataset], digests: Sequence[Digests], folders: Sequence[Path | None]) -> None:
    """Raise DataError if what one data set trains or validates on is in the test part of another, in any fold.

    Equal images are found by content, but for images of one grey. Names of patients are compared between sources of one
    folder alone, since patients "1" and "2" of two collections are different people.

    Args:
        datasets: with their folds, equally many.
        digests: of each data set, a hash of each image's pixels.
        folders: where each data set lies; None if it is no path.
    """
    for one, other in permutations(range(len(datasets)), 2):
        seen, tested = datasets[one], datasets[other]
        same = folders[one] is not None and folders[one] == folders[other]
        named = same and seen.patients_known and tested.patients_known
        for mine, theirs in zip(seen.folds, tested.folds, strict=True):
            learnt = seen.rows([*mine.train, *mine.validation])
            test = tested.rows(theirs.test)
            images = _images(seen, digests[one], learnt) & _images(tested, digests[other], test)
            if images:
                raise DataError(_message(seen, tested, "equal images", len(images)))
            if named and (patients := _patients(seen, learnt) & _patients(tested, test)):
                raise DataError(_message(seen, tested, "patients", len(patients)))


def _images(dataset: Dataset, digests: Digests, rows: Sequence[int]) -> set[bytes]:
    """Hashes of these images, without those of one grey."""
    first = {digests[row]: row for row in rows}
    return {digest for digest, row in first.items() if dataset.images[row].min() < dataset.images[row].max()}


def _patients(dataset: Dataset, rows: Sequence[int]) -> set[str]:
    return {dataset.cases[row].patient for row in rows}


def _message(seen: Dataset, tested: Dataset, what: str, count: int) -> str:
    return (
        f"What one data set trains on must not be in the test part of another; {seen.name} trains on {count} {what} "
        f"that {tested.name} tests on. Give both the same splits, or leave one of them out."
    )
