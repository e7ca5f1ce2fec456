"""What a comparison found, in sentences: whether anything differs beyond the noise, and what a reader must know."""

from collections.abc import Mapping, Sequence
from typing import Any

from archimed.report.words import listing, metric_name, network_name, p_words, span_words
from archimed.studies.gathering import Gathered, differing, told_differences
from archimed.studies.run_files import RunFiles
from archimed.task import LOWER_IS_BETTER


def verdicts(document: Mapping[str, Any]) -> list[str]:
    """A sentence on each comparison, after one on all of them."""
    rows = document["comparisons"]
    against = network_name(document["reference"])
    if not rows:
        return [f"There is nothing to compare with {against}: the runs have no other network of a method."]
    beyond = [row for row in rows if row["beyond_noise"]]
    if not beyond:
        first = f"Nothing differs from {against} beyond the noise, in {listing(map(metric_name, document['metrics']))}."
    else:
        first = f"{len(beyond)} of {len(rows)} comparisons with {against} show a difference beyond the noise."
    return [first, *(sentence(row, document["confidence"]) for row in rows)]


def sentence(row: Mapping[str, Any], confidence: float) -> str:
    """One comparison in words."""
    name, against, metric = network_name(row["network"]), network_name(row["against"]), metric_name(row["metric"])
    if row["p_holm"] is None:
        return f"{metric}: {name} and {against} cannot be compared, as it is undefined in too many resamples."
    limits = span_words(f"{row['low']:.3f}", f"{row['high']:.3f}")
    amount = f"{abs(row['value']):.3f} {'higher' if row['value'] > 0 else 'lower'} (difference {limits})"
    if not row["beyond_noise"]:
        found = f"{metric}: {name} is inside the noise of {against}, {amount}, {p_of(row['p_holm'])}"
    else:
        better = (row["value"] > 0) != (row["metric"] in LOWER_IS_BETTER)
        found = (
            f"{metric}: {name} is {'better' if better else 'worse'} than {against} beyond the noise, {amount}, "
            f"{p_of(row['p_holm'])}"
        )
    return f"{found}; {rank_words(row, confidence)}."


def p_of(value: float) -> str:
    """A p-value corrected by Holm, in a sentence."""
    words = p_words(value)
    return f"corrected p {words}" if words.startswith("<") else f"corrected p = {words}"


def rank_words(row: Mapping[str, Any], confidence: float) -> str:
    """The rank test of one comparison in words."""
    if row["rank_p_holm"] is None:
        return "no rank test, which takes two seeds of each at least"
    test = f"the rank test over {row['seeds']} and {row['seeds_against']} seeds gives {p_of(row['rank_p_holm'])}"
    if row["rank_smallest_p_holm"] >= 1 - confidence:
        return f"{test}, and with so few seeds cannot go below {p_words(row['rank_smallest_p_holm'])}"
    return f"{test}, with a {row['effect']} effect (delta {row['delta']:+.2f})".replace("(delta -", "(delta \u2212")


def comparison_notes(runs: Sequence[RunFiles], networks: Sequence[Gathered], document: Mapping[str, Any]) -> list[str]:
    """What a reader must know before relying on a comparison, the gravest first."""
    parts = document["networks"]
    compared = [document["reference"], *dict.fromkeys(row["network"] for row in document["comparisons"])]
    return [
        *single_seeds(parts, compared),
        *few_seeds(parts, compared, document),
        *other_recipes(networks, compared),
        *larger_networks(parts, compared),
        *unknown_patients(runs),
        *other_data(runs),
        *other_versions(runs),
    ]


def single_seeds(parts: Mapping[str, Any], compared: Sequence[str]) -> list[str]:
    """Networks that were trained once."""
    once = [network_name(name) for name in compared if len(parts[name]["seeds"]) == 1]
    if not once:
        return []
    return [
        f"{listing(once)} {'was' if len(once) == 1 else 'were'} trained once: the intervals cover the choice of test "
        "cases, not the luck of training. Repeat with other seeds (--repeats, or further runs)."
    ]


def few_seeds(parts: Mapping[str, Any], compared: Sequence[str], document: Mapping[str, Any]) -> list[str]:
    """Whether the rank tests could find anything."""
    smallest = [row["rank_smallest_p_holm"] for row in document["comparisons"] if row["rank_smallest_p_holm"]]
    limit = 1 - document["confidence"]
    if not smallest or min(smallest) < limit:
        return []
    fewest = min(len(parts[name]["seeds"]) for name in compared)
    return [
        f"The rank tests over seeds cannot reach {limit:.2g} here, however large a difference: with {fewest} seeds and "
        f"{len(compared) - 1} comparison{'s' * (len(compared) > 2)} p is {min(smallest):.3f} at best."
    ]


def other_recipes(networks: Sequence[Gathered], compared: Sequence[str]) -> list[str]:
    """Networks that were not trained as the reference was."""
    by_name = {network.name: network for network in networks}
    reference = by_name[compared[0]]
    notes = []
    for name in compared[1:]:
        found = differing(reference, by_name[name])
        own = {key: pair for key, pair in found.items() if key.startswith(("training.", "data.", "budget"))}
        if own:
            told = told_differences(own, reference.name, name)
            notes.append(f"{network_name(name)} and {network_name(reference.name)} were not trained alike: {told}.")
    return notes


def larger_networks(parts: Mapping[str, Any], compared: Sequence[str]) -> list[str]:
    """Networks that cost more than the reference, against which a win is no wonder."""
    reference = parts[compared[0]]
    larger = [network_name(name) for name in compared[1:] if parts[name]["macs"] > reference["macs"] > 0]
    if not larger:
        return []
    return [f"{listing(larger)} took more MACs than {network_name(compared[0])}, which alone may make the difference."]


def unknown_patients(runs: Sequence[RunFiles]) -> list[str]:
    """Whether cases of one patient are drawn apart, as no run tells them."""
    for dataset in runs[0].data:
        known = runs[0].data[dataset].get("patients")
        several = known is not None and known < runs[0].data[dataset]["cases"]
        if several and not any(run.patients(dataset) for run in runs):
            return [
                "The runs do not tell which cases are of one patient, so cases were drawn one by one and the intervals "
                "are too narrow. Runs of this version tell."
            ]
    return []


def other_data(runs: Sequence[RunFiles]) -> list[str]:
    """Runs whose images are not the same, or that were trained on other cases."""
    notes = []
    first = runs[0]
    for dataset in first.data:
        others = [run.label for run in runs if run.data[dataset]["checksum"] != first.data[dataset]["checksum"]]
        if others:
            notes.append(
                f"The images are not the same in {first.label} and {listing(others)} (other resolution, settings or "
                "files); the test cases are."
            )
        mine = [sorted(fold["train"]) for fold in first.splits[dataset]["folds"]]
        apart = [run.label for run in runs if [sorted(fold["train"]) for fold in run.splits[dataset]["folds"]] != mine]
        if apart:
            notes.append(f"{listing(apart)} had other training cases than {first.label}.")
    return notes


def other_versions(runs: Sequence[RunFiles]) -> list[str]:
    """Runs of several versions of the program."""
    versions = {str(run.experiment.get("archimed")): run.label for run in runs}
    if len(versions) == 1:
        return []
    told = listing(f"{version} ({label})" for version, label in versions.items())
    return [f"The runs were made by several versions of archimed: {told}."]
