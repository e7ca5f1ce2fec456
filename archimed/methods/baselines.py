"""The networks that stand beside every method's own: what `--baselines` names mean.

Baselines that a search must find come from one pool of random architectures, as many as the method scored; fixed
networks are search spaces without choices. All are trained by the method's own recipe.
"""

from collections.abc import Mapping

from archimed.errors import SettingsError
from archimed.methods.protocol import Method, Selection
from archimed.methods.random_search import RandomSearch, RandomSearchSettings
from archimed.spaces import SearchSpace
from archimed.spaces.fixed import ResNet

FROM_RANDOM_POOL = ("random-search", "random-search-100", "parameters", "macs")
FIXED: Mapping[str, SearchSpace] = {"resnet18": ResNet(depth=18), "resnet50": ResNet(depth=50)}
DEFAULT = ("random-search", "resnet18")
DROP_ORDER = ("resnet50", "macs", "random-search-100", "parameters", "resnet18", "random-search")  # when time is short


def baseline_names(requested: str) -> tuple[str, ...]:
    """The baselines that `default`, `all`, `none` or a list of names with commas asks for, in a fixed order.

    Raises:
        SettingsError: a name is no baseline.
    """
    every = (*FROM_RANDOM_POOL, *FIXED)
    named = {"default": DEFAULT, "all": every, "none": ()}.get(requested)
    names = named if named is not None else tuple(name.strip() for name in requested.split(","))
    for name in names:
        if name not in every:
            raise SettingsError(
                f"Baselines are default, all, none or some of {', '.join(every)}; got {name!r}. "
                "Set them with --baselines."
            )
    return tuple(name for name in every if name in names)


def fixed_baseline(name: str) -> Selection:
    """A fixed network as a selection that needed no search."""
    return Selection(name, FIXED[name], (), "a fixed network")


def random_search_beside(method: Method, unique_candidates: int) -> RandomSearch:
    """Random search in a method's space, by its indicators, with as many unique candidates as the method scored."""
    defaults = RandomSearchSettings()
    return RandomSearch(
        space=method.space,
        search=RandomSearchSettings(
            indicators=getattr(method.search, "indicators", defaults.indicators),
            objectives=getattr(method.search, "objectives", None),
            batch_size=getattr(method.search, "batch_size", defaults.batch_size),
            image_size=method.search.image_size,
            candidates=unique_candidates,
        ),
        training=method.training,
    )
