"""`archimed list`: what there is to choose from."""

from enum import StrEnum
from typing import Annotated

import typer

from archimed.cli.options import JsonOption


class Kind(StrEnum):
    """What can be listed."""

    METHODS = "methods"
    SPACES = "spaces"
    INDICATORS = "indicators"
    DATASETS = "datasets"
    STRATEGIES = "strategies"
    SETTINGS = "settings"


def list_parts(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    method: Annotated[str, typer.Option(help="Whose settings.")] = "mstf-nas",
    as_json: JsonOption = False,
) -> None:
    """List what there is: methods, spaces, indicators, datasets, strategies, or every setting of a method."""
    import json

    rows = settings_of(method) if kind is Kind.SETTINGS else parts(kind)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    width = max(len(row["name"]) for row in rows) + 2
    for row in rows:
        default = f" [{row['default']}]" if "default" in row else ""
        typer.echo(f"{row['name']:<{width}}{row['summary']}{default}")


def parts(kind: Kind) -> list[dict[str, str]]:
    """Name and summary of each part of a kind."""
    if kind is Kind.METHODS:
        from archimed.methods import METHODS

        return [{"name": name, "summary": entry.summary} for name, entry in METHODS.items()]
    if kind is Kind.SPACES:
        from archimed.spaces import SPACES

        return [{"name": name, "summary": first_sentence(space.__doc__)} for name, space in SPACES.items()]
    if kind is Kind.INDICATORS:
        from archimed.indicators import INDICATORS

        return [{"name": name, "summary": first_sentence(one.__doc__)} for name, one in INDICATORS.items()]
    if kind is Kind.STRATEGIES:
        from archimed.strategies import Evolution, Nsga2, Nsga3, Pnsga3, RandomSearch

        named = {
            "nsga2": Nsga2,
            "nsga3": Nsga3,
            "pnsga3": Pnsga3,
            "evolution": Evolution,
            "random_search": RandomSearch,
        }
        return [{"name": name, "summary": first_sentence(one.__doc__)} for name, one in named.items()]
    from archimed.data import list_datasets

    return [{"name": name, "summary": summary} for name, summary in list_datasets().items()]


def settings_of(method: str) -> list[dict[str, str]]:
    """Every setting of a method with its default and what it means, its unit and source."""
    from archimed.experiment.layers import explain_settings

    return explain_settings(method)


def first_sentence(text: str | None) -> str:
    """The first sentence of a docstring."""
    return " ".join((text or "").split("\n\n")[0].split())
