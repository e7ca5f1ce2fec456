"""Made-up predictions for the tests of evaluation."""

import numpy as np

from archimed.evaluation.bootstrap import RepeatPredictions
from archimed.task import ImagingTask, TaskKind


def task_of(kind: TaskKind, classes: int) -> ImagingTask:
    return ImagingTask(kind, tuple(f"class {k}" for k in range(classes)), 1, (28, 28))


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def draw_classes(rng, cases, classes, signal=1.0, decimals=None):
    """Target and probabilities; `decimals` rounds the probabilities so that many tie."""
    target = rng.integers(classes, size=cases)
    logits = rng.normal(size=(cases, classes))
    logits[np.arange(cases), target] += signal
    probabilities = softmax(logits)
    return target, probabilities if decimals is None else probabilities.round(decimals)


def draw_labels(rng, cases, labels, unknown=0.2, decimals=None):
    target = (rng.random((cases, labels)) < 0.4).astype(float)
    probabilities = 1 / (1 + np.exp(-(rng.normal(size=target.shape) + target)))
    target[rng.random(target.shape) < unknown] = np.nan
    return target, probabilities if decimals is None else probabilities.round(decimals)


def repeat(target, probabilities, fold=0, seed=0, patients=None, *, threshold=0.5):
    """One repeat; every fold has cases of its own, each a patient unless `patients` are given."""
    cases = tuple(f"case {k}" if fold == 0 else f"case {fold}-{k}" for k in range(len(target)))
    owners = cases if patients is None else tuple(str(p) for p in patients)
    return RepeatPredictions(fold, seed, cases, owners, target, probabilities, threshold)
