"""Temperature: one number, fitted on validation cases, that makes probabilities come true as often as they say.

Logits are divided by it (Guo et al., 2017, "On Calibration of Modern Neural Networks"), so the order of the classes,
and of the cases by a label, stays. Cases count as Platt (1999) has it: of n cases of a class, the next one is of that
class with (n + 1) / (n + classes), so that a few cases that are all answered right do not ask for certainty.
"""

import numpy as np
from jaxtyping import Float, Num

from archimed.task import TaskKind

FEWEST = 20  # validation cases below which a temperature would be chance
LIMITS = (0.1, 10.0)  # temperatures that are looked at
LEAST = 1e-12  # probabilities below it count as it


def fit_temperature(
    kind: TaskKind, target: Num[np.ndarray, "case *label"], probabilities: Float[np.ndarray, "case class"]
) -> float | None:
    """The temperature of the least cross-entropy, between 0.1 and 10.

    Args:
        kind: of the task.
        target: class indices, or labels with NaN where unknown.
        probabilities: of classes, or of labels each by itself.

    Returns:
        None where the cases cannot tell: fewer than 20, or all of one class.
    """
    from scipy.optimize import minimize_scalar

    if kind == "multi-label":
        known = ~np.isnan(target)
        wanted = _smoothed(target[known].astype(np.int64), 2)
        given = np.stack([1 - probabilities[known], probabilities[known]], axis=1)
        cases, values = int(known.any(1).sum()), target[known]
    else:
        wanted, given = _smoothed(target.astype(np.int64), probabilities.shape[1]), probabilities
        cases, values = len(target), target
    if cases < FEWEST or len(np.unique(values)) < 2:
        return None
    logs = np.log(np.clip(given.astype(np.float64), LEAST, None))

    def loss(log_temperature: float) -> float:
        scaled = logs / np.exp(log_temperature)
        highest = scaled.max(1, keepdims=True)
        norm = highest + np.log(np.exp(scaled - highest).sum(1, keepdims=True))
        return float(-(wanted * (scaled - norm)).sum(1).mean())

    found = minimize_scalar(loss, bounds=tuple(np.log(LIMITS)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def tempered(
    kind: TaskKind, probabilities: Float[np.ndarray, "case class"], temperature: float
) -> Float[np.ndarray, "case class"]:
    """Probabilities with their logits divided by a temperature, in double precision."""
    given = np.clip(probabilities.astype(np.float64), LEAST, 1.0)
    if kind == "multi-label":
        odds = np.log(given) - np.log(np.clip(1 - given, LEAST, 1.0))
        result: Float[np.ndarray, "case class"] = 1 / (1 + np.exp(-odds / temperature))
        return result
    logs = np.log(given) / temperature
    powers = np.exp(logs - logs.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def _smoothed(target: Num[np.ndarray, " case"], classes: int) -> Float[np.ndarray, "case class"]:
    """What is wanted of each case: not 1 and 0, but what as many cases can teach (Platt's targets for many classes)."""
    counts = np.bincount(target, minlength=classes)[target].astype(np.float64)
    wanted = np.repeat(1 / (counts + classes), classes).reshape(-1, classes)
    wanted[np.arange(len(target)), target] = (counts + 1) / (counts + classes)
    return wanted
