import pytest
import torch
from torch import Tensor
from torch.nn import functional

from archimed.data.dataset import Dataset
from archimed.data.phantoms import PHANTOMS, PhantomOptions, parse_options
from archimed.data.phantoms.cases import shots
from archimed.data.problems import Problems
from archimed.data.settings import DataSettings
from archimed.data.splits import make_folds
from archimed.errors import DataError

SOLID = ("petct", "chestct", "organs3d")
SEGMENTED = ("vessels", "cells", "polyps", "organs3d")
PER_IMAGE = [name for name in PHANTOMS if name != "lesions2d"]  # lesions2d has tests of its own
MOST_IMAGES = {"polyps": 4}


def small(name: str, cases: int = 24, size: int | None = None, seed: int = 0) -> Dataset:
    return PHANTOMS[name](PhantomOptions(cases, size or (16 if name in SOLID else 28)), seed)


def halved(images: Tensor) -> Tensor:
    pool = functional.avg_pool3d if images.ndim == 5 else functional.avg_pool2d
    return pool(images.float(), 2)


def equal(first: Dataset, other: Dataset) -> bool:
    masks = first.masks is None or torch.equal(first.masks.all(), other.masks.all())  # type: ignore[union-attr]
    same = torch.equal(first.target.nan_to_num(-1), other.target.nan_to_num(-1)) and first.cases == other.cases
    return bool(masks and same and torch.equal(first.images.all(), other.images.all()))


@pytest.mark.parametrize("name", PHANTOMS)
def test_same_seed_same_data_other_seed_other_data(name: str) -> None:
    assert equal(small(name, seed=1), small(name, seed=1))
    assert not torch.equal(small(name, seed=1).images.all(), small(name, seed=2).images.all())


@pytest.mark.parametrize("name", PER_IMAGE)
def test_the_same_scenes_are_drawn_at_every_size(name: str) -> None:
    size = 16 if name in SOLID else 32
    coarse, fine = small(name, 20, size), small(name, 20, 2 * size)
    assert coarse.cases == fine.cases or name == "polyps"  # a polyp's area is counted in pixels
    assert torch.equal(coarse.target.nan_to_num(-1), fine.target.nan_to_num(-1))
    for channel in range(coarse.task.channels):
        drawn, shrunk = coarse.images.all()[:, [channel]].float(), halved(fine.images.all()[:, [channel]])
        agreement = [float(torch.corrcoef(pair)[0, 1]) for pair in torch.stack([drawn, shrunk], 1).flatten(2)]
        assert sorted(agreement)[10] > 0.9
        assert min(agreement) > 0.75
    if coarse.masks is not None and fine.masks is not None:
        for label in range(1, coarse.task.num_outputs):
            mask, shrunk = coarse.masks.all() == label, halved((fine.masks.all() == label)[:, None])[:, 0]
            assert 2 * torch.minimum(mask.float(), shrunk).sum() / (mask.sum() + shrunk.sum()) > 0.6


@pytest.mark.parametrize("name", SEGMENTED)
def test_an_image_does_not_depend_on_how_many_there_are(name: str) -> None:
    assert torch.equal(small(name, 20).images.all(), small(name, 30).images.all()[:20])


@pytest.mark.parametrize("name", PER_IMAGE)
def test_patients_have_neighbouring_images_of_one_class_and_are_never_split(name: str) -> None:
    dataset = small(name, 90, 16)
    assert dataset.patients_known
    rows: dict[str, list[int]] = {}
    for row, case in enumerate(dataset.cases):
        rows.setdefault(case.patient, []).append(row)
    most = MOST_IMAGES.get(name, 2)
    assert {len(found) for found in rows.values()} == set(range(1, most + 1))
    assert all(found == list(range(found[0], found[0] + len(found))) for found in rows.values())
    if dataset.task.kind in ("binary", "multi-class"):
        assert all(len(set(dataset.target[found].tolist())) == 1 for found in rows.values())
    (fold,) = make_folds(dataset, DataSettings(), 0, Problems(strict=True))
    split_of = {dataset.cases[row].patient: set[str]() for row in range(90)}
    for split in ("train", "validation", "test"):
        for row in dataset.rows(fold.split(split)):  # type: ignore[arg-type]
            split_of[dataset.cases[row].patient].add(split)
    assert all(len(found) == 1 for found in split_of.values())


@pytest.mark.parametrize(
    ("name", "kind", "channels", "dtype", "channel_kinds"),
    [
        ("xray", "multi-label", 1, torch.uint8, ()),
        ("petct", "binary", 2, torch.float32, ("pet", "ct")),
        ("chestct", "multi-class", 1, torch.int16, ("ct",)),
        ("vessels", "segmentation", 1, torch.uint8, ()),
        ("cells", "segmentation", 1, torch.uint8, ()),
        ("polyps", "segmentation", 3, torch.uint8, ()),
        ("organs3d", "segmentation", 1, torch.int16, ("ct",)),
    ],
)
def test_form_at_the_smallest_size(
    name: str, kind: str, channels: int, dtype: torch.dtype, channel_kinds: tuple[str, ...]
) -> None:
    dataset = small(name, 20, 16)
    sides = (16,) * (3 if name in SOLID else 2)
    assert (dataset.task.kind, dataset.task.channels, dataset.task.image_size) == (kind, channels, sides)
    assert (dataset.images.shape, dataset.images.dtype) == ((channels, *sides), dtype)
    assert dataset.channel_kinds == channel_kinds
    assert len(dataset.spacing) == (20 if name in SOLID else 0)
    assert dataset.images.all().float().isfinite().all()
    flat = dataset.images.all().float().flatten(1)
    assert (flat.std(1) > 0).all()
    assert len(flat.unique(dim=0)) == 20
    if dataset.task.kind == "segmentation":
        assert dataset.masks is not None
        assert (dataset.masks.shape, dataset.masks.dtype) == (sides, torch.uint8)
    else:
        assert dataset.masks is None


@pytest.mark.parametrize("name", SOLID)
def test_volumes_have_bounds_of_their_own(name: str) -> None:
    with pytest.raises(
        DataError, match=r"20 to 5000 cases of 16 to 96 pixels; got cases=200, size=128\. Write \?cases"
    ):
        PHANTOMS[name](parse_options("cases=200&size=128", None), 0)


def test_an_image_has_streams_of_its_own() -> None:
    images = shots("cells", 0, 30)
    again = shots("cells", 0, 40)
    assert [image.patient for image in images] == [image.patient for image in again[:30]]
    assert len({image.view.integers(2**40) for image in images}) == 30
    assert len({image.grain.integers(2**40) for image in images}) == 30
    assert len({image.scene.integers(2**40) for image in images}) == images[-1].patient + 1
