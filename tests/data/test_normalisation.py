import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from archimed.data import intensities
from archimed.data.arrays import Arrays
from archimed.data.dataset import Case, Dataset, Subset
from archimed.data.normalisation import Normalisation, fit_normalisation
from archimed.data.settings import DataSettings
from archimed.data.volume import ChannelKind
from archimed.errors import DataError
from archimed.task import ImagingTask

TYPES = {torch.uint8: 255.0, torch.uint16: 65535.0, torch.float32: 1.0}
CT = DataSettings()


def raw(dtype: torch.dtype, channels: int = 3, size: int = 300) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([0.3, 0.9, 0.6])[:channels].view(-1, 1, 1)
    values = torch.rand(size, channels, 6, 5, generator=generator) * spread
    return (values * TYPES[dtype]).to(dtype)


def fitted(images: torch.Tensor) -> Normalisation:
    return Normalisation.fit(Arrays.of(images))


def dataset_of(
    images: "torch.Tensor | list[torch.Tensor]",
    kinds: tuple[ChannelKind, ...] = (),
    masks: "torch.Tensor | list[torch.Tensor] | None" = None,
    source: str = "csv",
) -> Dataset:
    count, first = len(images), images[0]
    kind = "binary" if masks is None else "segmentation"
    task = ImagingTask(kind, ("background", "organ"), len(first), tuple(first.shape[1:]))  # type: ignore[arg-type]
    target = torch.zeros(count, dtype=torch.int64) if masks is None else torch.ones(count, 2)
    cases = tuple(Case(f"c{row}", f"c{row}") for row in range(count))
    names = tuple(f"channel {k}" for k in range(len(kinds)))
    return Dataset("made", source, task, cases, images, target, masks, channel_names=names, channel_kinds=kinds)  # type: ignore[arg-type]


def fit(dataset: Dataset, settings: DataSettings = CT, rows: "range | None" = None) -> Normalisation:
    ids = [dataset.cases[row].id for row in rows or range(len(dataset.cases))]
    return fit_normalisation(dataset, dataset.subset(ids), settings)


