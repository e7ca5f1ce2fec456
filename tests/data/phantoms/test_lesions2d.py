import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from sklearn.metrics import roc_auc_score

from archimed.data.dataset import Dataset
from archimed.data.phantoms import PHANTOMS, PhantomOptions, parse_options
from archimed.data.settings import DataSettings
from archimed.data.source import load_dataset
from archimed.errors import DataError


def phantom(cases: int = 1000, size: int = 28, seed: int = 0) -> Dataset:
    return PHANTOMS["lesions2d"](PhantomOptions(cases, size), seed)


def auc(dataset: Dataset, score: np.ndarray) -> float:
    value = float(roc_auc_score(dataset.target.numpy(), score))
    return max(value, 1 - value)


def test_same_seed_same_images_other_seed_other_images() -> None:
    first, again, other = phantom(60, seed=1), phantom(60, seed=1), phantom(60, seed=2)
    assert torch.equal(first.images.all(), again.images.all())
    assert first.cases == again.cases
    assert not torch.equal(first.images.all(), other.images.all())


def test_the_same_scenes_are_drawn_at_every_size() -> None:
    small, large = phantom(300, 32), phantom(300, 64)
    assert small.cases == large.cases
    shrunk = torch.nn.functional.avg_pool2d(large.images.all().float(), 2)
    pairs = torch.stack([small.images.all().float().flatten(1), shrunk.flatten(1)], 1)
    agreement = torch.stack([torch.corrcoef(pair)[0, 1] for pair in pairs])
    assert agreement.median() > 0.9
    assert agreement.min() > 0.7


@pytest.mark.parametrize("size", [28, 64])
@pytest.mark.parametrize("seed", [0, 1])
def test_brightness_and_pixels_by_themselves_say_little(size: int, seed: int) -> None:
    dataset = phantom(1000, size, seed)
    pixels = dataset.images.all()[:, 0].float().numpy()
    for score in (pixels.mean((1, 2)), pixels.max((1, 2)), pixels.min((1, 2)), pixels.std((1, 2))):
        assert auc(dataset, score) < 0.7


def test_structure_tells_the_classes_apart() -> None:
    dataset = phantom(1000, 64)
    pixels = dataset.images.all()[:, 0].float().numpy()
    centre = pixels[:, 1:-1, 1:-1]
    laplacian = 4 * centre - pixels[:, 2:, 1:-1] - pixels[:, :-2, 1:-1] - pixels[:, 1:-1, 2:] - pixels[:, 1:-1, :-2]
    assert auc(dataset, np.abs(laplacian).mean((1, 2))) > 0.7


def test_sizes_run_log_uniformly_from_a_thousandth_to_a_fifth() -> None:
    dataset = phantom(2000)
    areas = np.array([case.lesion_area for case in dataset.cases if case.lesion_area is not None])
    assert len(areas) == int(dataset.target.sum())
    assert areas.min() >= 1 / 1000
    assert areas.max() <= 1 / 5
    scaled = np.log(areas * 1000) / math.log(200)
    assert kstest(scaled, "uniform").pvalue > 0.001


def test_lesion_area_is_the_share_of_the_image_that_is_drawn() -> None:
    from archimed.data.phantoms.lesions2d import _growth

    area = torch.tensor([0.02, 0.05, 0.15]).repeat(20)
    drawn = _growth(torch.ones(60, dtype=torch.bool), area, 128, torch.Generator().manual_seed(0))
    inside = (drawn > 0.5 * drawn.amax((1, 2), keepdim=True)).float().mean((1, 2))
    assert (inside / area).median().item() == pytest.approx(1.0, abs=0.1)


def test_patients_have_one_or_two_images_of_one_class_and_are_never_split() -> None:
    dataset = load_dataset("phantom:lesions2d?cases=300&size=16", DataSettings(), 0)
    rows: dict[str, list[int]] = {}
    for row, case in enumerate(dataset.cases):
        rows.setdefault(case.patient, []).append(row)
    assert {len(found) for found in rows.values()} == {1, 2}
    assert all(len(set(dataset.target[found].tolist())) == 1 for found in rows.values())
    assert abs(float(dataset.target.float().mean()) - 0.5) < 0.06


def test_options() -> None:
    assert parse_options("", None) == PhantomOptions()
    assert parse_options("cases=300&size=28", None) == PhantomOptions(300, 28)
    assert parse_options("size=28", 128).size == 128
    for text in ("case=3", "cases=x", "cases=3", "size=9999", "cases"):
        with pytest.raises(DataError, match=r"cases=300&size=28"):
            parse_options(text, None)
