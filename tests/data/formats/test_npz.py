from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from archimed.data.dataset import Dataset
from archimed.data.settings import DataSettings
from archimed.data.source import load_dataset
from archimed.errors import DataError

Arrays = dict[str, np.ndarray]


def arrays(shape: tuple[int, ...] = (8, 8), labels: int = 1, dtype: type = np.uint8) -> Arrays:
    rng = np.random.default_rng(0)
    found: Arrays = {}
    for name, count in (("train", 12), ("val", 6), ("test", 4)):
        found[f"{name}_images"] = rng.integers(0, 200, (count, *shape)).astype(dtype)
        columns = [(np.arange(count) + k) % 2 for k in range(labels)]
        found[f"{name}_labels"] = np.stack(columns, 1).astype(np.uint8)
    return found


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Dataset]:
    def save_and_load(content: Arrays, name: str = "mine.npz", settings: DataSettings | None = None) -> Dataset:
        np.savez(tmp_path / name, **content)
        return load_dataset(str(tmp_path / name), settings or DataSettings(), 0)

    return save_and_load


Load = Callable[..., Dataset]


def test_official_splits_images_and_labels_are_kept_in_order(load: Load) -> None:
    content = arrays()
    dataset = load(content)
    (fold,) = dataset.folds
    assert (dataset.task.kind, dataset.task.class_names, dataset.task.image_size) == ("binary", ("0", "1"), (8, 8))
    for name, ids in (("train", fold.train), ("val", fold.validation), ("test", fold.test)):
        subset = dataset.subset(ids)
        assert np.array_equal(subset.images.all()[:, 0].numpy(), content[f"{name}_images"])
        assert np.array_equal(subset.target.numpy(), content[f"{name}_labels"][:, 0])
    assert dataset.medmnist_flag is None
    assert not dataset.patients_known


@pytest.mark.parametrize(
    ("shape", "channels", "space"),
    [((8, 9), 1, (8, 9)), ((8, 8, 3), 3, (8, 8)), ((8, 8, 8), 1, (8, 8, 8)), ((5, 6, 7, 2), 2, (5, 6, 7))],
)
def test_two_and_three_dimensions_with_and_without_channels(
    load: Load, shape: tuple[int, ...], channels: int, space: tuple[int, ...]
) -> None:
    content = arrays(shape)
    dataset = load(content)
    assert (dataset.task.channels, dataset.task.image_size) == (channels, space)
    last = content["train_images"] if len(shape) > len(space) else content["train_images"][..., None]
    assert np.array_equal(dataset.images.take(range(12)).numpy(), np.moveaxis(last, -1, 1))


@pytest.mark.parametrize(
    ("stored", "kept"),
    [(np.uint8, torch.uint8), (np.uint16, torch.uint16), (np.float64, torch.float32), (np.int16, torch.float32)],
)
def test_number_types(load: Load, stored: type, kept: torch.dtype) -> None:
    dataset = load(arrays(dtype=stored))
    assert dataset.images.dtype == kept
    assert dataset.subset(dataset.folds[0].test).images.dtype == kept


def test_published_name_gives_classes_and_task(load: Load) -> None:
    dataset = load(arrays(), "breastmnist.npz")
    assert dataset.task.class_names == ("malignant", "normal, benign")
    assert dataset.medmnist_flag == "breastmnist"
    assert load(arrays(), "breastmnist_64.npz").medmnist_flag == "breastmnist_64"
    chest = load(arrays(labels=14), "chestmnist.npz")
    assert (chest.task.kind, chest.task.class_names[13]) == ("multi-label", "hernia")
    assert chest.target.shape == (22, 14)
    retina = arrays()
    for name in ("train", "val", "test"):
        retina[f"{name}_labels"][:] = np.resize([0, 1, 2, 3, 4], len(retina[f"{name}_labels"]))[:, None]
    retina["test_labels"][0] = 4  # grade 0 does not occur in test: a caution, not an error
    found = load(retina, "retinamnist.npz")
    assert (found.task.kind, found.task.num_outputs) == ("ordinal", 5)
    assert found.notes == ("Class '0' does not occur in test. Its results there are undefined.",)


def test_classes_are_grades_in_order_if_the_settings_say_so(load: Load) -> None:
    content = arrays()
    for name in ("train", "val", "test"):
        content[f"{name}_labels"][:] = np.resize([2, 0, 10], len(content[f"{name}_labels"]))[:, None]
    assert load(content).task.kind == "multi-class"
    graded = load(content, settings=DataSettings(ordinal=True)).task
    assert (graded.kind, graded.class_names) == ("ordinal", ("0", "2", "10"))
    assert load(arrays(), settings=DataSettings(ordinal=True)).task.kind == "binary"
    assert load(arrays(labels=3), settings=DataSettings(ordinal=True)).task.kind == "multi-label"


def test_labels_that_do_not_fit_the_published_set_name_themselves(load: Load) -> None:
    content = {name: values + 3 if name.endswith("labels") else values for name, values in arrays().items()}
    dataset = load(content, "breastmnist.npz")
    assert dataset.task.class_names == ("3", "4")
    assert set(dataset.target.tolist()) == {0, 1}


