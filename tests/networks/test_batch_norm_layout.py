"""Gradients of batch normalisations: PyTorch's own values, in the memory layout that its kernel is quick in."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from archimed.networks.layers import InstanceNorm, batch_norm

LAYOUTS = {2: torch.channels_last, 3: torch.channels_last_3d}


class LayoutsSeen(TorchDispatchMode):
    """Whether gradient and features lay alike, at every backward pass of a batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.alike: list[bool] = []

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping | None = None
    ) -> Any:
        if "native_batch_norm_backward" in str(func):
            self.alike.append(args[0].stride() == args[1].stride())
        return func(*args, **(kwargs or {}))


def images_of(dims: int, *, innermost: bool) -> Tensor:
    images = torch.randn(2, 6, *(5,) * dims, generator=torch.Generator().manual_seed(0))
    return images.contiguous(memory_format=LAYOUTS[dims]) if innermost else images


def gradients(norms: Sequence[nn.Module], images: Tensor) -> tuple[list[Tensor], LayoutsSeen]:
    """Of what is concatenated, pooled and weighed, by the images and all scales and shifts."""
    images = images.clone().requires_grad_()
    weights = [weight for norm in norms for weight in norm.parameters()]
    with LayoutsSeen() as seen:
        together = torch.cat([norm(images) for norm in norms], dim=1)
        loss = together.square().mean((0, *range(2, images.dim()))) @ torch.arange(1.0, together.shape[1] + 1)
        found = torch.autograd.grad(loss + together[..., 0].sin().sum(), [images, *weights])
    return list(found), seen


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("innermost", [True, False])
def test_gradients_are_pytorchs_and_lie_as_the_features_do(dims: int, innermost: bool) -> None:
    images = images_of(dims, innermost=innermost)
    plain = [(nn.BatchNorm2d if dims == 2 else nn.BatchNorm3d)(6) for _ in range(2)]
    expected, before = gradients(plain, images)
    found, seen = gradients([batch_norm(6, dims) for _ in range(2)], images)
    torch.testing.assert_close(found, expected)
    if innermost:
        assert not any(before.alike), "PyTorch lays the gradients itself now: `laid_out_back` is not needed any more"
        assert seen.alike == [True, True]


def test_instance_norm_lays_out_its_gradients_too() -> None:
    _, seen = gradients([InstanceNorm(6), InstanceNorm(6)], images_of(2, innermost=True))
    assert seen.alike == [True] * 4  # two images each


def test_nothing_is_asked_of_an_evaluation() -> None:
    with torch.no_grad():
        output = batch_norm(6, 2)(images_of(2, innermost=True))
    assert output._backward_hooks is None


def test_second_derivatives_pass() -> None:
    norm, images = batch_norm(3, 2).double(), torch.randn(2, 3, 4, 4, dtype=torch.float64)
    images = images.contiguous(memory_format=torch.channels_last).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda images: torch.cat([norm(images), images], dim=1).sin(), images)
