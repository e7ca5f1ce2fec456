"""What a reader must know before believing the figures, in plain words.

Every function is pure: it takes the facts of a finished run and gives sentences, none if there is nothing to say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from archimed.evaluation.intervals import IntervalRow
from archimed.evaluation.mask_cautions import few_cases, rare_classes
from archimed.task import LOWER_IS_BETTER, ImagingTask

LEADING = ("auc", "accuracy", "exact_match", "dice")  # the first of these that a task has stands for its figures
WIDE_INTERVAL = 0.10  # of one of these: a tenth of the whole scale
LARGE_GAP = 0.05  # between validation and test
SIGNIFICANT = 0.05
METRIC_WORDS: Mapping[str, str] = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "auc": "AUC",
    "macro_f1": "macro F1",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "precision": "precision",
    "quadratic_kappa": "quadratic kappa",
    "mean_absolute_error": "mean absolute error",
    "exact_match": "exact match",
    "normal_f1": "F1 of the normal label",
    "normal_sensitivity": "sensitivity of the normal label",
    "normal_specificity": "specificity of the normal label",
    "normal_precision": "precision of the normal label",
    "normal_weighted_tpr_fpr": "weighted TPR & FPR of the normal label",
    "label_accuracy": "label-wise accuracy",
    "log_loss": "log loss",
    "brier": "Brier score",
    "dice": "Dice",
    "jaccard": "Jaccard",
    "hausdorff_95": "95 % Hausdorff distance",
    "surface_dice": "surface Dice",
}

CONSEQUENCE = {
    "train": "the network cannot have learnt it",
    "validation": "the choice of epoch and threshold does not consider it",
    "test": "nothing is known about how well it is recognised",
}
CONSEQUENCE_FOR_LABELS = {
    "validation": "its threshold stays 0.5, and the choice of epoch does not consider it",
    "test": "the means over labels leave it out",
}


@dataclass(frozen=True)
class Findings:
    """The facts of a run that cautions are drawn from.

    Attributes:
        task: what was asked.
        chosen: name of the method's own network.
        validation: its validation metrics, name -> row with `value`.
        test: its test metrics, name -> row with `value`, `low`, `high` and perhaps `undefined`.
        counts: split (`train`, `validation`, `test`) -> class or label -> cases of it (labels: known positives).
        cases: split -> cases.
        patients: patients in the test set; None if the data do not say who they are.
        seeds: trainings of the chosen network with different seeds.
        comparisons: rows of `archimed.evaluation.significance.compare_with`.
        known: label -> test cases of which it is known, for several labels; empty where all are known.
        undecided: labels of some validation cases, but too few to choose a threshold on.
        absent: split -> label -> folds in which no case of the split is known to have it, of a run of several folds.
        complete: test cases of which every label is known.
        one_of_several: whether these are the facts of one data set of several, over all of which networks are compared.
    """

    task: ImagingTask
    chosen: str
    validation: Mapping[str, IntervalRow]
    test: Mapping[str, IntervalRow]
    counts: Mapping[str, Mapping[str, int]]
    cases: Mapping[str, int]
    patients: int | None
    seeds: int
    comparisons: Sequence[Mapping[str, str | float | bool | None]]
    known: Mapping[str, int] = field(default_factory=dict)
    absent: Mapping[str, Mapping[str, Sequence[int]]] = field(default_factory=dict)
    undecided: Sequence[str] = ()
    complete: int = 0
    one_of_several: bool = False


def cautions(findings: Findings) -> list[str]:
    """All cautions of a run, the gravest first."""
    return [
        *absent_classes(findings.task, findings.counts),
        *labels_absent_in_folds(findings.absent),
        *undecided_thresholds(findings.undecided),
        *(few_masks(findings) if findings.task.kind == "segmentation" else []),
        *better_baselines(findings.comparisons),
        *majority_answer(findings.task, findings.counts, findings.test),
        *unknown_labels(findings.known, findings.complete, findings.cases.get("test", 0)),
        *label_wise_accuracy(findings.task, findings.counts, findings.cases, findings.known),
        *differences_inside_noise(findings.comparisons, findings.patients),
        *differences_after_correction(findings.comparisons),
        *wide_intervals(findings.test, findings.cases.get("test", 0), findings.patients),
        *faultless_scores(findings.test, findings.cases.get("test", 0), findings.patients),
        *undefined_resamples(findings.task, findings.test),
        *validation_gap(findings.validation, findings.test),
        *too_little_repetition(findings.chosen, findings.seeds, findings.patients),
        *([] if findings.one_of_several else nothing_to_compare(findings.chosen, findings.comparisons)),
    ]


def cautions_of_means(
    chosen: str, comparisons: Sequence[Mapping[str, str | float | bool | None]], patients: int | None
) -> list[str]:
    """What a reader must know of comparisons over several data sets, the gravest first."""
    return [
        *better_baselines(comparisons),
        *differences_inside_noise(comparisons, patients),
        *differences_after_correction(comparisons),
        *nothing_to_compare(chosen, comparisons),
    ]


def few_masks(findings: Findings) -> list[str]:
    """Test cases too few for the figures of masks, in all or of a class."""
    counts = findings.counts.get("test", {})
    return [*few_cases(findings.cases.get("test", 0)), *rare_classes(findings.task, counts)]


def absent_classes(task: ImagingTask, counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Classes without a single case in a split, or that no mask of a split holds."""
    subject = {"segmentation": "mask holds", "multi-label": "case is known to have"}.get(task.kind, "case is of class")
    consequence = CONSEQUENCE | (CONSEQUENCE_FOR_LABELS if task.kind == "multi-label" else {})
    return [
        f"No {split} {subject} {_listed(absent)}: {consequence.get(split, 'figures leave it out')}."
        for split, classes in counts.items()
        if (absent := [name for name, cases in classes.items() if cases == 0])
    ]


