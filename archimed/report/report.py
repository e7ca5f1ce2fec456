"""Writes the report of a run: report.html, figures/*.svg and tables/*.csv, from the run's files alone."""

import csv
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from archimed.files import write_text
from archimed.report import (
    background,
    cases,
    datasets,
    evolving,
    explaining,
    label_results,
    learning,
    mask_results,
    results,
    searching,
    tables,
    tuning,
    words,
)
from archimed.report.answers import answer_figures, class_results
from archimed.report.architecture_graph import architecture_figures, architecture_legend, fusion_in_words
from archimed.report.figures.canvas import COLOURS, Figure, chart_rules
from archimed.report.figures.results import cost_figure, lesion_figures, metric_forests
from archimed.report.figures.training import training_figures
from archimed.report.groups import group_tables
from archimed.report.mask_data import mask_data_tables
from archimed.report.reading import Record, Run, mapping, read_run
from archimed.report.steps import steps
from archimed.report.tables import Table
from archimed.report.woven import woven_figures, woven_legend

MOST_TRAININGS = 9  # figures shown; the rest is folded
MOST_FORESTS = 6  # metrics drawn; all are in the table


def write_report(run_folder: Path) -> Path:
    """Write the report of an evaluated run into its folder, and return the path of report.html.

    The page is one file that needs no network and no script. The same run gives the same bytes.

    Raises:
        RunError: the folder has no summary.json, or a file of it is damaged.
    """
    return write_page(run_folder / "report.html", contents(read_run(run_folder)))


def write_page(path: Path, page: Mapping[str, Any], template: str = "page.html") -> Path:
    """Write a page, and beside it figures/*.svg and tables/*.csv of all that it shows; return its path."""
    for figure in found(page, Figure):
        write_text(path.parent / "figures" / f"{file_name(figure.name)}.svg", figure.standalone())
    for table in found(page, Table):
        write_text(path.parent / "tables" / f"{file_name(table.name)}.csv", comma_separated(table))
    write_text(path, render(page, template))
    return path


def contents(run: Run) -> dict[str, Any]:
    """Everything that the page shows, by the names that the templates use."""
    chosen = chosen_selection(run)
    genotype = {str(name): str(option) for name, option in mapping(chosen, "genotype").items()}
    space = mapping(chosen, "space")
    sizes = tables.lesion_sizes(run)
    metric = results.leading_metric(run)
    trained = {name: run.repeats(name) for name in run.networks}
    woven = woven_figures(genotype, space, learning.kind_weights(run, chosen), run.task.spatial_dims)
    training = training_figures(trained, metric)
    return {
        "title": f"{words.network_name(run.chosen)} on {background.data_name(run)}",
        "facts": background.facts(run),
        "asked": background.asked(run),
        "headline": results.headline(run),
        "cautions": background.cautions(run),
        "networks": tables.network_table(run),
        "metric_words": results.mask_metric_words(run),
        "dataset_tables": datasets.dataset_tables(run),
        "dataset_forests": datasets.dataset_forests(run),
        "forests": metric_forests(run.networks, results.metrics_of(run)[:MOST_FORESTS]),
        "strips": mask_results.case_strips(run),
        "mask_classes": mask_results.mask_class_tables(run),
        "label_tables": label_results.label_tables(run),
        "official": tables.official_table(run),
        "repeats": tables.repeat_table(run),
        "comparisons": tables.comparison_table(run),
        "lesions": tables.lesion_table(sizes) if sizes else None,
        "groups": group_tables(run),
        "lesions_unknown": sizes.unknown if sizes else 0,
        "lesion_figures": lesion_figures(sizes.groups, list(sizes.cells.items()), sizes.metric) if sizes else [],
        "cases": cases.case_groups(run),
        "no_cases": cases.why_no_cases(run),
        "explained": explaining.explanations(run),
        "answers": answer_figures(run),
        "classes": class_results(run),
        "operating": tables.operating_table(run),
        "tuned": tuning.tuned_words(run),
        "tuning": tuning.tuning_table(run),
        "training": training[:MOST_TRAININGS],
        "more_training": training[MOST_TRAININGS:],
        "learned": learning.learning_figures(run),
        "evolved": evolving.evolved(run),
        "learned_epochs": epoch_table(run),
        "mixture": learning.mixture_table(run) if run.search_epochs and not evolving.evolves(run) else None,
        "searches": [] if evolving.evolves(run) else searching.search_figures(run),
        "search_counts": evolving.path_counts(run) if evolving.evolves(run) else searching.search_counts(run),
        "candidates": searching.candidate_table(run),
        "rule": str(run.rule or chosen.get("rule") or "").rstrip("."),
        "steps": steps(space, genotype, run.task),
        "architecture": woven or architecture_figures(genotype, space, run.task),
        "architecture_legend": woven_legend(genotype) if woven else architecture_legend(genotype, run.task),
        "woven": bool(woven),
        "architecture_of": str(chosen.get("dataset") or ""),
        "more_architectures": more_architectures(run, chosen) if woven else [],
        "fusion": fusion_in_words(genotype, space, run.task),
        "choices": Table("architecture", "Every choice", ["Choice", "Option"], list(genotype.items())),
        "counts": background.count_table(run),
        "mask_data": mask_data_tables(run),
        "data_facts": background.data_facts(run),
        "notes": background.notes(run),
        "stages": background.cost_table(run),
        "sizes": background.size_table(run),
        "cost": cost_figure(run.networks, metric),
        "settings": background.settings_table(run),
        "environment": background.environment_table(run),
        "command": background.command(run),
        "glossary": words.GLOSSARY,
    }


