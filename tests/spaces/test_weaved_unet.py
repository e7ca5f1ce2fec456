"""MixSearch's space: its golden facts, exits, pruning, and the paths that a report draws."""

from dataclasses import replace
from math import comb
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from archimed.errors import GenotypeError, SettingsError
from archimed.genotype import describe, random_genotype
from archimed.networks.layers import GroupNorm
from archimed.networks.weave_lattice import Inputs, Place
from archimed.networks.weave_network import DetailedHead, PlainHead
from archimed.networks.weave_operations import TABLES
from archimed.seeding import numpy_generator, torch_seed
from archimed.spaces import space_from_settings, space_settings
from archimed.spaces.weaved_unet import WeavedUnetSpace
from archimed.task import ImagingTask

TASK = ImagingTask("segmentation", ("background", "organ"), 3, (33, 26))
SMALL = WeavedUnetSpace(width=4, num_nodes=2)
KINDS = ("down", "normal", "up")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def uniform(space: WeavedUnetSpace) -> dict[str, torch.Tensor]:
    return {c.name: torch.full((len(c.options),), 1 / len(c.options)) for c in space.mixed_choices}


def edges(space: WeavedUnetSpace, kind: str) -> dict[str, tuple[str, ...]]:
    return {c.name: c.options for c in space.mixed_choices if c.name.startswith(f"{kind}.")}


@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_has_fourteen_edges_ten_of_which_keep_the_size(kind: str) -> None:
    """2 M + M (M - 1) / 2 of M = 4 nodes (Sec. III-C)."""
    space = WeavedUnetSpace()
    options = edges(space, kind)
    assert len(options) == 2 * 4 + comb(4, 2) == 14
    keeping = [names for name, names in options.items() if kind == "normal" or not name.endswith("input2")]
    assert set(keeping) == {space.normal_options}
    assert len(keeping) == (14 if kind == "normal" else 10)


def test_options_are_those_of_tables_one_and_two() -> None:
    """Six, six and four operations; the count 7 ** 10 of the paper takes `none` as a seventh that keeps the size."""
    space = WeavedUnetSpace()
    down = {"average_pool", "max_pool", "conv", "atrous_conv", "separable_conv", "attention_conv"}
    kept = {"identity", "attention_identity", "conv", "atrous_conv", "separable_conv", "shuffle_conv"}
    up = {"transposed_conv", "atrous_transposed_conv", "separable_transposed_conv", "attention_transposed_conv"}
    assert (set(space.down_options), set(space.normal_options), set(space.up_options)) == (down, {"zero"} | kept, up)
    assert set(edges(space, "down")["down.node3.input2"]) == down
    assert set(edges(space, "up")["up.node1.input2"]) == up


@pytest.mark.parametrize(("depth", "layers", "exits"), [(5, 8, (5, 7)), (6, 10, (5, 7, 9)), (3, 4, (3,))])
def test_maps_stand_on_the_even_lattice_and_reach_the_last_output(
    depth: int, layers: int, exits: tuple[int, ...]
) -> None:
    lattice = WeavedUnetSpace(depth=depth, layers=layers).lattice
    assert lattice.exits == tuple(Place(1, layer) for layer in exits)
    for (row, layer), kinds in lattice.cells.items():
        assert (row + layer) % 2 == 0
        assert 1 <= row < depth
        assert row <= layer < layers
        assert layer + row - 1 <= exits[-1]
        reads = {"down": (0, 2, -1, 1), "normal": (0, 4, 0, 2), "up": (0, 2, 1, 1)}  # Eq. 7, as distances
        for kind, inputs in kinds.items():
            _, same, down, back = reads[kind]
            assert inputs.resampled == (row + down, layer - back)
            assert inputs.level in (None, (row, layer - same))
            known = {Place(1, 1), *lattice.cells}
            assert (inputs.level is None) == (Place(row, layer - same) not in known)


def test_the_places_of_the_first_stage_are_those_of_the_paper() -> None:
    """Counted from Fig. 2 without the rows and columns that the first stage does not have."""
    cells = WeavedUnetSpace().lattice.cells
    assert {tuple(place): "".join(kind[0] for kind in kinds) for place, kinds in cells.items()} == {
        (2, 2): "d", (1, 3): "nu", (3, 3): "d", (2, 4): "dnu", (4, 4): "d", (1, 5): "nu", (3, 5): "dnu",
        (2, 6): "dnu", (1, 7): "nu",
    }  # fmt: skip
    assert cells[Place(1, 3)] == {
        "normal": Inputs(None, Place(1, 1)),
        "up": Inputs(Place(1, 1), Place(2, 2)),
    }


def test_the_plain_layout_is_a_u() -> None:
    cells = WeavedUnetSpace(depth=4, layout="plain").lattice.cells
    assert cells == {
        Place(2, 2): {"down": Inputs(None, Place(1, 1))},
        Place(3, 3): {"down": Inputs(None, Place(2, 2))},
        Place(2, 4): {"up": Inputs(Place(2, 2), Place(3, 3))},
        Place(1, 5): {"up": Inputs(Place(1, 1), Place(2, 4))},
    }
    assert not [c for c in WeavedUnetSpace(layout="plain").choices if c.name.startswith(("type", "normal"))]