def undecided_thresholds(labels: Sequence[str]) -> list[str]:
    """Labels of too few validation cases to choose a threshold on, though of some."""
    if not labels:
        return []
    several = len(labels) > 1
    return [
        f"The threshold{'s' * several} of {_listed(labels)} stay{'' if several else 's'} 0.5, for too few validation "
        f"cases are known to have {'these labels' if several else 'the label'}, or not to "
        f"(evaluation.least_positives)."
    ]


def labels_absent_in_folds(absent: Mapping[str, Mapping[str, Sequence[int]]]) -> list[str]:
    """Labels that no case of some folds' splits is known to have, where other folds have such cases.

    Args:
        undecided: labels of some validation cases, but too few to choose a threshold on.
        absent: split -> label -> numbers of the folds in which no case has it.
    """
    return [
        f"In fold{'s' * (len(folds) > 1)} {_listed([str(fold) for fold in folds])}, no {split} case is known to have "
        f"{name}: there, {(CONSEQUENCE | CONSEQUENCE_FOR_LABELS).get(split, 'figures leave it out')}."
        for split, labels in absent.items()
        for name, folds in labels.items()
        if folds
    ]


def better_baselines(comparisons: Sequence[Mapping[str, str | float | bool | None]]) -> list[str]:
    """Baselines that beat the method's own network by more than chance."""
    sentences = []
    for row in comparisons:
        gain = _gain(row)
        if gain is not None and gain < 0 and not row["inside_noise"]:
            low, high = sorted(abs(_number(row[end])) for end in ("low", "high"))
            sentences.append(
                f"{row['against']} did better than {row['network']}: its {_words(row['metric'])} is "
                f"{'lower' if row['metric'] in LOWER_IS_BETTER else 'higher'} by {abs(gain):.3f} "
                f"(probably between {low:.3f} and {high:.3f}). Prefer {row['against']}, or search longer."
            )
    return sentences


def differences_inside_noise(
    comparisons: Sequence[Mapping[str, str | float | bool | None]], patients: int | None
) -> list[str]:
    """Networks that cannot be told apart from the chosen one, one sentence per metric."""
    sentences = []
    for metric in dict.fromkeys(row["metric"] for row in comparisons):
        alike = [row for row in comparisons if row["metric"] == metric and row["inside_noise"]]
        if alike:
            sentences.append(
                f"In {_words(metric)}, {alike[0]['network']} cannot be told apart from "
                f"{_listed([str(row['against']) for row in alike])}: other test {_who(patients)} or another "
                f"training seed could turn the order round."
            )
    return sentences