def epoch_table(run: Run) -> Table | None:
    """Every epoch of a search that has epochs, for a file."""
    if evolving.evolves(run):
        return evolving.evolution_table(run)
    return learning.epoch_table(run) if run.search_epochs else None


def chosen_selection(run: Run) -> Record:
    """The space and genotype of the chosen network: as selected in the first fold and seed, else as trained."""
    for choice in run.selected:
        if choice.get("network") == run.chosen:
            return choice
    return next((network.architecture for network in run.repeats(run.chosen)), {})


def more_architectures(run: Run, chosen: Record) -> list[tuple[str, list[Figure]]]:
    """The weaves that were found for other data sets, where each was searched by itself: the first of each."""
    found: dict[str, list[Figure]] = {}
    for one in run.selected:
        name = str(one.get("dataset") or "")
        if one.get("network") == run.chosen and name not in {"", chosen.get("dataset"), *found}:
            genotype = {str(key): str(option) for key, option in mapping(one, "genotype").items()}
            weights = learning.kind_weights(run, one)
            drawn = woven_figures(genotype, mapping(one, "space"), weights, run.task.spatial_dims)
            found[name] = [replace(figure, name=f"{figure.name}_{name}") for figure in drawn]
    return list(found.items())


def render(page: Mapping[str, Any], template: str = "page.html") -> str:
    """A page as HTML; every value is escaped unless it is a drawing of ours."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("archimed.report", package_path=""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["drawing"] = lambda figure: Markup(figure.inline())  # noqa: S704 (its text is escaped there)
    environment.filters["script"] = Markup  # our own
    style = environment.get_template("style.css").render(colours=COLOURS) + chart_rules()
    html = environment.get_template(template).render(page, style=Markup(style))  # noqa: S704 (our own)
    return words.printable(html)


def found(value: object, kind: type[Any]) -> Iterable[Any]:
    """Every figure or table in the contents of a page."""
    if isinstance(value, kind):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from found(inner, kind)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from found(inner, kind)


def file_name(name: str) -> str:
    """A name that is a safe file name on every system."""
    return re.sub(r"[^\w.-]+", "_", name).strip(".") or "_"


def comma_separated(table: Table) -> str:
    """A table as the text of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table.raw or [table.head, *table.rows])
    return words.printable(text.getvalue())
