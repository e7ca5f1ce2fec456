"""Members: the mean of probabilities, and each trained as if alone."""

import copy
import gc
import weakref

import pytest
import torch
from torch import nn

from archimed.networks.members import Members
from archimed.training.machine import Machine
from archimed.training.recipe import Recipe
from archimed.training.steps import make_optimizer, training_step


def small_network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.fixture
def networks() -> list[nn.Module]:
    torch.manual_seed(0)
    return [small_network() for _ in range(4)]


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(5, 3, 2, 2, generator=torch.Generator().manual_seed(1))


def test_the_answer_is_the_mean_of_class_probabilities(networks: list[nn.Module], images: torch.Tensor) -> None:
    members = Members(networks, each_output_alone=False).eval()
    wanted = torch.stack([network(images).softmax(1) for network in networks]).mean(0)
    torch.testing.assert_close(members(images).softmax(1), wanted)


def test_the_answer_is_the_mean_of_label_probabilities(networks: list[nn.Module], images: torch.Tensor) -> None:
    members = Members(networks, each_output_alone=True).eval()
    wanted = torch.stack([network(images).sigmoid() for network in networks]).mean(0)
    torch.testing.assert_close(members(images).sigmoid(), wanted)


def test_each_member_is_trained_as_if_it_were_alone(networks: list[nn.Module], images: torch.Tensor) -> None:
    alone = copy.deepcopy(networks)
    members = Members(networks, each_output_alone=False).train()
    target, recipe, machine = torch.tensor([0, 1, 2, 0, 1]), Recipe(weight_decay=0.1), Machine(threads=1)
    together = make_optimizer(members, recipe)
    apart = [make_optimizer(network, recipe) for network in alone]
    for _ in range(3):
        loss = training_step(members, together, images=images, target=target, weights=None, machine=machine)
        losses = [
            training_step(network, optimizer, images=images, target=target, weights=None, machine=machine)
            for network, optimizer in zip(alone, apart, strict=True)
        ]
        torch.testing.assert_close(loss, torch.stack(losses).mean())
    for member, single in zip(networks, alone, strict=True):
        for mine, its in zip(member.parameters(), single.parameters(), strict=True):
            torch.testing.assert_close(mine, its)


def test_what_a_step_computed_is_freed_with_it(networks: list[nn.Module], images: torch.Tensor) -> None:
    gc.disable()
    try:
        outputs = Members(networks, each_output_alone=False).train()(images)
        assert isinstance(outputs, tuple)
        graph = weakref.ref(outputs[0])
        torch.stack(outputs).mean().backward()
        del outputs
        assert graph() is None
    finally:
        gc.enable()
