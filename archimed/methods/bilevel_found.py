"""What a bilevel search found: the epoch that is picked, and its mixture."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from pydantic import TypeAdapter

from archimed.methods.bilevel_data import SearchData
from archimed.methods.bilevel_state import SearchEpoch
from archimed.spaces.protocol import RelaxableSpace
from archimed.strategies.bilevel import BilevelSettings
from archimed.strategies.mixtures import Mixture, mixture_of


@dataclass(frozen=True)
class Found:
    """What a bilevel search found.

    Attributes:
        epoch: the one picked, counted from 1; its validation figures follow.
        mixture: of that epoch.
        cautions: what a reader of the results should know.
        epochs: the records of all epochs, as the log holds them.
    """

    epoch: int
    validation_loss: float
    validation: Mapping[str, float | None]
    mixture: Mixture
    cautions: tuple[str, ...]
    epochs: tuple[Mapping[str, Any], ...] = field(default=(), compare=False, repr=False)


def picked(records: Sequence[SearchEpoch], pick_by: str) -> SearchEpoch:
    """The epoch that `search.pick_by` asks for, of at least one; the earliest of equals.

    Where the metric is undefined, as the AUC with one class among the validation cases, the loss decides.
    """

    def rank(record: SearchEpoch) -> tuple[float, float]:
        value = record.validation.get(pick_by)
        return (-math.inf if value is None else value, -record.validation_loss)

    return records[-1] if pick_by == "last" else max(records, key=rank)  # max takes the first


def found_again(result: Mapping[str, Any]) -> Found:
    """What `finished.json` tells."""
    alpha = {name: torch.tensor(numbers) for name, numbers in result["alpha"].items()}
    return Found(
        result["epoch"],
        result["validation_loss"],
        result["validation"],
        mixture_of(alpha),
        tuple(result["cautions"]),
        tuple(result["epochs"]),
    )


def fingerprint(space: RelaxableSpace, settings: BilevelSettings, data: SearchData) -> str:
    """What must be the same for a search to go on."""
    facts = {
        "settings": TypeAdapter(type(settings)).dump_python(settings, mode="json"),
        "choices": [asdict(choice) for choice in space.mixed_choices],
        "seed": data.problem.seed,
        "task": asdict(data.problem.task),
        **data.identity(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
