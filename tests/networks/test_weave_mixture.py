"""Mixed operations of the weave against the plain form: every option times its weight, summed."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from archimed.networks.mixed_operation import EdgeWeights
from archimed.networks.weave_mixture import MixedState, state_weights
from archimed.networks.weave_operations import TABLES, Resampling
from archimed.training.machine import Machine

READERS = 3


def edge(weights: Tensor) -> EdgeWeights:
    return EdgeWeights(weights.unbind(), [weight != 0 for weight in weights.tolist()])


def plain(state: MixedState, names: Sequence[str], features: Tensor, weights: Tensor) -> list[Tensor]:
    def alone(reader: int, name: str) -> Tensor:
        result: Tensor = functional_call(state.options[name], state.weights_of(reader, name), (features,))
        return result

    return [
        sum(w * alone(reader, name) for name, w in zip(names, row, strict=True) if name != "zero")
        for reader, row in enumerate(weights)
    ]


def each(sums: Tensor | None) -> list[Tensor]:
    """The sum of each reader, its channels second."""
    assert sums is not None
    return [part.movedim(-1, 1) for part in sums.unbind(-2)]


@pytest.mark.parametrize("size", [(7, 8), (5, 4, 6), (1, 1)], ids=["2D", "3D", "one pixel"])
@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize(("some", "group_size"), [(False, 4), (True, 4), (True, 1)], ids=["all", "some", "instance"])
def test_sums_and_gradients_are_those_of_the_plain_form(
    kind: Resampling, size: tuple[int, ...], some: bool, group_size: int
) -> None:
    torch.manual_seed(0)
    names = [operation.name for operation in TABLES[kind]]
    state = MixedState(TABLES[kind], 8, len(size), READERS, group_size).double()
    features = torch.randn(2, 8, *size, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(READERS, len(names), dtype=torch.float64)
    if some:
        weights *= torch.rand_like(weights) > 0.4
    weights.requires_grad_()
    inputs = [features, weights, *state.parameters()]
    ours = each(state(features, state_weights(names, [edge(row) for row in weights])))
    expected = plain(state, names, features, weights)
    assert [tuple(total.shape[2:]) for total in ours] == [tuple(total.shape[2:]) for total in expected]
    results = []
    for sums in (ours, expected):
        loss = torch.stack([(total**3).sum() for total in sums]).sum()
        found = torch.autograd.grad(loss, inputs, allow_unused=True)
        zeros = (torch.zeros_like(tensor) for tensor in inputs)
        gradients = [zero if g is None else g for g, zero in zip(found, zeros, strict=True)]
        gradients[1] = gradients[1] * (weights != 0)  # what weighs nothing is not computed, nor is that gradient
        results.append([*sums, *gradients])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_the_mixture_alone_has_a_gradient_where_neither_features_nor_weights_have() -> None:
    """PyTorch's group normalisation reads memory that is not there if only its scale has a gradient."""
    names = [operation.name for operation in TABLES["normal"]]
    state = MixedState(TABLES["normal"], 16, 2, 2, group_size=16).requires_grad_(False)
    features = torch.randn(2, 16, 32, 32).contiguous(memory_format=torch.channels_last)
    weights = torch.rand(2, len(names), requires_grad=True)
    ours = each(state(features, state_weights(names, [edge(row) for row in weights])))
    found, expected = (
        torch.autograd.grad(torch.stack([(total**3).sum() for total in sums]).sum(), weights)[0]
        for sums in (ours, plain(state, names, features, weights))
    )
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-2)


def steps(tensor: Tensor) -> list[int]:
    """In memory along each axis that has more than one place."""
    return [step for step, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1]


@pytest.mark.parametrize("kind", TABLES)
def test_weights_lie_in_memory_as_their_gradients_do(kind: Resampling) -> None:
    names = [operation.name for operation in TABLES[kind]]
    state = Machine(1, memory_format="channels_last").place_network(MixedState(TABLES[kind], 8, 2, READERS, 1))
    features = torch.randn(2, 8, 6, 6).contiguous(memory_format=torch.channels_last)
    weights = state_weights(names, [edge(torch.ones(len(names)))] * READERS)
    total = state(features, weights)
    named = {n: p for n, p in state.named_parameters() if p.ndim == 5}
    gradients = torch.autograd.grad((total**2).sum(), list(named.values()))
    for (name, weight), gradient in zip(named.items(), gradients, strict=True):
        assert steps(weight) == steps(gradient), name
