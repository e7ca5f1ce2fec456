import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from archimed.batch import Batch
from archimed.indicators import score
from archimed.indicators.contract import examples

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)
NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)
NONE = torch.zeros(2, dtype=torch.int64)


def synflow_by_autograd(network, shape):
    """Sum of |W * dR/dW| in float64 on a copy without normalisation and dropout, with absolute parameters."""
    clone = copy.deepcopy(network).double().eval()
    for parent in list(clone.modules()):
        for name, child in parent.named_children():
            if isinstance(child, NORMS):
                setattr(parent, name, nn.Identity())
    for parameter in clone.parameters():
        parameter.data.abs_()
    weights = [module.weight for module in clone.modules() if isinstance(module, LAYERS)]
    gradients = torch.autograd.grad(clone(torch.ones(1, *shape).double()).sum(), weights)
    return sum(float((w * g).detach().abs().sum()) for w, g in zip(weights, gradients, strict=True))


def test_equals_autograd_on_an_explicitly_linearised_copy(example):
    measured = score(example.network, example.batch, ["synflow", "log_synflow"])
    expected = synflow_by_autograd(example.network, example.batch.images.shape[1:])
    assert measured["synflow"] == pytest.approx(expected, rel=1e-10)
    assert measured["log_synflow"] == pytest.approx(math.log(expected), rel=1e-12)


@pytest.mark.parametrize("number", range(4))
def test_networks_in_float32_agree_with_float64(number):
    example = list(examples())[number]
    expected = synflow_by_autograd(example.network, example.batch.images.shape[1:])
    assert score(example.network, example.batch, ["synflow"])["synflow"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(3),
        nn.GroupNorm(3, 3),
        nn.InstanceNorm2d(3, affine=True, track_running_stats=True),
        nn.LayerNorm([3, 6, 6]),
        nn.RMSNorm([3, 6, 6]),
        nn.LocalResponseNorm(2),
        nn.Dropout2d(0.5),
    ],
    ids=str,
)
def test_normalisation_of_every_kind_is_bypassed(norm):
    torch.manual_seed(0)
    first, last = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 1, 3)
    batch = Batch(torch.randn(2, 1, 6, 6), NONE)
    bare = score(nn.Sequential(first, nn.ReLU(), last), batch, ["synflow"])
    normalised = nn.Sequential(first, norm, nn.ReLU(inplace=True), last)
    assert score(normalised, batch, ["synflow"]) == bare
    assert score(normalised.eval(), batch, ["synflow"]) == bare


def test_branches_pools_and_other_parameters_count_as_autograd_has_it():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(1, 4, 3, padding=1)
            self.long = nn.Sequential(
                nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False), nn.PReLU(4), nn.Conv2d(4, 4, 1)
            )
            self.scale = nn.Parameter(-torch.rand(4, 1, 1))
            self.gate = nn.Linear(4, 4)
            self.head = nn.Linear(8, 3)

        def forward(self, images):
            features = functional.max_pool2d(self.stem(images), 3, stride=2, padding=1)
            features = features * torch.sigmoid(self.gate(features.mean((2, 3))))[:, :, None, None]
            both = torch.cat([self.long(features) * self.scale, functional.avg_pool2d(features, 3, 1, 1)], dim=1)
            return self.head(functional.adaptive_max_pool2d(both, 1).flatten(1))

    torch.manual_seed(0)
    network = Branching().double()
    measured = score(network, Batch(torch.randn(2, 1, 9, 7), NONE), ["synflow"])["synflow"]
    assert measured == pytest.approx(synflow_by_autograd(network, (1, 9, 7)), rel=1e-10)


class Residual(nn.Module):
    """Blocks x + conv(x) with constant weights, in one of several spellings, then a linear layer of ones."""

    def __init__(self, depth, weight, spelling):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Conv2d(2, 2, 1, bias=False) for _ in range(depth))
        self.linear = nn.Linear(2, 1, bias=False)
        self.spelling = spelling
        for block in self.blocks:
            nn.init.constant_(block.weight, weight)
        nn.init.ones_(self.linear.weight)

    def forward(self, images):
        for block in self.blocks:
            branch = torch.relu(block(images))
            if self.spelling == "add":
                images = images + branch
            elif self.spelling == "in place":
                branch += images
                images = branch
            elif self.spelling == "stack":
                images = torch.stack([branch, images]).sum(0)
            else:
                images = functional.relu(torch.cat([branch, images], dim=1)[:, :2] + images, inplace=True)
        return self.linear(functional.adaptive_avg_pool2d(images, 1).flatten(1))


@pytest.mark.parametrize("spelling", ["add", "in place", "stack", "slice"])
def test_log_synflow_of_very_deep_networks_does_not_overflow(spelling):
    # A block multiplies by g = 1 + 2 w t, t the common factor on all weights, so R(t) = 2 t g^depth.
    depth, weight = 160, 6000.0
    gain = 1 + 2 * weight
    expected = math.log(2) + depth * math.log(gain) + math.log(1 + depth * 2 * weight / gain)
    assert expected > 1400  # exp of it is far beyond float64
    network = Residual(depth, weight, spelling)
    batch = Batch(torch.randn(2, 2, 1, 1), NONE)
    assert score(network, batch, ["log_synflow"])["log_synflow"] == pytest.approx(expected, rel=1e-6)
    assert score(network, batch, ["synflow"])["synflow"] == math.inf


def test_operations_without_forward_mode_derivative_are_differentiated_backwards():
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, features):  # noqa: ARG004
            return features * 2

        @staticmethod
        def backward(ctx, gradient):  # noqa: ARG004
            return gradient * 2

    class Network(nn.Module):
        def __init__(self, double):
            super().__init__()
            self.first, self.last, self.double = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 2, 3), double

        def forward(self, images):
            return self.last(self.first(images).relu() + self.double(self.first(images)))

    torch.manual_seed(0)
    plain = Network(lambda features: features * 2)
    custom = Network(Doubled.apply)
    custom.load_state_dict(plain.state_dict())
    batch = Batch(torch.randn(2, 1, 6, 6), NONE)
    names = ["synflow", "log_synflow", "macs"]
    assert score(custom, batch, names) == pytest.approx(score(plain, batch, names), rel=1e-6)


def test_nothing_flows_through_a_network_of_zeros():
    network = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(2, 2, 1, bias=False))
    nn.init.zeros_(network[0].weight)
    measured = score(network, Batch(torch.randn(2, 1, 3, 3), NONE), ["synflow", "log_synflow"])
    assert measured == {"synflow": 0.0, "log_synflow": -math.inf}