def test_several_labels_with_unknown_ones(load: Load) -> None:
    content = arrays(labels=3)
    content["train_labels"] = content["train_labels"].astype(float)
    content["train_labels"][0, 1] = np.nan
    dataset = load(content)
    assert dataset.task.class_names == ("label_0", "label_1", "label_2")
    assert torch.isnan(dataset.target).sum() == 1


def test_patients_of_the_file_are_used(load: Load) -> None:
    content = arrays() | {"train_patients": np.arange(12) // 2, "val_patients": np.arange(6) + 50}
    content["test_patients"] = np.arange(4) + 90
    dataset = load(content)
    assert dataset.patients_known
    assert len({case.patient for case in dataset.cases}) == 16
    with pytest.raises(DataError, match=r"train image 0 of mine\.npz \(train\) and test image 0 .*same patient"):
        load(content | {"test_patients": np.arange(4)})


def test_channels_have_the_names_of_the_file(load: Load) -> None:
    content = {**arrays((8, 8, 2)), "channel_names": np.array(["CT", "PET"])}
    dataset = load(content)
    assert dataset.task.channel_names == ("CT", "PET")
    turned = load(content, settings=DataSettings(modalities=("PET", "CT")))
    assert turned.task.channel_names == ("PET", "CT")
    assert torch.equal(turned.images.all(), dataset.images.all().flip(1))
    alone = load(content, settings=DataSettings(modalities=("PET",)))
    assert torch.equal(alone.images.all(), dataset.images.all()[:, 1:])


def test_channels_can_be_named(load: Load) -> None:
    dataset = load(arrays((8, 8, 2)), settings=DataSettings(modalities=("ct", "pet")))
    assert dataset.task.channel_names == ("ct", "pet")


@pytest.mark.parametrize(
    ("names", "asked", "message"),
    [
        (("CT",), None, "must name each channel once"),
        (("CT", "CT"), None, "must name each channel once"),
        (None, ("ct",), "2 channels without names"),
        (("CT", "PET"), ("MR",), "has CT, PET, not 'MR'"),
    ],
)
def test_names_that_do_not_fit_are_refused(
    load: Load, names: tuple[str, ...] | None, asked: tuple[str, ...] | None, message: str
) -> None:
    content = arrays((8, 8, 2)) | ({} if names is None else {"channel_names": np.array(names)})
    with pytest.raises(DataError, match=message):
        load(content, settings=DataSettings(modalities=asked))


def test_image_size_and_channels_convert(load: Load) -> None:
    dataset = load(arrays((8, 8, 3)), settings=DataSettings(image_size=16, channels=1))
    assert dataset.images.all().shape == (22, 1, 16, 16)
    assert (dataset.task.channels, dataset.task.image_size) == (1, (16, 16))
    assert dataset.notes == ("The images were enlarged from 8x8 to 16x16 pixels.",)


BAD: list[tuple[str, Callable[[Arrays], Arrays], str]] = [
    ("no images", lambda _: {"x": np.zeros(3)}, "lacks train_images and has x"),
    ("no labels", lambda a: {n: v for n, v in a.items() if n != "val_labels"}, "lacks validation_labels"),
    ("lengths", lambda a: a | {"train_labels": a["train_labels"][:5]}, "train of .* has 12 images, 5 labels"),
    ("empty split", lambda a: a | {"val_images": a["val_images"][:0], "val_labels": a["val_labels"][:0]}, "0 images"),
    ("one class", lambda a: {n: v * 0 if "labels" in n else v for n, v in a.items()}, "at least two classes"),
    ("sizes", lambda a: a | {"test_images": np.zeros((4, 9, 9), np.uint8)}, r"one shape; .* \[\(8, 8\), \(9, 9\)\]"),
    ("nan", lambda a: a | {"val_images": np.full((6, 8, 8), np.nan)}, "validation image 0 of mine.npz holds NaN"),
    ("fractions", lambda a: a | {"val_labels": np.full((6, 1), 0.5)}, "must be whole"),
    ("nan label", lambda a: a | {"val_labels": np.full((6, 1), np.nan)}, "must be whole"),
    ("text labels", lambda a: {n: v.astype(str) if "labels" in n else v for n, v in a.items()}, "must be numbers"),
    ("objects", lambda a: a | {"test_images": np.array([None] * 4, object)}, "plain arrays"),
    ("flat", lambda a: {n: v[:, :, 0] if "images" in n else v for n, v in a.items()}, "must be \\[case, height"),
    ("other labels", lambda a: {n: np.full((len(v), 2), 7) if "labels" in n else v for n, v in a.items()}, "0, 1 or"),
]


@pytest.mark.parametrize(("spoil", "message"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_file_is_one_clear_line(load: Load, spoil: Callable[[Arrays], Arrays], message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        load(spoil(arrays()))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **arrays())
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataError, match="must be a complete archive"):
        load_dataset(str(path), DataSettings(), 0)


def test_flipped_bytes_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **arrays())
    data = bytearray(path.read_bytes())
    data[400] ^= 255  # within the pixels of the first array
    path.write_bytes(data)
    with pytest.raises(DataError, match="must be a complete archive"):
        load_dataset(str(path), DataSettings(), 0)


def test_bare_array_under_that_name_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "a.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match="single array"):
        load_dataset(str(tmp_path / "a.npz"), DataSettings(), 0)
