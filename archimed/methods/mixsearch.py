"""MixSearch: segmentation networks searched on mixed images of several data sets (Liu et al.), 2D and 3D.

Two searches follow each other (Algorithm 1): the first through a shallow supernet with all operations, the second
through a deeper one with the stronger half of them. Where the paper is silent or the released code differs: each data
set is halved by patient for weights and architecture; its validation part picks the epoch of each stage by Dice, on
images as they are; beta and alpha step on the same mixed images; Adam and SGD keep one step size each per epoch; what
the kinds of cell weigh at the end decides which a place keeps (see `WeavedUnetSpace`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass as settings_dataclass

from archimed.data.mixing import MixingSettings
from archimed.errors import SettingsError
from archimed.methods.bilevel_found import Found
from archimed.methods.bilevel_loop import search_bilevel
from archimed.methods.differentiable import RULES, bilevel_seconds, figures
from archimed.methods.mixed_data import MixedHalves
from archimed.methods.protocol import DataSets, Journal, SearchOutcome, SearchProblem, Selection
from archimed.methods.rivals import like_sized_rival
from archimed.methods.stages import journal_of_stage
from archimed.spaces.weaved_unet import WeavedUnetSpace
from archimed.strategies.bilevel import Turns
from archimed.strategies.gradient import GradientSettings
from archimed.strategies.mixtures import KINDS
from archimed.training.recipe import Recipe

Mode = Literal["mix", "union", "dedicated"]
RECIPE = Recipe(  # ours, for small data sets and few steps; the baselines' too. `paper` has the paper's retraining
    epochs=100,
    batch_size=8,
    learning_rate=3e-3,
    least_steps=15,  # of eight images one pass is a single step
    schedule="cosine",
    weight_decay=1e-5,
    early_stop_patience=30,
    augment_flips=True,
)


@settings_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class MixSearchSearch(MixingSettings, GradientSettings):
    """The two stages, at a size for two processor cores; `paper` has the paper's."""

    mode: Mode = Field(
        default="mix",
        description="mix: one search on mixed images of all data sets (MixSearch); union: on their images as they are "
        "(UnionSearch); dedicated: one search for each data set (DedicatedSearch)",
    )
    first_depth: int = Field(default=4, ge=3, description="space.depth of the first stage (ours; MixSearch: 5)")
    first_layers: int = Field(default=6, ge=4, description="space.layers of the first stage (ours; MixSearch: 8)")
    width: int | None = Field(
        default=None,
        ge=2,
        multiple_of=2,
        description="space.width of the supernets; empty: as the network's (MixSearch)",
    )
    epochs: int = Field(
        default=30, ge=1, description="of each stage, passes over the weight half (ours; MixSearch: 80)"
    )
    warmup_epochs: int = Field(
        default=4, ge=0, description="first epochs of each stage, in which only the weights learn (MixSearch: 10)"
    )
    batch_size: int = Field(default=8, ge=1, description="mixed images per step (ours; MixSearch: 12)")
    least_learning_rate: float = Field(
        default=0.0,
        ge=0,
        description="step size that a cosine leads to over the epochs of a stage (MixSearch: unstated)",
    )
    alpha_learning_rate: float = Field(
        default=0.03,
        gt=0,
        description="step size of alpha and beta, Adam (ours, for few steps: with .01, 98 steps on 106 phantoms took "
        "the entropy of alpha from 1 to .997 only, that of beta to .968; MixSearch: 0.0002)",
    )
    pick_by: Literal["dice", "loss", "last"] = Field(  # type: ignore[assignment]
        default="dice",
        description="what picks the epoch of each stage: the supernet's validation Dice (ties to the lower loss), its "
        "validation loss, or the last epoch (MixSearch); ties go to the earlier epoch, the warm-up has no part (ours)",
    )
    image_size: int | None = Field(
        default=64, ge=8, description="pixels per side in the search (ours; MixSearch: unstated); empty: as the data"
    )

    @property
    def mixed(self) -> int:
        """Images that a mixed one is made of."""
        return self.k if self.mode == "mix" else 1

    @property
    def turns(self) -> Turns:
        """Weights, then beta, then alpha with the new beta (Algorithm 1, lines 11 to 13)."""
        return Turns(weights_first=True, before=KINDS)


