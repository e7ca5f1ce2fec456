"""One entry of a datalist: {"image": path or [paths], "label": path, class or [0, 1, null], "fold": 0, ...}."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archimed.data.dataset import Case, SplitName
from archimed.data.formats.fields import class_name, file_path, label_value, nearest, plain_text
from archimed.data.formats.json_files import as_object, as_text, shown
from archimed.data.listing import Entry
from archimed.data.readers.any_image import DICOM, ITK, NIFTI
from archimed.data.readers.decoding import SUFFIXES as PICTURES
from archimed.data.settings import DataSettings
from archimed.errors import DataError

ROLES = ("id", "image", "label", "mask", "patient", "fold", "region")
IMAGE_ENDINGS = (*PICTURES, *NIFTI, *ITK, *DICOM)
EMPTY = (None, "")


def entry_keys(settings: DataSettings, path: Path) -> dict[str, str]:
    """The key of each role in an entry: the role's own name, unless `data.columns` tells another."""
    if settings.label_columns:
        raise DataError(
            f"data.label_columns is for tables; in {path} several labels of a case are a list. Leave it out."
        )
    for role in settings.columns:
        if role not in ROLES:
            raise DataError(
                f"data.columns knows the roles {', '.join(ROLES)} in a datalist such as {path}; got {role[:50]!r}."
                f"{nearest(role, ROLES)} Correct the setting."
            )
    return {role: settings.columns.get(role, role) for role in ROLES}


@dataclass(frozen=True)
class EntryReader:
    """Reads the entries of one datalist.

    Attributes:
        root: the folder that paths count from.
        keys: the key of each role (`entry_keys`).
    """

    root: Path
    keys: Mapping[str, str]

    def has_target(self, value: object) -> bool:
        """Whether an entry has a label or a mask."""
        return isinstance(value, dict) and any(value.get(self.keys[role]) not in EMPTY for role in ("label", "mask"))

    def read(self, value: object, case_id: str, split: SplitName, origin: str) -> Entry:
        """The case of an entry; DataError if something of it has the wrong type or its label is missing."""
        fields = {role: as_object(value, "An entry", origin).get(key) for role, key in self.keys.items()}
        case_id = self._word(fields["id"], "id", origin) or case_id
        label, mask = self._target(fields["label"], fields["mask"], origin)
        case = Case(
            id=case_id,
            patient=self._word(fields["patient"], "patient", origin) or case_id,
            split=split,
            fold=self._word(fields["fold"], "fold", origin) or None,
            origin=origin,
        )
        region = None if fields["region"] in EMPTY else self._path(fields["region"], "the region", origin)
        return Entry(case, self._images(fields["image"], origin), label, mask, region)

    def _images(self, value: Any, origin: str) -> tuple[Path | None, ...]:
        values = value if isinstance(value, list) else [value]
        if not values:
            raise DataError(f"Every entry needs an image; {origin} has an empty list. Name the files.")
        return tuple(None if one in EMPTY else self._path(one, "the image", origin) for one in values)

    def _target(self, label: Any, mask: Any, origin: str) -> tuple[str | tuple[float, ...] | None, Path | None]:
        """The label and the mask, one of which is None."""
        if label in EMPTY:
            if mask in EMPTY:
                raise DataError(f"Every entry needs a label; {origin} has none. Add it or leave the entry out.")
            return None, self._path(mask, "the mask", origin)
        if isinstance(label, list):
            if not label:
                raise DataError(f"A list of labels has 0, 1 or null for each; {origin} has an empty one. Fill it in.")
            return tuple(label_value(_number_text(one, origin), "a label", origin) for one in label), None
        if not isinstance(label, str):
            return class_name(_number_text(label, origin), origin), None
        path = self._path(label, "the label", origin)
        if label.lower().endswith(IMAGE_ENDINGS) or path.is_file():
            return None, path
        return class_name(plain_text(label, "the label", origin), origin), None

    def _path(self, value: Any, what: str, origin: str) -> Path:
        return file_path(as_text(value, f"{what[0].upper()}{what[1:]}", origin), self.root, what, origin)

    def _word(self, value: Any, role: str, origin: str) -> str:
        """A text, or a whole number as one; empty if there is none."""
        if value is None:
            return ""
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise DataError(
                f"{self.keys[role]!r} must be a text or a whole number; that of {origin} is neither. Correct it."
            )
        return plain_text(str(value), repr(self.keys[role]), origin)


def _number_text(value: Any, origin: str) -> str:
    """A number as text; empty for null and NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise DataError(f"A label is a number, a word or a path; {origin} has {shown(value)}. Correct it.")
    return str(value)
