"""Every set of real images, read by the one command that docs/data.md gives for it: counts, sizes, classes, units."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from archimed.cli.data import data_settings
from archimed.data.dataset import SPLIT_NAMES, Dataset
from archimed.data.source import load_dataset

pytestmark = pytest.mark.data

STS = (
    "data.columns.image_pet={patient}/PET_image.nii.gz",
    "data.columns.image_ct={patient}/CT_image.nii.gz",
    "data.columns.region={patient}/PET_mask.nii.gz",
    "data.columns.label=any_mets",
)
FINDINGS = (
    "Atelectasis,Cardiomegaly,Effusion,Infiltration,Mass,Nodule,Pneumonia,Pneumothorax,Consolidation,Edema,Emphysema,"
    "Fibrosis,Pleural_Thickening,Hernia"
)


@dataclass(frozen=True)
class Expected:
    """The figures of one set, as its description gives them."""

    source: str
    settings: tuple[str, ...]
    cases: int
    patients: int
    kind: str
    classes: int
    channels: int
    sizes: tuple[tuple[int, ...], tuple[int, ...]]  # smallest and largest along each axis
    splits: tuple[int, int, int] | None = None


SETS = (
    Expected("cls2d/breastmnist.npz", (), 780, 780, "binary", 2, 1, ((28, 28), (28, 28)), (546, 78, 156)),
    Expected("cls2d/pneumoniamnist.npz", (), 5856, 5856, "binary", 2, 1, ((28, 28), (28, 28)), (4708, 524, 624)),
    Expected(
        *("multilabel2d/nih_cxr14/labels.csv",),
        ("data.columns.image=images/{image}", "data.columns.patient=Patient ID", f"data.label_columns={FINDINGS}"),
        *(702, 476, "multi-label", 14, 1, ((224, 224), (224, 224)), (495, 68, 139)),
    ),
    Expected("cls3d/adrenalmnist3d.npz", (), 1584, 1584, "binary", 2, 1, ((28, 28, 28), (28, 28, 28)), (1188, 98, 298)),
    Expected("cls3d/sts_patch24_petct.npz", (), 312, 26, "binary", 2, 2, ((24, 24, 24), (24, 24, 24)), (192, 48, 72)),
    Expected(
        *("petct/sts/labels.csv", (*STS, "data.spacing_mm=4", "data.image_size=48", "data.fit=crop-or-pad")),
        *(12, 12, "binary", 2, 2, ((48, 48, 48), (48, 48, 48))),
    ),
    Expected(
        *("seg2d/chasedb1", ("data.image_pattern=Image_{patient}[LR].jpg", "data.mask_pattern={stem}_1stHO.png")),
        *(16, 8, "segmentation", 2, 3, ((960, 999), (960, 999))),
    ),
    Expected(
        *("seg2d/wbc_dataset1", ("data.image_pattern=*.bmp", "data.mask_pattern={stem}.png")),
        *(200, 200, "segmentation", 3, 3, ((88, 88), (120, 120))),
    ),
    Expected(
        "seg2d/dsb2018_nuclei",
        ("data.image_pattern=images/*.png", "data.mask_pattern=instances/{name}", "data.mask_values=foreground"),
        *(240, 240, "segmentation", 2, 3, ((256, 256), (520, 696))),
    ),
    Expected(
        "seg3d/hippocampus_msd",
        ("data.image_pattern=images/*.nii.gz", "data.mask_pattern=labels/{name}", "data.kind=mr"),
        *(130, 130, "segmentation", 3, 1, ((24, 40, 31), (43, 58, 43))),
    ),
)


def read(root: Path, source: str, settings: tuple[str, ...]) -> Dataset:
    return load_dataset(str(root / source), data_settings([*settings, "data.cache=false"]), 0)


@pytest.mark.parametrize("expected", SETS, ids=lambda expected: expected.source)
def test_a_set_is_what_its_description_says(real_data: Path, expected: Expected) -> None:
    found = read(real_data, expected.source, expected.settings)
    assert len(found.cases) == expected.cases
    assert len({case.patient for case in found.cases}) == expected.patients
    assert (found.task.kind, found.task.num_outputs) == (expected.kind, expected.classes)
    assert found.task.channels == expected.channels
    spaces = [shape[1:] for shape in found.images.shapes]
    sizes = tuple(tuple(pick(axis) for axis in zip(*spaces, strict=True)) for pick in (min, max))
    assert sizes == expected.sizes
    if expected.splits is not None:
        assert tuple(len(found.folds[0].split(name)) for name in SPLIT_NAMES) == expected.splits


def test_pet_is_in_suv_and_ct_in_hounsfield_units(real_data: Path) -> None:
    found = read(real_data, "petct/sts/labels.csv", (*STS, "data.spacing_mm=4", "data.image_size=48"))
    assert found.channel_names == ("pet", "ct")
    assert found.channel_kinds == ("pet", "ct")
    pet, ct = (found.images.all()[:, channel] for channel in (0, 1))
    assert pet.min() >= 0
    assert 3 < float(pet.flatten(1).amax(1).median()) < 30  # SUVmax of sarcomas
    assert -1024 <= ct.min() < -900
    assert 20 < float(ct[(pet > 2.5)].median()) < 80  # what takes up sugar is soft tissue


def test_masks_of_hippocampi_hold_both_parts(real_data: Path) -> None:
    found = read(real_data, "seg3d/hippocampus_msd", SETS[-1].settings)
    assert found.target.min() == 1
    assert found.channel_kinds == ("mr",)
    assert all(spacing == pytest.approx((1, 1, 1)) for spacing in found.spacing)
    for image in list(found.images)[:20]:
        foreground = image[image != image.min()]
        assert abs(float(foreground.mean())) < 0.3
        assert abs(float(foreground.std()) - 1) < 0.2
