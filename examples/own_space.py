"""A search space of your own: convolutions in a row, each of a chosen width and kernel.

archimed run mstf-nas --data phantom:lesions2d --set space.name=examples/own_space.py:PlainSpace --out runs/plain
"""

from dataclasses import dataclass

from torch import nn

from archimed.genotype import Choice, Genotype, describe
from archimed.task import ImagingTask


@dataclass(frozen=True)
class PlainSpace:
    """Its fields become the settings `space.*`. If genotypes build the same network, add `canonical(genotype)`."""

    depth: int = 2

    @property
    def choices(self) -> tuple[Choice, ...]:
        """Width and kernel of every layer."""
        layers = range(1, self.depth + 1)
        return tuple(
            choice
            for layer in layers
            for choice in (Choice(f"layer{layer}.width", ("8", "16", "32")), Choice(f"layer{layer}.kernel", ("3", "5")))
        )

    def build(self, genotype: Genotype, task: ImagingTask) -> nn.Module:
        """The network; its weights come from PyTorch's global generator, which the search seeds."""
        chosen = describe(genotype, self.choices)
        layers: list[nn.Module] = []
        channels = task.channels
        for layer in range(1, self.depth + 1):
            width, kernel = int(chosen[f"layer{layer}.width"]), int(chosen[f"layer{layer}.kernel"])
            layers += [nn.Conv2d(channels, width, kernel, padding=kernel // 2), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, task.num_outputs))


if __name__ == "__main__":
    from archimed.testing import check_search_space

    check_search_space(PlainSpace(), ImagingTask("binary", ("healthy", "ill"), channels=1, image_size=(28, 28)))
    print("the space keeps its contract")
