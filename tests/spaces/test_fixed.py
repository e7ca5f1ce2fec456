import pytest
import torch
from torch import nn

from archimed.errors import SettingsError
from archimed.spaces.fixed import DenseNet, Mc3, ResNet
from archimed.spaces.protocol import SearchSpace
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


@pytest.mark.parametrize(
    ("space", "megabytes", "expected"),
    [
        (ResNet(depth=101), 325.21, 85_251_267),
        (DenseNet(), 43.07, 11_289_603),
        (Mc3(), 43.84, 11_491_779),
    ],
    ids=["ResNet3D-101", "DenseNet3D-121", "MC3-18"],
)
def test_the_networks_that_emars_is_compared_with_have_its_sizes(
    space: SearchSpace, megabytes: float, expected: int
) -> None:
    """Table IV of the paper, whose volumes have three channels and three classes; 43.06 there is cut, not rounded."""
    task = ImagingTask("multi-class", ("a", "b", "c"), channels=3, image_size=(64, 64, 64))
    count = sum(weight.numel() for weight in space.build((), task).parameters())
    assert count == expected
    assert round(count * 4 / 2**20, 2) == megabytes


def test_densenet_of_small_images_is_that_of_large_ones_but_for_the_stem() -> None:
    """The published count for ImageNet, less the stem's smaller kernel."""
    sizes = [(224, 224), (28, 28)]
    tasks = [ImagingTask("multi-class", tuple(map(str, range(1000))), channels=3, image_size=size) for size in sizes]
    counts = [sum(weight.numel() for weight in DenseNet().build((), task).parameters()) for task in tasks]
    assert counts == [7_978_856, 7_978_856 - 64 * 3 * (7 * 7 - 3 * 3)]


@pytest.mark.parametrize("size", [(5, 5), (24, 25), (9, 12, 7), (24, 24, 24)])
def test_densenet_takes_images_of_any_size(size: tuple[int, ...]) -> None:
    network = DenseNet().build((), ImagingTask("binary", ("a", "b"), channels=1, image_size=size)).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 1, *size)).shape == (1, 2)


def test_mc3_convolves_along_the_depth_in_its_stem_and_first_layer_alone() -> None:
    task = ImagingTask("binary", ("a", "b"), channels=1, image_size=(5, 24, 17))
    network = Mc3().build((), task).eval()
    deep = [name for name, weight in network.named_parameters() if weight.ndim == 5 and weight.shape[2] > 1]
    assert [name.split(".")[:2] for name in deep] == [["stem", "0"], *[["layers", "0"]] * 4]
    sizes = []
    for layer in (network.stem, *network.layers):  # type: ignore[misc]
        layer.register_forward_hook(lambda _layer, _inputs, result: sizes.append(tuple(result.shape[1:])))
    with torch.no_grad():
        network(torch.zeros(1, 1, 5, 24, 17))
    assert sizes == [(64, 5, 12, 9), (64, 5, 12, 9), (128, 5, 6, 5), (256, 5, 3, 3), (512, 5, 2, 2)]


def test_mc3_is_for_volumes() -> None:
    with pytest.raises(SettingsError, match="volumes of 3 axes; the images have 2"):
        Mc3().build((), ImagingTask("binary", ("a", "b"), channels=1, image_size=(24, 24)))
