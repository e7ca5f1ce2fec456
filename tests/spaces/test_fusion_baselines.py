from dataclasses import replace

import pytest
import torch

from archimed.errors import SettingsError
from archimed.networks.forest import features_of
from archimed.networks.radiomics import feature_names
from archimed.spaces.fusion_baselines import Radiomics, ReferenceCnn, fusion_baselines
from archimed.spaces.modalities import modalities
from archimed.task import ImagingTask

PETCT = ImagingTask("binary", ("benign", "malignant"), 2, (8, 9, 10), ("PET", "CT"))
FLAT = replace(PETCT, image_size=(9, 10))
NOTHING: dict[str, tuple[int, ...]] = {}


@pytest.mark.parametrize(
    ("channels", "names", "found"),
    [
        (2, ("PET", "CT"), {"pet": (0,), "ct": (1,)}),
        (3, ("T1 (Gd)", "T2", "T1 (Gd)"), {"t1-gd": (0, 2), "t2": (1,)}),
        (1, ("CT",), {"ct": (0,)}),
        (1, (), NOTHING),
        (3, (), NOTHING),
        (2, (), {"channel-0": (0,), "channel-1": (1,)}),
        (3, ("PET", "CT", "region"), {"pet": (0,), "ct": (1,)}),
        (2, ("CT", "region"), {"ct": (0,)}),
        (2, ("/", "?"), {"channel-0": (0,), "channel-1": (1,)}),
    ],
)
def test_modalities_by_their_channels(channels: int, names: tuple[str, ...], found: dict[str, tuple[int, ...]]) -> None:
    assert modalities(replace(PETCT, channels=channels, channel_names=names)) == found


def test_which_networks_fit_a_task() -> None:
    fusing = ("pet-only", "ct-only", "early-fusion", "late-fusion")
    slices = ("central-slice", "largest-slice")
    one = replace(PETCT, channels=1, channel_names=())
    assert (*fusion_baselines(PETCT),) == (*fusing, *slices, "radiomics")
    assert (*fusion_baselines(FLAT),) == (*fusing, "radiomics")
    assert (*fusion_baselines(replace(FLAT, kind="multi-label")),) == fusing
    assert (*fusion_baselines(one),) == (*slices, "radiomics")


@pytest.mark.parametrize("task", [PETCT, FLAT], ids=["3D", "2D"])
def test_networks_look_at_their_own_channels(task: ImagingTask) -> None:
    images = torch.rand(2, 2, *task.image_size, generator=torch.Generator().manual_seed(0))
    found = fusion_baselines(task)
    sees = {}
    for name in ("pet-only", "ct-only", "early-fusion", "late-fusion"):
        network = found[name].build((), task).eval()
        sees[name] = []
        for channel in range(2):
            changed = images.clone()
            changed[:, channel] *= 3
            sees[name].append(not torch.equal(network(images), network(changed)))
    assert sees == {
        "pet-only": [True, False],
        "ct-only": [False, True],
        "early-fusion": [True, True],
        "late-fusion": [True, True],
    }


def test_pet_guides_the_largest_slice_wherever_it_is() -> None:
    turned = replace(PETCT, channel_names=("CT", "PET"))
    guides = [fusion_baselines(task)["largest-slice"].guide for task in (PETCT, turned)]  # type: ignore[attr-defined]
    assert guides == [0, 1]


@pytest.mark.parametrize(
    ("space", "task", "message"),
    [
        (ReferenceCnn(encoders=((2,),)), PETCT, "channels from 0 to 1"),
        (ReferenceCnn(encoders=((0,), ())), PETCT, "channels from 0 to 1"),
        (ReferenceCnn(encoders=((-1,),)), PETCT, "channels from 0 to 1"),
        (ReferenceCnn(view="largest-slice", guide=2), PETCT, "channels from 0 to 1"),
        (ReferenceCnn(view="central-slice"), FLAT, "slice of a volume; the images are 2D"),
        (Radiomics(), replace(PETCT, kind="multi-label"), "one class; the task is multi-label"),
    ],
)
def test_what_does_not_fit_is_told(space: ReferenceCnn | Radiomics, task: ImagingTask, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        space.build((), task)


def test_a_slice_is_read_by_a_flat_network() -> None:
    weights = [weight for weight in ReferenceCnn(view="central-slice").build((), PETCT).parameters() if weight.ndim > 2]
    assert {weight.ndim for weight in weights} == {4}


OUTLINED = replace(PETCT, channels=3, channel_names=("PET", "CT", "region"))


@pytest.mark.parametrize("name", ["pet-only", "ct-only", "early-fusion", "late-fusion", "largest-slice", "radiomics"])
def test_every_baseline_reads_its_modalities_and_the_region(name: str) -> None:
    network = fusion_baselines(OUTLINED)[name].build((), OUTLINED).eval()
    images = torch.randn(2, 3, 8, 9, 10)
    images[:, 2] = (images[:, 2] > 1).float()
    if name == "radiomics":
        assert features_of(images, outlined=True).shape == (2, len(feature_names(2, outlined=True)))
        return
    read = []
    for channel in range(3):
        other = images.clone()
        other[:, channel] = other[:, channel].flip(-1) + 1 if channel < 2 else other[:, channel].flip(-1)
        with torch.no_grad():
            read.append(not torch.equal(network(images), network(other)))
    assert read == [name != "ct-only", name != "pet-only", True]


def test_the_region_guides_the_largest_slice() -> None:
    network = fusion_baselines(OUTLINED)["largest-slice"].build((), OUTLINED).eval()
    images = torch.randn(2, 3, 8, 9, 10)
    images[:, 2] = 0
    images[0, 2, 3], images[1, 2, 6] = 1, 1
    other = torch.randn(2, 3, 8, 9, 10)
    for row, chosen in ((0, 3), (1, 6)):
        other[row, :, chosen] = images[row, :, chosen]
    other[:, 2] = images[:, 2]
    assert torch.equal(network(images), network(other))
