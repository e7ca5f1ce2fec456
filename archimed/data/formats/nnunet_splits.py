"""splits_final.json of nnU-Net: which cases each fold trains on and validates on.

Several folds whose validation parts together hold every case once become folds of the cases; a single one becomes an
official split. Cases that it leaves out everywhere are left out.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from archimed.data.formats.json_files import as_list, as_object, as_text, read_json, shown
from archimed.data.listing import Entry
from archimed.data.problems import Problems
from archimed.errors import DataError

NAME = "splits_final.json"
INSTEAD = f"Correct the file, or rename it to have archimed divide the cases: {NAME}"
Part = tuple[frozenset[str], frozenset[str]]  # names to train on and to validate on


def with_folds(entries: Sequence[Entry], names: Sequence[str], folder: Path, problems: Problems) -> list[Entry]:
    """Training entries, which come first and bear these names, with the folds that the user's splits give them.

    Raises:
        DataError: the file is no such list, names a case twice in a fold, or its folds do not hold every case once.
    """
    path = _find(folder)
    if path is None:
        return list(entries)
    parts = [_part(value, number, path) for number, value in enumerate(as_list(read_json(path), "Splits", str(path)))]
    if not parts:
        raise DataError(f"Splits hold at least one fold; {path} has none. {INSTEAD}.")
    used = frozenset().union(*(train | validation for train, validation in parts))
    unknown = sorted(used - set(names))
    if unknown:
        raise DataError(
            f"Splits name training cases with masks; {path} names {shown(unknown[0])}, which {folder} lacks "
            f"({len(unknown)} of {len(used)} are lacking). {INSTEAD}."
        )
    tested = list(entries[len(names) :])
    named = [(name, entry) for name, entry in zip(names, entries, strict=False) if name in used]
    if len(named) < len(names):
        problems.caution(f"{len(names) - len(named)} cases that {NAME} does not name were left out.")
    if len(parts) == 1:
        validation = parts[0][1]
        return [_in_split(entry, name in validation) for name, entry in named] + tested
    return _in_folds(named, parts, path, problems) + tested


def _in_split(entry: Entry, validation: bool) -> Entry:
    return replace(entry, case=replace(entry.case, split="validation" if validation else "train"))


def _in_folds(named: Sequence[tuple[str, Entry]], parts: Sequence[Part], path: Path, problems: Problems) -> list[Entry]:
    times = Counter(name for _, validation in parts for name in validation)
    odd = next((name for name, _ in named if times[name] != 1), None)
    if odd is not None:
        raise DataError(
            f"The validation parts of several folds must hold every case once; {path} has {shown(odd)} in {times[odd]} "
            f"of them. {INSTEAD}."
        )
    if any(len(train) + len(validation) < len(named) for train, validation in parts):
        problems.caution(f"Some folds of {NAME} train on fewer cases than they could; here each trains on all others.")
    fold = {name: str(number) for number, (_, validation) in enumerate(parts) for name in validation}
    return [replace(entry, case=replace(entry.case, fold=fold[name])) for name, entry in named]


def _find(folder: Path) -> Path | None:
    """In the folder, or in that of the same name in nnUNet_preprocessed, beside nnUNet_raw or where nnU-Net has it."""
    name = folder.resolve().name
    places = [folder, folder.resolve().parent.parent / "nnUNet_preprocessed" / name]
    if os.environ.get("nnUNet_preprocessed"):  # noqa: SIM112 (nnU-Net's own spelling)
        places.append(Path(os.environ["nnUNet_preprocessed"]) / name)  # noqa: SIM112
    return next((place / NAME for place in places if (place / NAME).is_file()), None)


def _part(value: Any, number: int, path: Path) -> Part:
    origin = f"fold {number} of {path}"
    fold = as_object(value, "A fold", origin)
    train, validation = (
        [as_text(name, "A case", origin) for name in as_list(fold.get(key), f"`{key}` of a fold", origin)]
        for key in ("train", "val")
    )
    if not train or not validation:
        raise DataError(f"A fold has cases to train and to validate on; {origin} lacks some. {INSTEAD}.")
    repeated = [name for name, count in Counter([*train, *validation]).items() if count > 1]
    if repeated:
        raise DataError(f"A fold holds every case once; {origin} has {shown(repeated[0])} twice. {INSTEAD}.")
    return frozenset(train), frozenset(validation)
