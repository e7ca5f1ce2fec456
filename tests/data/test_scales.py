"""Images whose grey values share no scale are told of, where nothing says what they are."""

from dataclasses import replace

import pytest
import torch

from archimed.data.arrays import Arrays
from archimed.data.dataset import Case, Dataset
from archimed.data.problems import Problems
from archimed.data.scales import check_scales
from archimed.data.volume import ChannelKind
from archimed.task import ImagingTask


def images(factors: list[float], dtype: torch.dtype = torch.float32) -> Dataset:
    """Noise, each image multiplied by a number."""
    noise = torch.rand(len(factors), 1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    values = (noise * torch.tensor(factors).view(-1, 1, 1, 1, 1)).to(dtype)
    cases = tuple(Case(f"c{row}", f"c{row}") for row in range(len(factors)))
    task = ImagingTask("binary", ("no", "yes"), 1, (4, 4, 4))
    return Dataset("set", "csv", task, cases, Arrays.of(values), torch.arange(len(factors)) % 2)


def cautions(dataset: Dataset) -> list[str]:
    problems = Problems(strict=False)
    check_scales(dataset, problems)
    return list(problems.cautions)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int16])
def test_values_of_several_scales_are_told(dtype: torch.dtype) -> None:
    (told,) = cautions(images([100.0, 20000.0] * 8, dtype))
    assert "share no scale" in told
    assert "--set data.kind=mr" in told


def test_the_spreads_that_are_told_are_those_of_the_images() -> None:
    dataset = images([1.0] * 8 + [1000.0] * 8)
    low, high = (float(dataset.images[row].double().std()) for row in (0, 15))
    (told,) = cautions(dataset)
    first, second = (float(word) for word in told.replace(",", "").split() if word[0].isdigit())
    assert first == pytest.approx(low, rel=0.2)
    assert second == pytest.approx(high, rel=0.2)


@pytest.mark.parametrize(
    "factors",
    [[100.0, 300.0] * 8, [100.0] * 15 + [1e6], [100.0, 20000.0] * 3],
    ids=["one scale", "one outlier", "too few to say"],
)
def test_what_is_not_told(factors: list[float]) -> None:
    assert cautions(images(factors)) == []


@pytest.mark.parametrize("kind", ["mr", "ct", "pet"])
def test_known_kinds_have_rules_of_their_own(kind: ChannelKind) -> None:
    assert cautions(replace(images([100.0, 20000.0] * 8), channel_kinds=(kind,))) == []


def test_pictures_have_a_full_scale() -> None:
    assert cautions(images([10.0, 250.0] * 8, torch.uint8)) == []
