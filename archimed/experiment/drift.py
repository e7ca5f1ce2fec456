"""How other data differ from those of a run: intensities of each channel, and shares of the classes."""

from collections.abc import Mapping
from typing import Any

from archimed.data.dataset import Dataset
from archimed.data.inspection.describe import channels_of, count_classes, look

SHOWN = ("p1", "median", "p99")
FAR = 0.25  # of the run's span from 1st to 99th percentile, by which a percentile has moved that a reader is told of
UNLIKE = 0.1  # difference of the share of a class that a reader is told of


def drift_of(dataset: Dataset, told: Mapping[str, Any]) -> dict[str, Any]:
    """Percentiles of each channel, and shares of cases of each class, in the run's data and in other data.

    Args:
        dataset: the other data, prepared as those of the run.
        told: the fingerprint of the run's data (data.json).
    """
    names, kinds, dims = dataset.channel_names, dataset.channel_kinds, dataset.task.spatial_dims
    theirs = channels_of(look(dataset), names, kinds, dims)
    channels = [
        {"channel": name, "run": {key: own[key] for key in SHOWN}, "data": {key: other[key] for key in SHOWN}}
        for (name, own), other in zip(told["channels"].items(), theirs.values(), strict=False)
        if own["kind"] != "mask"
    ]
    own_counts: dict[str, int] = {}
    for counts in told["counts"].values():
        for name, count in counts.items():
            own_counts[name] = own_counts.get(name, 0) + count
    other_counts = count_classes(dataset, range(len(dataset.cases)))
    classes = [
        {
            "class": name,
            "run": own_counts.get(name, 0) / max(1, told["cases"]),
            "data": count / max(1, len(dataset.cases)),
        }
        for name, count in other_counts.items()
    ]
    return {"channels": channels, "classes": classes}


def drift_cautions(drift: Mapping[str, Any]) -> list[str]:
    """What of it a reader must know, in sentences."""
    found = []
    for one in drift["channels"]:
        own, other = one["run"], one["data"]
        known = [key for key in SHOWN if own[key] is not None and other[key] is not None]
        if len(known) < len(SHOWN) or own["p99"] <= own["p1"]:
            continue
        if max(abs(own[key] - other[key]) for key in known) > FAR * (own["p99"] - own["p1"]):
            spans = [f"{part['p1']:g} to {part['p99']:g} (median {part['median']:g})" for part in (own, other)]
            found.append(
                f"The intensities of {one['channel']} have moved: mostly {spans[0]} in the run's data, {spans[1]} here."
            )
    found += [
        f"The share of cases with {one['class']} differs: {one['run']:.0%} in the run's data, {one['data']:.0%} here; "
        "precision and accuracy depend on it."
        for one in drift["classes"]
        if abs(one["run"] - one["data"]) > UNLIKE
    ]
    return found
