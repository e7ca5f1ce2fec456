"""MM-NAS: cells that decide how modalities such as PET and CT fuse, learnt by gradients (Peng et al., MICCAI 2020).

Where the paper is silent or cannot be followed: its 40 training cases have no part for the architecture's loss or for
picking the epoch, so the training part of a fold is halved by patient and its validation part picks; at its batch size
of one, batch normalisation has nothing to average, so networks normalise each image by itself; what it takes from
DARTS without a number (Adam's averages and decay, momentum, clipping, derivation) is as in DARTS.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as settings_dataclass

from archimed.methods.differentiable import BilevelMethod
from archimed.spaces import SearchSpace
from archimed.spaces.fusion_cell import FusionCellSpace
from archimed.strategies.gradient import GradientSettings
from archimed.training.recipe import Recipe

RECIPE = Recipe(  # ours, for tens or hundreds of volumes; the baselines' too
    batch_size=8,
    learning_rate=3e-3,
    weight_decay=1e-4,
    early_stop_patience=30,  # an epoch has few steps
    members=3,
    augment_flips=True,
    augment_turns=True,
    augment_shift=0.1,
    augment_scale=0.1,
    augment_offset=0.05,
    augment_noise=0.1,
)
PLAIN = {  # what RECIPE adds to the protocol of MedMNIST, undone
    "training.learning_rate": 1e-3,
    "training.members": 1,
    "training.weight_decay": 0.0,
    "training.augment_flips": False,
    "training.augment_turns": False,
    "training.augment_shift": 0.0,
    "training.augment_scale": 0.0,
    "training.augment_offset": 0.0,
    "training.augment_noise": 0.0,
}


@settings_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class MmNasSearch(GradientSettings):
    """The bilevel search at a size for tens or hundreds of volumes and a processor; `paper` has the paper's."""

    epochs: int = Field(
        default=40, ge=1, description="passes over the weight half of the training cases (ours; MM-NAS: 200)"
    )
    batch_size: int = Field(default=4, ge=1, description="images of each half per step (ours; MM-NAS: 1)")
    learning_rate: float = Field(
        default=0.01, gt=0, description="first step size of the weights, SGD (ours; MM-NAS: 0.0001)"
    )
    alpha_learning_rate: float = Field(
        default=0.03,
        gt=0,
        description="step size of alpha, Adam (ours: by 175 steps, of 40 epochs on 36 cases, the mixture's entropy "
        "fell from 1 to .78, with .003 to .99; MM-NAS: 0.0005)",
    )
    warmup_epochs: int = Field(
        default=5, ge=0, description="first epochs, in which only the weights learn (ours; MM-NAS: none)"
    )
    width: int | None = Field(
        default=None, ge=2, description="space.width of the supernet; empty: as the network's (MM-NAS: unstated)"
    )


@dataclass(frozen=True)
class MmNas(BilevelMethod):
    """The whole method; every choice is a field."""

    space: SearchSpace = field(default_factory=FusionCellSpace)
    search: MmNasSearch = field(default_factory=MmNasSearch)
    training: Recipe = RECIPE

    name: ClassVar[str] = "mm-nas"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {"data.region_channel": True},
        "quick": {
            "space.width": 4,
            "space.num_nodes": 2,
            "space.num_reduction": 2,
            "space.head": 16,
            "search.epochs": 4,
            "search.warmup_epochs": 1,
            "training.epochs": 6,
            "training.members": 1,
            "evaluation.baselines": "random-search",
        },
        "paper": {
            **PLAIN,
            "data.region_channel": False,
            "space.head_reads": "last",
            "space.stem_form": "strided",
            "search.epochs": 200,
            "search.batch_size": 1,
            "search.learning_rate": 1e-4,
            "search.least_learning_rate": 1e-4,
            "search.alpha_learning_rate": 5e-4,
            "search.warmup_epochs": 0,
            "training.epochs": 200,
            "training.batch_size": 1,
            "training.milestones": [],
            "training.early_stop_patience": None,
        },
    }
