"""From what the user typed after `--data` to a `Dataset`."""

import dataclasses
import difflib
import re
from pathlib import Path

from archimed.data.class_folders import read_class_folders
from archimed.data.csv_table import read_csv
from archimed.data.dataset import Dataset
from archimed.data.image_files import with_channels
from archimed.data.medmnist import medmnist_file
from archimed.data.medmnist_sets import MEDMNIST, published
from archimed.data.npz import read_npz
from archimed.data.phantoms import PHANTOMS, parse_options
from archimed.data.problems import Problems
from archimed.data.resizing import resize
from archimed.data.settings import DataSettings
from archimed.data.splits import check_folds, make_folds
from archimed.data.user_object import read_object
from archimed.errors import DataError

FORMS = (
    "a MedMNIST .npz file, a MedMNIST name (breastmnist, pathmnist_64), a .csv table, a folder with one folder per "
    "class, phantom:lesions2d, or file.py:object"
)


def load_dataset(source: str, settings: DataSettings, seed: int, image_size: int | None = None) -> Dataset:
    """The data set that `source` names, whatever its format, with its folds.

    Args:
        source: what the user typed (see `FORMS`).
        settings: the `data.*` settings.
        seed: of splits that the source does not name, and of phantoms.
        image_size: pixels per side, in place of `settings.image_size`.

    Raises:
        DataError: on the first flaw that forbids the use of the data.
    """
    if image_size is not None:
        settings = dataclasses.replace(settings, image_size=image_size)
    return read_source(source, settings, seed, Problems(strict=True))


def load_cases(source: str, settings: DataSettings, seed: int, image_size: int) -> Dataset:
    """As `load_dataset`, for data whose cases are all used alike: undivided, so that any number of them will do.

    Raises:
        DataError: on the first flaw that forbids the use of the data.
    """
    problems = Problems(strict=True)
    dataset = _read(source, dataclasses.replace(settings, image_size=image_size), seed, problems)
    return dataclasses.replace(dataset, notes=(*dataset.notes, *problems.cautions))


def read_source(source: str, settings: DataSettings, seed: int, problems: Problems) -> Dataset:
    """As `load_dataset`, with the flaws going to `problems`."""
    dataset = _read(source, settings, seed, problems)
    _check_target(dataset, problems)
    dataset = dataclasses.replace(dataset, folds=make_folds(dataset, settings, seed, problems))
    check_folds(dataset, problems)
    if not dataset.patients_known and not any(case.split for case in dataset.cases):
        problems.caution(
            "The data do not say which images are of the same patient: each counts as a patient of its own, so one "
            "patient's images may lie in several splits."
        )
    return dataclasses.replace(dataset, notes=(*dataset.notes, *problems.cautions))


def _read(source: str, settings: DataSettings, seed: int, problems: Problems) -> Dataset:
    """The data set without folds, by the form of `source`."""
    path = Path(source).expanduser()
    if source.startswith("phantom:"):
        name, _, options = source.removeprefix("phantom:").partition("?")
        if name not in PHANTOMS:
            raise _unknown(source)
        return _converted(PHANTOMS[name](parse_options(options, settings.image_size), seed), settings)
    if path.suffix.lower() == ".csv" and path.is_file():
        return read_csv(path, settings, problems)
    if path.is_dir():
        return read_class_folders(path, settings, problems)
    if path.suffix.lower() == ".npz" and path.is_file():
        return _converted(read_npz(path, problems), settings)
    if stem := published(source.lower()):
        return _converted(read_npz(medmnist_file(*stem), problems), settings)
    if re.search(r"\.py:\w+$", source):
        return _converted(read_object(source), settings)
    raise _unknown(source)


def _converted(dataset: Dataset, settings: DataSettings) -> Dataset:
    """With the channels and image size that the settings ask for."""
    images, notes = with_channels(dataset.images, settings.channels), list(dataset.notes)
    if settings.image_size is not None:
        if settings.image_size > max(images.shape[2:]):
            sides = "x".join(map(str, images.shape[2:]))
            notes.append(f"The images were enlarged from {sides} to {settings.image_size} pixels per side.")
        images = resize(images, settings.image_size)
    task = dataclasses.replace(dataset.task, channels=images.shape[1], image_size=tuple(images.shape[2:]))
    return dataclasses.replace(dataset, images=images, task=task, notes=tuple(notes))


def _check_target(dataset: Dataset, problems: Problems) -> None:
    if dataset.target.is_floating_point():
        if not ((dataset.target == 0).any(0) & (dataset.target == 1).any(0)).any():
            problems.fatal(
                f"A multi-label task needs a label that some cases have and others lack; {dataset.name} has none. "
                "Add cases."
            )
        return
    if len(set(dataset.target.tolist())) < 2:
        problems.fatal(
            f"A classification needs at least two classes; all {len(dataset.cases)} cases of {dataset.name} are "
            f"{dataset.task.class_names[int(dataset.target[0])]}. Add cases of another class."
        )


def _unknown(source: str) -> DataError:
    looks_like_path = bool(Path(source).suffix) or "/" in source or "\\" in source
    if looks_like_path and not source.startswith("phantom:") and not Path(source).expanduser().exists():
        return DataError(f"Data must exist; there is no file or folder {source}. Check the path.")
    names = [*(f"phantom:{name}" for name in PHANTOMS), *MEDMNIST]
    near = difflib.get_close_matches(source.partition("?")[0], names, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return DataError(f"Data must be {FORMS}; got {source!r}.{hint}")
