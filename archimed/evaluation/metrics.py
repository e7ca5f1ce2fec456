"""Classification metrics on class probabilities, for one test set or for many resamples of it at once.

A metric that the data leave undefined (an AUC of one class, a sensitivity without positive cases) is None, or NaN in
a resample; it is never a crash and never zero. AUC always comes from the probabilities, never from hard answers.
"""

import numpy as np
from jaxtyping import Bool, Float, Num

from archimed.evaluation.auc import weighted_auc
from archimed.evaluation.counts import Counts, count, mean_if_all_present, mean_of_defined, ratio
from archimed.task import ImagingTask

Resampled = dict[str, Float[np.ndarray, " resample"]]
Thresholds = float | tuple[float, ...]  # one for all labels, or one for each


def metrics(
    task: ImagingTask,
    target: Num[np.ndarray, "case *label"],
    probabilities: Float[np.ndarray, "case class"],
    threshold: Thresholds = 0.5,
) -> dict[str, float | None]:
    """Every metric of the task; None where the data leave it undefined.

    Binary (of the positive class, the last one): accuracy, balanced_accuracy, auc, macro_f1, sensitivity,
    specificity, precision, log_loss (nats per case, at most 36: a certain and wrong answer would be infinite),
    brier (squared error of the positive class's probability).

    Multi-class: the same, where balanced_accuracy, auc, macro_f1, sensitivity, specificity and precision are plain
    means over the classes that occur in `target`, each class against the rest; a class that occurs but is never
    answered has precision zero; brier is summed over classes (0 to 2).

    Ordinal: as multi-class, and of the grades, numbered from 0 in their order: quadratic_kappa (agreement beyond chance
    where an error weighs by the square of the grades it is off; Cohen, 1968; undefined unless two grades occur in
    `target`) and mean_absolute_error (grades that the answer is off on average).

    Multi-label: auc (mean over labels of which both answers are known), macro_f1, sensitivity, precision (means over
    labels with a known positive), specificity, label_accuracy, log_loss, brier (means over labels), and exact_match:
    the share of images of which every label is right, among those whose labels are all known (the X-ray study's "Mean
    Accuracy", Eq. 1). If the task has a normal label, of that one: normal_f1, normal_sensitivity (TPR),
    normal_specificity (1 - FPR), normal_precision and normal_weighted_tpr_fpr, (TPR + 1 - FPR) / 2 (Eq. 5).

    Args:
        task: what was asked; segmentation has other metrics.
        target: class indices [case], or labels [case, label] as 0, 1 or NaN where unknown.
        probabilities: one column per class or label.
        threshold: a case is called positive above it (binary), or above that of the label (multi-label); other tasks
            take the likeliest class.

    Raises:
        ValueError: if shapes, classes or probabilities do not fit the task.
    """
    weights = np.ones((len(target), 1))
    values = weighted_metrics(task, target, probabilities, weights, threshold)
    return {name: none_if_nan(float(value[0])) for name, value in values.items()}


def weighted_metrics(
    task: ImagingTask,
    target: Num[np.ndarray, "case *label"],
    probabilities: Float[np.ndarray, "case class"],
    weights: Float[np.ndarray, "case resample"],
    threshold: Thresholds = 0.5,
) -> Resampled:
    """Every metric of the task in every resample; NaN where undefined.

    Args:
        task: what was asked.
        target: as in `metrics`.
        probabilities: as in `metrics`.
        weights: how often each case counts in each resample.
        threshold: as in `metrics`.

    Raises:
        ValueError: if shapes, classes or probabilities do not fit the task.
    """
    check_predictions(task, target, probabilities)
    probabilities = probabilities.astype(np.float64)
    truth = truth_table(task, target)
    answers = answer_table(task, probabilities, threshold)
    counts = count(truth, answers, weights)
    if task.kind == "multi-label":
        return _label_metrics(truth, answers, probabilities, weights, counts) | _normal_metrics(task, counts)
    values = _class_metrics(task, truth, probabilities, weights, counts)
    if task.kind == "ordinal":
        values |= _grade_metrics(target.astype(np.float64), answers.argmax(axis=1).astype(np.float64), weights)
    return values


