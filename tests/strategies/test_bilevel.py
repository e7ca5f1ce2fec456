"""The two steps of a bilevel search against plain autograd, and what is told of a mixture."""

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.func import functional_call

from archimed.batch import Batch, target_loss
from archimed.genotype import Choice
from archimed.spaces.darts_cell import DartsCellSpace
from archimed.spaces.fusion_cell import FusionCellSpace
from archimed.spaces.protocol import RelaxableSpace
from archimed.strategies.bilevel import Learner, learning_rate_at, weight_step
from archimed.strategies.gradient import GradientSettings, first_order, second_order
from archimed.strategies.mixtures import ALPHA_SPREAD, count_skips, draw_alpha, entropy_of, mixture_of, share_of
from archimed.task import ImagingTask
from tests.methods.toy_supernet import ToySpace

FLAT = ImagingTask("binary", ("no", "yes"), 2, (8, 8))
SOLID = ImagingTask("binary", ("no", "yes"), 2, (4, 4, 4))
DARTS = DartsCellSpace(num_cells=3, num_nodes=1, width=4, stem_stride=1)
FUSION = FusionCellSpace(num_nodes=1, num_reduction=1, width=4, head=4, stem_stride=1)
NETWORKS = [(ToySpace(), FLAT), (DARTS, FLAT), (FUSION, FLAT), (FUSION, SOLID)]


def made(space: RelaxableSpace, task: ImagingTask, **named: Any) -> tuple[nn.Module, dict[str, Tensor], list[Batch]]:
    """A supernet and alpha in float64, alpha well spread, and a batch for the weights and one for alpha."""
    torch.manual_seed(0)
    supernet = space.supernet(task, **named).double().train()
    alpha = draw_alpha(space.mixed_choices, torch.Generator().manual_seed(1))
    alpha = {name: (500 * numbers.detach().double()).requires_grad_() for name, numbers in alpha.items()}
    images = torch.randn(2, 4, task.channels, *task.image_size, dtype=torch.float64)
    return supernet, alpha, [Batch(half, torch.tensor([0, 1, 1, 0])) for half in images]


def loss_at(supernet: nn.Module, batch: Batch, mixture: Any, weights: Any = None) -> Tensor:
    parameters = {} if weights is None else weights
    return target_loss(functional_call(supernet, parameters, (batch.images, mixture)), batch.target)


def batch_loss(supernet: nn.Module, batch: Batch, mixture: Any) -> Tensor:
    return target_loss(supernet(batch.images, mixture), batch.target)


def close(found: list[Tensor], expected: list[Tensor], tolerance: float = 1e-9) -> None:
    scale = max(float(one.abs().max()) for one in expected)
    assert scale > 0
    for one, other in zip(found, expected, strict=True):
        assert float((one - other).abs().max()) <= tolerance * scale


@pytest.mark.parametrize(("space", "task"), NETWORKS, ids=["toy", "darts", "fusion", "fusion 3D"])
@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
def test_the_first_order_gradient_is_that_of_autograd_and_the_weights_get_none(
    space: RelaxableSpace, task: ImagingTask, recompute: bool
) -> None:
    supernet, alpha, (_, batch) = made(space, task, recompute=recompute)
    plain, numbers, _ = made(space, task)
    expected = torch.autograd.grad(loss_at(plain, batch, mixture_of(numbers)), list(numbers.values()))
    learning: list[bool] = []

    def loss(mixture: Any) -> Tensor:
        learning.extend(weight.requires_grad for weight in supernet.parameters())
        return target_loss(supernet(batch.images, mixture), batch.target)

    value, found = first_order(supernet, alpha, loss)
    close(found, list(expected))
    assert float(value) == pytest.approx(float(loss_at(plain, batch, mixture_of(numbers)).detach()))
    assert learning
    assert not any(learning)  # so the backward pass computes nothing for them
    assert all(weight.requires_grad and weight.grad is None for weight in supernet.parameters())
    assert supernet.training


