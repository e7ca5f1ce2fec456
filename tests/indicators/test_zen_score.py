import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from archimed.batch import Batch
from archimed.indicators import Probe, ZenScore, score
from archimed.networks.residual_stages import ResidualStages, StageSpec, Structure
from archimed.seeding import torch_generator

BATCH = Batch(torch.zeros(24, 2, 8, 8), torch.zeros(24, dtype=torch.int64))


class Scaled(nn.Conv2d):
    """A convolution whose weights are multiplied by a constant wherever they come from."""

    factor = 1.0

    def forward(self, images):
        return functional.conv2d(images, self.factor * self.weight, self.bias, padding=1)


def chain(normalised, factor=1.0):
    """Two convolutions, the first followed by batch normalisation or not, global pooling, a linear layer."""
    first, second = Scaled(2, 6, 3), nn.Conv2d(6, 5, 3, padding=1)
    first.factor = factor
    norm = nn.BatchNorm2d(6) if normalised else nn.Identity()
    return nn.Sequential(first, norm, nn.ReLU(), second, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3))


def test_equals_the_formula_written_out_in_numpy():
    torch.manual_seed(3)
    measured = score(chain(normalised=True), BATCH, ["zen_score"], seed=7)["zen_score"]
    generator = torch_generator(7, "zen_score")
    first, second, _ = (torch.randn(shape, generator=generator) for shape in ((6, 2, 3, 3), (5, 6, 3, 3), (3, 5)))
    noise, direction = (torch.randn(16, 2, 8, 8, generator=generator) for _ in range(2))
    features, deviations = [], []
    for images in (noise, noise + 0.01 * direction):
        hidden = functional.conv2d(images, first, padding=1).double()
        variance = hidden.numpy().var(axis=(0, 2, 3))
        deviations.append(math.sqrt(variance.mean()))
        mean = hidden.mean((0, 2, 3), keepdim=True)
        hidden = ((hidden - mean) / torch.tensor(variance + 1e-5).sqrt()[:, None, None]).relu()
        features.append(functional.conv2d(hidden, second.double(), padding=1).numpy())
    change = np.abs(features[0] - features[1]).sum((1, 2, 3)).mean()
    assert measured == pytest.approx(math.log(change) + math.log(deviations[0]), rel=1e-4)


@pytest.mark.parametrize("normalised", [True, False])
def test_doubling_weights_adds_log_two_with_batch_norm_as_without(normalised):
    once = score(chain(normalised), BATCH, ["zen_score"])["zen_score"]
    twice = score(chain(normalised, factor=2.0), BATCH, ["zen_score"])["zen_score"]
    assert twice - once == pytest.approx(math.log(2), abs=1e-4)


def test_scaling_a_layer_keeps_the_ranks_of_networks_with_batch_norm():
    def scores(factor):
        found = []
        for width in (4, 12, 48):
            stages = (StageSpec("basic", 3, width, 8, 1, 2), StageSpec("bottleneck", 3, 8, width, 1, 1))
            network = ResidualStages(Structure(8, 1, stages), 2, 3, 2)
            network.stages[0][0].layers[3] = Scaled(8, width, 3, bias=False)
            network.stages[0][0].layers[3].factor = factor
            found.append(score(network, BATCH, ["zen_score"])["zen_score"])
        return np.array(found)

    once, scaled = scores(1.0), scores(37.0)
    assert np.array_equal(once.argsort(), scaled.argsort())
    np.testing.assert_allclose(scaled - once, math.log(37), atol=1e-3)


def test_with_batch_norm_it_is_what_it_is_without():
    def network(normalised):
        norm = nn.BatchNorm2d(256) if normalised else nn.Identity()
        return nn.Sequential(nn.Conv2d(64, 256, 3, bias=False), norm, nn.ReLU(), nn.Conv2d(256, 256, 1, bias=False))

    images = Batch(torch.zeros(16, 64, 10, 10), torch.zeros(16, dtype=torch.int64))
    # the norm divides each channel by its own deviation, the score gives back a common one: 576 weights a channel, and
    # as many channels, make them alike
    pairs = [[ZenScore()(Probe(network(kind), images, seed)) for kind in (True, False)] for seed in range(6)]
    differences = np.diff(np.array(pairs))
    assert abs(differences.mean()) < 1e-3


def test_residual_links_are_left_out_and_put_back():
    stage = StageSpec("basic", 3, 8, 8, 1, 2)
    network = ResidualStages(Structure(8, 1, (stage,)), 2, 3, 2)
    plain = nn.Sequential(*network.stem, *(nn.Sequential(*block.layers, nn.ReLU()) for block in network.stages[0]))
    assert score(network, BATCH, ["zen_score"]) == score(
        nn.Sequential(plain, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)), BATCH, ["zen_score"]
    )
    assert all(block.residual for block in network.stages[0])


def test_depends_on_the_seed_and_not_on_the_weights_images_or_history():
    network = chain(normalised=True)
    first = score(network, BATCH, ["zen_score"], seed=1)
    nn.init.zeros_(network[0].weight)
    other_images = Batch(torch.rand(24, 2, 8, 8), BATCH.target)
    assert score(network, other_images, ["zen_score"], seed=1) == first
    assert score(network, BATCH, ["zen_score"], seed=2) != first


def test_dropout_is_the_same_in_both_passes():
    def with_dropout(perturbation):
        network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(4, 4, 3))
        return ZenScore(perturbation=perturbation)(Probe(network, BATCH))

    assert with_dropout(1e-2) - with_dropout(1e-3) == pytest.approx(math.log(10), abs=0.05)


@pytest.mark.parametrize(
    "head",
    [
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 9)),
        nn.Sequential(nn.AdaptiveMaxPool2d((1, 1)), nn.Flatten(), nn.Linear(2, 9)),
        nn.Sequential(nn.Flatten(), nn.Linear(128, 9)),
        nn.Sequential(nn.Identity()),
    ],
    ids=["average", "maximum", "linear", "none"],
)
def test_features_are_what_the_head_reads(head):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 2, 1, bias=False), head)
    bare = score(network[:1], BATCH, ["zen_score"])["zen_score"]
    # the head's own weights are drawn after the convolution's and before the noise
    with_head = [ZenScore()(Probe(network, BATCH, seed)) for seed in range(20)]
    without = [ZenScore()(Probe(network[:1], BATCH, seed)) for seed in range(20)]
    assert np.mean(with_head) == pytest.approx(np.mean(without), abs=0.02)
    assert math.isfinite(bare)


def test_features_may_come_from_a_mean_over_all_pixels():
    class Mean(nn.Module):
        def __init__(self, convolution):
            super().__init__()
            self.convolution, self.linear = convolution, nn.Linear(2, 9)

        def forward(self, images):
            return self.linear(self.convolution(images).flatten(2).mean(2))

    convolution = nn.Conv2d(2, 2, 1, bias=False)
    pooled = nn.Sequential(convolution, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 9))
    assert score(Mean(convolution), BATCH, ["zen_score"]) == score(pooled, BATCH, ["zen_score"])
