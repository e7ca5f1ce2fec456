"""The data sets that need no file of the user: what `archimed list datasets` prints."""

from collections.abc import Mapping

from archimed.data.formats.medmnist_sets import MEDMNIST

PHANTOM_SUMMARIES: Mapping[str, str] = {
    "lesions2d": "synthetic tissue with a lesion or a benign growth of 1/1000 to 1/5 of the image; options "
    "?cases=1000&size=64",
    "xray": "synthetic chest radiographs, 8 labels, rare and partly unknown; options ?cases=1000&size=64",
    "petct": "synthetic PET/CT volumes, benign or malignant, which only both together tell; options ?cases=200&size=32",
    "chestct": "synthetic chest CT volumes: normal, ground-glass, consolidation; options ?cases=200&size=40",
    "vessels": "synthetic thin branching vessels to segment; options ?cases=400&size=64",
    "cells": "synthetic touching cells to segment into cytoplasm and nucleus; options ?cases=400&size=64",
    "polyps": "synthetic polyps on a folded wall to segment, RGB; options ?cases=400&size=64",
    "organs3d": "synthetic abdominal CT volumes: liver, spleen and kidneys to segment; options ?cases=200&size=40",
}


def list_datasets() -> dict[str, str]:
    """Every name that `--data` knows, with a line about it."""
    phantoms = {f"phantom:{name}": summary for name, summary in PHANTOM_SUMMARIES.items()}
    published = {
        flag: f"MedMNIST, {entry.kind}, {len(entry.class_names)} classes, {'/'.join(map(str, entry.cases))} cases of "
        f"{'/'.join(map(str, entry.md5))} pixels; downloaded when first used"
        for flag, entry in MEDMNIST.items()
    }
    return {**phantoms, **published}