@pytest.mark.parametrize(("space", "task"), NETWORKS, ids=["toy", "darts", "fusion", "fusion 3D"])
@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
def test_the_second_order_gradient_is_that_of_autograd_through_the_step(
    space: RelaxableSpace, task: ImagingTask, recompute: bool
) -> None:
    rate, momentum, decay = 0.3, 0.9, 0.01
    supernet, alpha, (weight_batch, batch) = made(space, task, recompute=recompute)
    optimizer = torch.optim.SGD(supernet.parameters(), lr=rate, momentum=momentum, weight_decay=decay)
    averages = {}
    for name, weight in supernet.named_parameters():
        averages[name] = torch.randn_like(weight) * 0.1
        optimizer.state[weight]["momentum_buffer"] = averages[name].clone()
    plain, numbers, _ = made(space, task)
    weights = dict(plain.named_parameters())
    mixture = mixture_of(numbers)
    slopes = torch.autograd.grad(loss_at(plain, weight_batch, mixture), list(weights.values()), create_graph=True)
    ahead = {
        name: weight - rate * (momentum * averages[name] + slope + decay * weight)
        for (name, weight), slope in zip(weights.items(), slopes, strict=True)
    }
    expected = torch.autograd.grad(loss_at(plain, batch, mixture, ahead), list(numbers.values()))
    direct = torch.autograd.grad(loss_at(plain, batch, mixture_of(numbers)), list(numbers.values()))
    before = [weight.detach().clone() for weight in supernet.parameters()]
    _, found = second_order(
        supernet,
        alpha,
        lambda mixture: target_loss(supernet(batch.images, mixture), batch.target),
        lambda mixture: target_loss(supernet(weight_batch.images, mixture), weight_batch.target),
        optimizer,
    )
    close(found, list(expected), 1e-7)
    assert any(float((one - other).abs().max()) > 1e-3 for one, other in zip(direct, expected, strict=True))
    for weight, was in zip(supernet.parameters(), before, strict=True):
        assert torch.equal(weight, was)


def test_gradients_do_not_depend_on_the_order_of_memory() -> None:
    """PyTorch's batch norm takes the gradient of a channels-last image by a scale without strides wrongly."""
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        supernet, alpha, (batch, _) = made(DARTS, FLAT)
        images = batch.images.contiguous(memory_format=layout)
        loss = target_loss(supernet.to(memory_format=layout)(images, mixture_of(alpha)), batch.target)
        weights = [one for _, one in sorted(supernet.named_parameters(), key=lambda pair: pair[0])]
        found.append(torch.autograd.grad(loss, [*alpha.values(), *weights], materialize_grads=True))
    close(list(found[1]), list(found[0]))


def test_a_weight_step_is_one_of_sgd_and_leaves_alpha_alone() -> None:
    supernet, alpha, (batch, _) = made(ToySpace(), FLAT)
    other, numbers, _ = made(ToySpace(), FLAT)
    settings = GradientSettings(learning_rate=0.5, clip=0.01)
    learner = Learner.of(supernet, settings.architecture_step(alpha, FLAT, 0), settings, batch_loss)
    value = learner.learn_weights(batch)
    loss = loss_at(other, batch, {name: one.detach() for name, one in mixture_of(numbers).items()})
    loss.backward()
    norm = math.sqrt(sum(float(weight.grad.square().sum()) for weight in other.parameters()))  # type: ignore[union-attr]
    assert norm > 0.01
    for mine, plain in zip(supernet.parameters(), other.parameters(), strict=True):
        step = plain.grad * 0.01 / (norm + 1e-6) + 3e-4 * plain  # type: ignore[operator]
        torch.testing.assert_close(mine, plain - 0.5 * step)
    assert float(value) == pytest.approx(float(loss.detach()))
    assert all(one.grad is None for one in alpha.values())
    assert not value.requires_grad