def class_table(
    task: ImagingTask,
    target: Num[np.ndarray, "case *label"],
    probabilities: Float[np.ndarray, "case class"],
    threshold: Thresholds = 0.5,
) -> list[dict[str, str | int | float | None]]:
    """One row per class or label: name, known cases, positives, auc, f1, sensitivity, specificity, precision, accuracy.

    Each class is one question, "is it of this class"; a rate without cases to measure it on is None.
    """
    check_predictions(task, target, probabilities)
    truth = truth_table(task, target)
    weights = np.ones((len(target), 1))
    counts = count(truth, answer_table(task, probabilities, threshold), weights)
    areas = _areas(truth, probabilities.astype(np.float64), weights)
    return [
        {
            "name": name,
            "cases": int(counts.known[k, 0]),
            "positives": int(counts.actual[k, 0]),
            "auc": none_if_nan(float(areas[k, 0])),
            "f1": none_if_nan(float(counts.f1[k, 0])),
            "sensitivity": none_if_nan(float(counts.sensitivity[k, 0])),
            "specificity": none_if_nan(float(counts.specificity[k, 0])),
            "precision": none_if_nan(float(counts.precision[k, 0])),
            "accuracy": none_if_nan(float(counts.accuracy[k, 0])),
        }
        for k, name in enumerate(task.class_names)
    ]


def truth_table(task: ImagingTask, target: Num[np.ndarray, "case *label"]) -> Float[np.ndarray, "case class"]:
    """The target as 1 (of the class), 0 (not of it) or NaN (unknown), one column per class or label."""
    if task.kind == "multi-label":
        return target.astype(np.float64)
    truth: Float[np.ndarray, "case class"] = (target[:, None] == np.arange(task.num_outputs)).astype(np.float64)
    return truth


def answer_table(
    task: ImagingTask, probabilities: Float[np.ndarray, "case class"], threshold: Thresholds = 0.5
) -> Bool[np.ndarray, "case class"]:
    """What the network answers: True where it gives the class or label."""
    if task.kind == "multi-label":
        given: Bool[np.ndarray, "case label"] = probabilities > np.asarray(threshold)
        return given
    if task.kind == "binary":
        positive = probabilities[:, -1:] > threshold
        return np.concatenate([~positive, positive], axis=1)
    likeliest: Bool[np.ndarray, "case class"] = probabilities.argmax(axis=1)[:, None] == np.arange(task.num_outputs)
    return likeliest


def check_predictions(
    task: ImagingTask, target: Num[np.ndarray, "case *label"], probabilities: Float[np.ndarray, "case class"]
) -> None:
    """Raise ValueError unless target and probabilities fit the task and each other."""
    if task.kind == "segmentation":
        raise ValueError("Classification metrics need a classification task; got segmentation. Use the mask metrics.")
    outputs = task.num_outputs
    expected = (len(target), outputs) if task.kind == "multi-label" else (len(target),)
    if target.shape != expected or probabilities.shape != (len(target), outputs) or len(target) == 0:
        raise ValueError(
            f"A {task.kind} task of {outputs} outputs needs a target of shape {expected} and probabilities "
            f"[case, {outputs}], at least one case; got {target.shape} and {probabilities.shape}."
        )
    if not np.isfinite(probabilities).all():
        raise ValueError("Probabilities must be finite; some are NaN or infinite. Did the training diverge?")
    if task.kind != "multi-label" and not np.isin(target, np.arange(outputs)).all():
        raise ValueError(f"Targets must be class indices 0 to {outputs - 1}; got {np.unique(target)[:10].tolist()}.")


def none_if_nan(value: float) -> float | None:
    """None for NaN, as results are written to JSON."""
    return None if np.isnan(value) else value


def _class_metrics(
    task: ImagingTask,
    truth: Float[np.ndarray, "case class"],
    probabilities: Float[np.ndarray, "case class"],
    weights: Float[np.ndarray, "case resample"],
    counts: Counts,
) -> Resampled:
    errors = (probabilities - truth) ** 2
    total = counts.known[0]
    values = {
        "accuracy": ratio(counts.hits.sum(axis=0), total),
        "balanced_accuracy": mean_if_all_present(counts.sensitivity, counts),
        "macro_f1": mean_if_all_present(counts.f1, counts),
        "log_loss": ratio(_log_loss((truth * probabilities).sum(axis=1)) @ weights, total),
    }
    if task.kind == "binary":
        return values | {
            "auc": weighted_auc(truth[:, -1] == 1, probabilities[:, -1], weights),
            "sensitivity": counts.sensitivity[-1],
            "specificity": counts.specificity[-1],
            "precision": counts.precision[-1],
            "brier": ratio(errors[:, -1] @ weights, total),
        }
    return values | {
        "auc": mean_if_all_present(_areas(truth, probabilities, weights), counts),
        "sensitivity": mean_if_all_present(counts.sensitivity, counts),
        "specificity": mean_if_all_present(counts.specificity, counts),
        "precision": mean_if_all_present(counts.precision_or_zero, counts),
        "brier": ratio(errors.sum(axis=1) @ weights, total),
    }


