from pathlib import Path
from typing import Any

import pytest
import torch

from archimed.data.dataset import Dataset
from archimed.data.inspection.describe import look
from archimed.data.inspection.sharing import refuse_shared, source_folder
from archimed.errors import DataError, SettingsError
from archimed.experiment.layers import resolve
from archimed.experiment.sources import read_datasets, with_one_foreground
from archimed.methods.random_search import RandomSearch
from tests.data.conftest import real_data

__all__ = ["real_data"]

CELLS, VESSELS = "phantom:cells?cases=20&size=32", "phantom:vessels?cases=20&size=48"


@pytest.fixture(autouse=True)
def together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RandomSearch, "data_sets", "together", raising=False)


def read(*sources: str, size: int | None = None, together: bool = False, **settings: Any) -> tuple[Dataset, ...]:
    flags = {"sources": list(sources), **{name.replace("__", "."): value for name, value in settings.items()}}
    return read_datasets(resolve("random-search", "default", None, [], flags), size, together=together)


def test_masks_of_several_data_sets_share_one_foreground() -> None:
    (alone,) = read(CELLS)
    cells, vessels = read(CELLS, VESSELS)
    assert cells.task.class_names == vessels.task.class_names == ("background", "foreground")
    assert cells.masks is not None
    assert alone.masks is not None
    for shared, own in zip(cells.masks, alone.masks, strict=True):
        assert torch.equal(shared, (own > 0).to(torch.uint8))
    there = torch.tensor([[bool((mask == 0).any()), bool((mask > 0).any())] for mask in alone.masks])
    assert torch.equal(cells.target, there.float())
    assert cells.folds == alone.folds


def test_each_data_set_keeps_its_classes_if_asked() -> None:
    (alone,) = read(CELLS)
    cells, vessels = read(CELLS, VESSELS, data__heads="per-dataset")
    assert cells.task.class_names == alone.task.class_names
    assert len(cells.task.class_names) > 2
    assert torch.equal(cells.target, alone.target)
    assert vessels.masks is not None


def test_one_foreground_is_made_of_what_has_masks_alone() -> None:
    (plain,) = read("phantom:lesions2d?cases=20&size=16")
    assert with_one_foreground(plain) is plain


def test_grey_becomes_rgb_and_sizes_meet_for_a_search_alone() -> None:
    polyps = "phantom:polyps?cases=20&size=16"
    own = read(CELLS, polyps)
    met = read(CELLS, polyps, size=24, together=True)
    assert {one.task.channels for one in own} == {1, 3}
    assert [(one.task.channels, one.task.image_size) for one in met] == [(3, (24, 24))] * 2
    grey = met[0].images.all()
    assert (grey == grey[:, :1]).all()
    assert met[0].channel_names == ()
    assert len(met[0].channel_kinds) in (0, 3)


def test_what_cannot_meet_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"need one image size; cells has 32x32, vessels 48x48\. Set it with"):
        read(CELLS, VESSELS, together=True)
    with pytest.raises(DataError, match="all flat or all volumes"):
        read(CELLS, "phantom:organs3d?cases=20&size=16", size=16, together=True, data__channels=1)
    with pytest.raises(DataError, match="same channels, or grey and RGB"):
        read(CELLS, "phantom:petct?cases=20&size=16", size=16, together=True)


@pytest.mark.data
def test_retinas_blood_cells_and_nuclei_are_searched_together(real_data: Path) -> None:
    folder = real_data / "seg2d"
    sources = [
        f"{folder}/chasedb1?image_pattern=Image_{{patient}}[LR].jpg&mask_pattern={{stem}}_1stHO.png",
        f"{folder}/wbc_dataset1?image_pattern=*.bmp&mask_pattern={{stem}}.png",
        f"{folder}/dsb2018_nuclei?image_pattern=images/*.png&mask_pattern=instances/{{name}}",
    ]
    found = read(*sources, size=32, together=True, data__cache=False)
    assert [one.name for one in found] == ["chasedb1", "wbc_dataset1", "dsb2018_nuclei"]
    assert [len(one.cases) for one in found] == [16, 200, 240]
    assert {(one.task.channels, one.task.image_size, one.task.class_names) for one in found} == {
        (3, (32, 32), ("background", "foreground"))
    }
    refuse_shared(found, [look(one).digests for one in found], [source_folder(source) for source in sources])
