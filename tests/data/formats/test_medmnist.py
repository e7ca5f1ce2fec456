import hashlib
from pathlib import Path

import numpy as np
import pytest

from archimed.data.formats import medmnist
from archimed.data.formats.medmnist import medmnist_file
from archimed.data.formats.medmnist_sets import MEDMNIST, MedmnistSet, file_stem, published
from archimed.data.settings import DataSettings
from archimed.data.source import load_dataset
from archimed.errors import DataError

FLAGS_2D = (
    *("pathmnist", "chestmnist", "dermamnist", "octmnist", "pneumoniamnist", "retinamnist", "breastmnist"),
    *("bloodmnist", "tissuemnist", "organamnist", "organcmnist", "organsmnist"),
)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of Zenodo, and a cache in the test's folder."""
    folder = tmp_path / "server"
    folder.mkdir()
    monkeypatch.setattr(medmnist, "ZENODO", folder.as_uri() + "/{name}")
    monkeypatch.setenv("ARCHIMED_CACHE", str(tmp_path / "cache"))
    return folder


def publish(server: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Put a file called breastmnist.npz on the server and its md5 in the table."""
    (server / "breastmnist.npz").write_bytes(content)
    found = MEDMNIST["breastmnist"]
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    table = {"breastmnist": MedmnistSet(found.kind, found.class_names, found.cases, {28: md5})}
    monkeypatch.setattr(medmnist, "MEDMNIST", table)


def small_file(folder: Path) -> bytes:
    labels = np.array([[0], [1], [0], [1]], np.uint8)
    images = np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8)
    splits = ("train", "val", "test")
    np.savez(folder / "x.npz", **{f"{s}_images": images for s in splits}, **{f"{s}_labels": labels for s in splits})
    return (folder / "x.npz").read_bytes()


def test_the_table_holds_all_published_sets() -> None:
    assert set(FLAGS_2D) <= set(MEDMNIST)
    for flag, found in MEDMNIST.items():
        assert set(found.md5) == ({28, 64} if flag.endswith("3d") else {28, 64, 128, 224})
        assert all(len(md5) == 32 and set(md5) <= set("0123456789abcdef") for md5 in found.md5.values())
        assert (len(found.class_names) == 2) == (found.kind == "binary")
    assert len({md5 for found in MEDMNIST.values() for md5 in found.md5.values()}) == sum(
        len(found.md5) for found in MEDMNIST.values()
    )
    # 708,069 in the abstract of Yang et al. 2023; the later release counted here has 107 organ images fewer
    assert sum(sum(MEDMNIST[flag].cases) for flag in FLAGS_2D) == 708069 - 107


def test_names_and_sizes() -> None:
    assert published("breastmnist") == ("breastmnist", 28)
    assert published("breastmnist_224") == ("breastmnist", 224)
    assert published("adrenalmnist3d_64") == ("adrenalmnist3d", 64)
    for other in ("breastmnist_28x", "breastmnist_99", "breast", "", "adrenalmnist3d_224", "breastmnist_64_1"):
        assert published(other) is None
    assert [file_stem("breastmnist", size) for size in (28, 224)] == ["breastmnist", "breastmnist_224"]


def test_download_is_checked_cached_and_not_repeated(
    tmp_path: Path, server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(server, monkeypatch, small_file(tmp_path))
    dataset = load_dataset("breastmnist", DataSettings(), 0)
    assert dataset.medmnist_flag == "breastmnist"
    assert [path.name for path in (tmp_path / "cache" / "medmnist").iterdir()] == ["breastmnist.npz"]
    (server / "breastmnist.npz").unlink()
    assert medmnist_file("breastmnist", 28).is_file()


def test_other_bytes_are_refused_and_leave_nothing(
    tmp_path: Path, server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(server, monkeypatch, b"right")
    (server / "breastmnist.npz").write_bytes(b"wrong")
    with pytest.raises(DataError, match=r"published md5 .* gave other bytes"):
        medmnist_file("breastmnist", 28)
    assert list((tmp_path / "cache" / "medmnist").iterdir()) == []
    (tmp_path / "cache" / "medmnist" / "breastmnist.npz").write_bytes(b"wrong")
    with pytest.raises(DataError, match="Delete it and try again"):
        medmnist_file("breastmnist", 28)


@pytest.mark.usefixtures("server")
def test_offline_says_which_file_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="could not be downloaded") as error:
        load_dataset("breastmnist_224", DataSettings(), 0)
    assert str(tmp_path / "cache" / "medmnist" / "breastmnist_224.npz") in str(error.value)
    assert "\n" not in str(error.value)
    assert list((tmp_path / "cache" / "medmnist").iterdir()) == []