def _grade_metrics(
    target: Float[np.ndarray, " case"], answers: Float[np.ndarray, " case"], weights: Float[np.ndarray, "case resample"]
) -> Resampled:
    """Agreement of grades with the true ones, beyond that of true and answered grades paired at random.

    Weights are whole numbers, so every sum is exact, and a zero is one.
    """
    total, true, answered = weights.sum(axis=0), target @ weights, answers @ weights
    apart = np.square(target - answers) @ weights
    apart_by_chance = total * ((np.square(target) + np.square(answers)) @ weights) - 2 * true * answered
    several = total * (np.square(target) @ weights) > np.square(true)
    return {
        "quadratic_kappa": np.where(several, 1 - ratio(total * apart, apart_by_chance), np.nan),
        "mean_absolute_error": ratio(np.abs(target - answers) @ weights, total),
    }


def _label_metrics(
    truth: Float[np.ndarray, "case label"],
    answers: Bool[np.ndarray, "case label"],
    probabilities: Float[np.ndarray, "case label"],
    weights: Float[np.ndarray, "case resample"],
    counts: Counts,
) -> Resampled:
    complete = ~np.isnan(truth).any(axis=1)
    right = (answers == (truth == 1)).all(axis=1) & complete
    known = ~np.isnan(truth)
    of_truth = np.where(truth == 1, probabilities, 1 - probabilities)
    losses = np.where(known, _log_loss(of_truth), 0.0)
    errors = np.where(known, (1 - of_truth) ** 2, 0.0)
    return {
        "auc": mean_of_defined(_areas(truth, probabilities, weights)),
        "macro_f1": mean_of_defined(counts.f1),
        "sensitivity": mean_of_defined(counts.sensitivity),
        "specificity": mean_of_defined(counts.specificity),
        "precision": mean_of_defined(counts.precision_or_zero),
        "exact_match": ratio(right.astype(np.float64) @ weights, complete.astype(np.float64) @ weights),
        "label_accuracy": mean_of_defined(counts.accuracy),
        "log_loss": mean_of_defined(ratio(losses.T @ weights, counts.known)),
        "brier": mean_of_defined(ratio(errors.T @ weights, counts.known)),
    }


def _normal_metrics(task: ImagingTask, counts: Counts) -> Resampled:
    """Rates of the normal label (X-ray study, Sec. 3.4.2); none for a task without one."""
    if task.normal_label is None:
        return {}
    k = task.class_names.index(task.normal_label)
    return {
        "normal_f1": counts.f1[k],
        "normal_sensitivity": counts.sensitivity[k],
        "normal_specificity": counts.specificity[k],
        "normal_precision": counts.precision[k],
        "normal_weighted_tpr_fpr": counts.balance[k],
    }


def label_rates(
    task: ImagingTask,
    target: Num[np.ndarray, "case label"],
    probabilities: Float[np.ndarray, "case label"],
    weights: Float[np.ndarray, "case resample"],
    threshold: Thresholds = 0.5,
) -> dict[str, Float[np.ndarray, "label resample"]]:
    """Rates of every label by itself in every resample, NaN where undefined; arguments as of `weighted_metrics`."""
    check_predictions(task, target, probabilities)
    truth = truth_table(task, target)
    counts = count(truth, answer_table(task, probabilities, threshold), weights)
    return {
        "auc": _areas(truth, probabilities.astype(np.float64), weights),
        "f1": counts.f1,
        "sensitivity": counts.sensitivity,
        "specificity": counts.specificity,
        "precision": counts.precision,
        "accuracy": counts.accuracy,
        "weighted_tpr_fpr": counts.balance,
    }


def _areas(
    truth: Float[np.ndarray, "case class"],
    probabilities: Float[np.ndarray, "case class"],
    weights: Float[np.ndarray, "case resample"],
) -> Float[np.ndarray, "class resample"]:
    """AUC of every class or label by itself."""
    areas = np.empty((truth.shape[1], weights.shape[1]))
    for k in range(truth.shape[1]):
        known = ~np.isnan(truth[:, k])
        kept = weights if known.all() else weights[known]
        areas[k] = weighted_auc(truth[known, k] == 1, probabilities[known, k], kept)
    return areas


def _log_loss(of_truth: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    losses: Float[np.ndarray, "*shape"] = -np.log(np.maximum(of_truth, np.finfo(np.float64).eps))
    return losses
