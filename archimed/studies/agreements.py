"""What a correlation found, in sentences: which indicators rank networks, and whether better than their size does."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from archimed.report.words import indicator_name, listing, metric_name, span_words

FEW_NETWORKS = 20
LEAST_NETWORKS = 10  # of fewer a perfect order is no rare chance, and resampling does not show it
COUNTED = ("macs", "parameters")


def agreement_words(document: Mapping[str, Any]) -> list[str]:
    """Whether indicators rank networks at all, and better than MACs and parameters do."""
    found = document["indicators"]
    own = [name for name in found if name not in COUNTED]
    known = {name: found[name]["tau"] for name in found if found[name]["tau"]["value"] is not None}
    metric = metric_name(document["metric"])
    if not known:
        return [f"No indicator can be told to rank these networks by {metric}: see the notes."]
    ranked = sorted((name for name in known if name in own), key=lambda name: -known[name]["value"])
    if document["trained"] < LEAST_NETWORKS:
        return [f"{document['trained']} trained networks are too few to tell whether an indicator ranks them."]
    said = []
    if ranked:
        best = ranked[0]
        beyond = known[best]["low"] is not None and known[best]["low"] > 0
        told = "ranks these networks best" if beyond else "has the highest tau, inside the noise,"
        said.append(f"{indicator_name(best)} {told} by {metric}: {tau_words(known[best])}.")
    ranking = [name for name in own if name in known]
    said += [against_size(document, size, ranking) for size in COUNTED if size in known]
    blind = [name for name in known if known[name]["low"] is None or known[name]["low"] <= 0 <= known[name]["high"]]
    if blind:
        said.append(f"Inside the noise, not to be told from chance: {listing(map(indicator_name, blind))}.")
    if wrong := [name for name in known if known[name]["high"] is not None and known[name]["high"] < 0]:
        said.append(f"Ranks them the wrong way round, beyond the noise: {listing(map(indicator_name, wrong))}.")
    return said


def against_size(document: Mapping[str, Any], size: str, names: Sequence[str]) -> str:
    """Which indicators rank networks better than counting does."""
    found = document["indicators"]
    rows = {name: found[name][f"above_{size}"] for name in names}
    better = [name for name, row in rows.items() if row and row["low"] is not None and row["low"] > 0]
    counted = f"counting {indicator_name(size)} (tau {tau_words(found[size]['tau'])})"
    if better:
        return f"Better than {counted} beyond the noise: {listing(map(indicator_name, better))}."
    return f"No indicator is better than {counted} beyond the noise."


def tau_words(row: Mapping[str, float | None]) -> str:
    """A tau with its interval: "0.42 (0.21 to 0.60)"."""
    value = f"{row['value']:.2f}".replace("-", "\u2212")
    if row["low"] is None or row["high"] is None:
        return value
    low, high = (f"{row[end]:.2f}" for end in ("low", "high"))
    return f"{value} ({span_words(low, high)})"


def agreement_notes(document: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reader must know before relying on it: few networks, what is degenerate, what failed."""
    notes = []
    if document["drawn"] < document["asked"]:
        notes.append(
            f"{document['asked']} networks were asked for, and {document['drawn']} different ones found: the space "
            "has no more, or few more."
        )
    if document["trained"] < FEW_NETWORKS:
        notes.append(
            f"{document['trained']} trained networks are few: the intervals over networks cannot be trusted far."
        )
    if document["failed"]:
        notes.append(
            f"{len(document['failed'])} networks could not be trained and are left out, the first for: "
            f"{document['failed'][0]['failure']}"
        )
    notes += degenerate(document, records)
    quality = {one["validation"].get(document["metric"]) for one in records} - {None}
    if len(quality) <= 1:
        notes.append(
            f"{metric_name(document['metric'])} is the same, or undefined, for all networks, so nothing can be ranked: "
            "train longer (--set training.epochs=N), or choose other data."
        )
    epochs = f"{document['epochs']} epoch{'s' * (document['epochs'] > 1)}"
    notes.append(
        f"Each network was trained once, for {epochs}, and judged on {document['validation_cases']} validation cases; "
        "the luck of training and of these cases lowers every tau. Longer training may give another order. The test "
        "cases were not read."
    )
    return notes


def degenerate(document: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Indicators that are constant, or no finite number, for some or all networks."""
    notes = []
    for name, row in document["indicators"].items():
        reasons = Counter(one["undefined"][name] for one in records if name in one["undefined"])
        told = f", mostly because: {reasons.most_common(1)[0][0]}" if reasons else ""
        if row["networks"] == 0 and reasons:
            notes.append(f"{indicator_name(name)} is no finite number for any network{told}.")
        elif row["distinct"] == 1 and row["networks"] > 1:
            notes.append(f"{indicator_name(name)} is the same for all networks, and ranks nothing.")
        if row["not_finite"] > 0 and row["networks"]:
            notes.append(
                f"{indicator_name(name)} is no finite number for {row['not_finite']} networks, which are left out for "
                f"it{told}."
            )
    return notes
