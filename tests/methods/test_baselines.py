"""Which baselines there are for some data, by name."""

from dataclasses import replace
from fnmatch import fnmatchcase

import pytest
import torch

from archimed.data.arrays import Arrays
from archimed.data.dataset import Case, Dataset
from archimed.errors import SettingsError
from archimed.methods.baselines import (
    DEFAULT,
    DEFAULT_MASKS,
    DROP_ORDER,
    FIXED,
    baseline_names,
    fixed_baseline,
    fixed_networks,
    typical_spacing,
)
from archimed.methods.random_search import FROM_RANDOM_POOL
from archimed.spaces.fusion_baselines import Radiomics, ReferenceCnn
from archimed.spaces.segmenters import DynUnet, Unet
from archimed.task import ImagingTask

PETCT = ImagingTask("binary", ("benign", "malignant"), 2, (8, 9, 10), ("PET", "CT"))
MASKS = ImagingTask("segmentation", ("background", "cell"), 3, (16, 16))
SEGMENTERS = ("unet", "unet-plus-plus", "attention-unet", "dynunet")
CT = replace(PETCT, channels=1, channel_names=("CT",))
DEEP = ("resnet101", "densenet121", "mc3-18")
FUSION = ("pet-only", "ct-only", "early-fusion", "late-fusion", "central-slice", "largest-slice", "radiomics")
SEARCHED = ("random-search",)


@pytest.mark.parametrize(
    ("asked", "task", "given"),
    [
        ("default", PETCT, DEFAULT),
        ("all", PETCT, (*SEARCHED, *FIXED, *FUSION)),
        ("all", CT, (*SEARCHED, *FIXED)),
        ("all", None, (*SEARCHED, *FIXED)),
        ("default", MASKS, DEFAULT_MASKS),
        ("all", MASKS, (*SEARCHED, *SEGMENTERS)),
        ("dynunet,unet", MASKS, ("unet", "dynunet")),
        ("mc3-18,resnet101", CT, ("resnet101", "mc3-18")),
        ("radiomics, pet-only", PETCT, ("pet-only", "radiomics")),
        ("radiomics,central-slice", CT, ("central-slice", "radiomics")),
    ],
)
def test_names_follow_the_data(asked: str, task: ImagingTask | None, given: tuple[str, ...]) -> None:
    assert baseline_names(asked, SEARCHED, task) == given


@pytest.mark.parametrize(
    ("asked", "task", "given"),
    [
        ("all", CT, (*SEARCHED, *FIXED, *DEEP)),
        ("all", PETCT, (*SEARCHED, *FIXED, *DEEP, *FUSION)),
        ("all", replace(CT, image_size=(8, 9)), (*SEARCHED, *FIXED, *DEEP[:2])),
        ("default", CT, DEFAULT),
    ],
)
def test_a_method_names_further_networks_for_all(asked: str, task: ImagingTask, given: tuple[str, ...]) -> None:
    assert baseline_names(asked, SEARCHED, task, DEEP) == given


@pytest.mark.parametrize(
    ("asked", "task"),
    [
        ("pet-only", CT),
        ("late-fusion", CT),
        ("mr-only", PETCT),
        ("central-slice", replace(PETCT, image_size=(8, 9))),
        ("radiomics", replace(PETCT, kind="multi-label")),
        ("resnet18", MASKS),
        ("mc3-18", replace(PETCT, image_size=(8, 9))),
        ("unet", PETCT),
    ],
)
def test_a_name_that_does_not_fit_the_data_is_refused_in_one_line(asked: str, task: ImagingTask) -> None:
    with pytest.raises(SettingsError, match=f"^Baselines of these data are .*; got '{asked}'. Set") as told:
        baseline_names(asked, SEARCHED, task)
    assert "\n" not in str(told.value)


def test_every_fixed_network_is_a_selection_and_can_be_dropped() -> None:
    for name in fixed_networks(PETCT):
        assert fixed_baseline(name, PETCT).network == name
    for name in (*FROM_RANDOM_POOL, *fixed_networks(PETCT), *fixed_networks(MASKS)):
        assert sum(fnmatchcase(name, pattern) for pattern in DROP_ORDER) == 1
    assert fixed_baseline("radiomics", PETCT).space == Radiomics()
    assert fixed_baseline("ct-only", PETCT).space == ReferenceCnn(encoders=((1,),))


def test_dynunet_is_configured_by_the_typical_spacing() -> None:
    spacings = ((2.0, 0.5), (3.0, 0.7), (2.5, 0.6))
    cases = tuple(Case(f"c{k}", f"p{k}") for k in range(3))
    images, masks = torch.zeros(3, 3, 16, 16), torch.zeros(3, 16, 16, dtype=torch.uint8)
    data = Dataset(
        "tiny", "masks", MASKS, cases, Arrays.of(images), torch.ones(3, 2), Arrays.of(masks), spacing=spacings
    )
    assert typical_spacing(data) == (2.5, 0.6)
    assert typical_spacing(replace(data, spacing=(None, *spacings[1:]))) is None
    assert typical_spacing(replace(data, spacing=())) is None
    assert fixed_baseline("dynunet", MASKS, (2.5, 0.6)).space == DynUnet(spacing=(2.5, 0.6))
    assert fixed_baseline("unet", MASKS, (2.5, 0.6)).space == Unet()
