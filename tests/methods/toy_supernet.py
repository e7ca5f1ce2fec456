"""A search space so small that a search takes a fraction of a second; one option tells the class, others do not."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from archimed.genotype import Choice, Genotype
from archimed.task import ImagingTask

OPTIONS = ("zero", "identity", "noise", "signal")


class ToySupernet(nn.Module):
    """Two mixed choices, each a weighted sum of scaled means of the image; a network of a genotype is the same."""

    def __init__(self, task: ImagingTask, width: int, batch_norm: bool) -> None:
        super().__init__()
        convolution = nn.Conv2d if task.spatial_dims == 2 else nn.Conv3d
        norm = nn.BatchNorm2d if task.spatial_dims == 2 else nn.BatchNorm3d
        self.stem = convolution(task.channels, width, 3, padding=1, bias=False)
        self.norm = norm(width, affine=False) if batch_norm else nn.Identity()
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        self.head = nn.Linear(width, task.num_outputs)

    def mixed(self, features: Tensor, images: Tensor, weights: Tensor, layer: nn.Module) -> Tensor:
        space = tuple(range(2, images.ndim))
        noise = torch.sin(1e4 * images.mean(dim=(1, *space)))[:, None]
        signal = layer(images.mean(dim=(1, *space))[:, None].expand_as(features))
        return weights[1] * features + weights[2] * noise * torch.ones_like(features) + weights[3] * signal.tanh()

    def forward(self, images: Tensor, mixture: Mapping[str, Tensor]) -> Tensor:
        features = self.norm(self.stem(images)).relu().mean(dim=tuple(range(2, images.ndim)))
        one = self.mixed(features, images, mixture["normal.node1.input1"], self.first)
        two = self.mixed(one, images, mixture["normal.node2.input1"], self.second)
        logits: Tensor = self.head(two)
        return logits


class ToyNetwork(nn.Module):
    """One path of the supernet."""

    def __init__(self, supernet: ToySupernet, mixture: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.supernet, self.mixture = supernet, dict(mixture)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.supernet(images, self.mixture)
        return logits


@dataclass(frozen=True)
class ToySpace:
    """Two choices of four options."""

    width: int = 4
    batch_norm: bool = False
    built: list[str] = field(default_factory=list, compare=False)

    @property
    def choices(self) -> tuple[Choice, ...]:
        return self.mixed_choices

    @property
    def mixed_choices(self) -> tuple[Choice, ...]:
        return tuple(Choice(f"normal.node{node}.input1", OPTIONS) for node in (1, 2))

    def build(self, genotype: Genotype, task: ImagingTask) -> nn.Module:
        return ToyNetwork(ToySupernet(task, self.width, self.batch_norm), self.one_hot(genotype))

    def supernet(self, task: ImagingTask, *, recompute: bool = False, channel_share: int = 1) -> nn.Module:
        self.built.append("checkpoint" if recompute else "partial" if channel_share > 1 else "none")
        return ToySupernet(task, self.width, self.batch_norm)

    def derive(self, mixture: Mapping[str, Tensor]) -> Genotype:
        return tuple(1 + int(mixture[choice.name][1:].argmax()) for choice in self.mixed_choices)

    def one_hot(self, genotype: Genotype) -> Mapping[str, Tensor]:
        return {choice.name: torch.eye(4)[gene] for choice, gene in zip(self.mixed_choices, genotype, strict=True)}

    def inherit(self, supernet: nn.Module, genotype: Genotype, network: nn.Module) -> None:
        assert genotype
        network.supernet.load_state_dict(supernet.state_dict())  # type: ignore[union-attr, operator]
