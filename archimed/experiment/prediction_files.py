"""predictions.csv of images without labels: one line for each case, under columns that say what they are."""

import csv
import io
from collections.abc import Mapping
from typing import Any


def table_of(document: Mapping[str, Any]) -> str:
    """predictions.csv: one line for each case, under columns that say what they are; those that failed stand last."""
    names = document["classes"]
    of_masks, several = document["task"] == "segmentation", document["task"] == "multi-label"
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    in_ml = of_masks and any("millilitres" in case for case in document["cases"])
    if of_masks:
        measured = [f"pixels_{name}" for name in names[1:]] + [f"millilitres_{name}" for name in names[1:] if in_ml]
        head = ["case", "image", "mask", *measured, "caution", "error"]
    else:
        given = [f"predicted_{name}" for name in names] if several else ["predicted"]
        probabilities = [f"probability_{name}" for name in names]
        head = ["case", "image", *given, *probabilities, "calibration", "caution", "error"]
    table.writerow(head)
    for case in document["cases"]:
        if of_masks:
            volumes = case.get("millilitres", {})
            cells = [case["mask"], *case["pixels"].values(), *(volumes.get(name, "") for name in names[1:] if in_ml)]
        else:
            answer = [int(name in case["predicted"]) for name in names] if several else [case["predicted"]]
            cells = [*answer, *map(repr, case["probabilities"].values()), document["calibration"]]
        table.writerow([case["case"], case["image"], *cells, case["caution"] or "", ""])
    for one in document["failed"]:
        table.writerow([one["case"], one["image"], *[""] * (len(head) - 3), one["reason"]])
    return text.getvalue()
