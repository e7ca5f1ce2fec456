"""From what the user typed after `--data` to a `Dataset`."""

import dataclasses
import difflib
import re
from collections.abc import Callable
from pathlib import Path

from archimed.data.arrays import Arrays
from archimed.data.dataset import Dataset
from archimed.data.formats.class_folders import list_class_folders
from archimed.data.formats.csv_table import list_csv
from archimed.data.formats.datalist import list_datalist
from archimed.data.formats.image_mask_folders import list_masks, usual_patterns
from archimed.data.formats.medmnist import medmnist_file
from archimed.data.formats.medmnist_sets import MEDMNIST, published
from archimed.data.formats.nnunet import list_nnunet
from archimed.data.formats.npz import read_npz
from archimed.data.formats.user_object import read_object
from archimed.data.labels import with_labels, without_unlabelled
from archimed.data.listing import Listing
from archimed.data.phantoms import PHANTOMS, parse_options
from archimed.data.preparation.assembly import Progress, assemble
from archimed.data.preparation.channels import with_channels
from archimed.data.preparation.resizing import resize
from archimed.data.problems import Problems
from archimed.data.scales import check_scales
from archimed.data.settings import DataSettings
from archimed.data.source_options import own_settings
from archimed.data.splits import check_folds, make_folds
from archimed.errors import DataError

FORMS = (
    "a MedMNIST .npz file, a MedMNIST name (breastmnist, pathmnist_64), a .csv table, an nnU-Net folder, a MONAI "
    "datalist .json, a folder with one folder per class, a folder with data.image_pattern and data.mask_pattern, "
    "phantom:NAME (archimed list datasets), or file.py:object"
)
Lister = Callable[[Path, DataSettings, Problems], Listing]


