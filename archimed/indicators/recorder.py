"""Watches one forward pass on the batch: ReLU codes, MACs, and handles for the derivatives of the loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from archimed.indicators.batch_norm import batch_norm
from archimed.indicators.bilinear import Ledger, layer_output
from archimed.indicators.calls import LAYERS, MATRIX_PRODUCTS, Call, LayerCall, first_argument, rectified_input

EXACT = 2**24  # float32 counts exactly up to here


@dataclass(frozen=True)
class LayerUse:
    """One call of a layer.

    Attributes:
        weight: the weights, as a leaf that shares the memory of the network's own.
        filter_size: weights per output channel.
    """

    weight: Tensor
    filter_size: int


class Recorder(TorchFunctionMode):
    """Records a forward pass while it runs.

    Attributes:
        agreement: the sum over rectifiers of b b', with b the codes (input > 0); [batch, batch], float64.
        units: rectified units of one image.
        macs: multiply-accumulates of the batch in convolutions, linear layers and matrix products.
        layers: the layer calls in their order, if they keep a ledger.
    """

    def __init__(self, images: Tensor, codes: bool, ledger: Ledger | None = None) -> None:
        """Watch a pass on these images; with a ledger, layers become differentiable by their weights through it."""
        super().__init__()
        self.batch_size = len(images)
        self.agreement = torch.zeros(len(images), len(images), dtype=torch.float64, device=images.device)
        self.units = 0
        self.macs = 0
        self.layers: list[LayerUse] = []
        self._codes = codes
        self._ledger = ledger
        self._coded: WeakIdKeyDictionary = WeakIdKeyDictionary()  # tensor -> its version, its agreement
        self._leaves: dict[int, tuple[Tensor, Tensor]] = {}  # by id of the weight, which is kept alive beside it

    @property
    def kernel(self) -> Float[Tensor, "batch batch"]:
        """Units that two images switch alike: b b' + (1 - b)(1 - b)' = 2 b b' - |b_i| - |b_j| + units."""
        ones = self.agreement.diagonal()
        return 2 * self.agreement - ones[:, None] - ones[None, :] + self.units

    def __torch_function__(
        self, func: Call, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Do what was called, and take note of it."""
        kwargs = kwargs or {}
        if func in LAYERS:
            return self._layer(LayerCall.parse(func, args, kwargs))
        if func is functional.batch_norm and self._ledger is not None:
            return _batch_norm(*args, **kwargs)
        rectified = rectified_input(func, args, kwargs) if self._codes else None
        if rectified is not None:
            self._add_codes(rectified)
        output = func(*args, **kwargs)
        if func in MATRIX_PRODUCTS:
            self.macs += output.numel() * first_argument(args, kwargs).shape[-1]
        return output

    def _layer(self, call: LayerCall) -> Tensor:
        if self._ledger is None:
            output = call.apply(call.images, call.weight, call.bias)
        else:
            _, leaf = self._leaves.setdefault(id(call.weight), (call.weight, call.weight.detach().requires_grad_()))
            output = layer_output(call, leaf, len(self.layers), self._ledger)
            self.layers.append(LayerUse(leaf, leaf.numel() // output.shape[call.channel_axis]))
        self.macs += call.macs(output)
        return output

    def _add_codes(self, inputs: Tensor) -> None:
        """Count agreements; of tensors that hold one row per image (others are weights), however often rectified."""
        if inputs.dim() < 2 or inputs.shape[0] != self.batch_size:
            return
        version, agreement = self._coded.get(inputs, (-1, None))
        if agreement is None or version != inputs._version:
            agreement = _agreement(inputs.detach())
            self._coded[inputs] = (inputs._version, agreement)
        self.agreement += agreement
        self.units += inputs[0].numel()


def _batch_norm(
    features: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`functional.batch_norm` with cheap second derivatives, where it takes the statistics of the batch."""
    if training:
        return batch_norm(features, weight, bias, eps)
    return functional.batch_norm(features, running_mean, running_var, weight, bias, training, momentum, eps)


def _agreement(inputs: Tensor) -> Float[Tensor, "batch batch"]:
    """Sums b b' of the codes b = (inputs > 0), by one matrix product."""
    rows = _rows(inputs)
    codes = torch.gt(rows, 0, out=torch.empty_like(rows, dtype=torch.float32))  # faster than to compare, then cast
    return torch.stack([(part @ part.T).double() for part in codes.split(EXACT, dim=1)]).sum(0)


def _rows(tensor: Tensor) -> Tensor:
    """One row per image, its values in the order they have in memory, so that nothing is copied."""
    axes = sorted(range(1, tensor.dim()), key=tensor.stride, reverse=True)
    return tensor.permute(0, *axes).flatten(1)
