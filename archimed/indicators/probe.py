"""What training-free indicators share about one network and one batch, each part computed at most once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, nn

from archimed.batch import Batch, target_loss
from archimed.indicators.bilinear import Ledger, Purpose
from archimed.indicators.isolation import channels_last, left_as_found
from archimed.indicators.linearised import Flow, linearised_flow
from archimed.indicators.recorder import Recorder


@dataclass(frozen=True)
class ForwardPass:
    """One forward pass on the batch in training mode, with what was recorded on the way."""

    images: Tensor
    logits: Tensor
    recorder: Recorder
    ledger: Ledger


@dataclass(frozen=True)
class WeightGradients:
    """The weights of convolutions and linear layers, each once, and the gradients of the loss by them."""

    weights: Sequence[Tensor]
    gradients: Sequence[Tensor]


@dataclass
class Probe:
    """One network and one batch, measured lazily (Abdelfattah et al., 2021: one mini-batch at initialisation).

    Passes on the batch run in training mode, so normalisation uses batch statistics. The network is left as found:
    weights, buffers, mode, gradients, `requires_grad`, hooks and the global random state. Codes and MACs come from
    whatever pass has run, so ask for indicators that need gradients first (`measure_indicators` does).

    Attributes:
        network: any module that maps images to logits.
        batch: images and target.
        seed: of what is drawn during measurements (dropout, the weights of `zen_score`).
        codes: whether a pass for gradients also collects ReLU codes; without, `relu_kernel` takes a pass of its own.
    """

    network: nn.Module
    batch: Batch
    seed: int = 0
    codes: bool = True

    @property
    def relu_kernel(self) -> Float[Tensor, "batch batch"]:
        """Sum over ReLU layers of b b' + (1 - b)(1 - b)' with b = (ReLU input > 0), in float64."""
        known = self._known_pass
        return (known if known is not None and self.codes else self._plain_pass).recorder.kernel

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image, from a pass that has run, or else the cheapest."""
        known = self._known_pass
        return self.flow.macs if known is None else known.recorder.macs // len(self.batch)

    @cached_property
    def flow(self) -> Flow:
        """The linearised pass of synflow, at batch size one."""
        with left_as_found(self.network, training=False, seed=self.seed):
            return linearised_flow(self.network, self.batch.images)

    @cached_property
    def input_gradient(self) -> Float[Tensor, "batch channel *space"]:
        """Gradient of the summed logits by the images."""
        forward = self._gradient_pass
        forward.ledger.purpose = "images"
        with torch.enable_grad():
            total = forward.logits.sum()
        (gradient,) = torch.autograd.grad(total, forward.images, retain_graph=True, materialize_grads=True)
        return gradient

    @cached_property
    def channel_flows(self) -> list[tuple[int, Float[Tensor, "batch channel"]]]:
        """For each layer call that the loss depends on, weights per output channel and sum over pixels of a * dL/da."""
        if "weight_gradients" not in self.__dict__:
            self._differentiate("channels")
        layers = self._gradient_pass.recorder.layers
        return [(layers[k].filter_size, sums) for k, sums in sorted(self._gradient_pass.ledger.by_channel.items())]

    @cached_property
    def weight_gradients(self) -> WeightGradients:
        """First derivatives of the loss that the form of the target implies (`archimed.batch.target_loss`)."""
        return self._differentiate("weights")

    @cached_property
    def curvature(self) -> float:
        """W' H g: the Hessian of the loss between the weights and its gradient, both over all layers.

        That is the derivative of g_fixed' dL(s W) by a common scale s at one, which the layers note while the
        derivative of g_fixed' g passes through them: no second derivatives by weights are needed.
        """
        first = self._differentiate("weights", create_graph=True)
        fixed = [gradient.detach() for gradient in first.gradients]
        self.__dict__["weight_gradients"] = WeightGradients(first.weights, fixed)
        with torch.enable_grad():
            product = sum(((g * h).sum() for g, h in zip(fixed, first.gradients, strict=True)), torch.zeros(()))
        if not product.requires_grad:  # the gradient does not depend on the weights
            return 0.0
        ledger = self._gradient_pass.ledger
        ledger.purpose = "curvature"
        torch.autograd.grad(product, list(first.weights), retain_graph=True, allow_unused=True)
        return ledger.by_scale

    def _differentiate(self, purpose: Purpose, create_graph: bool = False) -> WeightGradients:
        """One backward pass of the loss; without the purpose `weights` it only fills the ledger."""
        forward = self._gradient_pass
        weights = list({id(layer.weight): layer.weight for layer in forward.recorder.layers}.values())
        forward.ledger.purpose = purpose
        with torch.enable_grad():
            loss = target_loss(forward.logits, self.batch.target)
            gradients = torch.autograd.grad(
                loss, weights, retain_graph=True, create_graph=create_graph, materialize_grads=True
            )
        return WeightGradients(weights, gradients)

    @property
    def _known_pass(self) -> ForwardPass | None:
        """A pass on the batch that has run already."""
        known: ForwardPass | None = self.__dict__.get("_gradient_pass") or self.__dict__.get("_plain_pass")
        return known

    @cached_property
    def _plain_pass(self) -> ForwardPass:
        return self._forward(gradients=False, codes=True)

    @cached_property
    def _gradient_pass(self) -> ForwardPass:
        """The pass whose graph reaches the images and the weights."""
        return self._forward(gradients=True, codes=self.codes)

    def _forward(self, gradients: bool, codes: bool) -> ForwardPass:
        images = channels_last(self.batch.images.detach()).requires_grad_(gradients)
        ledger = Ledger()
        with (
            left_as_found(self.network, training=True, seed=self.seed),
            torch.set_grad_enabled(gradients),
            Recorder(images, codes, ledger if gradients else None) as recorder,
        ):
            logits = self.network(images)
        return ForwardPass(images, logits, recorder, ledger)
