from dataclasses import replace

import pytest
import torch
from torch import nn

from archimed.batch import Batch
from archimed.indicators.contract import Example, examples


def in_float64(example: Example) -> Example:
    """The example without dropout, in double precision, so that oracles agree to many digits."""
    for module in example.network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    target = example.batch.target
    batch = Batch(example.batch.images.double(), target.double() if target.is_floating_point() else target)
    return replace(example, network=example.network.double(), batch=batch)


@pytest.fixture(params=range(4), ids=["2d classes", "1d labels", "3d classes", "2d masks"])
def example(request):
    return in_float64(list(examples())[request.param])


@pytest.fixture
def chain():
    """A plain 2D network of modules with a batch."""
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2)
    )
    return network, Batch(torch.randn(5, 1, 6, 6), torch.tensor([0, 1, 1, 0, 1]))
