from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from archimed.networks import joint_options
from archimed.networks import operations as ops
from archimed.networks.layers import use_quick_forms
from archimed.networks.mixed_operation import EdgeWeights, MixedOperation
from archimed.networks.operations import Operation

OPERATIONS = (
    ops.ZERO,
    ops.CONV_3,
    ops.SEPARABLE_CONV_3,
    ops.DILATED_CONV_5,
    ops.MAX_POOL_3,
    ops.AVERAGE_POOL_3,
    ops.IDENTITY,
)


class Calls(TorchDispatchMode):
    """Counts what is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[function.overloadpacket.__name__] += 1
        return function(*args, **(kwargs or {}))


def edge(weights: Tensor) -> EdgeWeights:
    return EdgeWeights(weights.unbind(), [weight != 0 for weight in weights.tolist()])


def plain(mixed: MixedOperation, features: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """The sums as the DARTS paper writes them, of the same modules."""

    def value(reader: int, name: str) -> Tensor:
        result: Tensor = mixed.option(reader, name)(features)
        return result

    names = [name for name in mixed.names if name != "zero"]
    return [
        sum((w * value(reader, name) for name, w in zip(names, row[1:], strict=True)), start=torch.zeros(()))
        for reader, row in enumerate(weights)
    ]


@pytest.mark.parametrize("size", [(7, 8), (5, 4, 6)], ids=["2D", "3D"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("normalisation", ["batch", "instance"])
@pytest.mark.parametrize("small", [2**19, 0], ids=["joint", "apart"])
def test_sums_gradients_and_statistics_are_those_of_the_plain_form(
    size: tuple[int, ...], stride: int, normalisation: Any, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joint_options, "SMALL", small)
    torch.manual_seed(0)
    results = []
    for form in ("ours", "plain"):
        torch.manual_seed(1)
        mixed = MixedOperation(OPERATIONS, 4, len(size), stride=stride, readers=2, normalisation=normalisation).double()
        use_quick_forms(mixed)
        features = torch.randn(3, 4, *size, dtype=torch.float64, requires_grad=True)
        weights = torch.rand(2, len(OPERATIONS), dtype=torch.float64, requires_grad=True)
        sums = mixed(features, [edge(row) for row in weights]) if form == "ours" else plain(mixed, features, weights)
        gradients = torch.autograd.grad(
            sum((total**3).sum() for total in sums), [features, weights, *mixed.parameters()]
        )
        own = [buffer for name, buffer in mixed.own.named_buffers() if "num_batches" not in name]
        results.append([*sums, *gradients, *own])
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected)


def test_options_of_weight_zero_and_zero_itself_are_never_computed() -> None:
    mixed = MixedOperation(OPERATIONS, 4, 2, readers=2)
    features = torch.randn(2, 4, 8, 8)
    convolutions = {"convolution", "mkldnn_convolution"}
    for position, name in enumerate(mixed.names):
        weights = torch.eye(len(OPERATIONS))[position]
        with Calls() as calls:
            first, second = mixed(features, [edge(weights), edge(torch.zeros_like(weights))])
        assert second is None
        assert (first is None) == (name == "zero")
        expected = {"conv_3": 1, "separable_conv_3": 4, "dilated_conv_5": 2}.get(name, 0)
        assert sum(calls.counts[kind] for kind in convolutions) == expected
        assert (calls.counts["max_pool2d_with_indices"] > 0) == (name == "max_pool_3")
        assert (calls.counts["avg_pool2d"] > 0) == (name == "average_pool_3")
        assert calls.counts["relu"] == {"zero": 0, "max_pool_3": 0, "average_pool_3": 0, "identity": 0}.get(
            name, 2 if name == "separable_conv_3" else 1
        )


@pytest.mark.parametrize(("small", "separate"), [(2**19, 1), (0, 3)], ids=["small", "large"])
def test_readers_share_one_relu_poolings_and_dense_convolutions_and_all_of_small_features(
    small: int, separate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joint_options, "SMALL", small)
    operations = (ops.CONV_3, ops.DILATED_CONV_3, ops.MAX_POOL_3)
    mixed = MixedOperation(operations, 4, 2, readers=3)
    use_quick_forms(mixed)
    uniform = [edge(torch.full((3,), 1 / 3))] * 3
    with Calls() as calls:
        mixed(torch.randn(2, 4, 8, 8), uniform)
    assert calls.counts["relu"] == 1
    assert calls.counts["max_pool2d_with_indices"] == 1
    assert calls.counts["convolution"] == 1 + separate


def test_an_operation_of_the_user_s_own_is_weighed_as_it_is() -> None:
    class Doubled(nn.Module):
        def forward(self, features: Tensor) -> Tensor:
            return 2 * features

    mine = Operation("mine", lambda channels, spatial_dims: Doubled(), lambda c, d: Doubled())  # noqa: ARG005
    mixed = MixedOperation((mine, ops.IDENTITY), 4, 2)
    features = torch.randn(2, 4, 5, 5)
    (total,) = mixed(features, [edge(torch.tensor([0.5, 3.0]))])
    assert torch.allclose(total, 4 * features)


def test_norms_in_a_mixture_have_no_scale_and_shift_to_learn() -> None:
    mixed = MixedOperation(OPERATIONS, 4, 3, stride=2, readers=2, normalisation="batch")
    assert all(weight.ndim == 5 for weight in mixed.parameters())
