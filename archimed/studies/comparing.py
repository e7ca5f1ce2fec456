"""The comparison of finished runs: every network's metrics, tests against a reference named beforehand, and words."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from archimed.errors import RunError, SettingsError
from archimed.evaluation.bootstrap import Bootstrap
from archimed.evaluation.intervals import intervals_of
from archimed.evaluation.pairs import compare_with_reference, rank_matrix, smallest_all_pairs
from archimed.evaluation.settings import EvaluationSettings
from archimed.evaluation.significance import scores_by_seed
from archimed.experiment.progress import Observer
from archimed.experiment.summary import COMPARED, COMPARED_CLASSES
from archimed.files import read_json, write_json
from archimed.report.comparing import write_comparison
from archimed.studies.answers import Answers
from archimed.studies.gathering import Gathered, gather
from archimed.studies.run_files import RunFiles, link_to, read_runs
from archimed.studies.verdicts import comparison_notes, verdicts

LEAST_RESAMPLES = 2000  # or Holm's correction of the smallest p that is possible is above 0.05 for a few networks
USUAL_REFERENCES = ("resnet50", "dynunet")  # the X-ray study's baseline, and its like for masks


@dataclass(frozen=True)
class Asked:
    """What is asked of a comparison.

    Attributes:
        reference: name of the network that the methods are compared with; None takes the usual one.
        metrics: in which networks are compared; () takes those of the task.
        all_pairs: whether all networks are compared with each other too.
        checkpoint: the metric by which the weights were kept that are compared; None takes each network's own.
    """

    reference: str | None = None
    metrics: tuple[str, ...] = ()
    all_pairs: bool = False
    checkpoint: str | None = None


def compare_runs(folders: Sequence[Path], out: Path, asked: Asked, observer: Observer) -> dict[str, Any]:
    """Compare finished runs, and write comparison.json, compare.html, figures and tables to a folder.

    Only files of the runs are read; nothing of them changes.

    Returns:
        The content of comparison.json (docs/comparing.md).

    Raises:
        RunError: a folder is no finished run, or two runs differ in what they test; the folder holds other files.
        SettingsError: there is no such reference or metric.
    """
    check_folder(out)
    observer.stage("read runs")
    runs = read_runs(folders)
    networks, notes = gather(runs)
    document = compared(runs, networks, notes, asked, observer)
    write_json(out / "comparison.json", document)
    write_comparison(out, document, {run.label: link_to(run, out) for run in runs})
    return document


def check_folder(out: Path) -> None:
    """Raise RunError unless the folder is new, empty, or holds an earlier comparison, which is replaced."""
    if out.exists() and not (out / "comparison.json").exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"A comparison goes to a folder of its own; {out} holds other files. Choose another --out.")


def compared(
    runs: Sequence[RunFiles], networks: Sequence[Gathered], notes: Sequence[str], asked: Asked, observer: Observer
) -> dict[str, Any]:
    """The content of comparison.json."""
    settings = evaluation_settings(runs)
    found, left_out = measured(Answers(runs, asked.checkpoint), networks, settings.resamples, observer)
    kept = [network for network in networks if network.name in found]
    reference, why = reference_of(kept, asked.reference)
    metrics = metrics_of(runs[0], found[reference], asked.metrics)
    methods = [network.name for network in kept if network.is_own and network.name != reference]
    rows = compare_with_reference(reference, found, methods, metrics, settings.confidence)
    place = {name: 1 if name == reference else 0 if name in methods else 2 for name in found}
    ordered = sorted(kept, key=lambda network: place[network.name])
    parts = {network.name: network_part(network, found[network.name], settings.confidence) for network in ordered}
    document = {
        "runs": [run_part(run, kept) for run in runs],
        "data": runs[0].summary["data"],
        "task": runs[0].data[next(iter(runs[0].data))]["task"],
        "test_cases": sum(len({*chain(*runs[0].test_cases(name))}) for name in runs[0].data),
        "checkpoint": asked.checkpoint,
        "resamples": settings.resamples,
        "confidence": settings.confidence,
        "metrics": metrics,
        "reference": reference,
        "reference_chosen": why,
        "networks": parts,
        "comparisons": rows,
        "all_pairs": all_pairs({name: found[name] for name in parts}, metrics, settings.confidence)
        if asked.all_pairs
        else None,
    }
    told = [*left_out, *notes, *comparison_notes(runs, kept, document)]
    return document | {"verdict": verdicts(document), "notes": told}


def evaluation_settings(runs: Sequence[RunFiles]) -> EvaluationSettings:
    """Resamples and confidence: the most, and that of the first run."""
    sections = [run.experiment["evaluation"] for run in runs]
    resamples = max(LEAST_RESAMPLES, *(one["resamples"] for one in sections))
    return EvaluationSettings(resamples=resamples, confidence=sections[0]["confidence"])


def measured(
    answers: Answers, networks: Sequence[Gathered], resamples: int, observer: Observer
) -> tuple[dict[str, Bootstrap], list[str]]:
    """The resampled test metrics of every network that was tested on all cases, and what is said of the others."""
    observer.stage("measure")
    first = answers.runs[0]
    tests: dict[str, Bootstrap] = {}
    left_out = []
    places = [(name, fold) for name in first.data for fold in range(len(first.test_cases(name)))]
    for number, network in enumerate(networks, start=1):
        there = {(member.dataset, member.fold) for member in network.members}
        missing = [f"fold {fold}{f' of {name}' if name else ''}" for name, fold in places if (name, fold) not in there]
        if missing:
            left_out.append(f"{network.name} is left out: it was not tested in {', '.join(missing)}.")
        else:
            tests[network.name] = answers.resampled(network, resamples)
        observer.progress(number, len(networks), "networks")
    return tests, left_out


def reference_of(networks: Sequence[Gathered], asked: str | None) -> tuple[str, str]:
    """The network that the methods are compared with, and why it is that one.

    Raises:
        SettingsError: there is none of that name, or none that is usual.
    """
    names = [network.name for network in networks]
    if asked is not None:
        same = [network.name for network in networks if asked in {network.name, network.network}]
        if len(same) != 1:
            several = f"{asked!r} is {' and '.join(same)}" if same else f"got {asked!r}"
            raise SettingsError(f"--reference is one network of the runs, {', '.join(names)}; {several}. Name one.")
        return same[0], "as asked"
    fixed = [network for network in networks if network.is_fixed]
    usual = [network.name for name in USUAL_REFERENCES for network in fixed if network.network == name]
    if usual:
        return usual[0], "the usual baseline of such studies"
    if fixed:
        return fixed[0].name, "the fixed network of the runs"
    raise SettingsError(
        f"Methods are compared with a reference, and the runs trained no fixed network; they have {', '.join(names)}. "
        "Name one with --reference NAME."
    )


def metrics_of(run: RunFiles, reference: Bootstrap, asked: Sequence[str]) -> list[str]:
    """The metrics to compare in: those asked for, or those named beforehand for the task.

    Raises:
        SettingsError: a metric asked for is none of the task.
    """
    for metric in asked:
        if metric not in reference.values:
            near = difflib.get_close_matches(metric, reference.values, n=1, cutoff=0.0)[0]
            raise SettingsError(
                f"--metrics are metrics of the task, {', '.join(reference.values)}; got {metric!r}. "
                f"Did you mean {near!r}?"
            )
    usual = COMPARED.get(run.task(next(iter(run.data))).kind, COMPARED_CLASSES)
    return list(dict.fromkeys(asked)) or [metric for metric in usual if metric in reference.values]


def network_part(network: Gathered, test: Bootstrap, confidence: float) -> dict[str, Any]:
    """What comparison.json tells of one network."""
    sizes = [read_json(member.folder.architecture) for member in network.members]
    return {
        "network": network.network,
        "is_own": network.is_own,
        "is_fixed": network.is_fixed,
        "runs": network.runs,
        "seeds": network.seeds,
        "parameters": round(sum(size["parameters"] for size in sizes) / len(sizes)),
        "macs": round(sum(size["macs"] for size in sizes) / len(sizes)),
        "test": intervals_of(test, confidence),
        "by_seed": {metric: scores_by_seed(test, metric) for metric in test.values},
    }


def run_part(run: RunFiles, networks: Sequence[Gathered]) -> dict[str, Any]:
    """What comparison.json tells of one run."""
    return {
        "run": run.label,
        "method": run.method,
        "seed": run.experiment.get("seed"),
        "repeats": run.experiment.get("repeats"),
        "archimed": run.experiment.get("archimed"),
        "networks": [network.name for network in networks if run.label in network.runs],
    }


def all_pairs(networks: Mapping[str, Bootstrap], metrics: Sequence[str], confidence: float) -> dict[str, Any]:
    """Rank tests of all networks with each other, by metric, not corrected; and what a correction could reach."""
    seeds = [len({repeat.seed for repeat in network.repeats}) for network in networks.values()]
    pairs, smallest = smallest_all_pairs(seeds)
    return {
        "networks": list(networks),
        "p": {metric: rank_matrix(networks, metric) for metric in metrics},
        "pairs": pairs,
        "smallest_p_holm": smallest,
        "can_be_beyond_noise": smallest is not None and smallest < 1 - confidence,
    }
