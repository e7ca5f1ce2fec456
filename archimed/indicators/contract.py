"""The contract of an indicator, run on small networks of many kinds; also for a user's own indicator."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from archimed.batch import Batch
from archimed.errors import ContractError
from archimed.indicators import Indicator, Probe


def check_indicator(indicator: Indicator) -> None:
    """Check that an indicator is finite, repeatable and without side effects, on networks of many kinds.

    The networks have 1, 2 and 3 spatial axes, transposed convolutions, functional and in-place rectifiers, running
    statistics and dropout; the targets are classes, labels some of which are unknown, and masks.

    Raises:
        ContractError: it breaks the contract; the message says how, and on which network.
    """
    for example in examples():
        name, network, batch = example.name, example.network, example.batch
        before = _state(network, batch)
        value = indicator(Probe(network, batch))
        _require(
            isinstance(value, float), f"returns a float; got {type(value).__name__}, so wrap it in float(...)", name
        )
        _require(
            math.isfinite(value),
            f"is finite on a network whose outputs differ; got {value}: clamp before a logarithm or a division",
            name,
        )
        _require(
            _same(before, _state(network, batch)),
            "leaves network, batch and random state as found; work on a copy, and draw from a generator of your own",
            name,
        )
        again = indicator(Probe(network, batch))
        _require(
            again == value,
            f"repeats exactly; got {value} and {again}: seed what is drawn, and keep nothing between calls",
            name,
        )


@dataclass(frozen=True)
class Example:
    """A network with a batch for it."""

    name: str
    network: nn.Module
    batch: Batch


def examples() -> Iterator[Example]:
    """Small networks of many kinds, with fixed weights and images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        classes = torch.tensor([0, 1, 2, 0, 1, 2])
        labels = torch.tensor([[1.0, 0.0, torch.nan], [0.0, torch.nan, 1.0], [1.0, 1.0, 0.0]] * 2)
        yield Example("2d, classes", _Plain(2), Batch(torch.randn(6, 2, 9, 9), classes))
        yield Example("1d, labels", _Plain(1), Batch(torch.randn(6, 2, 20), labels))
        yield Example("3d, classes", _Plain(3), Batch(torch.randn(6, 2, 6, 5, 5), classes))
        masks = torch.randint(0, 3, (6, 8, 8))
        yield Example("2d, masks", _EncoderDecoder(), Batch(torch.randn(6, 2, 8, 8), masks))


class _Plain(nn.Module):
    """Convolutions with and without bias, dense and depthwise, normalised by batch; functional and in-place ReLUs."""

    def __init__(self, axes: int) -> None:
        super().__init__()
        convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
        norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[axes - 1]
        self.stem = nn.Sequential(convolution(2, 6, 3, padding=1, bias=False), norm(6), nn.ReLU(inplace=True))
        self.depthwise = convolution(6, 6, 3, padding=1, groups=6)
        self.norm = nn.GroupNorm(2, 6)
        self.pool = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[axes - 1](2)
        self.dropout = nn.Dropout(0.1)
        self.linear = nn.Linear(6, 3)

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images)
        features = self.pool(features + self.norm(functional.relu_(self.depthwise(features))))
        logits: Tensor = self.linear(self.dropout(torch.relu(features).flatten(2).mean(2)))
        return logits


class _EncoderDecoder(nn.Module):
    """Strided down, transposed up, one output per pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.InstanceNorm2d(4), nn.ReLU())
        self.up = nn.ConvTranspose2d(4, 4, 2, stride=2)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Conv2d(6, 3, 1)

    def forward(self, images: Tensor) -> Tensor:
        features = self.norm(self.up(self.down(images))).relu()
        logits: Tensor = self.head(torch.cat([features, images], dim=1))
        return logits


def _state(network: nn.Module, batch: Batch) -> list[object]:
    """All that a measurement must leave as found."""
    tensors = [*network.parameters(), *network.buffers(), batch.images, batch.target, torch.get_rng_state()]
    return [
        *(tensor.detach().clone() for tensor in tensors),
        *((id(tensor), tensor._version, tensor.requires_grad, tensor.grad is None) for tensor in tensors[:-1]),
        *(
            (id(m), m.training, len(m._forward_hooks), len(m._backward_hooks), sorted(vars(m)))
            for m in network.modules()
        ),
    ]


def _same(before: list[object], after: list[object]) -> bool:
    return len(before) == len(after) and all(_equal(old, new) for old, new in zip(before, after, strict=True))


def _equal(old: object, new: object) -> bool:
    if isinstance(old, Tensor) and isinstance(new, Tensor):
        return old.shape == new.shape and bool(((old == new) | (old.isnan() & new.isnan())).all())
    return old == new


def _require(holds: bool, rule: str, network: str) -> None:
    if not holds:
        raise ContractError(f"An indicator {rule} (on the network {network!r}).")
