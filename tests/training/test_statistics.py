"""Statistics of some images take the place of those met in training, and leave no trace."""

import torch
from torch import nn

from archimed.training.statistics import statistics_of


def test_within_the_block_norms_use_the_mean_statistics_of_the_passes_and_nothing_stays() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Dropout(0.5))
    network(torch.randn(8, 1, 4, 4))
    network.train()
    network[2].eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    parts = [torch.randn(6, 1, 4, 4) * 3 + 1, torch.randn(6, 1, 4, 4)]
    features = [network[0](part).detach() for part in parts]
    with statistics_of(network, [lambda part=part: network(part) for part in parts]):
        assert not any(module.training for module in network.modules())
        mean = torch.stack([f.mean((0, 2, 3)) for f in features]).mean(0)
        variance = torch.stack([f.var((0, 2, 3)) for f in features]).mean(0)
        torch.testing.assert_close(network[1].running_mean, mean)
        torch.testing.assert_close(network[1].running_var, variance)
    assert [module.training for module in network.modules()] == [True, True, True, False]
    assert network[1].momentum == 0.1
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
