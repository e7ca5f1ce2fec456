"""What networks of masks are trained on, and what is measured after each epoch."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from archimed.data.arrays import Arrays
from archimed.data.dataset import Case, Dataset, Fold
from archimed.data.normalisation import Normalisation
from archimed.errors import SettingsError
from archimed.evaluation.masks import case_scores, mask_metrics
from archimed.experiment.preflight import check_kind
from archimed.experiment.training_task import (
    overlaps,
    training_task,
    trial_batch,
    validation_metric_names,
    validation_metrics,
)
from archimed.methods.mstf_nas import MstfNas
from archimed.task import ImagingTask
from archimed.training.machine import Machine
from archimed.training.recipe import Recipe

TASK = ImagingTask("segmentation", ("background", "cell", "nucleus"), 1, (40, 30))
SIZES = ((40, 20), (30, 30), (28, 17), (40, 30))


def dataset() -> Dataset:
    cases = tuple(Case(f"c{number}", f"p{number}") for number in range(4))
    generator = torch.Generator().manual_seed(0)
    masks = [torch.randint(3, size, generator=generator, dtype=torch.uint8) for size in SIZES]
    images = Arrays.of([mask[None] * 100 for mask in masks])
    fold = Fold(("c0", "c1"), ("c2",), ("c3",))
    return Dataset("cells", "masks", TASK, cases, images, torch.ones(4, 3), Arrays.of(masks), (fold,))


def test_the_image_size_of_masks_is_that_of_patches_of_the_training_images() -> None:
    assert training_task(dataset(), Recipe()) == replace(TASK, image_size=(32, 32))  # medians 35 and 25
    assert training_task(dataset(), Recipe(patch_size=(8, 12))).image_size == (8, 12)


def test_a_batch_to_try_is_one_of_training() -> None:
    batch = trial_batch(dataset(), Normalisation(100.0, (0.0,), (1.0,)), Recipe(patch_size=16), Machine(1), 8)
    assert batch.images.shape == (2, 1, 16, 16)
    assert torch.equal(batch.target, batch.images[:, 0].long())


def answers(masks: Arrays) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(3, *mask.shape, generator=generator).softmax(0) for mask in masks]


@pytest.mark.parametrize("lacking", [(), (1,), (1, 2)])
def test_overlaps_after_an_epoch_are_those_of_the_evaluation(lacking: tuple[int, ...]) -> None:
    masks, found = [mask.clone() for mask in dataset().masks or ()], answers(dataset().masks or Arrays.of([]))
    for label in lacking:  # absent from truth and answer of the first case
        masks[0][masks[0] == label] = 0
        found[0][label] = -1
    scores = [
        case_scores(TASK, answer.argmax(0).to(torch.uint8), truth, None)
        for truth, answer in zip(masks, found, strict=True)
    ]
    expected = mask_metrics(TASK, scores)
    assert overlaps(TASK, masks, iter(found)) == pytest.approx({name: expected[name] for name in ("dice", "jaccard")})
    assert validation_metrics(TASK)(masks, iter(found)) == overlaps(TASK, masks, found)
    assert validation_metric_names(dataset()) == ["dice", "jaccard"]


def test_masks_without_any_foreground_leave_dice_undefined() -> None:
    empty, sure = torch.zeros(4, 4, dtype=torch.uint8), torch.zeros(3, 4, 4)
    sure[0] = 1
    assert overlaps(TASK, [empty], [sure]) == {"dice": None, "jaccard": None}


def test_patches_are_for_masks() -> None:
    plain = replace(dataset(), task=replace(TASK, kind="multi-label"), masks=None)
    method = MstfNas(training=Recipe(patch_size=16))
    with pytest.raises(SettingsError, match="patch_size is for masks; cells has none, and it is 16"):
        check_kind(plain, method)
    check_kind(plain, MstfNas())
