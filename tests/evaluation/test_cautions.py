"""Cautions are said when they are due, and only then."""

import dataclasses

import pytest

from archimed.evaluation.cautions import Findings, cautions
from tests.evaluation.predictions import task_of


def row(value, low=None, high=None, **more):
    return {"value": value, "low": low, "high": high, **more}


def comparison(**changes):
    facts = {"metric": "auc", "network": "mstf-nas", "against": "resnet18", "value": 0.05, "low": 0.02, "high": 0.08}
    return facts | {"p": 0.002, "p_holm": 0.004, "inside_noise": False, "rank_p": 0.1, "rank_smallest_p": 0.1} | changes


CALM = Findings(
    task=task_of("binary", 2),
    chosen="mstf-nas",
    validation={"auc": row(0.95), "accuracy": row(0.9)},
    test={"auc": row(0.94, 0.92, 0.96), "accuracy": row(0.89, 0.86, 0.92)},
    counts={split: {"benign": 300, "malignant": 300} for split in ("train", "validation", "test")},
    cases={"train": 600, "validation": 600, "test": 600},
    patients=600,
    seeds=3,
    comparisons=(comparison(),),
)


def said(**changes):
    return " ".join(cautions(dataclasses.replace(CALM, **changes)))


def test_a_calm_run_needs_no_caution():
    assert cautions(CALM) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"counts": CALM.counts | {"train": {"benign": 9, "malignant": 0}}}, "No train case is of class malignant"),
        ({"comparisons": (comparison(inside_noise=True),)}, "mstf-nas cannot be told apart from resnet18"),
        ({"comparisons": (comparison(value=-0.05, low=-0.08, high=-0.02),)}, "resnet18 did better than mstf-nas"),
        ({"comparisons": (comparison(p_holm=0.2),)}, "may still be chance"),
        ({"comparisons": ()}, "compared with no baseline"),
        ({"seeds": 1}, "trained once"),
        ({"test": {"auc": row(0.9, 0.8, 0.97)}}, "The test set is small (600 images of 600 patients)"),
        ({"test": {"accuracy": row(0.5, 0.46, 0.54)}}, "no skill"),
        ({"test": {"accuracy": row(0.53, 0.49, 0.57)}}, "hardly better"),
        ({"counts": {"test": {"benign": 540, "malignant": 60}}, "test": {"accuracy": row(0.95, 0.93, 0.97)}}, "unbal"),
        ({"test": {"accuracy": row(1.0, 1.0, 1.0)}}, "as high as 0.5%"),
        ({"test": {"auc": row(None)}}, "Undefined on this test set, for want of cases of every class: AUC."),
        ({"test": {"auc": row(0.9, undefined=600)}}, "Without an interval"),
        ({"test": {"auc": row(0.9, 0.88, 0.92, undefined=12)}}, "optimistic"),
        ({"validation": {"auc": row(0.99)}, "test": {"auc": row(0.9, 0.87, 0.93)}}, "fell from 0.990 on validation"),
    ],
)
def test_each_caution_is_said_when_due(changes, expected):
    assert expected in said(**changes)


def test_images_are_not_called_patients_where_patients_are_unknown():
    changes = {
        "comparisons": (comparison(inside_noise=True),),
        "seeds": 1,
        "test": {"auc": row(0.9, 0.8, 0.97), "accuracy": row(1.0, 1.0, 1.0)},
    }
    assert said(**changes).count("patients") == 4
    words = said(**changes, patients=None)
    assert "patients" not in words
    assert "(600 images):" in words
    assert "other test images or another training seed" in words
    assert "with 600 test images and no error, the true error rate may still be as high as 0.5%" in words
    assert "covers the choice of test images" in words


def test_a_lower_loss_is_better():
    assert "did better" not in said(comparisons=(comparison(metric="log_loss", value=-0.2, low=-0.3, high=-0.1),))
    worse = said(comparisons=(comparison(metric="log_loss", value=0.2, low=0.1, high=0.3),))
    assert (
        "resnet18 did better than mstf-nas: its log loss is lower by 0.200 (probably between 0.100 and 0.300)" in worse
    )


def test_label_wise_accuracy_of_rare_labels_is_warned_of():
    labels = {"test": {"hernia": 10, "nodule": 60}}
    task = task_of("multi-label", 2)
    assert "would already reach about 94.2%" in said(task=task, counts=labels)
    assert "Label-wise" not in said(task=task, counts={"test": {"hernia": 250, "nodule": 300}})


def test_networks_alike_are_named_in_one_sentence():
    rows = [comparison(against=name, inside_noise=True) for name in ("macs", "parameters", "resnet18")]
    assert "from macs, parameters and resnet18" in said(comparisons=rows)
