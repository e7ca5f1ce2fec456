"""What the report says about the chosen network's answers to the test cases."""

from archimed.evaluation.metrics import class_table
from archimed.report.figures.canvas import Figure
from archimed.report.figures.curves import calibration_figure, confusion_figure, roc_figures
from archimed.report.label_results import label_table
from archimed.report.reading import Predictions, Run, mapping, number
from archimed.report.tables import Table, mean_of
from archimed.report.words import UNDEFINED, count, decimal, metric_name

CLASS_METRICS = ("auc", "sensitivity", "specificity", "precision", "f1")


def test_answers(run: Run) -> dict[str, list[Predictions]]:
    """Test predictions of every network, the chosen one first; those that do not fit the task are left out."""
    classes = len(run.task.class_names)
    if run.task.kind == "segmentation":
        return {}
    answers = {}
    for name in run.networks:
        tests = [network.test for network in run.repeats(name) if network.test is not None]
        answers[name] = [test for test in tests if test.probabilities.shape[1] == classes]
    return answers


def answer_figures(run: Run) -> list[Figure]:
    """ROC curves, confusion matrix and calibration."""
    answers = test_answers(run)
    chosen = answers.get(run.chosen, [])
    if not chosen:
        return []
    error = number(mapping(mapping(run.summary, "calibration"), run.chosen).get("expected_calibration_error"))
    confusion = confusion_figure(run.task, run.chosen, chosen)
    reliability = calibration_figure(run.task, run.chosen, chosen, error)
    return [*roc_figures(run.task, answers), *([confusion] if confusion else []), reliability]


def class_results(run: Run) -> Table | None:
    """Results of the chosen network by class or label, means over the repeats; None for two classes."""
    if (by_label := label_table(run)) is not None:
        return by_label
    repeats = test_answers(run).get(run.chosen, [])
    if run.task.kind not in {"multi-class", "ordinal", "multi-label"} or not repeats:
        return None
    tables = [class_table(run.task, repeat.target, repeat.probabilities) for repeat in repeats]
    rows = []
    for position, name in enumerate(run.task.class_names):
        cells = [table[position] for table in tables]
        values = [mean_of(number(cell[metric]) for cell in cells) for metric in CLASS_METRICS]
        cases = count(sum(number(cell["positives"]) or 0 for cell in cells) / len(cells))
        rows.append([name, cases, *(UNDEFINED if value is None else decimal(value) for value in values)])
    head = ["Class", "Cases", *("F1" if metric == "f1" else metric_name(metric) for metric in CLASS_METRICS)]
    return Table("classes", "Test results by class, each against all others", head, rows)
