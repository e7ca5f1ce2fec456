from typing import Any

import numpy as np
import pytest
import torch

from archimed.genotype import describe, random_genotype
from archimed.report.steps import steps
from archimed.spaces import space_settings
from archimed.spaces.darts_cell import DartsCellSpace
from archimed.spaces.fusion_cell import FusionCellSpace
from archimed.spaces.multiscale_cell import MultiscaleCellSpace
from archimed.spaces.nsganet_cell import NsganetCellSpace
from archimed.task import ImagingTask

TASK = ImagingTask("binary", ("a", "b"), 1, (28, 28))
PETCT = ImagingTask("binary", ("a", "b"), 2, (9, 14, 11), ("PET", "CT"))


def drawn(space: Any) -> tuple[tuple[int, ...], dict[str, str]]:
    genotype = random_genotype(space.choices, np.random.default_rng(0))
    return genotype, describe(genotype, space.choices)


def test_steps_halve_the_image_rounding_up() -> None:
    forms = [step.form for step in steps({"width": 128, "stem_stride": 4}, drawn(MultiscaleCellSpace())[1], TASK)]
    assert forms == ["1 × 28 × 28", "128 × 7 × 7", "128 × 4 × 4", "256 × 2 × 2", "512 × 1 × 1", "512", "2 outputs"]


@pytest.mark.parametrize(
    ("space", "task"),
    [
        (DartsCellSpace(num_cells=3, num_nodes=2, width=4), TASK),
        (DartsCellSpace(num_cells=8, num_nodes=1, width=4, stem_stride=2), TASK),
        (FusionCellSpace(num_nodes=2, num_normal=2, width=4, head=6), PETCT),
        (FusionCellSpace(num_nodes=1, num_reduction=1, stem_stride=1, head=6), TASK),
    ],
)
def test_forms_are_those_that_leave_the_cells_of_the_built_network(space: Any, task: ImagingTask) -> None:
    genotype, spelt = drawn(space)
    network = space.build(genotype, task).eval()
    seen: list[str] = []
    for cell in network.cells:
        cell.register_forward_hook(lambda _m, _i, out: seen.append(" × ".join(map(str, out.shape[1:]))))
    with torch.no_grad():
        network(torch.rand(2, task.channels, *task.image_size))
    found = steps(space_settings(space), spelt, task)
    told = [(step.words.partition(" ")[0], step.form) for step in found if "cell" in step.words]
    times = [int(words) if words.isdecimal() else 1 for words, _ in told]
    assert [form for n, (_, form) in zip(times, told, strict=True) for _ in range(n)] == seen
    assert found[0].form.startswith(f"{task.channels} × ")
    assert found[-1].form == "2 outputs"


def test_the_stems_of_fusion_name_their_modalities() -> None:
    space = FusionCellSpace()
    found = steps(space_settings(space), drawn(space)[1], PETCT)
    assert found[1].words == "a stem for each of PET and CT, one for all"


def test_a_space_that_does_not_tell_has_no_steps() -> None:
    space = NsganetCellSpace()
    assert steps(space_settings(space), drawn(space)[1], TASK) == []
    assert steps({}, {}, TASK) == []
