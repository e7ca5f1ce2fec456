"""DeepMAD's closed forms against a computation layer by layer, against hand-worked numbers and the released code's."""

from dataclasses import replace
from math import exp, log

import numpy as np
import pytest
import torch
from torch import nn

from archimed.indicators.entropy import effectiveness, scale_ends, scale_entropies, structure_score, unevenness
from archimed.networks.residual_stages import (
    ResidualStages,
    StageSpec,
    Structure,
    map_sizes,
    resnet18_structure,
    resnet50_structure,
)

TINY = Structure(8, 2, (StageSpec("basic", 3, 16, 24, 2, 2), StageSpec("bottleneck", 5, 32, 8, 2, 1)))
PUBLISHED = {  # kernel, width, stride, blocks, inner width of each stage; rho; entropies of the released code
    "R18": (
        *(32, [(5, 96, 2, 1, 40), (5, 384, 2, 6, 40), (5, 384, 2, 9, 64), (3, 1024, 1, 10, 104), (5, 672, 2, 12, 104)]),
        *(0.2990955537, [21.2626526104, 109.4873414251, 726.9775230465, 2782.7789744317, 3559.9621200113]),
    ),
    "R34": (
        *(24, [(5, 128, 2, 1, 24), (5, 512, 2, 10, 48), (5, 896, 2, 13, 88)]),
        *([(5, 1024, 1, 11, 104), (5, 616, 2, 14, 128)],),
        *(0.2999905764, [20.7885760200, 103.5371744388, 1204.2031284872, 3946.2924874459, 4733.4814251763]),
    ),
    "R50": (
        *(32, [(5, 128, 2, 1, 40), (5, 512, 2, 11, 48), (5, 872, 2, 12, 88)]),
        *([(5, 1024, 1, 13, 104), (5, 1232, 2, 15, 120)],),
        *(0.2997522679, [21.2626526104, 111.9841639792, 1323.6110627772, 4178.8234079284, 5410.4494522603]),
    ),
}


def published(name: str) -> tuple[Structure, float, list[float]]:
    stem, *rows, rho, entropies = PUBLISHED[name]
    stages = [stage for part in rows for stage in part]
    specs = tuple(StageSpec("bottleneck", kernel, out, inner, stride, n) for kernel, out, stride, n, inner in stages)
    return Structure(stem, 2, specs), rho, entropies


def convolution_widths(structure: Structure, channels: int, dims: int) -> list[list[float]]:
    """Width of every convolution of the built network but for shortcuts: of the stem, then of each stage."""
    network = ResidualStages(structure, channels, 2, dims)

    def widths(part: nn.Module) -> list[float]:
        layers = [(name, one) for name, one in part.named_modules() if isinstance(one, nn.Conv2d | nn.Conv3d)]
        return [
            one.in_channels * np.prod(one.kernel_size) / one.groups for name, one in layers if "shortcut" not in name
        ]

    return [widths(network.stem), *(widths(stage) for stage in network.stages)]


def test_entropies_and_rho_by_hand() -> None:
    # widths: stem 1 * 9; basic blocks 8 * 9, 24 * 9, 16 * 9, 24 * 9; bottleneck 16, 8 * 25, 8; maps 16, 8, 4 wide
    first = log(9)
    second = first + log(72) + log(216) + log(144) + log(216)
    third = second + log(16) + log(200) + log(8)
    entropies = (log(8 * 256) * first, log(16 * 64) * second, log(32 * 16) * third)
    assert scale_entropies(TINY, 1, (32, 32)) == pytest.approx(entropies, rel=1e-12)
    assert scale_entropies(TINY, 1, (32, 32), half=True) == pytest.approx([one / 2 for one in entropies], rel=1e-12)
    assert effectiveness(TINY, 1, 2) == pytest.approx(8 / (9 * 72 * 216 * 144 * 216 * 16 * 200 * 8) ** (1 / 8))
    assert unevenness(TINY) == pytest.approx(exp(0.25))
    score = entropies[0] + entropies[1] + 8 * entropies[2] - 10 * exp(0.25)
    assert structure_score(TINY, 1, (32, 32)) == pytest.approx(score, rel=1e-12)
    assert structure_score(TINY, 1, (32, 32), last_weight=1, unevenness_weight=0) == pytest.approx(sum(entropies))


@pytest.mark.parametrize("structure", [TINY, resnet18_structure(), resnet50_structure()])
@pytest.mark.parametrize(("channels", "size"), [(3, (65, 40)), (2, (33, 32, 17))])
def test_the_closed_form_is_the_sum_over_the_convolutions_of_the_network(
    structure: Structure, channels: int, size: tuple[int, ...]
) -> None:
    structure = replace(structure, stages=tuple(replace(stage, layers=2, width=16) for stage in structure.stages))
    with torch.device("meta"):
        widths = convolution_widths(structure, channels, len(size))
    sums = np.cumsum([sum(map(log, own)) for own in widths])
    volumes = [log(structure.stem_width), *(log(stage.width) for stage in structure.stages)]
    maps = [log(np.prod(one)) for one in map_sizes(structure, size)]
    ends = scale_ends(structure, len(size))
    expected = [(volumes[end] + maps[end]) * sums[end] for end in ends]
    assert scale_entropies(structure, channels, size) == pytest.approx(expected, rel=1e-12)
    flat = [width for own in widths for width in own]
    assert effectiveness(structure, channels, len(size)) == pytest.approx(len(flat) / np.exp(np.mean(np.log(flat))))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_structures_have_the_rho_and_the_entropies_of_the_released_code(name: str) -> None:
    structure, rho, entropies = published(name)
    assert effectiveness(structure, 3, 2) == pytest.approx(rho, abs=1e-9)
    assert scale_entropies(structure, 3, (224, 224), half=True) == pytest.approx(entropies, rel=1e-9)


def test_a_scale_ends_where_the_map_shrinks() -> None:
    assert scale_ends(published("R50")[0], 2) == (0, 1, 2, 4, 5)  # the fourth stage has stride 1
    assert scale_ends(resnet50_structure(), 2) == (1, 2, 3, 4)  # the first one too
    thin = replace(TINY, stages=(replace(TINY.stages[0], stride=(1, 2, 2)), replace(TINY.stages[1], stride=(1, 1, 1))))
    assert scale_ends(thin, 3) == (0, 2)


def test_even_stages_are_not_penalised() -> None:
    even = replace(TINY, stages=tuple(replace(stage, layers=7) for stage in TINY.stages))
    assert unevenness(even) == 1.0
