import re

import numpy as np

from archimed.evaluation.curves import Curve
from archimed.report.figures.curves import confusion_figure, curves_of, mean_curve
from archimed.report.reading import Predictions
from archimed.task import ImagingTask

BINARY = ImagingTask("binary", ("healthy", "ill"), 1, (8, 8))


def predictions(seed: int, cases: int = 200) -> Predictions:
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 2, cases)
    ill = 1 / (1 + np.exp(-(2 * target - 1 + rng.normal(0, 1, cases))))
    return Predictions(tuple(map(str, range(cases))), target, np.stack([1 - ill, ill], axis=1))


def test_a_single_curve_is_drawn_as_it_is() -> None:
    curve = Curve(np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.4, 1.0]))
    assert mean_curve([curve]) is curve


def test_the_area_under_the_mean_curve_is_the_mean_area() -> None:
    from sklearn.metrics import auc, roc_auc_score

    repeats = [predictions(seed) for seed in range(3)]
    curve = mean_curve(curves_of(BINARY, repeats)["ill"])
    areas = [roc_auc_score(one.target, one.probabilities[:, 1]) for one in repeats]
    assert abs(auc(curve.x, curve.y) - np.mean(areas)) < 0.003


def test_the_confusion_matrix_shows_counts_summed_over_repeats() -> None:
    repeats = [predictions(seed) for seed in range(2)]
    figure = confusion_figure(BINARY, "mstf-nas", repeats)
    assert figure is not None
    shown = [int(found) for found in re.findall(r'class="middle strong">(\d+)<', figure.body)]
    target = np.concatenate([one.target for one in repeats])
    answer = np.concatenate([one.probabilities[:, 1] > 0.5 for one in repeats]).astype(int)
    assert shown == [int(((target == a) & (answer == b)).sum()) for a in (0, 1) for b in (0, 1)]
    assert "summed over 2 repeats" in figure.reading


def test_a_multi_label_task_has_no_confusion_matrix() -> None:
    task = ImagingTask("multi-label", ("x", "y"), 1, (8, 8))
    some = Predictions(("a",), np.array([[1.0, np.nan]]), np.array([[0.5, 0.5]]))
    assert confusion_figure(task, "mstf-nas", [some]) is None
