"""Settings of searches within budgets, and how architectures are drawn at random within them."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as settings_dataclass

from archimed.errors import SettingsError
from archimed.genotype import Genotype, random_genotype
from archimed.spaces import SearchSpace
from archimed.spaces.budgets import Budgets, cost, resnet_for
from archimed.spaces.protocol import BudgetedSpace
from archimed.task import ImagingTask

if TYPE_CHECKING:
    import numpy as np

AsLargeAs = Literal["resnet18", "resnet50", "none"]
Draw = Callable[["np.random.Generator"], Genotype]


@settings_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class BudgetSettings:
    """What the networks of a search may cost at most, at the image size of the search."""

    budget_macs: int | None = Field(
        default=None, ge=1, description="multiply-accumulates of one image, at most; empty: see search.as_large_as"
    )
    budget_params: int | None = Field(
        default=None, ge=1, description="parameters, at most; empty: see search.as_large_as"
    )
    depth: int | None = Field(
        default=None,
        ge=1,
        description="layers with weights on the longest way, at most, as ResNet-18 counts its 18; empty: see "
        "search.as_large_as",
    )
    as_large_as: AsLargeAs | None = Field(
        default=None,
        description="resnet18 or resnet50: budgets not given are what this baseline has for the images at hand; none: "
        "they are open; empty: resnet18 if no budget is given and the space tells what networks cost, else none (ours)",
    )

    @property
    def asks_for_budgets(self) -> bool:
        """Whether one was set, by itself or by the size of a ResNet."""
        given = (self.budget_macs, self.budget_params, self.depth)
        return any(value is not None for value in given) or self.as_large_as not in (None, "none")

    def budgets(self, task: ImagingTask) -> Budgets:
        """The budgets for the images of a task."""
        given = {"macs": self.budget_macs, "parameters": self.budget_params, "depth": self.depth}
        own = {name: value for name, value in given.items() if value is not None}
        like = self.as_large_as or ("none" if own else "resnet18")
        if like == "none":
            return Budgets(**own)
        size = cost(resnet_for(like, task), task)
        return Budgets(**{"macs": size.macs, "parameters": size.parameters, "depth": size.depth, **own})


def drawing(space: SearchSpace, search: Any, task: ImagingTask) -> Draw:
    """How random architectures of a space are drawn: within the budgets of a search, if its settings have any.

    Raises:
        SettingsError: there are budgets, and the space cannot tell what its networks cost, or has none that cheap.
    """
    budgets = search.budgets(task) if isinstance(search, BudgetSettings) else Budgets()
    if isinstance(space, BudgetedSpace):
        budgets.check(space.cost(genotype, task) for genotype in space.least())
        return partial(space.draw, task=task, budgets=budgets)
    if isinstance(search, BudgetSettings) and search.asks_for_budgets:
        raise no_costs(space)
    return partial(random_genotype, space.choices)


def no_costs(space: SearchSpace) -> SettingsError:
    """Why a space cannot be searched within budgets."""
    return SettingsError(
        "A search within budgets needs a space that tells what a network costs before it is built; "
        f"{type(space).__name__} does not. Use --set space.name=residual_stages, or a method without budgets."
    )