def load_dataset(
    source: str,
    settings: DataSettings,
    seed: int,
    image_size: int | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """The data set that `source` names, whatever its format, with its folds.

    Args:
        source: what the user typed (see `FORMS`), perhaps with settings of its own (see `source_options`).
        settings: the `data.*` settings.
        seed: of splits that the source does not name, and of phantoms.
        image_size: pixels per side, in place of `settings.image_size`.
        progress: told after each image file how many of how many are read.

    Raises:
        DataError: on the first flaw that forbids the use of the data.
    """
    source, settings = own_settings(source, settings)
    if image_size is not None:
        settings = dataclasses.replace(settings, image_size=image_size)
    return read_source(source, settings, seed, Problems(strict=True), progress)


def load_cases(source: str, settings: DataSettings, seed: int, image_size: tuple[int, ...] | None) -> Dataset:
    """As `load_dataset`, for data whose cases are all used alike: undivided, so that any number of them will do.

    Args:
        source: as in `load_dataset`.
        settings: the `data.*` settings.
        seed: of phantoms.
        image_size: pixels per axis, in place of `settings.image_size`; None leaves that.

    Raises:
        DataError: on the first flaw that forbids the use of the data.
    """
    problems = Problems(strict=True)
    source, settings = own_settings(source, settings)
    if image_size is not None:
        settings = dataclasses.replace(settings, image_size=image_size)  # type: ignore[arg-type]  # pydantic checks it
    dataset = _read(source, settings, seed, problems, None)
    return dataclasses.replace(dataset, notes=(*dataset.notes, *problems.cautions))


def read_source(
    source: str, settings: DataSettings, seed: int, problems: Problems, progress: Progress | None = None
) -> Dataset:
    """As `load_dataset`, with the flaws going to `problems`."""
    source, settings = own_settings(source, settings)
    dataset = _read(source, settings, seed, problems, progress)
    _check_target(dataset, problems)
    dataset = dataclasses.replace(dataset, folds=make_folds(dataset, settings, seed, problems))
    check_folds(dataset, problems)
    check_scales(dataset, problems)
    if not dataset.patients_known and not any(case.split for case in dataset.cases):
        problems.caution(
            "The data do not say which images are of the same patient: each counts as a patient of its own, so one "
            "patient's images may lie in several splits."
        )
    return dataclasses.replace(dataset, notes=(*dataset.notes, *problems.cautions))


def _read(source: str, settings: DataSettings, seed: int, problems: Problems, progress: Progress | None) -> Dataset:
    """The data set without folds, with the labels that the settings choose."""
    return without_unlabelled(
        with_labels(read_whole(source, settings, seed, problems, progress), settings.labels), problems
    )


def read_whole(
    source: str, settings: DataSettings, seed: int, problems: Problems, progress: Progress | None = None
) -> Dataset:
    """The data set as the source has it, by the form of `source`: not divided, with all its labels."""
    path = Path(source).expanduser()
    if source.startswith("phantom:"):
        name, _, options = source.removeprefix("phantom:").partition("?")
        if name not in PHANTOMS:
            raise _unknown(source)
        side = settings.image_size if isinstance(settings.image_size, int) else None
        return _converted(PHANTOMS[name](parse_options(options, side), seed), settings)
    if lister := lister_of(path, settings):
        return assemble(lister(path, settings, problems), settings, problems, progress)
    if path.suffix.lower() == ".npz" and path.is_file():
        return _converted(read_npz(path, problems, settings.ordinal, settings.mask_values), settings)
    if stem := published(source.lower()):
        return _converted(read_npz(medmnist_file(*stem), problems, settings.ordinal), settings)
    if re.search(r"\.py:\w+$", source):
        return _converted(read_object(source), settings)
    raise _unknown(source)


def lister_of(path: Path, settings: DataSettings) -> Lister | None:
    """Which format of image files a path is; None if it is none."""
    if path.is_dir():
        if settings.mask_pattern is not None:
            return list_masks
        if (path / "dataset.json").is_file():
            return list_nnunet
        masks = settings.image_pattern is None and usual_patterns(path) is not None
        return list_masks if masks else list_class_folders
    if not path.is_file():
        return None
    files: dict[str, Lister] = {".csv": list_csv, ".json": list_datalist}
    return files.get(path.suffix.lower())


def _converted(dataset: Dataset, settings: DataSettings) -> Dataset:
    """With the channels and image size that the settings ask for."""
    sized = settings.image_size is not None and settings.image_size != "auto"
    if dataset.images.shape is None or not (settings.channels or settings.modalities or sized):
        return dataset
    if settings.modalities is not None:
        dataset = _with_modalities(dataset, settings.modalities)
    images, notes = with_channels(dataset.images.all(), settings.channels), list(dataset.notes)
    masks = dataset.masks
    if settings.image_size is not None and settings.image_size != "auto":
        space = tuple(images.shape[2:])
        size = (settings.image_size,) * len(space) if isinstance(settings.image_size, int) else settings.image_size
        if max(size) > max(space):
            old, new = ("x".join(map(str, sides)) for sides in (space, size))
            notes.append(f"The images were enlarged from {old} to {new} pixels.")
        images = resize(images, settings.image_size)
        masks = masks and Arrays.of(resize(masks.all()[:, None], settings.image_size, nearest=True)[:, 0])
    task = dataclasses.replace(dataset.task, channels=images.shape[1], image_size=tuple(images.shape[2:]))
    return dataclasses.replace(dataset, images=Arrays.of(images), masks=masks, task=task, notes=tuple(notes))


def _with_modalities(dataset: Dataset, names: tuple[str, ...]) -> Dataset:
    """The channels that `data.modalities` names, in that order; of a data set that names none, with those names."""
    known = dataset.channel_names
    if len(set(names)) < max(1, len(names)) or (not known and len(names) != dataset.task.channels):
        raise DataError(
            f"data.modalities names each modality once; {dataset.name} has {dataset.task.channels} channels"
            f"{'' if known else ' without names'}, the setting is {','.join(names)}. Correct the setting."
        )
    if not known:
        return dataclasses.replace(dataset, channel_names=names)
    if unknown := [name for name in names if name not in known]:
        raise DataError(
            f"data.modalities names modalities of the data; {dataset.name} has {', '.join(known)}, not {unknown[0]!r}. "
            "Correct the setting."
        )
    rows = [known.index(name) for name in names]
    images = dataset.images.all()[:, rows]
    return dataclasses.replace(
        dataset,
        images=Arrays.of(images),
        task=dataclasses.replace(dataset.task, channels=len(rows)),
        channel_names=names,
        channel_kinds=tuple(dataset.channel_kinds[row] for row in rows) if dataset.channel_kinds else (),
    )


def _check_target(dataset: Dataset, problems: Problems) -> None:
    if dataset.target.is_floating_point():
        if not ((dataset.target == 0).any(0) & (dataset.target == 1).any(0)).any() and dataset.masks is None:
            problems.fatal(
                f"A multi-label task needs a label that some cases have and others lack; {dataset.name} has none. "
                "Add cases."
            )
        if dataset.masks is not None and not (dataset.target[:, 1:] == 1).any():
            problems.fatal(f"Masks must not all be empty; those of {dataset.name} are. Check them.")
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
