"""Maps of classes: exact ones add up to the logit, Grad-CAM agrees with them, and every network of ours has some."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from archimed.errors import SettingsError
from archimed.explain.cam import class_maps
from archimed.genotype import random_genotype
from archimed.methods.baselines import fixed_networks
from archimed.networks.members import Members
from archimed.seeding import torch_seed
from archimed.spaces import SPACES
from archimed.spaces.mbconv_stages import MbconvStagesSpace
from archimed.task import ImagingTask

FLAT = ImagingTask("multi-class", ("a", "b", "c"), 1, (32, 24))
DEEP = ImagingTask("binary", ("a", "b"), 2, (16, 24, 24), ("PET", "CT"))
REGION = ImagingTask("binary", ("a", "b"), 3, (16, 24, 24), ("PET", "CT", "region"))
SMALL = MbconvStagesSpace(blocks=(1, 1), widths=(8, 12), stem_width=8, head_width=16)


def images(task: ImagingTask, number: int = 1) -> Tensor:
    drawn = torch.randn(number, task.channels, *task.image_size, generator=torch.Generator().manual_seed(0))
    if task.has_region:
        drawn[:, -1] = (drawn[:, -1] > 1).float()
    return drawn


def trained(network: nn.Module) -> nn.Module:
    """With weights and statistics that are not those of the beginning, in eval mode."""
    generator = torch.Generator().manual_seed(1)
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.is_floating_point():
            tensor.data += 0.05 * torch.rand(tensor.shape, generator=generator)
    return network.eval()


def small(task: ImagingTask) -> nn.Module:
    with torch_seed(0, "weights"):
        return trained(SMALL.build((0, 3), task))


@pytest.mark.parametrize("task", [FLAT, DEEP])
def test_an_exact_map_and_the_bias_add_up_to_the_logit(task: ImagingTask) -> None:
    network, image = small(task), images(task)
    outputs = range(task.num_outputs)
    found = class_maps(network, image, outputs)
    logits = network(image)[0]
    for output, one in zip(outputs, found, strict=True):
        assert one.kind == "cam"
        assert one.logit == pytest.approx(float(logits[output].detach()), abs=1e-5)
        assert one.elsewhere == pytest.approx(float(network.head.linear.bias[output].detach()), abs=1e-5)


def test_an_exact_map_is_the_channels_weighed_by_the_linear_layer() -> None:
    # two channels, told apart by place: one sees the left half, the other the right half
    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.linear = nn.Conv2d(1, 2, 1, bias=False), nn.Linear(2, 1)
            nn.init.constant_(self.last.weight, 1.0)
            self.linear.weight.data = torch.tensor([[2.0, -1.0]])

        def forward(self, image: Tensor) -> Tensor:
            return self.linear(self.last(image).mean((2, 3)))

        def cam_parts(self) -> tuple[nn.Module, nn.Linear]:
            return self.last, self.linear

    image = torch.arange(12.0).view(1, 1, 3, 4)
    (found,) = class_maps(Halves(), image, [0])
    assert torch.allclose(found.evidence[0].cells, image[0, 0])  # 2 v - 1 v
    assert torch.allclose(found.on_image((3, 4)), image[0, 0])
    assert found.on_image((6, 8)).shape == (6, 8)


@pytest.mark.parametrize("task", [FLAT, DEEP])
def test_grad_cam_is_the_exact_map_where_both_exist(task: ImagingTask) -> None:
    network, image = small(task), images(task)
    outputs = range(task.num_outputs)
    pairs = zip(class_maps(network, image, outputs), class_maps(network, image, outputs, exact=False), strict=True)
    for exact, other in pairs:
        assert other.kind == "grad-cam"
        assert torch.allclose(exact.evidence[0].cells, other.evidence[0].cells, atol=1e-5)


@pytest.mark.parametrize("task", [FLAT, DEEP, REGION])
def test_every_fixed_network_has_maps(task: ImagingTask) -> None:
    for name, space in fixed_networks(task).items():
        if name in {"resnet50", "resnet101", "densenet121", "radiomics"}:
            continue
        with torch_seed(0, name):
            network = space.build((), task).eval()
        for one in class_maps(network, images(task), [0, 1]):
            heat = one.on_image(task.image_size)
            assert heat.shape == task.image_size
            assert torch.isfinite(heat).all()
            assert heat.abs().sum() > 0
            assert (one.slice is not None) == name.endswith("-slice")


@pytest.mark.parametrize("name", ["multiscale_cell", "darts_cell", "fusion_cell", "nsganet_cell", "mbconv_stages"])
@pytest.mark.parametrize("task", [FLAT, REGION])
def test_every_network_of_a_search_has_maps(name: str, task: ImagingTask) -> None:
    space = SPACES[name]()
    with torch_seed(0, name):
        network = space.build(random_genotype(space.choices, np.random.default_rng(0)), task).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    (found,) = class_maps(network, images(task), [1])
    assert found.on_image(task.image_size).shape == task.image_size
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())
    assert all(weight.grad is None for weight in network.parameters())


def test_a_fusing_network_has_the_maps_of_its_modalities_too() -> None:
    space = SPACES["fusion_cell"]()
    with torch_seed(0, "fusion"):
        network = space.build(random_genotype(space.choices, np.random.default_rng(0)), REGION).eval()
    (found,) = class_maps(network, images(REGION), [1])
    assert {"stems.0.0", "stems.1.0", "convolutions"} <= {one.module for one in found.evidence}


def test_encoders_side_by_side_all_count() -> None:
    with torch_seed(0, "late"):
        network = fixed_networks(DEEP)["late-fusion"].build((), DEEP).eval()
    (found,) = class_maps(network, images(DEEP), [1])
    assert {one.module.split(".")[1] for one in found.evidence} == {"0", "1"}


def test_members_are_explained_by_the_mean_of_their_maps() -> None:
    members = [small(FLAT), trained(small(FLAT))]
    (found,) = class_maps(Members(members, each_output_alone=False).eval(), images(FLAT), [2])
    alone = [class_maps(member, images(FLAT), [2])[0] for member in members]
    expected = (alone[0].on_image((32, 24)) + alone[1].on_image((32, 24))) / 2
    assert torch.allclose(found.on_image((32, 24)), expected, atol=1e-6)
    assert found.logit == pytest.approx((alone[0].logit + alone[1].logit) / 2)


def test_a_slice_is_explained_where_it_lies() -> None:
    network = fixed_networks(DEEP)["central-slice"].build((), DEEP).eval()
    (found,) = class_maps(network, images(DEEP), [1])
    heat = found.on_image(DEEP.image_size)
    assert found.slice == 8
    assert [at for at in range(16) if heat[at].abs().sum() > 0] == [8]


def test_what_reads_numbers_has_no_maps() -> None:
    network = fixed_networks(DEEP)["radiomics"].build((), DEEP).eval()
    with pytest.raises(SettingsError, match=r"A map shows .* fitted to numbers .* --network"):
        class_maps(network, images(DEEP), [0])
    with pytest.raises(SettingsError, match="has no map of several cells"):
        class_maps(nn.Sequential(nn.Flatten(), nn.Linear(32 * 24, 2)), images(FLAT), [0])
