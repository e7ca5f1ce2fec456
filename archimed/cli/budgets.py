"""The budgets of a search on the command line."""

from typing import Annotated, Any

import typer

from archimed.errors import SettingsError

FACTORS = {"k": 10**3, "m": 10**6, "g": 10**9}


def count(text: str) -> int:
    """A whole number as people write large ones: 4000000, 4e6, 4M."""
    short = text.strip().replace("_", "").replace(",", "").lower()
    factor = FACTORS.get(short[-1:], 1)
    try:
        value = float(short[:-1] if factor > 1 else short) * factor
        if value < 1 or value != int(value):
            raise ValueError
    except (ValueError, OverflowError):
        raise SettingsError(
            f"A budget is a whole number of at least 1, as in 4000000, 4e6 or 4M; got {text!r}."
        ) from None
    return int(value)


BudgetMacsOption = Annotated[
    str | None, typer.Option("--budget-macs", metavar="N", help="Most MACs of a searched network, as in 600M.")
]
BudgetParamsOption = Annotated[
    str | None, typer.Option("--budget-params", metavar="N", help="Most parameters of a searched network.")
]
DepthOption = Annotated[
    str | None, typer.Option("--depth", metavar="N", help="Most layers of a searched network, as in ResNet-18.")
]


def budget_flags(method: str, macs: str | None, parameters: str | None, depth: str | None) -> dict[str, Any]:
    """The budgets as dotted settings.

    Raises:
        SettingsError: one is no number, or the method takes none.
    """
    given = {"budget_macs": macs, "budget_params": parameters, "depth": depth}
    found = {f"search.{name}": count(text) for name, text in given.items() if text is not None}
    if not found:
        return {}
    from archimed.methods import METHODS, find_method
    from archimed.methods.budget_settings import BudgetSettings

    if not isinstance(find_method(method)().search, BudgetSettings):
        taking = [name for name in METHODS if isinstance(find_method(name)().search, BudgetSettings)]
        raise SettingsError(
            f"--budget-macs, --budget-params and --depth are for {', '.join(taking)}; got {method}. Leave them out, or "
            "name one of these."
        )
    return found
