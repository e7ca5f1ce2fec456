"""A strategy of the user's own, named in settings as `path/file.py:object`."""

import inspect
from collections.abc import Callable

from archimed.errors import SettingsError
from archimed.strategies.protocol import Strategy
from archimed.userfile import is_user_object, load_object

GIVEN = ("choices", "objectives", "rng", "population_size", "offspring_size", "canonical")
MakeStrategy = Callable[..., Strategy]  # called with the arguments GIVEN, by name


def own_strategy(name: str) -> MakeStrategy:
    """What makes the user's strategy from choices, objectives, rng, population_size, offspring_size and canonical.

    Raises:
        SettingsError: the name is no `path/file.py:object`, or the object cannot be called so; when it is called, what
            it returns is no strategy.
    """
    if not is_user_object(name):
        raise SettingsError(f"search.strategy is nsga2 or path/file.py:object; got {name!r}. Name one of them.")
    found = load_object(name)
    try:
        inspect.signature(found).bind(**dict.fromkeys(GIVEN))
    except (TypeError, ValueError) as error:
        raise SettingsError(
            f"A strategy is made from the arguments {', '.join(GIVEN)}; {name} cannot be: {error}. Take all of them."
        ) from None

    def make(**arguments: object) -> Strategy:
        strategy = found(**arguments)
        if not isinstance(strategy, Strategy):
            raise SettingsError(
                f"A strategy has ask, tell and survivors; {name} made {type(strategy).__name__}, which lacks one of "
                "them. See archimed.strategies.protocol.Strategy."
            )
        return strategy

    return make
