"""DARTS: a normal and a reduction cell learnt by gradients through a supernet (Liu et al., 2019), in 2D and 3D.

The supernet is searched at a width and depth of its own (`search.width`, `search.num_cells`) and the derived network
trained at those of the space. Unlike the paper, cases are halved by patient and validation cases pick the epoch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as settings_dataclass

from archimed.methods.differentiable import BilevelMethod
from archimed.spaces import SearchSpace
from archimed.spaces.darts_cell import DartsCellSpace
from archimed.strategies.gradient import GradientSettings
from archimed.training.recipe import Recipe


@settings_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class DartsSearch(GradientSettings):
    """The bilevel search, and the supernet's size."""

    width: int | None = Field(
        default=16, ge=2, description="space.width of the supernet (DARTS); empty: as the network's"
    )
    num_cells: int | None = Field(
        default=8, ge=3, description="space.num_cells of the supernet (DARTS); empty: as the network's"
    )


@dataclass(frozen=True)
class Darts(BilevelMethod):
    """The whole method; every choice is a field."""

    space: SearchSpace = field(default_factory=lambda: DartsCellSpace(width=36, stem_stride=2))
    search: DartsSearch = field(default_factory=DartsSearch)
    training: Recipe = field(default_factory=Recipe)

    name: ClassVar[str] = "darts"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "space.width": 16,
            "space.num_cells": 3,
            "space.num_nodes": 2,
            "space.stem_stride": 4,
            "search.width": 8,
            "search.num_cells": 3,
            "search.epochs": 6,
            "search.batch_size": 8,
            "training.epochs": 6,
            "training.batch_size": 32,
        },
        "paper": {
            "space.stem_stride": 1,
            "space.num_cells": 20,
            "search.pick_by": "last",
            "training.early_stop_patience": None,
        },
    }