def differences_after_correction(comparisons: Sequence[Mapping[str, str | float | bool | None]]) -> list[str]:
    """Differences that look real one by one, but not among so many comparisons (Holm)."""
    sentences = []
    for row in comparisons:
        corrected = row["p_holm"]
        if not row["inside_noise"] and corrected is not None and _number(corrected) > SIGNIFICANT:
            others = sum(1 for other in comparisons if other["metric"] == row["metric"])
            sentences.append(
                f"The difference in {_words(row['metric'])} between {row['network']} and {row['against']} may still be "
                f"chance: {others} comparisons were made, and among so many one this large is not rare "
                f"(p = {_number(corrected):.2f} after Holm's correction)."
            )
    return sentences


def wide_intervals(test: Mapping[str, IntervalRow], cases: int, patients: int | None) -> list[str]:
    """A test set too small to say much: the interval of its leading metric is wide."""
    of = "" if patients is None else f" of {patients} patients"
    for metric in LEADING:
        row = test.get(metric)
        if row is None or row["value"] is None or row["low"] is None or row["high"] is None:
            continue
        if row["high"] - row["low"] <= WIDE_INTERVAL:
            return []
        return [
            f"The test set is small ({cases} images{of}): the {_words(metric)} of "
            f"{row['value']:.3f} may in truth be anything from {row['low']:.3f} to {row['high']:.3f}. "
            f"Do not read its second decimal."
        ]
    return []


def faultless_scores(test: Mapping[str, IntervalRow], cases: int, patients: int | None) -> list[str]:
    """A perfect figure, whose interval has no width although the next patient may be the first error."""
    count = cases if patients is None else patients
    for metric in ("accuracy", "sensitivity", "specificity", "auc", "exact_match"):
        row = test.get(metric)
        if row is not None and row["value"] == 1 and row["low"] == 1:
            return [
                f"The {_words(metric)} is perfect on the test set, so its interval has no width. It is not certain: "
                f"with {count} test {_who(patients)} and no error, the true error rate may still be as high as "
                f"{min(1.0, 3 / max(count, 1)):.1%}, and higher for a class with fewer of them."
            ]
    return []


def undefined_resamples(task: ImagingTask, test: Mapping[str, IntervalRow]) -> list[str]:
    """Metrics without a value, and metrics whose interval had to leave resamples out."""
    missing = [name for name, row in test.items() if row["value"] is None and name != "exact_match"]
    unsure = [name for name, row in test.items() if row["value"] is not None and row["low"] is None]
    partly = [name for name, row in test.items() if row["low"] is not None and row.get("undefined")]
    sentences = []
    masks = task.kind == "segmentation"
    if missing:
        want = "a case of which truth and answer both hold a class" if masks else "cases of every class"
        sentences.append(f"Undefined on this test set, for want of {want}: {_all_words(missing)}.")
    if unsure:
        sentences.append(f"Without an interval, because most resamples lack a class: {_all_words(unsure)}.")
    if partly:
        sentences.append(
            f"A class is so rare in the test {'masks' if masks else 'set'} that resamples without it were left out of "
            f"the intervals of {_all_words(partly)}: these intervals are optimistic."
        )
    return sentences


def majority_answer(
    task: ImagingTask, counts: Mapping[str, Mapping[str, int]], test: Mapping[str, IntervalRow]
) -> list[str]:
    """An accuracy that always answering the commonest class would reach as well."""
    classes, row = counts.get("test", {}), test.get("accuracy")
    total = sum(classes.values())
    if task.kind == "multi-label" or row is None or row["value"] is None or not total:
        return []
    name, cases = max(classes.items(), key=lambda item: item[1])
    share = cases / total
    reached = f"always answering {name} would be right in {share:.1%} of the test cases; the network is in"
    if row["value"] <= share:
        return [f"The accuracy shows no skill: {reached} {row['value']:.1%}."]
    if row["low"] is not None and row["low"] <= share:
        return [f"The accuracy is hardly better than no skill: {reached} {row['value']:.1%}, which is within chance."]
    if share >= 0.75:
        return [
            f"The classes are unbalanced: {reached} {row['value']:.1%}. Read the balanced accuracy and the AUC rather "
            f"than the accuracy."
        ]
    return []


