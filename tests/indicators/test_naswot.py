import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from archimed.batch import Batch
from archimed.indicators import score


def log_determinant_by_pairs(codes):
    """MSTF-NAS, Eq. 3-4, pair by pair; codes [batch, unit]."""
    kernel = np.array([[len(a) - sum(p != q for p, q in zip(a, b, strict=True)) for b in codes] for a in codes])
    return np.linalg.slogdet(kernel.astype(float))[1]


class Rectified(nn.Module):
    """One convolution, one rectifier spelt in some way, one linear layer."""

    def __init__(self, rectify):
        super().__init__()
        self.convolution = nn.Conv2d(1, 3, 3)
        self.linear = nn.Linear(3, 2)
        self.rectify = rectify

    def forward(self, images):
        return self.linear(self.rectify(self.convolution(images)).mean((2, 3)))


@pytest.mark.parametrize(
    "rectify",
    [
        nn.ReLU(),
        nn.ReLU(inplace=True),
        nn.ReLU6(),
        nn.LeakyReLU(),
        nn.PReLU(),
        functional.relu,
        lambda x: functional.relu(x, inplace=True),
        functional.relu6,
        functional.leaky_relu,
        torch.relu,
        torch.relu_,
        lambda x: x.relu(),
        lambda x: x.relu_(),
        lambda x: x.clamp(min=0),
        lambda x: x.clamp(0),
        lambda x: x.clamp_min(0),
        lambda x: functional.threshold(x, 0, 0),
    ],
)
def test_every_spelling_of_a_rectifier_gives_the_codes_of_its_input(rectify):
    torch.manual_seed(0)
    network = Rectified(rectify)
    images = torch.randn(4, 1, 6, 7)
    codes = (network.convolution(images) > 0).flatten(1).tolist()
    measured = score(network, Batch(images, torch.zeros(4, dtype=torch.int64)), ["naswot"])["naswot"]
    assert measured == pytest.approx(log_determinant_by_pairs(codes), rel=1e-12)


def test_layers_add_up_at_any_number_of_axes(example):
    if example.name == "2d, masks":
        pytest.skip("the other network is written out below")
    network, images = example.network, example.batch.images
    first = network.stem[1](network.stem[0](images))
    second = network.depthwise(first.relu())
    third = network.pool(first.relu() + network.norm(second.relu()))
    codes = torch.cat([(inputs > 0).flatten(1) for inputs in (first, second, third)], dim=1).tolist()
    measured = score(network, example.batch, ["naswot"])["naswot"]
    assert measured == pytest.approx(log_determinant_by_pairs(codes), rel=1e-12)


@pytest.mark.parametrize("activation", [nn.GELU(), nn.Hardtanh(), lambda x: x.clamp(min=0.5), lambda x: x.clamp(max=0)])
def test_what_is_not_a_rectifier_gives_no_codes(activation):
    images = torch.randn(3, 1, 5, 5)
    assert (
        score(Rectified(activation), Batch(images, torch.zeros(3, dtype=torch.int64)), ["naswot"])["naswot"]
        == -math.inf
    )


def test_weights_that_are_rectified_are_no_codes():
    class Gated(Rectified):
        def forward(self, images):
            return super().forward(images) * torch.relu(self.linear.weight).mean(1)

    torch.manual_seed(0)
    gated = Gated(torch.relu)
    batch = Batch(torch.randn(4, 1, 6, 6), torch.zeros(4, dtype=torch.int64))
    codes = (gated.convolution(batch.images) > 0).flatten(1).tolist()
    assert score(gated, batch, ["naswot"])["naswot"] == pytest.approx(log_determinant_by_pairs(codes), rel=1e-12)


def test_equal_images_give_minus_infinity():
    batch = Batch(torch.randn(1, 1, 6, 6).expand(3, 1, 6, 6), torch.zeros(3, dtype=torch.int64))
    assert score(Rectified(torch.relu), batch, ["naswot"])["naswot"] == -math.inf