def test_parameters_do_not_depend_on_how_the_mixture_begins() -> None:
    counts = set()
    for seed in range(3):
        with torch_seed(seed):
            counts.add(sum(weight.numel() for weight in SMALL.supernet(TASK).parameters()))
    assert len(counts) == 1
    genotypes = {SMALL.derive({k: v + 1e-3 * torch.randn(len(v)) for k, v in uniform(SMALL).items()}) for _ in range(3)}
    for genotype in genotypes:
        built = {sum(w.numel() for w in SMALL.build(genotype, TASK).parameters()) for _ in range(2)}
        assert len(built) == 1


@pytest.mark.parametrize(("channels", "groups"), [(16, 1), (32, 2), (128, 8), (8, 1), (24, 2), (40, 4), (34, 17)])
def test_group_normalisation_takes_sixteen_channels_at_most(channels: int, groups: int) -> None:
    norm = GroupNorm(channels, 16)
    assert norm.num_groups == groups
    assert channels // groups <= 16


@pytest.mark.parametrize("size", [1, 16])
def test_every_normalisation_is_of_groups_of_one_size(size: int) -> None:
    space = WeavedUnetSpace(group_size=size)
    genotype = random_genotype(space.choices, numpy_generator(0))
    for network in (space.build(genotype, TASK), space.supernet(TASK)):
        norms: list[Any] = [layer for layer in network.modules() if "Norm" in type(layer).__name__]
        assert norms
        for norm in norms:
            assert norm.num_groups == norm.num_channels // size


def test_shuffling_mixes_the_groups() -> None:
    """The released code calls its convolution shuffled and has one group: nothing is shuffled there."""
    (operation,) = (o for o in TABLES["normal"] if o.name == "shuffle_conv")
    layers: Any = operation.build(8, 2)
    grouped, shuffle = layers[1:3]
    assert (grouped.groups, shuffle.groups) == (4, 4)
    order = shuffle(torch.arange(8.0).view(1, 8, 1, 1)).flatten().tolist()
    assert order == [0, 2, 4, 6, 1, 3, 5, 7]
    assert nn.ChannelShuffle(4)(torch.arange(8.0).view(1, 8, 1, 1)).flatten().tolist() == order


