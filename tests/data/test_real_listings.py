"""The settings that read each set of real images, and the cases that its description counts."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from archimed.cli.data import data_settings
from archimed.data.formats.csv_table import list_csv
from archimed.data.formats.image_mask_folders import list_masks
from archimed.data.listing import Listing, Modality
from archimed.data.problems import Problems

pytestmark = pytest.mark.data

FINDINGS = (
    "Atelectasis,Cardiomegaly,Effusion,Infiltration,Mass,Nodule,Pneumonia,Pneumothorax,Consolidation,Edema,Emphysema,"
    "Fibrosis,Pleural_Thickening,Hernia"
)


def check_files(found: Listing) -> None:
    for entry in found.entries:
        for path in (*entry.images, entry.mask, entry.region):
            assert path is None or path.is_file()


def test_chest_x_rays(real_data: Path) -> None:
    settings = data_settings(
        ["data.columns.image=images/{image}", "data.columns.patient=Patient ID", f"data.label_columns={FINDINGS}"]
    )
    problems = Problems(strict=True)
    found = list_csv(real_data / "multilabel2d" / "nih_cxr14" / "labels.csv", settings, problems)
    assert Counter(entry.case.split for entry in found.entries) == {"train": 495, "validation": 68, "test": 139}
    assert found.label_names == tuple(FINDINGS.split(","))
    totals = dict(zip(found.label_names, np.sum([entry.label for entry in found.entries], axis=0), strict=True))
    assert (totals["Pneumonia"], totals["Hernia"]) == (333, 3)
    assert len({entry.case.patient for entry in found.entries}) == 476
    assert problems.found == []
    check_files(found)


def test_pet_and_ct_of_sarcomas(real_data: Path) -> None:
    words = {"image_ct": "CT_image", "image_pet": "PET_image", "region": "CT_mask"}
    settings = data_settings(
        [
            *(f"data.columns.{role}={{patient}}/{name}.nii.gz" for role, name in words.items()),
            "data.columns.label=any_mets",
        ]
    )
    found = list_csv(real_data / "petct" / "sts" / "labels.csv", settings, Problems(strict=True))
    assert found.modalities == (Modality("ct", "ct"), Modality("pet", "pet"))
    assert Counter(entry.label for entry in found.entries) == {"0": 6, "1": 6}
    assert all(entry.region for entry in found.entries)
    check_files(found)


@pytest.mark.parametrize(
    ("name", "images", "masks", "cases", "patients"),
    [
        ("seg2d/chasedb1", "Image_{patient}[LR].jpg", "{stem}_1stHO.png", 16, 8),
        ("seg2d/wbc_dataset1", "*.bmp", "{stem}.png", 200, None),
        ("seg2d/dsb2018_nuclei", "images/*.png", "instances/{name}", 240, None),
        ("seg3d/hippocampus_msd", "images/*.nii.gz", "labels/{name}", 130, None),
    ],
)
def test_images_with_masks(
    real_data: Path, name: str, images: str, masks: str, cases: int, patients: int | None
) -> None:
    settings = data_settings([f"data.image_pattern={images}", f"data.mask_pattern={masks}"])
    found = list_masks(real_data / name, settings, Problems(strict=True))
    assert len(found.entries) == cases
    assert found.patients_known == (patients is not None)
    assert len({entry.case.patient for entry in found.entries}) == (patients or cases)
    check_files(found)
