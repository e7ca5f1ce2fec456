"""Training-free indicators of a network on one mini-batch, over one shared `Probe`.

An indicator is a function of a probe that returns its raw value, never signed or scaled; it may be infinite or NaN for
networks that it cannot tell apart. Counting `macs` or `parameters` often ranks networks as well: compare them.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from torch import nn

from archimed.batch import Batch
from archimed.errors import SettingsError
from archimed.indicators.fisher import fisher
from archimed.indicators.grad_norm import grad_norm
from archimed.indicators.grasp import grasp
from archimed.indicators.jacob_cov import jacob_cov
from archimed.indicators.naswot import naswot
from archimed.indicators.probe import Probe
from archimed.indicators.size import macs, parameters
from archimed.indicators.snip import snip
from archimed.indicators.synflow import log_synflow, synflow
from archimed.indicators.zen_score import ZenScore, zen_score
from archimed.userfile import is_user_object, load_object, part_name

__all__ = [
    "INDICATORS",
    "Indicator",
    "Probe",
    "ZenScore",
    "find_indicator",
    "find_indicators",
    "measure_indicators",
    "score",
]

Indicator = Callable[[Probe], float]

# In the order in which they share best: second derivatives bring first ones along, those by weights bring those by
# channels, and whatever pass on the batch has run gives codes and MACs.
INDICATORS: Mapping[str, Indicator] = MappingProxyType(
    {
        "grasp": grasp,
        "snip": snip,
        "grad_norm": grad_norm,
        "fisher": fisher,
        "jacob_cov": jacob_cov,
        "naswot": naswot,
        "synflow": synflow,
        "log_synflow": log_synflow,
        "zen_score": zen_score,
        "macs": macs,
        "parameters": parameters,
    }
)


def find_indicator(name: str) -> Indicator:
    """The indicator of a name, or the user's own of `path/file.py:function`, which executes that file.

    Raises:
        SettingsError: there is none; the message names the nearest one.
    """
    if is_user_object(name):
        found: object = load_object(name)
        if not callable(found) or isinstance(found, type):
            raise SettingsError(
                f"An indicator is a function of a Probe that returns a number; {name} is {type(found).__name__}. "
                "Name a function of that file."
            )
        return found
    if name not in INDICATORS:
        near = difflib.get_close_matches(name.lower(), INDICATORS, n=1, cutoff=0.0)
        raise SettingsError(
            f"An indicator is one of {', '.join(INDICATORS)}, or path/file.py:function; got {name!r}. "
            f"Did you mean {near[0]!r}?"
        )
    return INDICATORS[name]


def find_indicators(names: Sequence[str]) -> dict[str, Indicator]:
    """The indicators of names, see `find_indicator`, by what their measurements are called.

    Raises:
        SettingsError: a name is unknown, or two measurements would be called alike.
    """
    found: dict[str, Indicator] = {}
    for name in names:
        indicator, called = find_indicator(name), part_name(name)
        if called in found or (called in INDICATORS and is_user_object(name)):
            raise SettingsError(
                f"Measurements of indicators have different names; two would be called {called!r}. "
                "Name each once, and your own unlike ours."
            )
        found[called] = indicator
    return found


def score(network: nn.Module, batch: Batch, names: Sequence[str], seed: int = 0) -> dict[str, float]:
    """Raw values of indicators of a network on a batch, by name.

    The network is left as found. Values of one network repeat exactly.

    Args:
        network: maps images to logits; its initial weights are what most indicators look at.
        batch: one mini-batch, usually 64 normalised images (Abdelfattah et al., 2021).
        names: which indicators, see `INDICATORS`.
        seed: of what is drawn during the measurements: dropout, and the weights and noise of `zen_score`.

    Raises:
        SettingsError: a name is unknown.
    """
    return measure_indicators(network, batch, find_indicators(names), seed)


def measure_indicators(
    network: nn.Module, batch: Batch, indicators: Mapping[str, Indicator], seed: int = 0
) -> dict[str, float]:
    """Like `score`, for any functions of a probe, ours or the user's, which share its passes.

    Returns:
        The values in the order of `indicators`, whatever the order they were computed in.
    """
    foreign = any(indicator not in INDICATORS.values() for indicator in indicators.values())
    probe = Probe(network, batch, seed, codes=foreign or naswot in indicators.values())
    ranks = {indicator: rank for rank, indicator in enumerate(INDICATORS.values())}
    order = sorted(indicators, key=lambda name: ranks.get(indicators[name], -1))
    values = {name: float(indicators[name](probe)) for name in order}
    return {name: values[name] for name in indicators}
