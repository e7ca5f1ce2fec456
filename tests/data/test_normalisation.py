import json

import pytest
import torch

from archimed.data.dataset import Subset
from archimed.data.normalisation import Normalisation, fit_normalisation
from archimed.data.settings import DataSettings
from archimed.data.source import load_dataset
from archimed.errors import DataError

TYPES = {torch.uint8: 255.0, torch.uint16: 65535.0, torch.float32: 1.0}


def raw(dtype: torch.dtype, channels: int = 3, size: int = 300) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([0.3, 0.9, 0.6])[:channels].view(-1, 1, 1)
    values = torch.rand(size, channels, 6, 5, generator=generator) * spread
    return (values * TYPES[dtype]).to(dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_training_statistics_give_zero_mean_and_unit_deviation(dtype: torch.dtype, channels: int) -> None:
    images = raw(dtype, channels)
    values = Normalisation.fit(images)(images).double()
    assert values.mean((0, 2, 3)) == pytest.approx([0.0] * channels, abs=1e-5)
    assert values.std((0, 2, 3), correction=0) == pytest.approx([1.0] * channels, rel=1e-5)


def test_statistics_survive_a_large_offset() -> None:
    images = 1e4 + torch.randn(64, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    assert Normalisation.fit(images).std[0] == pytest.approx(float(images.double().std(correction=0)), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_half_maps_the_full_scale_to_minus_one_and_one(dtype: torch.dtype) -> None:
    images = torch.tensor([0, int(TYPES[dtype])]).to(dtype).view(2, 1, 1, 1)
    values = Normalisation.half(dtype, 1)(images)
    assert values.dtype == torch.float32
    assert values.flatten().tolist() == pytest.approx([-1.0, 1.0], abs=1e-6)


def test_raw_images_are_left_as_they_are() -> None:
    images = raw(torch.float32)
    before = images.clone()
    Normalisation.fit(images)(images)
    assert torch.equal(images, before)


def test_constant_channel_stays_finite() -> None:
    images = torch.full((4, 1, 3, 3), 7, dtype=torch.uint8)
    assert Normalisation.fit(images)(images).abs().max() < 1e-6


def test_json_round_trip() -> None:
    normalise = Normalisation.fit(raw(torch.uint8))
    assert Normalisation.from_json(json.loads(json.dumps(normalise.to_json()))) == normalise
    with pytest.raises(DataError, match="full_scale, mean and std"):
        Normalisation.from_json({"mean": [0.5]})


def test_other_number_of_channels_is_refused() -> None:
    with pytest.raises(DataError, match="3 channels the network was made for; got 1"):
        Normalisation.half(torch.uint8, 3)(raw(torch.uint8, 1))


def test_auto_is_half_for_medmnist_files_and_fitted_on_train_otherwise() -> None:
    dataset = load_dataset("phantom:lesions2d?cases=40&size=16", DataSettings(), 0)
    train = dataset.subset(dataset.folds[0].train)
    assert fit_normalisation(dataset, train, DataSettings()) == Normalisation.fit(train.images)
    assert fit_normalisation(dataset, train, DataSettings(normalisation="half")) == Normalisation.half(torch.uint8, 1)
    import dataclasses

    published = dataclasses.replace(dataset, source_kind="medmnist")
    assert fit_normalisation(published, train, DataSettings()) == Normalisation.half(torch.uint8, 1)


def test_half_of_wide_floats_is_refused() -> None:
    dataset = load_dataset("phantom:lesions2d?cases=40&size=16", DataSettings(), 0)
    wide = Subset(("a",), torch.full((1, 1, 4, 4), 900.0), torch.zeros(1))
    with pytest.raises(DataError, match="range from 900 to 900"):
        fit_normalisation(dataset, wide, DataSettings(normalisation="half"))
