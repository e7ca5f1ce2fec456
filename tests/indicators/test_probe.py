"""What indicators share, and what they leave alone."""

import gc
import weakref

import pytest
import torch
from torch import nn

from archimed.batch import Batch
from archimed.errors import SettingsError
from archimed.indicators import INDICATORS, Probe, find_indicator, measure_indicators, score
from archimed.indicators.contract import _same, _state, examples


class Counted(nn.Module):
    """Counts the forward passes of a network, by batch size."""

    def __init__(self, network):
        super().__init__()
        self.network, self.sizes = network, []

    def forward(self, images):
        self.sizes.append(len(images))
        return self.network(images)


@pytest.mark.parametrize(
    ("names", "sizes"),
    [
        (["parameters"], []),
        (["macs"], [1]),
        (["naswot", "macs", "parameters"], [5]),
        (["macs", "naswot"], [5]),
        (["naswot", "synflow", "log_synflow", "macs"], [1, 5]),
        (["macs", "naswot", "jacob_cov"], [5]),
        (["naswot", "jacob_cov", "grad_norm", "snip", "fisher", "grasp"], [5]),
        (["zen_score"], [5, 5]),
        (list(INDICATORS), [1, 5, 5, 5]),
    ],
)
def test_passes_are_shared(chain, names, sizes):
    network, batch = chain
    counted = Counted(network)
    values = score(counted, batch, names)
    assert sorted(counted.sizes) == sizes
    assert list(values) == names


def test_values_do_not_depend_on_what_else_is_asked_for(chain):
    together = score(*chain, list(INDICATORS))
    for name, value in together.items():
        assert score(*chain, [name])[name] == pytest.approx(value, rel=1e-5), name


def test_any_function_of_a_probe_is_an_indicator(chain):
    network, batch = chain
    indicators = {"mine": lambda probe: len(probe.batch), "macs": INDICATORS["macs"]}
    assert measure_indicators(network, batch, indicators)["mine"] == 5.0


def test_unknown_names_are_refused_with_the_nearest_known_one(chain):
    with pytest.raises(SettingsError, match=r"got 'synflo'\. Did you mean 'synflow'"):
        score(*chain, ["naswot", "synflo"])
    with pytest.raises(SettingsError, match="Did you mean 'macs'"):
        find_indicator("MACS")


@pytest.mark.parametrize("fails_at", [1, 2, 3])
def test_the_network_is_left_as_found_after_an_error(chain, fails_at):
    class Fails(nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network, self.dropout = network, nn.Dropout(0.5)

        def forward(self, images):
            logits = self.dropout(self.network(images))
            calls.append(1)
            if len(calls) == fails_at:
                raise MemoryError
            return logits

    calls = []
    network, batch = Fails(chain[0]), chain[1]
    network.network[1].eval()
    before = _state(network, batch)
    with pytest.raises(MemoryError):
        score(network, batch, ["grasp", "synflow", "zen_score"])
    assert _same(before, _state(network, batch))


def test_gradients_frozen_parameters_and_hooks_stay(chain):
    network, batch = chain
    reference = score(network, batch, list(INDICATORS))
    network(batch.images).sum().backward()
    gradients = [parameter.grad.clone() for parameter in network.parameters()]
    network.requires_grad_(False)
    seen = []
    network[0].register_forward_hook(lambda *_: seen.append(1))
    with torch.no_grad():
        assert score(network, batch, list(INDICATORS)) == reference
    assert seen
    assert all(torch.equal(p.grad, g) for p, g in zip(network.parameters(), gradients, strict=True))
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_batch_statistics_are_used_whatever_the_mode_and_running_ones_stay():
    example = next(examples())
    trained = score(example.network, example.batch, ["naswot", "grad_norm"])
    for module in example.network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.fill_(100.0)
    assert score(example.network.eval(), example.batch, ["naswot", "grad_norm"]) == trained


def test_a_probe_frees_its_graphs_without_the_garbage_collector(chain):
    gc.collect()
    gc.disable()
    try:
        probe = Probe(*chain)
        for indicator in INDICATORS.values():
            indicator(probe)
        images = weakref.ref(probe._gradient_pass.images)
        del probe
        assert images() is None
    finally:
        gc.enable()


def test_images_of_one_channel_and_any_strides_give_the_same(chain):
    network, batch = chain
    strided = Batch(torch.cat([batch.images, batch.images], dim=3)[..., ::2].contiguous()[..., :6], batch.target)
    same = Batch(strided.images.clone(memory_format=torch.contiguous_format), batch.target)
    assert score(network, strided, list(INDICATORS)) == score(network, same, list(INDICATORS))