@dataclass(frozen=True)
class MixSearch:
    """The whole method; every choice is a field. The space is that of the second stage, with all operations."""

    space: WeavedUnetSpace = field(default_factory=lambda: WeavedUnetSpace(depth=5, layers=8, width=8))
    search: MixSearchSearch = field(default_factory=MixSearchSearch)
    training: Recipe = RECIPE

    name: ClassVar[str] = "mixsearch"
    searched_baselines: ClassVar[tuple[str, ...]] = ("random-search",)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "space.width": 4,
            "space.depth": 4,
            "space.layers": 6,
            "space.num_nodes": 2,
            "search.first_depth": 3,
            "search.first_layers": 4,
            "search.epochs": 4,
            "search.warmup_epochs": 1,
            "training.epochs": 10,
            "training.least_steps": 1,
            "evaluation.baselines": "random-search",
        },
        "paper": {
            "space.width": 16,
            "space.depth": 6,
            "space.layers": 10,
            "space.details": False,
            "space.group_size": 16,
            "search.first_depth": 5,
            "search.first_layers": 8,
            "search.epochs": 80,
            "search.warmup_epochs": 10,
            "search.batch_size": 12,
            "search.alpha_learning_rate": 2e-4,
            "search.pick_by": "last",
            "search.image_size": 256,
            "training.epochs": 1600,
            "training.batch_size": 12,
            "training.least_steps": 1,
            "training.optimizer": "sgd",
            "training.learning_rate": 5e-3,
            "training.augment_flips": False,
            "training.early_stop_patience": None,
        },
    }

    def __post_init__(self) -> None:
        if not isinstance(self.space, WeavedUnetSpace):
            raise SettingsError(
                f"mixsearch searches the weaved space; got {type(self.space).__name__}. Use --set "
                "space.name=weaved_unet (space.layout=plain for the plain U), or another method."
            )
        try:
            self.first_space  # noqa: B018
        except ValidationError as error:
            raise SettingsError(
                f"search.first_depth and search.first_layers are those of a weave: {error.errors()[0]['msg'].lower()}; "
                f"got {self.search.first_depth} and {self.search.first_layers}. Set more search.first_layers."
            ) from None

    @property
    def data_sets(self) -> DataSets:
        """Several, searched together or each by itself."""
        return "apart" if self.search.mode == "dedicated" else "together"

    @property
    def first_space(self) -> WeavedUnetSpace:
        """The space of the first stage's supernet."""
        search = self.search
        width = self.space.width if search.width is None else search.width
        return replace(self.space, depth=search.first_depth, layers=search.first_layers, width=width, exit=None)

    def second_space(self, found: Found) -> WeavedUnetSpace:
        """The space of the second stage's supernet, its tables halved by what the first found."""
        return self.first_space.deepened(found.mixture, self.space.depth, self.space.layers)

    def pool(self, unique_candidates: int) -> None:
        """None: `run_search` draws the random architecture itself."""

    def check_problem(self, problem: SearchProblem) -> None:
        """DataError unless the cases can be halved and each half mixed."""
        self._data(problem).check()

    def search_seconds(self, problem: SearchProblem) -> float:
        """How long all epochs of both stages take, from a few steps of each."""
        data, first = self._data(problem), self.first_space
        even = {choice.name: torch.ones(len(choice.options)) for choice in first.mixed_choices}
        second = first.deepened(even, self.space.depth, self.space.layers)
        return sum(bilevel_seconds(space, self.search, data) for space in (first, second))

    def run_search(self, problem: SearchProblem, journal: Journal) -> SearchOutcome:
        """Search twice; derive the network from the second mixture, and draw one of about its size beside it."""
        data, search = self._data(problem), self.search
        first = search_bilevel(self.first_space, search, data, journal_of_stage(journal, 1, search.epochs))
        searched = self.second_space(first)
        found = search_bilevel(searched, search, data, journal_of_stage(journal, 2, search.epochs, first.epochs))
        space = replace(searched, width=self.space.width, exit=self.space.exit)
        genotype = space.derive(found.mixture)
        rival = like_sized_rival(space, genotype, problem.task, problem.seed)
        rule = f"derived from the mixture of {RULES[search.pick_by]}, of the second stage"
        told = figures(found) | {"first_stage_epoch": float(first.epoch)}
        return SearchOutcome((Selection(self.name, space, genotype, rule, told), rival), unique_candidates=0)

    def _data(self, problem: SearchProblem) -> MixedHalves:
        return MixedHalves(problem, self.search, self.search.mixed)
