from collections.abc import Callable

import pytest
import torch
from pydantic import ValidationError

from archimed.data.dataset import Dataset
from archimed.data.settings import DataSettings
from archimed.errors import DataError


def test_subset_keeps_the_order_of_the_ids(make_dataset: Callable[..., Dataset]) -> None:
    dataset = make_dataset([0, 1, 0, 1, 1])
    subset = dataset.subset(["c0004", "c0000", "c0001"])
    assert subset.ids == ("c0004", "c0000", "c0001")
    assert subset.images.all()[:, 0, 0, 0].tolist() == [4, 0, 1]
    assert subset.target.tolist() == [1, 0, 1]
    assert len(subset) == 3
    subset.images.all().zero_()
    subset.target.zero_()
    assert dataset.images[4].max() == 4
    assert dataset.target.tolist() == [0, 1, 0, 1, 1]


def test_unknown_id_is_refused(make_dataset: Callable[..., Dataset]) -> None:
    with pytest.raises(DataError, match=r"Case 'x' .*\(1 of 2 do not\)"):
        make_dataset([0, 1]).subset(["c0000", "x"])


def test_lengths_and_ids_must_agree(make_dataset: Callable[..., Dataset]) -> None:
    import dataclasses

    dataset = make_dataset([0, 1, 0])
    with pytest.raises(DataError, match="3 cases, 2 images and 3 targets"):
        dataclasses.replace(dataset, images=dataset.images.select([0, 1]))
    with pytest.raises(DataError, match="1 different ids for 3 cases"):
        dataclasses.replace(dataset, cases=dataset.cases[:1] * 3)


def test_subset_of_mapped_images_reads_what_is_taken(make_dataset: Callable[..., Dataset], tmp_path: object) -> None:
    import dataclasses

    path = f"{tmp_path}/images.raw"
    mapped = torch.from_file(path, shared=True, size=3 * 64, dtype=torch.uint8).view(3, 1, 8, 8)
    mapped[2] = 7
    dataset = dataclasses.replace(make_dataset([0, 1, 0]), images=mapped)
    assert dataset.subset(["c0002"]).images.all().unique().tolist() == [7]


@pytest.mark.parametrize(
    "wrong",
    [{"image_size": 4}, {"normalisation": "z"}, {"folds": 0}, {"channels": 2}, {"test_fraction": 0.0}, {"other": 1}],
)
def test_settings_refuse_what_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises((ValidationError, TypeError)):
        DataSettings(**wrong)  # type: ignore[arg-type]


def test_patient_is_not_in_the_text_of_a_case(make_dataset: Callable[..., Dataset]) -> None:
    assert "Doe" not in repr(make_dataset([0, 1], ["Doe", "Roe"]).cases)