@pytest.mark.parametrize("order", ["first", "second"])
def test_alpha_learns_what_the_architecture_half_asks_for(order: Any) -> None:
    """Only the option `signal` of the toy tells the class."""
    space = ToySpace()
    torch.manual_seed(0)
    supernet = space.supernet(FLAT)
    alpha = draw_alpha(space.mixed_choices, torch.Generator().manual_seed(0))
    settings = GradientSettings(order=order, alpha_learning_rate=0.05)
    learner = Learner.of(supernet, settings.architecture_step(alpha, FLAT, 0), settings, batch_loss)
    for _ in range(25):
        target = torch.arange(8) % 2
        batch = Batch(torch.randn(8, 2, 8, 8) + 2 * target[:, None, None, None], target)
        learner.learn_architecture([lambda batch=batch: batch], batch)  # type: ignore[misc]
        learner.learn_weights(batch)
    mixture = mixture_of(alpha)["normal.node1.input1"]
    assert int(mixture.argmax()) == space.mixed_choices[0].options.index("signal")


def test_a_step_in_which_no_gradient_passes_gives_alpha_none() -> None:
    supernet, alpha, (batch, _) = made(ToySpace(), FLAT)
    settings = GradientSettings()
    learner = Learner.of(supernet, settings.architecture_step(alpha, FLAT, 0), settings, batch_loss)
    weight_step(supernet, alpha, learner.loss(batch), learner.weights, 5.0)
    assert all(numbers.grad is None for numbers in alpha.values())


def test_alpha_begins_near_zero_by_the_generator_alone() -> None:
    choices = (Choice("a", tuple("abcdefgh")), Choice("b", tuple("xy")))
    one, again, other = (draw_alpha(choices, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(one["a"], again["a"])
    assert not torch.equal(one["a"], other["a"])
    many = draw_alpha((Choice("m", tuple(map(str, range(4000)))),), torch.Generator().manual_seed(0))["m"]
    assert float(many.detach().std()) == pytest.approx(ALPHA_SPREAD, rel=0.05)
    assert all(numbers.requires_grad and numbers.is_leaf for numbers in one.values())
    torch.testing.assert_close(mixture_of(one)["b"], torch.exp(one["b"]) / torch.exp(one["b"]).sum())


def test_the_rate_falls_along_a_cosine() -> None:
    settings = GradientSettings(epochs=10)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10, settings.least_learning_rate)
    for epoch in range(1, 11):
        assert learning_rate_at(settings, epoch) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()


def test_shares_and_entropy_by_hand() -> None:
    choices = (Choice("a", ("zero", "identity", "conv")), Choice("b", ("identity", "conv")))
    mixture = {"a": torch.tensor([0.5, 0.25, 0.25]), "b": torch.tensor([1.0, 0.0])}
    assert share_of("zero", mixture, choices) == 0.5
    assert share_of("identity", mixture, choices) == 0.625
    assert share_of("pool", mixture, choices) == 0.0
    assert entropy_of(mixture) == pytest.approx(1.5 * math.log(2) / math.log(3) / 2)
    assert entropy_of({"a": torch.full((7,), 1 / 7)}) == pytest.approx(1.0)


def test_skips_of_the_normal_cell_are_counted() -> None:
    options = ("identity", "conv")
    choices = tuple(Choice(f"{cell}.node{k}", options) for cell in ("normal", "reduction") for k in (1, 2))
    assert count_skips((0, 0, 0, 1), choices) == 2
    assert count_skips((1, 0, 0, 0), choices) == 1
    assert count_skips((0, 1), (Choice("x", options), Choice("y", options))) == 1


@pytest.mark.parametrize(
    "wrong", [{"warmup_epochs": 5, "epochs": 5}, {"epochs": 0}, {"momentum": 1.0}, {"order": "third"}, {"memory": "x"}]
)
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GradientSettings(**wrong)
