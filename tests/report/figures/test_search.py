import re

import numpy as np
import pytest

from archimed.candidate import Candidate
from archimed.objectives import eq5
from archimed.report.figures.search import SearchLog, front_figures, objective_label, shade, shown_generations


@pytest.mark.parametrize(
    ("last", "shown"), [(0, [0]), (3, [0, 3]), (29, [0, 10, 20, 29]), (30, [0, 10, 20, 30]), (11, [0, 11])]
)
def test_every_tenth_generation_and_the_last_are_shown(last: int, shown: list[int]) -> None:
    assert shown_generations(last) == shown


def test_many_generations_are_thinned() -> None:
    assert shown_generations(100) == [0, 20, 40, 60, 80, 100]


def test_shades_run_from_early_to_late() -> None:
    assert [shade(g, 10) for g in (0, 4, 10)] == ["g0", "g2", "g5"]
    assert shade(0, 0) == "g5"


def test_objectives_in_words() -> None:
    assert objective_label("log_synflow-macs") == "log_synflow − MACs (rescaled)"


def test_the_drawn_front_is_that_of_all_candidates() -> None:
    rng = np.random.default_rng(0)
    values = rng.random((40, 3))
    candidates = tuple(Candidate((), 0, dict(zip(("p", "q", "macs"), row, strict=True))) for row in values.tolist())
    scores = eq5("p", "q")(candidates)
    front = sum(not any((b <= a).all() and (b < a).any() for b in scores) for a in scores)
    log = SearchLog("mstf-nas", "fold 0, seed 0", candidates, selected=3)
    (figure,) = front_figures(log, eq5("p", "q"), "")
    drawn = re.search(r'<path d="([^"]*)" class="dots solid-dots g5"', figure.body)
    assert drawn is not None
    assert drawn[1].count("M") == front
    everything = re.search(r'<path d="([^"]*)" class="dots g5"', figure.body)
    assert everything is not None
    assert everything[1].count("M") == 40
    assert "the chosen network" in figure.body
