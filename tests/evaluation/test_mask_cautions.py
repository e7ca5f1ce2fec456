"""What is said of masks before their figures are believed."""

import dataclasses

from archimed.evaluation.cautions import Findings, cautions
from archimed.evaluation.mask_cautions import few_cases, mask_cautions, rare_classes
from archimed.evaluation.masks import LeftOut
from archimed.task import ImagingTask

TASK = ImagingTask("segmentation", ("background", "liver", "tumour"), 1, (32, 32))


def test_the_rule_for_empty_masks_is_told_by_class():
    counts = {"liver": LeftOut(20, 0, 0, 0), "tumour": LeftOut(cases=20, absent=4, missed=3, invented=2)}
    wrong, rightly = mask_cautions("mixsearch", counts, "mm", 1.0)
    assert "mixsearch missed tumour in 3 of the 14 with it; it saw tumour in 2 of the 6 without it. " in wrong
    assert "leave the case out: tumour in 4 of 20." in rightly


def test_distances_in_pixels_are_told_and_those_in_millimetres_not():
    assert "pixels" in mask_cautions("unet", {}, "pixels", 1.0)[0]
    assert mask_cautions("unet", {}, "mm", 1.0) == []


def test_few_cases_and_rare_classes():
    assert few_cases(10) == []
    assert "4 test images" in few_cases(4)[0]
    assert rare_classes(TASK, {"background": 3, "liver": 12, "tumour": 3}) == [
        "Few test masks hold tumour (3): the figures of a class say little there."
    ]


def test_a_segmentation_is_told_of_in_words_that_fit_masks():
    row = {"value": 0.7, "low": 0.55, "high": 0.8}
    undefined = {"value": None, "low": None, "high": None}
    findings = Findings(
        task=TASK,
        chosen="mixsearch",
        validation={"dice": {**row, "value": 0.9}},
        test={"dice": row, "hausdorff_95": undefined},
        counts={"train": {"liver": 30, "tumour": 0}, "test": {"background": 20, "liver": 20, "tumour": 0}},
        cases={"train": 30, "validation": 10, "test": 20},
        patients=20,
        seeds=1,
        comparisons=[
            {
                "metric": "dice",
                "network": "mixsearch",
                "against": "unet",
                "value": -0.1,
                "low": -0.15,
                "high": -0.05,
                "p_holm": 0.01,
                "inside_noise": False,
            }
        ],
    )
    told = " ".join(cautions(findings))
    assert "No train mask holds tumour" in told
    assert "unet did better than mixsearch: its Dice is higher by 0.100" in told
    assert "the Dice of 0.700 may in truth be anything from 0.550 to 0.800" in told
    assert "for want of a case of which truth and answer both hold a class: 95 % Hausdorff distance" in told
    assert "The Dice fell from 0.900 on validation to 0.700 on test" in told
    for foreign in ("accuracy", "AUC", "always answering", "exact match", "case is of class"):
        assert foreign not in told
    alone = dataclasses.replace(findings, comparisons=[])
    assert "compared with no baseline" in " ".join(cautions(alone))