def hounsfield(count: int = 9, seed: int = 0, channels: int = 1) -> torch.Tensor:
    """Volumes of air, fat, tissue and some metal, in whole Hounsfield units."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(4, (count, channels, 5, 6, 7), p=[0.4, 0.2, 0.38, 0.02])
    values = np.array([-1000, -100, 50, 3000])[kind] + rng.normal(0, 20, kind.shape)
    return torch.from_numpy(values.round().astype(np.int16))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_training_statistics_give_zero_mean_and_unit_deviation(dtype: torch.dtype, channels: int) -> None:
    images = raw(dtype, channels)
    values = fitted(images)(images).double()
    assert values.mean((0, 2, 3)) == pytest.approx([0.0] * channels, abs=1e-5)
    assert values.std((0, 2, 3), correction=0) == pytest.approx([1.0] * channels, rel=1e-5)


def test_statistics_survive_a_large_offset() -> None:
    images = 1e4 + torch.randn(64, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    assert fitted(images).std[0] == pytest.approx(float(images.double().std(correction=0)), rel=1e-6)


def test_statistics_of_images_of_several_sizes_count_pixels_alike() -> None:
    images = [torch.rand(2, height, 5, generator=torch.Generator().manual_seed(height)) for height in (3, 8, 5)]
    pixels = torch.cat([image.flatten(1) for image in images], 1).double()
    found = Normalisation.fit(Arrays.of(images))
    assert found.mean == pytest.approx(pixels.mean(1).tolist())
    assert found.std == pytest.approx(pixels.std(1, correction=0).tolist())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_half_maps_the_full_scale_to_minus_one_and_one(dtype: torch.dtype) -> None:
    images = torch.tensor([0, int(TYPES[dtype])]).to(dtype).view(2, 1, 1, 1)
    values = Normalisation.half(dtype, 1)(images)
    assert values.dtype == torch.float32
    assert values.flatten().tolist() == pytest.approx([-1.0, 1.0], abs=1e-6)


def test_raw_images_are_left_as_they_are() -> None:
    for kinds in ((), ("ct",)):
        images = hounsfield().float()
        before = images.clone()
        fit(dataset_of(images, kinds))(images)  # type: ignore[arg-type]
        assert torch.equal(images, before)


def test_constant_channel_stays_finite() -> None:
    images = torch.full((4, 1, 3, 3), 7, dtype=torch.uint8)
    assert fitted(images)(images).abs().max() < 1e-6
    for kinds in (("ct",), ("pet",), ("other",)):
        assert fit(dataset_of(images, kinds))(images).isfinite().all()  # type: ignore[arg-type]


def test_ct_is_clipped_to_percentiles_of_what_is_not_air() -> None:
    images = hounsfield()
    tissue = images[images > -950].double().numpy()
    low, high = np.percentile(tissue, [0.5, 99.5])
    clipped = tissue.clip(low, high)
    found = fit(dataset_of(images, ("ct",)))
    assert (found.full_scale, found.low, found.high) == (1.0, (low,), (high,))
    assert found.mean + found.std == pytest.approx((clipped.mean(), clipped.std()), rel=1e-12)
    expected = (images.double().clamp(low, high) - clipped.mean()) / clipped.std()
    torch.testing.assert_close(found(images).double(), expected, rtol=1e-5, atol=1e-5)


def test_ct_of_a_segmentation_looks_at_what_is_marked() -> None:
    shapes = [(4, 5, 6), (7, 5, 3), (6, 6, 6)]
    rng = np.random.default_rng(2)
    images = [torch.from_numpy(rng.integers(-1000, 2000, (1, *shape)).astype(np.int16)) for shape in shapes]
    masks = [torch.from_numpy(rng.integers(0, 3, shape).astype(np.uint8)) for shape in shapes]
    marked = np.concatenate([image[0][mask > 0].numpy() for image, mask in zip(images, masks, strict=True)])
    found = fit(dataset_of(images, ("ct",), masks))
    assert found.low + found.high == tuple(np.percentile(marked, [0.5, 99.5]))


@pytest.mark.parametrize("scale", [1.0, 1 / 4096])
def test_ct_in_floating_point_is_counted_in_fine_steps(scale: float) -> None:
    images = hounsfield().float() * scale
    tissue = images[images > -950].double().numpy()
    found = fit(dataset_of(images, ("ct",)))
    assert found.low + found.high == pytest.approx(tuple(np.percentile(tissue, [0.5, 99.5])), rel=1e-4)
    between = images + torch.rand(images.shape, generator=torch.Generator().manual_seed(0)) * scale
    found = fit(dataset_of(between, ("ct",)))
    tissue = between[between > -950].double().numpy()
    limits = np.percentile(tissue, [0.5, 99.5])
    assert found.low + found.high == pytest.approx(tuple(limits), abs=scale / 16)
    assert found.mean[0] == pytest.approx(tissue.clip(*limits).mean(), abs=scale / 16)


def test_whole_hounsfield_units_in_floating_point_give_the_same_as_integers() -> None:
    images = hounsfield()
    assert fit(dataset_of(images.float(), ("ct",))) == fit(dataset_of(images, ("ct",)))


def test_ct_without_any_foreground_takes_all_of_it() -> None:
    air = torch.from_numpy(np.random.default_rng(0).integers(-1024, -960, (3, 1, 4, 4, 4)).astype(np.int16))
    found = fit(dataset_of(air, ("ct",)))
    assert found.low + found.high == tuple(np.percentile(air.numpy(), [0.5, 99.5]))
    found = fit(dataset_of(air, ("ct",), torch.zeros(3, 4, 4, 4, dtype=torch.uint8)))
    assert found.low + found.high == tuple(np.percentile(air.numpy(), [0.5, 99.5]))


def test_a_window_that_is_given_is_used() -> None:
    images = hounsfield()
    tissue = images[images > -950].double().numpy().clip(-160, 240)
    found = fit(dataset_of(images, ("ct",)), DataSettings(ct_window=(-160, 240)))
    assert (found.low, found.high) == ((-160,), (240,))
    assert found.mean + found.std == pytest.approx((tissue.mean(), tissue.std()))


def test_memory_is_bounded_and_parts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    images = hounsfield()
    whole = fit(dataset_of(images, ("ct",))), fitted(images)
    monkeypatch.setattr(intensities, "VALUES_AT_ONCE", 2 * images[0].numel())
    taken: list[int] = []
    take = Arrays.take

    def watched(self: Arrays, rows: range) -> torch.Tensor:
        taken.append(len(rows))
        return take(self, rows)

    monkeypatch.setattr(Arrays, "take", watched)
    parts = fit(dataset_of(images, ("ct",))), fitted(images)
    assert parts[0] == whole[0]
    assert parts[1].mean + parts[1].std == pytest.approx(whole[1].mean + whole[1].std, rel=1e-12)
    assert max(taken) == 2


@pytest.mark.parametrize("window", [(0.0, 20.0), (2.5, 10.0)])
def test_pet_is_clipped_to_its_window_then_standardised(window: tuple[float, float]) -> None:
    uptake = torch.tensor([-1.0, 0.0, 5.0, 20.0, 700.0]).view(5, 1, 1, 1, 1)
    clipped = uptake.double().clamp(*window)
    wanted = (clipped - clipped.mean()) / clipped.std(correction=0)
    found = fit(dataset_of(uptake, ("pet",)), DataSettings(suv_window=window))
    torch.testing.assert_close(found(uptake), wanted.float())


def test_modalities_reach_a_network_at_like_scales() -> None:
    generator = torch.Generator().manual_seed(0)
    uptake = torch.rand(4, 1, 6, 6, 6, generator=generator) * 3
    images = torch.cat([uptake * 300 - 500, uptake], dim=1)
    spread = fit(dataset_of(images, ("ct", "pet")))(images).std((0, 2, 3, 4))
    assert spread[1] / spread[0] == pytest.approx(1, rel=0.1)


def test_mr_that_was_standardised_by_case_stays_as_it_is() -> None:
    values = torch.randn(6, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 3 + 2
    assert torch.equal(fit(dataset_of(values, ("mr",)))(values), values)
    fitted_mr = fit(dataset_of(values, ("mr",)), DataSettings(normalisation="training"))
    assert dataclasses.replace(fitted_mr, kinds=(), names=()) == fitted(values)
    assert fit(dataset_of(values, ("mr",), source="phantom")).mean == fitted(values).mean


def test_training_clips_nothing_whatever_the_channels_are() -> None:
    images = hounsfield(channels=2)
    found = fit(dataset_of(images, ("ct", "pet")), DataSettings(normalisation="training"))
    assert dataclasses.replace(found, kinds=(), names=()) == fitted(images)


def test_channels_of_several_kinds_are_each_treated_as_what_they_are() -> None:
    rng = torch.Generator().manual_seed(4)
    ct, pet = hounsfield().float(), torch.rand(9, 1, 5, 6, 7, generator=rng) * 30
    mr, other = torch.randn(2, 9, 1, 5, 6, 7, generator=rng) + 4
    parts: tuple[tuple[torch.Tensor, ChannelKind], ...] = ((ct, "ct"), (pet, "pet"), (mr, "mr"), (other, "other"))
    for order in itertools.permutations(parts, 3):
        images = torch.cat([one for one, _ in order], 1)
        found = fit(dataset_of(images, tuple(kind for _, kind in order)))
        alone = torch.cat([fit(dataset_of(one, (kind,)))(one) for one, kind in order], 1)
        torch.testing.assert_close(found(images), alone)
        assert found.kinds == tuple(kind for _, kind in order)


def test_validation_and_test_cases_are_never_looked_at() -> None:
    kinds: tuple[ChannelKind, ...] = ("ct", "pet", "other")
    images = hounsfield(12, channels=3).float()
    before = fit(dataset_of(images, kinds), rows=range(6))
    images[6:] = torch.tensor([-32000.0, 1e6, 1e9]).view(3, 1, 1, 1)
    assert fit(dataset_of(images, kinds), rows=range(6)) == before
    assert fit(dataset_of(images, kinds)) != before


def test_json_round_trip() -> None:
    images = hounsfield(channels=3).float()
    for found in (fitted(raw(torch.uint8)), fit(dataset_of(images, ("ct", "other", "pet")))):
        assert Normalisation.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert Normalisation.from_json({"full_scale": 255.0, "mean": [0.5], "std": [0.5]}) == Normalisation.half(
        torch.uint8, 1
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": [0.5]}, "its std is"),
        ({"std": [1.0, 0.0]}, "its std is"),
        ({"std": [1.0, -1.0]}, "its std is"),
        ({"std": "11"}, "its std is"),
        ({"mean": [0.0, float("nan")]}, "its mean is"),
        ({"mean": [0.0, True]}, "its mean is"),
        ({"mean": [0.0, None]}, "its mean is"),
        ({"mean": []}, "its mean is"),
        ({"full_scale": 0}, "its full_scale is"),
        ({"full_scale": "255"}, "its full_scale is"),
        ({"low": [0.0]}, "its low is"),
        ({"high": [None, float("inf")]}, "its high is"),
        ({"low": [], "high": [1.0, 2.0]}, "its limits are"),
        ({"low": [3.0, None], "high": [2.0, None]}, "its limits are"),
        ({"kinds": ["ct", "x-ray"]}, "its kinds is"),
        ({"names": ["CT", 7]}, "its names is"),
        ({"more": 1}, "has full_scale, mean and std"),
    ],
)
def test_other_json_is_refused(change: dict[str, object], message: str) -> None:
    good = {"full_scale": 1.0, "mean": [0.0, 1.0], "std": [1.0, 2.0], "low": [None, None], "high": [None, 3.0]}
    Normalisation.from_json(good)
    with pytest.raises(DataError, match=message):
        Normalisation.from_json(good | change)


@pytest.mark.parametrize("junk", [{}, {"mean": [0.5]}, [], None, "half"])
def test_what_is_no_normalisation_is_refused(junk: object) -> None:
    with pytest.raises(DataError, match="full_scale, mean and std"):
        Normalisation.from_json(junk)  # type: ignore[arg-type]


def test_other_number_of_channels_is_refused() -> None:
    with pytest.raises(DataError, match="3 channels the network was made for; got 1"):
        Normalisation.half(torch.uint8, 3)(raw(torch.uint8, 1))


def test_auto_is_half_for_medmnist_files_and_fitted_on_train_otherwise() -> None:
    dataset = dataset_of(raw(torch.uint8, 1))
    train = dataset.subset([case.id for case in dataset.cases[:20]])
    assert fit_normalisation(dataset, train, DataSettings()) == Normalisation.fit(train.images)
    assert fit_normalisation(dataset, train, DataSettings(normalisation="half")) == Normalisation.half(torch.uint8, 1)
    published = dataclasses.replace(dataset, source_kind="medmnist")
    assert fit_normalisation(published, train, DataSettings()) == Normalisation.half(torch.uint8, 1)


def test_half_of_wide_floats_is_refused() -> None:
    wide = Subset(("a",), Arrays.of(torch.full((1, 1, 4, 4), 900.0)), torch.zeros(1))
    with pytest.raises(DataError, match="range from 900 to 900"):
        fit_normalisation(dataset_of(raw(torch.uint8)), wide, DataSettings(normalisation="half"))


@pytest.mark.parametrize("name", ["ct_window", "suv_window"])
@pytest.mark.parametrize("window", [(5, 5), (6, 5), (0, float("inf")), (float("nan"), 1)])
def test_windows_rise_and_are_finite(name: str, window: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="two finite numbers that rise"):
        DataSettings(**{name: window})  # type: ignore[arg-type]


@pytest.mark.data
def test_ct_window_of_real_volumes_equals_numpys(real_data: Path) -> None:
    import nibabel

    files = sorted((real_data / "petct/sts").rglob("CT_image.nii.gz"))[:3]
    volumes = [nibabel.load(file).get_fdata() for file in files]  # type: ignore[attr-defined]
    if not volumes:
        pytest.skip("no CT in petct/sts")
    images = [torch.from_numpy(volume[None].round().astype(np.int16)) for volume in volumes]
    tissue = np.concatenate([image[image > -950].numpy() for image in images]).astype(np.float64)
    found = fit(dataset_of(images, ("ct",)))
    limits = tuple(np.percentile(tissue, [0.5, 99.5]))
    assert found.low + found.high == limits
    assert found.mean + found.std == pytest.approx((tissue.clip(*limits).mean(), tissue.clip(*limits).std()))
