import pytest
import torch
from torch import nn

from archimed.spaces.fixed import ResNet
from archimed.task import ImagingTask


@pytest.mark.parametrize(("depth", "expected"), [(18, 11_173_962), (50, 23_520_842)])
def test_small_image_resnets_have_the_known_parameters(depth: int, expected: int) -> None:
    """The widely published counts of CIFAR-style ResNets, whose stem MedMNIST's baselines share (RGB, ten classes)."""
    task = ImagingTask("multi-class", tuple("abcdefghij"), channels=3, image_size=(28, 28))
    network = ResNet(depth=depth).build((), task)  # type: ignore[arg-type]
    assert sum(weight.numel() for weight in network.parameters()) == expected


def test_large_image_resnet18_has_the_parameters_of_imagenet() -> None:
    task = ImagingTask("multi-class", tuple(map(str, range(1000))), channels=3, image_size=(224, 224))
    network = ResNet(depth=18).build((), task)
    assert sum(weight.numel() for weight in network.parameters()) == 11_689_512


@pytest.mark.parametrize(
    ("image_size", "stem", "expected"),
    [((28, 28), "auto", (28, 28)), ((63, 90), "auto", (63, 90)), ((64, 64), "auto", (16, 16)),
     ((28, 28), "large", (7, 7)), ((64, 64), "small", (64, 64)), ((8, 9, 10), "auto", (8, 9, 10)),
     ((15, 16, 17), "auto", (15, 16, 17)), ((16, 16, 16), "auto", (8, 8, 8)), ((24, 24, 24), "auto", (12, 12, 12)),
     ((16, 16, 16), "small", (16, 16, 16)), ((64, 64, 64), "auto", (16, 16, 16)), ((28, 28), "pooled", (14, 14))],
)  # fmt: skip
def test_stem_follows_the_size_of_the_images(image_size: tuple[int, ...], stem: str, expected: tuple[int, ...]) -> None:
    task = ImagingTask("binary", ("healthy", "ill"), channels=1, image_size=image_size)
    network = ResNet(stem=stem).build((), task).eval()  # type: ignore[arg-type]
    seen: list[tuple[int, ...]] = []
    first = network.layer1
    assert isinstance(first, nn.Module)
    first.register_forward_pre_hook(lambda _layer, inputs: seen.append(tuple(inputs[0].shape[2:])))
    with torch.no_grad():
        network(torch.zeros(1, 1, *image_size))
    assert seen == [expected]


def test_the_pooled_stem_has_the_weights_of_the_small_one() -> None:
    task = ImagingTask("binary", ("healthy", "ill"), channels=2, image_size=(16, 16, 16))
    shapes = [
        {name: tuple(value.shape) for name, value in ResNet(stem=stem).build((), task).state_dict().items()}  # type: ignore[arg-type]
        for stem in ("small", "pooled", "auto")
    ]
    assert shapes[0] == shapes[1] == shapes[2]
