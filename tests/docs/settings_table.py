"""Writes docs/settings.md from the settings themselves: `python -m tests.docs.settings_table`."""

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path

from archimed.experiment.layers import explain_settings
from archimed.methods import METHODS
from archimed.spaces import SPACES, space_from_settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
HEAD = "| setting | default | meaning, unit and source |\n| --- | --- | --- |"
TEXT = """# Settings

This page is generated; do not edit it. Write it anew with:

```bash
python -m tests.docs.settings_table
```

A setting is a dotted name. Lay settings over the defaults with `--set` (repeat it) or with a YAML file:

```bash
archimed run mstf-nas --data phantom:lesions2d --out runs/short --set training.epochs=20 --set space.stem_stride=2
archimed run mstf-nas --data phantom:lesions2d --out runs/again --config runs/short/experiment.yaml
```

Later ones win: defaults, then `--preset`, then `--config`, then `--set`, then the options of the command line such as
`--folds`. Values are YAML: `null` empties a setting, commas make a list (`search.indicators=naswot,synflow`). An
unknown name is refused, with the nearest known one. The run keeps the whole resolved document in `experiment.yaml`.

`archimed list settings --method METHOD` prints the same table.

## Settings without a section

| setting | option | default | meaning |
| --- | --- | --- | --- |
| `seed` | `--seed` | 0 | the number that fixes all chance of the run |
| `repeats` | `--repeats` | 1 | search and train with the seeds seed, seed + 1, ... |
| `budget_seconds` | `--budget` | none | wall clock for the whole command, see the README |

These options are short for dotted settings: `--folds` data.folds, `--tune` tune.trials, `--baselines`
evaluation.baselines, `--device`,
`--workers` and `--threads` machine.device, machine.workers and machine.threads, `--budget-macs`, `--budget-params` and
`--depth` search.budget_macs, search.budget_params and search.depth.

## mstf-nas

{mstf_nas}

## mm-nas

As mstf-nas, but for these settings:

{mm_nas}

## mixsearch

As mstf-nas, but for these settings:

{mixsearch}

## emars

As mstf-nas, but for these settings:

{emars}

## darts

As mstf-nas, but for these settings:

{darts}

## zen-nas

As mstf-nas, but for these settings:

{zen_nas}

## deepmad

As mstf-nas, but for these settings:

{deepmad}

## shapley-nas

As mstf-nas, but for these settings:

{shapley_nas}

## random-search

As mstf-nas, but for these settings of its search:

{random_search}

## Other search spaces

`--set space.name=NAME` takes another search space, with these settings in place of those above:

{spaces}
"""


def page() -> str:
    """The text of docs/settings.md."""
    methods = {name: explain_settings(name) for name in METHODS}
    common = methods["mstf-nas"]
    known = {row["name"] for row in common}
    return TEXT.format(
        mstf_nas=table(common),
        mm_nas=table(row for row in methods["mm-nas"] if row not in common),
        mixsearch=table(row for row in methods["mixsearch"] if row not in common),
        emars=table(row for row in methods["emars"] if row not in common),
        darts=table(row for row in methods["darts"] if row not in common),
        zen_nas=table(row for row in methods["zen-nas"] if row not in common),
        deepmad=table(row for row in methods["deepmad"] if row not in common),
        shapley_nas=table(row for row in methods["shapley-nas"] if row not in common),
        random_search=table(row for row in methods["random-search"] if row["name"] not in known),
        spaces="\n\n".join(space_part(name) for name in SPACES if name != "multiscale_cell"),
    )


def space_part(name: str) -> str:
    """The settings of one search space."""
    space = space_from_settings(name, {})
    rows = [
        {"name": f"space.{field}", "default": str(getattr(space, field)), "summary": info.description or ""}
        for field, info in SPACES[name].__pydantic_fields__.items()  # type: ignore[attr-defined]
    ]
    return f"### {name}\n\n{table(rows)}"


def table(rows: Iterable[Mapping[str, str]]) -> str:
    """Rows as a Markdown table."""
    lines = (f"| `{row['name']}` | {typed(row['default'])} | {escaped(row['summary'])} |" for row in rows)
    return "\n".join([HEAD, *lines])


def typed(default: str) -> str:
    """A default as one would type it after `--set name=`."""
    if not default:
        return "none"
    values = ast.literal_eval(default) if default.startswith("[") else [default]
    return escaped(",".join(map(str, values))) or "none"


def escaped(text: str) -> str:
    """Text that may stand in a cell."""
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
