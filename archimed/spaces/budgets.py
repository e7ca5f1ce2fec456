"""What a network of residual stages costs, in closed form and exactly, and the budgets that it must keep."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from math import prod
from typing import Literal

from archimed.errors import SettingsError
from archimed.networks.residual_stages import (
    Structure,
    along_axes,
    map_sizes,
    resnet18_structure,
    resnet50_structure,
    strided,
)
from archimed.spaces.fixed import chosen_stem
from archimed.task import ImagingTask

SETTINGS = {"macs": "search.budget_macs", "parameters": "search.budget_params", "depth": "search.depth"}
SHOWN = {"macs": "MACs", "parameters": "parameters", "depth": "layers"}
ResNetName = Literal["resnet18", "resnet50"]


@dataclass(frozen=True)
class Cost:
    """What one network costs.

    Attributes:
        macs: multiply-accumulates of one image in convolutions and linear layers.
        parameters: learnable numbers.
        depth: layers with weights on the longest way, as ResNet-18 counts its 18 (see `Structure.depth`).
    """

    macs: int
    parameters: int
    depth: int


@dataclass(frozen=True)
class Budgets:
    """The most that a network may cost, as in `Cost`; None for no limit."""

    macs: int | None = None
    parameters: int | None = None
    depth: int | None = None

    def admits(self, cost: Cost) -> bool:
        """Whether the cost is within all of them."""
        return (
            (self.macs is None or cost.macs <= self.macs)
            and (self.parameters is None or cost.parameters <= self.parameters)
            and (self.depth is None or cost.depth <= self.depth)
        )

    def check(self, least: Iterable[Cost]) -> None:
        """Raise SettingsError unless one of these costs, the least that networks of a space can have, is admitted.

        The message says which budget fails and by how much, or that each could be kept, but not all at once.
        """
        costs = list(least)
        if any(self.admits(cost) for cost in costs):
            return
        alone = {name: min(getattr(cost, name) for cost in costs) for name in self.limits}
        too_low = [
            f"the least is {alone[name]:,} {SHOWN[name]}, {_how_much(alone[name], limit)} {SETTINGS[name]}={limit:,}"
            for name, limit in self.limits.items()
            if alone[name] > limit
        ]
        if too_low:
            raise SettingsError(
                f"A search needs a network that keeps its budgets, and no structure does: {'; '.join(too_low)}. Raise "
                "what is too low, or set fewer space.stages."
            )
        nearest = min(costs, key=lambda cost: max(getattr(cost, name) / limit for name, limit in self.limits.items()))
        got = ", ".join(f"{getattr(nearest, name):,} {SHOWN[name]} of {limit:,}" for name, limit in self.limits.items())
        raise SettingsError(
            "A search needs a network that keeps its budgets; each could be kept, but not all at once: the nearest "
            f"structure has {got}. Raise the one that is exceeded."
        )

    @property
    def limits(self) -> dict[str, int]:
        """The budgets that are set, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


def _how_much(least: int, limit: int) -> str:
    return f"{least / limit:.3g} times" if least >= 2 * limit else f"{least - limit:,} more than"


def cost(structure: Structure, task: ImagingTask, image_size: tuple[int, ...] | None = None) -> Cost:
    """What the network of a structure costs for images of a task, of another size if one is given, pixels."""
    size = task.image_size if image_size is None else image_size
    dims, width = len(size), structure.stem_width
    parameters = macs = 0

    def convolution(before: int, after: int, kernel: int, positions: int) -> None:
        """Add a convolution without bias and the batch normalisation after it."""
        nonlocal parameters, macs
        weights = before * after * kernel**dims
        parameters += weights + 2 * after
        macs += weights * positions

    sizes = map_sizes(structure, size)
    convolution(task.channels, width, structure.stem_kernel, prod(strided(size, structure.stem_stride)))
    for stage, before, after in zip(structure.stages, map(prod, sizes), map(prod, sizes[1:]), strict=False):
        inner, outer, kernel = stage.bottleneck_width, stage.width, stage.kernel
        if width != outer or prod(along_axes(stage.stride, dims)) > 1:
            convolution(width, outer, 1, after)
        for block in range(stage.layers):
            if stage.block == "basic":
                convolution(width, inner, kernel, after)
                convolution(inner, outer, kernel, after)
            else:
                convolution(width, inner, 1, before if block == 0 else after)
                convolution(inner, inner, kernel, after)
                convolution(inner, outer, 1, after)
            width = outer
    linear = width * task.num_outputs
    return Cost(macs + linear, parameters + linear + task.num_outputs, structure.depth)


def resnet_for(name: ResNetName, task: ImagingTask) -> Structure:
    """A ResNet with the stem that the baseline of its name has for the images of a task (see `spaces.fixed.ResNet`)."""
    published = resnet18_structure() if name == "resnet18" else resnet50_structure()
    stem = chosen_stem("auto", task)
    return (
        published if stem == "large" else replace(published, stem_kernel=3, stem_stride=1, stem_pool=stem == "pooled")
    )
