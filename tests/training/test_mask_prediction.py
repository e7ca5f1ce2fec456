"""Masks of images of any size: whole, or by windows whose logits are averaged by MONAI's weights."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from archimed.data.arrays import Arrays
from archimed.training import mask_prediction
from archimed.training.machine import Machine
from archimed.training.mask_prediction import predict_masks, windows
from tests.training.test_steps import in_file


class Watched(nn.Module):
    """Three classes of each pixel by a convolution; remembers what it was given."""

    def __init__(self, dims: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = (nn.Conv2d, nn.Conv3d)[dims - 2](2, 3, 3, padding=1)
        self.seen: list[tuple[int, ...]] = []

    def forward(self, images: Tensor) -> Tensor:
        assert not self.training
        self.seen.append(tuple(images.shape))
        return self.layer(images)  # type: ignore[no-any-return]


def images(*spaces: tuple[int, ...]) -> Arrays:
    generator = torch.Generator().manual_seed(0)
    return Arrays.of([torch.randint(0, 256, (2, *space), generator=generator, dtype=torch.uint8) for space in spaces])


def normalise(batch: Tensor) -> Tensor:
    return batch.float() / 255


def test_images_of_several_sizes_are_predicted_whole_and_neighbours_together() -> None:
    network, held = Watched().train(), images((9, 7), (9, 7), (12, 5), (9, 7))
    found = list(predict_masks(network, held, normalise, Machine(1), patch_size=(16, 16)))
    assert network.seen == [(2, 2, 9, 7), (1, 2, 12, 5), (1, 2, 9, 7)]
    assert network.training
    for answer, image in zip(found, held, strict=True):
        alone = network.layer(normalise(image[None])).softmax(1)[0]
        assert (answer.dtype, answer.device.type, answer.requires_grad) == (torch.float32, "cpu", False)
        assert torch.allclose(answer, alone, atol=1e-6)


@pytest.mark.parametrize(("space", "patch"), [((30, 21), (16, 16)), ((30, 9), (16, 16)), ((11, 20, 9), (8, 8, 12))])
@pytest.mark.parametrize("overlap", [0.25, 0.5])
def test_windows_are_averaged_with_gaussian_weights(
    space: tuple[int, ...], patch: tuple[int, ...], overlap: float
) -> None:
    from monai.data.utils import compute_importance_map, dense_patch_slices

    network, held = Watched(len(space)), images(space)
    found = next(predict_masks(network, held, normalise, Machine(1), patch_size=patch, overlap=overlap))
    window = tuple(map(min, space, patch))
    steps = [int(size * (1 - overlap)) if size < side else size for size, side in zip(window, space, strict=True)]
    weight = compute_importance_map(window, mode="gaussian", sigma_scale=0.125)
    total, weights = torch.zeros(3, *space), torch.zeros(space)
    places = dense_patch_slices(space, window, steps)
    for place in places:
        logits = network.layer(normalise(held[0][None])[(slice(None), slice(None), *place)])[0]
        total[(slice(None), *place)] += logits.detach() * weight
        weights[place] += weight
    assert torch.allclose(found, (total / weights).softmax(0), atol=1e-5)
    assert len(places) == windows((2, *space), patch, overlap)
    assert {shape[2:] for shape in network.seen} == {window}


def test_few_pixels_are_in_memory_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mask_prediction, "PIXELS_AT_ONCE", 200)
    network = Watched()
    stacked = torch.stack(list(images(*[(8, 8)] * 7)))
    for held in (stacked, in_file(stacked, tmp_path / "images.bin")):
        network.seen.clear()
        assert len(list(predict_masks(network, held, normalise, Machine(1)))) == 7
        assert [shape[0] for shape in network.seen] == [3, 3, 1]
    network.seen.clear()
    assert len(list(predict_masks(network, images((40, 40)), normalise, Machine(1), patch_size=(8, 8)))) == 1
    assert {shape[0] for shape in network.seen} == {3}


def test_nothing_is_predicted_before_it_is_asked_for_and_the_mode_is_restored() -> None:
    network = Watched().train()
    found = predict_masks(network, images((9, 7), (5, 7)), normalise, Machine(1))
    assert not network.seen
    next(found)
    assert len(network.seen) == 1
    assert (torch.ones(1, requires_grad=True) * 2).requires_grad  # the caller's own computing is not in inference mode
    found.close()
    assert network.training
