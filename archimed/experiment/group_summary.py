"""Results by sex, age and scanner, where the data tell them, as summaries hold them."""

from collections.abc import Mapping, Sequence
from typing import Any

from archimed.data.dataset import Dataset
from archimed.evaluation.bootstrap import Tested
from archimed.evaluation.groups import by_group, groups_of
from archimed.evaluation.settings import EvaluationSettings


def group_results(
    dataset: Dataset, repeats: Mapping[str, Sequence[Tested]], seed: int, settings: EvaluationSettings
) -> list[dict[str, Any]]:
    """One entry for each group of test cases, with the metrics of every network; none where nothing is known.

    Args:
        dataset: whose cases tell of sex, age or scanner.
        repeats: the test answers of each network.
        seed: of the resampling.
        settings: of evaluation.
    """
    groups = {case.id: groups_of(case.groups) for case in dataset.cases if case.groups}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for network, members in repeats.items() if groups else ():
        measured = by_group(
            dataset.task,
            members,
            groups,
            seed,
            network,
            resamples=settings.resamples,
            confidence=settings.confidence,
        )
        for one in measured:
            entry = found.setdefault(
                (one.by, one.group),
                {"by": one.by, "group": one.group, "cases": one.cases, "too_few": one.too_few, "networks": {}},
            )
            entry["networks"][network] = one.metrics
    return list(found.values())