def unknown_labels(known: Mapping[str, int], complete: int, cases: int) -> list[str]:
    """Labels that are unknown of some test cases: what is measured on how many."""
    sentences = []
    nothing = [name for name, count in known.items() if count == 0]
    if nothing:
        sentences.append(f"Nothing is known of {_listed(nothing)} in the test cases: no figure is about it.")
    partly = {name: count for name, count in known.items() if 0 < count < cases}
    if partly:
        fewest = min(partly, key=lambda name: partly[name])
        sentences.append(
            f"Not every label is known: each is measured on the test cases of which it is, {fewest} on the fewest, "
            f"{partly[fewest]} of {cases}."
        )
    if known and complete < cases:
        sentences.append(
            f"The exact match counts only the {complete} of {cases} test cases of which every label is known."
            if complete
            else "The exact match is undefined: of no test case is every label known."
        )
    return sentences


def label_wise_accuracy(
    task: ImagingTask,
    counts: Mapping[str, Mapping[str, int]],
    cases: Mapping[str, int],
    known: Mapping[str, int],
) -> list[str]:
    """Label-wise accuracy of rare labels is high for every network, whatever it learnt (as on ChestMNIST)."""
    labels, total = counts.get("test", {}), cases.get("test", 0)
    if task.kind != "multi-label" or not labels or not total:
        return []
    of_label = {name: known.get(name, total) for name in labels}
    shares = [max(labels[name], count - labels[name]) / count for name, count in of_label.items() if count]
    rare = sum(shares) / max(len(shares), 1)
    if rare < 0.8:
        return []
    return [
        f"Label-wise accuracy says little here: giving every image the commonest answer to each label would already "
        f"reach about {rare:.1%}. Read the AUC, the macro F1 and the exact match."
    ]


def validation_gap(validation: Mapping[str, IntervalRow], test: Mapping[str, IntervalRow]) -> list[str]:
    """Test figures clearly below those of validation, on which epochs and settings were chosen."""
    for metric in LEADING:
        seen, unseen = validation.get(metric), test.get(metric)
        if seen is None or unseen is None or seen["value"] is None or unseen["value"] is None:
            continue
        gap = seen["value"] - unseen["value"]
        if gap > LARGE_GAP and (unseen["high"] is None or seen["value"] > unseen["high"]):
            return [
                f"The {_words(metric)} fell from {seen['value']:.3f} on validation to {unseen['value']:.3f} on test. "
                f"The epoch was chosen on validation, which flatters it; or the test images differ (another scanner, "
                f"other patients)."
            ]
    return []


def too_little_repetition(chosen: str, seeds: int, patients: int | None) -> list[str]:
    """One training."""
    if seeds > 1:
        return []
    return [
        f"{chosen} was trained once. Its interval covers the choice of test {_who(patients)}, not the luck of "
        f"training; train it with several seeds (--repeats 3) before claiming a difference."
    ]


def nothing_to_compare(chosen: str, comparisons: Sequence[Mapping[str, str | float | bool | None]]) -> list[str]:
    """No baseline."""
    if comparisons:
        return []
    return [f"{chosen} was compared with no baseline, so nothing says that the search was worth it."]


def _who(patients: int | None) -> str:
    """What a test set is drawn from: images, where nobody says which of them are of one patient."""
    return "images" if patients is None else "patients"


def _gain(row: Mapping[str, str | float | bool | None]) -> float | None:
    """How much better the chosen network is, in the metric's own unit; negative if it is worse."""
    if row["value"] is None:
        return None
    value = _number(row["value"])
    return -value if row["metric"] in LOWER_IS_BETTER else value


def _number(value: str | float | bool | None) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def _words(metric: str | float | bool | None) -> str:
    return METRIC_WORDS.get(str(metric), str(metric))


def _all_words(metrics: Sequence[str]) -> str:
    return _listed([_words(metric) for metric in metrics])


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