def test_exits_are_the_outputs_in_order_and_the_last_is_the_answer() -> None:
    space = replace(SMALL, depth=6, layers=10, width=2)
    with torch_seed(1):
        network = space.build(random_genotype(space.choices, numpy_generator(1)), TASK)
    images = torch.randn(2, 3, 33, 26)
    several = network.train()(images)
    assert [tuple(logits.shape) for logits in several] == [(2, 2, 33, 26)] * 3
    for one, other in zip(several, network.exits(images), strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(network.eval()(images), several[-1])


@pytest.mark.parametrize("sides", [(9, 12), (6, 7, 8)])
def test_heads_enlarge_half_the_size_and_with_details_see_single_pixels(sides: tuple[int, ...]) -> None:
    dims = len(sides)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 8, *(-(-side // 2) for side in sides), generator=generator)
    details = torch.randn(2, 4, *sides, generator=generator)
    mode = "bilinear" if dims == 2 else "trilinear"
    plain, detailed = PlainHead(8, 3, dims), DetailedHead(8, 3, dims)
    assert detailed.logits.in_channels == 4 * 3  # for each class
    with torch.no_grad():
        enlarged = functional.interpolate(plain.logits(features), sides, mode=mode, align_corners=False)
        torch.testing.assert_close(plain(features, details), enlarged)
        joined = functional.interpolate(detailed.bring(features), sides, mode=mode, align_corners=False) + details
        once = detailed.join[2](detailed.join[1](joined.relu()))
        reread = functional.relu(detailed.join[5](detailed.join[4](once.relu())))
        torch.testing.assert_close(detailed(features, details), detailed.logits(reread))
        details[:, :, 3] += 1  # one row of pixels
        assert torch.equal(plain(features, details), enlarged)
        assert not torch.allclose(detailed(features, details)[:, :, 3], detailed.logits(reread)[:, :, 3])


def test_an_early_exit_is_the_same_network_cut() -> None:
    whole, cut = replace(SMALL, width=2), replace(SMALL, width=2, exit=5)
    mixture = uniform(whole)
    network = whole.build(whole.derive(mixture), TASK)
    part = cut.build(cut.derive({c.name: mixture[c.name] for c in cut.mixed_choices}), TASK)
    assert part.state_dict().keys() < network.state_dict().keys()
    part.load_state_dict({name: network.state_dict()[name] for name in part.state_dict()})
    images = torch.randn(1, 3, 33, 26)
    torch.testing.assert_close(part.eval()(images), network.exits(images)[0])


def test_places_keep_the_kinds_that_weigh_enough_and_what_reaches_no_output_is_not_built() -> None:
    space = replace(SMALL, depth=4, layers=6, keep=0.6)
    mixture = uniform(space)
    mixture["type.d2.l4"] = torch.tensor([0.5, 0.31, 0.19])
    assert describe(space.derive(mixture), space.choices)["type.d2.l4"] == "down+normal"
    mixture["type.d1.l3"] = torch.tensor([0.9, 0.1])
    mixture["type.d1.l5"] = torch.tensor([0.9, 0.1])
    genotype = space.derive(mixture)
    paths = space.paths(genotype, mixture)
    assert [(path.place, path.kind, round(path.weight, 3)) for path in paths] == [
        (Place(1, 3), "normal", 0.9),
        (Place(1, 5), "normal", 0.9),
    ]
    network = space.build(genotype, TASK)
    assert sorted(network.cells) == ["d1l3", "d1l5"]
    assert [path.weight for path in space.paths(genotype)] == [1.0, 1.0]
    other = list(genotype)
    other[[c.name for c in space.choices].index("type.d2.l4")] = 3
    assert space.canonical(tuple(other)) == space.canonical(genotype)


def test_genes_of_edges_that_are_not_read_do_not_matter() -> None:
    names = [choice.name for choice in SMALL.choices]
    genotype = list(random_genotype(SMALL.choices, numpy_generator(3)))
    genotype[names.index("up.node2.inputs")] = SMALL.choices[names.index("up.node2.inputs")].options.index(
        "input1+input2"
    )
    other = genotype.copy()
    other[names.index("up.node2.node1")] = (genotype[names.index("up.node2.node1")] + 1) % 6
    assert SMALL.canonical(tuple(other)) == SMALL.canonical(tuple(genotype))
    assert SMALL.canonical(tuple(genotype)) == SMALL.canonical(SMALL.canonical(tuple(genotype)))


def test_pruning_keeps_the_stronger_half_of_each_table() -> None:
    """By hand: the mean weight of each option over the edges of all cells that its table serves."""
    space = replace(SMALL, depth=4, layers=6)
    generator = torch.Generator().manual_seed(0)
    mixture = {c.name: torch.rand(len(c.options), generator=generator).softmax(0) for c in space.mixed_choices}
    pruned = space.deepened(mixture, 6, 10)
    assert (pruned.depth, pruned.layers) == (6, 10)
    for kind, options, kept in (
        ("down", space.down_options, pruned.down_options),
        ("up", space.up_options, pruned.up_options),
    ):
        rows = torch.stack([w for name, w in mixture.items() if name.startswith(kind) and name.endswith("input2")])
        best = rows.mean(0).topk(len(options) // 2).indices
        assert set(kept) == {options[k] for k in best}
    rows = torch.stack([w for w in mixture.values() if len(w) == 7])
    assert set(pruned.normal_options) == {space.normal_options[k] for k in rows.mean(0).topk(4).indices}
    assert (
        space_from_settings("weaved_unet", {k: v for k, v in space_settings(pruned).items() if k != "name"}) == pruned
    )


def test_each_data_set_has_a_head_of_its_own() -> None:
    other = replace(TASK, class_names=("background", "a", "b", "c"), image_size=(20, 20))
    supernet = SMALL.supernet(TASK, tasks=(other,)).eval()
    mixture = uniform(SMALL)
    assert supernet(torch.randn(1, 3, 33, 26), mixture).shape == (1, 2, 33, 26)
    assert supernet(torch.randn(1, 3, 20, 20), mixture, 1).shape == (1, 4, 20, 20)
    with pytest.raises(SettingsError, match="one form"):
        SMALL.supernet(TASK, tasks=(replace(TASK, channels=1),))


def test_places_that_weigh_nothing_are_not_computed() -> None:
    supernet = SMALL.supernet(TASK)
    mixture = uniform(SMALL)
    mixture["type.d1.l7"] = torch.tensor([1.0, 0.0])
    seen: list[str] = []
    for name, module in supernet.cells.named_modules():
        if name.count(".") == 1:
            module.register_forward_hook(lambda _module, _inputs, _output, name=name: seen.append(name))
    supernet(torch.randn(1, 3, 33, 26), mixture)
    assert "d1l7.normal" in seen
    assert not {"d1l7.up", "d2l6.down", "d2l6.normal", "d2l6.up"} & set(seen)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depth": 6}, "needs 10 layers"),
        ({"normal_options": ("zero",)}, "more than zero"),
        ({"up_options": ("transposed_conv", "transposed_conv")}, "all different"),
        ({"down_options": ("pool",)}, "pool"),
        ({"width": 5}, "multiple of 2"),
    ],
)
def test_settings_that_make_no_weave_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        space_from_settings("weaved_unet", settings)


def test_other_misuse_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"here 5, 7; got 6"):
        WeavedUnetSpace(exit=6).choices  # noqa: B018
    with pytest.raises(SettingsError, match="all channels"):
        SMALL.supernet(TASK, channel_share=2)
    with pytest.raises(GenotypeError, match="weights of shape"):
        SMALL.supernet(TASK)(torch.randn(1, 3, 9, 9), {c.name: torch.ones(9) for c in SMALL.mixed_choices})
