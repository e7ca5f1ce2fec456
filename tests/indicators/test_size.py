import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from archimed.batch import Batch
from archimed.indicators import score


def macs_by_flop_counter(network, images):
    """PyTorch's count of floating-point operations, two for each multiply-accumulate."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(images)
    return counter.get_total_flops() / 2 / len(images)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv1d(4, 6, 5, stride=2, groups=2), (4, 21)),
        (nn.Conv2d(4, 8, (3, 5), stride=(2, 1), dilation=2, padding=1), (4, 13, 17)),
        (nn.Conv2d(6, 6, 3, padding="same", groups=6), (6, 7, 8)),
        (nn.Conv3d(2, 4, 3, stride=2, padding=1), (2, 9, 8, 7)),
        (nn.Conv3d(4, 4, 3, groups=4), (4, 5, 6, 7)),
        (nn.ConvTranspose1d(4, 6, 3, stride=2, groups=2), (4, 9)),
        (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1), (4, 5, 6)),
        (nn.ConvTranspose3d(4, 8, 2, stride=2, groups=4), (4, 3, 4, 5)),
        (nn.Linear(7, 3), (7,)),
        (nn.Linear(7, 3), (5, 7)),
    ],
    ids=str,
)
def test_macs_of_a_layer_are_half_the_flops(layer, shape):
    batch = Batch(torch.randn(3, *shape), torch.zeros(3, dtype=torch.int64))
    expected = macs_by_flop_counter(layer, batch.images)
    assert score(layer, batch, ["macs"])["macs"] == expected > 0
    assert score(layer, batch, ["naswot", "macs"])["macs"] == expected


def test_macs_of_a_network_are_the_same_whatever_pass_they_come_from(example):
    expected = macs_by_flop_counter(example.network, example.batch.images)
    for others in ([], ["naswot"], ["grad_norm"], ["jacob_cov"], ["synflow"]):
        assert score(example.network, example.batch, [*others, "macs"])["macs"] == expected


def test_matrix_products_count():
    class Attention(nn.Module):
        def forward(self, images):
            tokens = images.flatten(2)
            return torch.bmm(tokens @ tokens.transpose(1, 2), tokens)

    images = torch.randn(2, 3, 4, 5)
    batch = Batch(images, torch.zeros(2, dtype=torch.int64))
    assert score(Attention(), batch, ["macs"])["macs"] == macs_by_flop_counter(Attention(), images) == 2 * 3 * 3 * 20


def test_parameters_count_shared_ones_once():
    layer = nn.Linear(3, 3)
    batch = Batch(torch.randn(2, 3), torch.zeros(2, dtype=torch.int64))
    assert score(nn.Sequential(layer, nn.ReLU(), layer), batch, ["parameters"]) == {"parameters": 12.0}
