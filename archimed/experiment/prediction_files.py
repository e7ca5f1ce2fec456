"""predictions.csv of images without labels: one line for each case, under columns that say what they are."""

import csv
import io
from collections.abc import Mapping
from typing import Any


def table_of(document: Mapping[str, Any]) -> str:
    """predictions.csv: one line for each case, under columns that say what they are."""
    names = document["classes"]
    of_masks, several = document["task"] == "segmentation", document["task"] == "multi-label"
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    in_ml = of_masks and any("millilitres" in case for case in document["cases"])
    if of_masks:
        measured = [f"pixels_{name}" for name in names[1:]] + [f"millilitres_{name}" for name in names[1:] if in_ml]
        table.writerow(["case", "image", "mask", *measured, "caution"])
    else:
        given = [f"predicted_{name}" for name in names] if several else ["predicted"]
        table.writerow(["case", "image", *given, *(f"probability_{name}" for name in names), "calibration", "caution"])
    for case in document["cases"]:
        if of_masks:
            volumes = case.get("millilitres", {})
            cells = [case["mask"], *case["pixels"].values(), *(volumes.get(name, "") for name in names[1:] if in_ml)]
        else:
            answer = [int(name in case["predicted"]) for name in names] if several else [case["predicted"]]
            cells = [*answer, *map(repr, case["probabilities"].values()), document["calibration"]]
        table.writerow([case["case"], case["image"], *cells, case["caution"] or ""])
    return text.getvalue()
