"""The space of residual stages: costs counted on built networks, budgets, genotypes and their structures, moves."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from archimed.errors import GenotypeError, SettingsError
from archimed.genotype import random_genotype
from archimed.networks.residual_stages import StageSpec, Structure, resnet18_structure
from archimed.spaces.budgets import Budgets, Cost, ResNetName, cost, resnet_for
from archimed.spaces.fixed import ResNet
from archimed.spaces.protocol import BudgetedSpace
from archimed.spaces.residual_stages import ResidualStagesSpace
from archimed.task import ImagingTask

SPACE = ResidualStagesSpace()
SMALL = ResidualStagesSpace(stages=2, parts=3, most_width=32, most_layers=4, split_layers=3)


@cache
def task(*size: int, channels: int = 1) -> ImagingTask:
    return ImagingTask("multi-label", ("a", "b", "c"), channels, size)


def counted(network: nn.Module, of: ImagingTask) -> tuple[int, int]:
    """MACs and parameters by hooks on every convolution and linear layer; nothing is computed."""
    macs = 0

    def count(layer: nn.Module, _: Any, output: torch.Tensor) -> None:
        nonlocal macs
        macs += output[0].numel() * layer.weight[0].numel()  # type: ignore[operator, index]

    layers = (nn.Conv2d, nn.Conv3d, nn.Linear)
    for module in network.modules():
        if isinstance(module, layers):
            module.register_forward_hook(count)
    network.eval()(torch.empty(1, of.channels, *of.image_size, device="meta"))
    return macs, sum(weight.numel() for weight in network.parameters())


@pytest.mark.parametrize("size", [(28, 28), (65, 40), (9, 24, 17)])
@pytest.mark.parametrize("space", [SPACE, SMALL], ids=["default", "small"])
def test_costs_are_those_of_the_built_network(space: ResidualStagesSpace, size: tuple[int, ...]) -> None:
    of, rng = task(*size, channels=2), np.random.default_rng(0)
    assert isinstance(space, BudgetedSpace)
    for _ in range(1 if space is SPACE else 3):
        genotype = random_genotype(space.choices, rng)
        with torch.device("meta"):
            network = space.build(genotype, of)
        found = space.cost(genotype, of)
        assert (found.macs, found.parameters) == counted(network, of)


@pytest.mark.parametrize("size", [(28, 28), (64, 70), (24, 24, 24)])
@pytest.mark.parametrize("depth", [18, 50])
def test_as_large_as_a_resnet_is_what_the_baseline_costs(depth: Any, size: tuple[int, ...]) -> None:
    of = task(*size)
    with torch.device("meta"):
        network = ResNet(depth=depth).build((), of)
    name: ResNetName = "resnet18" if depth == 18 else "resnet50"
    found = cost(resnet_for(name, of), of)
    assert (found.macs, found.parameters) == counted(network, of)
    assert found.depth == depth


def test_resnet18_at_224_pixels_has_its_known_macs() -> None:
    known = ImagingTask("multi-class", tuple(map(str, range(1000))), 3, (224, 224))
    assert cost(resnet18_structure(), known) == Cost(1_814_073_344, 11_689_512, 18)


def test_drawn_networks_keep_their_budgets_and_use_them() -> None:
    of, rng = task(64, 64), np.random.default_rng(0)
    like = cost(resnet_for("resnet18", of), of)
    budgets = Budgets(like.macs, like.parameters, like.depth)
    found = [SPACE.cost(SPACE.draw(rng, of, budgets), of) for _ in range(20)]
    assert all(budgets.admits(one) for one in found)
    used = [max(one.macs / like.macs, one.parameters / like.parameters) for one in found]
    assert np.median(used) > 0.7


def test_a_budget_that_only_the_smallest_keep_is_kept() -> None:
    of, rng = task(16, 16), np.random.default_rng(0)
    least = min((SMALL.cost(one, of) for one in SMALL.least()), key=lambda one: one.parameters)
    budgets = Budgets(parameters=least.parameters)
    assert SMALL.cost(SMALL.draw(rng, of, budgets), of) == least


def test_no_network_costs_less_than_the_least() -> None:
    of, rng = task(16, 16), np.random.default_rng(0)
    least = [SMALL.cost(one, of) for one in SMALL.least()]
    for _ in range(200):
        found = SMALL.cost(random_genotype(SMALL.choices, rng), of)
        for name in ("macs", "parameters", "depth"):
            assert getattr(found, name) >= min(getattr(one, name) for one in least)


@pytest.mark.parametrize(
    ("budgets", "told"),
    [
        (Budgets(parameters=5), r"the least is 11 parameters, 2.2 times search.budget_params=5"),
        (Budgets(macs=99, depth=3), r"100 MACs, 1 more than search.budget_macs=99; the least is 4 layers, 1 more than"),
        (Budgets(macs=110, depth=4), r"not all at once: the nearest structure has 120 MACs of 110, 4 layers of 4"),
    ],
)
def test_what_no_structure_keeps_is_refused_by_name_and_amount(budgets: Budgets, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        budgets.check([Cost(100, 11, 5), Cost(120, 12, 4)])


def test_structures_and_genotypes_turn_into_each_other() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        genotype = random_genotype(SMALL.choices, rng)
        structure, form = SMALL.structure(genotype), SMALL.canonical(genotype)
        assert SMALL.genotype(structure) == form == SMALL.canonical(form)
        assert SMALL.structure(form).depth == structure.depth
        assert cost(SMALL.structure(form), task(16, 16)) == cost(structure, task(16, 16))


def test_parts_of_one_form_are_one_network() -> None:
    part = StageSpec("basic", 3, 8, 8, 1, 1)
    whole = SMALL.encoded(8, [[replace(part, layers=3)], [part]])
    halves = SMALL.encoded(8, [[part, replace(part, layers=2)], [part]])
    assert whole != halves
    assert SMALL.canonical(halves) == SMALL.canonical(whole) == whole
    other = SMALL.encoded(8, [[part, replace(part, layers=2, kernel=5)], [part]])
    assert SMALL.canonical(other) == other


@pytest.mark.parametrize(
    ("stages", "told"),
    [
        ([StageSpec("basic", 3, 8, 8, 2, 1)], "2 stages of stride 2; got 1"),
        ([StageSpec("basic", 3, 12, 8, 2, 1)] * 2, "multiples of 8 up to 32; got 12"),
        ([StageSpec("basic", 9, 8, 8, 2, 1)] * 2, "kernels"),
        ([StageSpec("basic", 3, 8, 8, 1, 1)] * 2, "have stride 2"),
        ([StageSpec("basic", 3, 8, 8, 2, 13)] * 2, "at most 3 parts of 4 blocks"),
    ],
)
def test_a_foreign_structure_is_refused(stages: list[StageSpec], told: str) -> None:
    with pytest.raises(GenotypeError, match=told):
        SMALL.genotype(Structure(8, 2, tuple(stages)))


def test_a_move_changes_one_place_and_stays_near() -> None:
    of, rng = task(64, 64), np.random.default_rng(0)
    genotype = SPACE.draw(rng, of, Budgets(macs=10**8, depth=40))
    before = SPACE.decoded(genotype)
    for _ in range(200):
        stem, stages = SPACE.decoded(SPACE.mutated(genotype, rng))
        changed = [new for old, new in zip(before[1], stages, strict=True) if old != new]
        assert len(changed) + (stem != before[0]) <= 1
        for old, new in zip(before[1], stages, strict=True):
            assert abs(sum(part.layers for part in new) - sum(part.layers for part in old)) <= 2
            widths = [[part.width for part in parts] for parts in (old, new)]
            assert max(widths[1]) <= 2.5 * max(widths[0]) + 4


def test_a_part_that_grows_long_is_split_and_is_the_same_network() -> None:
    space = ResidualStagesSpace(stages=1, split_layers=6)
    whole = space.encoded(8, [[StageSpec("basic", 3, 8, 8, 1, 5)]])
    rng = np.random.default_rng(0)
    split = [space.decoded(space.mutated(whole, rng))[1][0] for _ in range(100)]
    halves = [parts for parts in split if len(parts) == 2]
    assert {tuple(part.layers for part in parts) for parts in halves} == {(3, 3), (3, 4)}
    for first, second in halves:
        assert replace(first, layers=second.layers) == second
