from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from archimed.data.dataset import Case, Dataset
from archimed.data.listing import Entry, Listing
from archimed.data.preparation.assembly import assemble
from archimed.data.problems import Problems
from archimed.data.settings import DataSettings
from archimed.errors import DataError


def save(path: Path, values: np.ndarray) -> Path:
    Image.fromarray(values).save(path)
    return path


def assembled(listing: Listing, problems: Problems | None = None, **settings: object) -> Dataset:
    return assemble(listing, DataSettings(cache=False, **settings), problems or Problems(strict=True))  # type: ignore[arg-type]


def labelled(folder: Path, labels: list[str], shape: tuple[int, int] = (9, 8)) -> list[Entry]:
    return [
        Entry(
            Case(f"case-{row}", f"p{row}", origin=f"row {row}"),
            (save(folder / f"{row}.png", np.full(shape, row, np.uint8)),),
            label,
        )
        for row, label in enumerate(labels)
    ]


def masked(folder: Path, masks: list[np.ndarray]) -> list[Entry]:
    return [
        Entry(
            Case(f"case-{row}", f"p{row}", origin=f"row {row}"),
            (save(folder / f"{row}.png", np.full(mask.shape, row, np.uint8)),),
            mask=save(folder / f"{row}_mask.png", mask),
        )
        for row, mask in enumerate(masks)
    ]


def test_labels_become_classes_in_natural_order(tmp_path: Path) -> None:
    entries = labelled(tmp_path, ["grade 10", "grade 9", "grade 9", "grade 1", "grade 10", "grade 1"])
    found = assembled(Listing("grades", "csv", tuple(entries), ordinal=True))
    assert found.task.kind == "ordinal"
    assert found.task.class_names == ("grade 1", "grade 9", "grade 10")
    assert found.target.tolist() == [2, 1, 1, 0, 2, 0]
    assert found.images[3].unique().tolist() == [3]


def test_the_positive_class_is_the_last(tmp_path: Path) -> None:
    entries = labelled(tmp_path, ["a", "b", "a", "b"])
    found = assembled(Listing("two", "csv", tuple(entries)), positive_class="a")
    assert (found.task.kind, found.task.class_names) == ("binary", ("b", "a"))


def test_mask_values_become_consecutive_classes(tmp_path: Path) -> None:
    first = np.zeros((6, 5), np.uint8)
    first[0, 0], first[1, 1] = 128, 255
    second = np.zeros((6, 5), np.uint8)
    second[2] = 255
    found = assembled(Listing("cells", "masks", tuple(masked(tmp_path, [first, second]))))
    assert found.task.class_names == ("background", "value 128", "value 255")
    assert found.target.tolist() == [[1, 1, 1], [1, 0, 1]]
    assert found.masks is not None
    np.testing.assert_array_equal(found.masks[0].numpy(), np.searchsorted([0, 128, 255], first))


def test_images_to_segment_may_differ_in_size(tmp_path: Path) -> None:
    masks = [np.eye(6, dtype=np.uint8), np.ones((4, 9), np.uint8)]
    found = assembled(Listing("sizes", "masks", tuple(masked(tmp_path, masks))))
    assert found.images.shape is None
    assert found.images.shapes == ((1, 6, 6), (1, 4, 9))
    assert found.task.image_size == (6, 9)
    assert found.task.class_names == ("background", "foreground")
    with pytest.raises(DataError, match=r"data\.image_size"):
        found.images.take([0, 1])


def test_a_class_that_nothing_names_is_refused(tmp_path: Path) -> None:
    listing = Listing("cells", "nnunet", tuple(masked(tmp_path, [np.full((5, 5), 2, np.uint8)])), mask_names=("0", "1"))
    with pytest.raises(DataError, match="some hold 2"):
        assembled(listing)


def test_images_to_classify_must_agree(tmp_path: Path) -> None:
    entries = labelled(tmp_path, ["a", "b", "a", "b"])
    save(tmp_path / "1.png", np.zeros((5, 5), np.uint8))
    save(tmp_path / "2.png", np.zeros((9, 8, 3), np.uint8))
    save(tmp_path / "3.png", np.zeros((9, 8), np.uint16))
    problems = Problems(strict=False)
    found = assembled(Listing("mixed", "csv", tuple(entries)), problems)
    assert len(found.cases) == 1
    assert [problem.message.partition(";")[0] for problem in problems.found if problem.fatal] == [
        "All images must have the same size",
        "All images must have the same channels",
        "All images must have the same number type",
    ]


def test_progress_is_told_after_every_case(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    listing = Listing("two", "csv", tuple(labelled(tmp_path, ["a", "b", "a", "b"])))
    assemble(listing, DataSettings(cache=False), Problems(strict=True), lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_multi_label_targets_keep_what_is_unknown(tmp_path: Path) -> None:
    entries = [
        Entry(entry.case, entry.images, label)
        for entry, label in zip(labelled(tmp_path, ["", ""]), [(1.0, float("nan")), (0.0, 1.0)], strict=True)
    ]
    found = assembled(Listing("labels", "csv", tuple(entries), label_names=("mass", "edema")))
    assert found.task.kind == "multi-label"
    assert torch.isnan(found.target).tolist() == [[False, True], [False, False]]
