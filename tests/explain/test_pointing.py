"""The pointing game: the map of a trained network is highest at the lesion that it found."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from archimed.data.phantoms import lesions2d, parse_options
from archimed.explain.cam import class_maps
from archimed.spaces.mbconv_stages import MbconvStagesSpace
from archimed.task import ImagingTask

SIDE, CASES, TRAINED, EPOCHS, BATCH = 64, 600, 450, 20, 32
CELLS = 8
SPACE = MbconvStagesSpace(blocks=(1, 1, 1, 1), widths=(16, 24, 32, 48), head_width=64, stem_width=16, least_map=CELLS)
LESION = 1


def trained(images: Tensor, target: Tensor, task: ImagingTask) -> nn.Module:
    """A small network of EMARS's space, trained with flips and turns."""
    torch.manual_seed(0)
    network = SPACE.build((0,) * 4, task)
    steps = len(images) // BATCH
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=EPOCHS * steps)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(images)).split(BATCH)[:steps]:
            batch = images[rows]
            batch = batch.flip(2) if torch.rand(1) < 0.5 else batch
            batch = batch.flip(3) if torch.rand(1) < 0.5 else batch
            batch = batch.transpose(2, 3) if torch.rand(1) < 0.5 else batch
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(batch), target[rows]).backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def distance(cell: tuple[int, ...], growth: Tensor) -> float:
    """How far the middle of a cell is from the nearest pixel of a growth, along the farther axis, in cells."""
    side = SIDE / CELLS
    middle = (torch.tensor(cell) + 0.5) * side - 0.5
    pixels = (growth > 0.3 * growth.max()).nonzero()
    return float((pixels - middle).abs().amax(1).min() / side)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_map_is_highest_at_the_lesion(monkeypatch: pytest.MonkeyPatch) -> None:
    module = __import__("archimed.data.phantoms.lesions2d", fromlist=["_growth"])
    draw, drawn = module._growth, []

    def remembered(*arguments: object) -> Tensor:
        drawn.append(draw(*arguments))
        return drawn[-1]

    monkeypatch.setattr(module, "_growth", remembered)
    dataset = lesions2d(parse_options(f"cases={CASES}&size={SIDE}", None), 0)
    growths = torch.cat(drawn)
    images = dataset.images.all().float() / 255
    images = (images - images.mean()) / images.std()
    network = trained(images[:TRAINED], dataset.target[:TRAINED], dataset.task)
    found, chance = [], []
    for row in range(TRAINED, CASES):
        image = images[row : row + 1]
        if dataset.target[row] != LESION or int(network(image).argmax()) != LESION:
            continue
        (one,) = class_maps(network, image, [LESION])
        cells = one.evidence[0].cells
        assert cells.shape == (CELLS, CELLS)
        highest = tuple(int(place) for place in np.unravel_index(int(cells.argmax()), cells.shape))
        every = [distance(cell, growths[row]) for cell in itertools.product(range(CELLS), repeat=2)]
        found.append(distance(highest, growths[row]))
        chance.append([away <= 1.5 for away in every])
    # the lesion reaches the cell of the maximum or one next to it: a tolerance of one cell
    hits = float(np.mean(np.array(found) <= 1.5))
    assert len(found) >= 40
    assert np.mean(chance) < 0.5
    assert hits >= 0.9, f"{hits:.3f} of {len(found)}, by chance {np.mean(chance):.3f}"
