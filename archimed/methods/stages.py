"""A search that learns in stages: each keeps its own state, and the log tells of all."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any

from archimed.methods.protocol import Journal

FIRST_SHARE = 0.4  # of the time left, for the first of two stages, whose supernet is the smaller


def journal_of_stage(
    journal: Journal, stage: int, epochs: int, before: Sequence[Mapping[str, Any]] = (), stages: int = 2
) -> Journal:
    """The journal as one stage of a search sees it.

    Args:
        journal: of the whole search.
        stage: counted from 1.
        epochs: of every stage, for the progress.
        before: records of the epochs of earlier stages, which the log is to hold before those of this one.
        stages: how many there are; every stage but the last leaves time for those after it.
    """
    number = {"stage": stage}
    earlier = [{"stage": stage - 1, **record} for record in before]
    deadline = math.inf
    if stage < stages:
        deadline = monotonic() + FIRST_SHARE * journal.seconds_left()
    return replace(
        journal,
        folder=None if journal.folder is None else journal.folder / f"stage{stage}",
        progress=lambda done, _, note: journal.progress(
            (stage - 1) * epochs + done, stages * epochs, f"{note} (stage {stage} of {stages})"
        ),
        stop=lambda: journal.stop() or monotonic() > deadline,
        restore_epochs=lambda records: journal.restore_epochs([*earlier, *({**number, **one} for one in records)]),
        record_epoch=lambda record: journal.record_epoch({**number, **record}),
    )
