"""What training-free indicators share about one network and one batch, each part computed at most once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, nn

from archimed.batch import Batch, target_loss
from archimed.indicators.bilinear import Ledger, Purpose
from archimed.indicators.isolation import call_on_copied_buffers, channels_last, left_as_found
from archimed.indicators.linearised import Flow, linearised_flow
from archimed.indicators.recorder import Recorder


@dataclass(frozen=True)
class ForwardPass:
    """One forward pass on the batch in training mode, with what was recorded on the way."""

    images: Tensor
    logits: Tensor
    recorder: Recorder
    ledger: Ledger | None = None


@dataclass(frozen=True)
class LossGradients:
    """Derivatives of the loss by what the layers hold, from one backward pass.

    Attributes:
        weights: the weights of convolutions and linear layers, each once.
        by_weight: the gradients by these.
        by_channel: for each layer call that the loss depends on, its filter size (weights per output channel) and
            the sum over pixels of output * dL/doutput, [batch, channel].
    """

    weights: Sequence[Tensor]
    by_weight: Sequence[Tensor]
    by_channel: Sequence[tuple[int, Tensor]]


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
    """

    network: nn.Module
    batch: Batch
    seed: int = 0

    @property
    def relu_kernel(self) -> Float[Tensor, "batch batch"]:
        """Sum over ReLU layers of b b' + (1 - b)(1 - b)' with b = (ReLU input > 0), in float64."""
        return self._any_pass.recorder.kernel

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
        forward = self.__dict__.get("_loss_pass") or self._input_pass
        if forward.ledger is not None:
            forward.ledger.purpose = "input"
        with torch.enable_grad():
            total = forward.logits.sum()
        (gradient,) = torch.autograd.grad(total, forward.images, retain_graph=True, materialize_grads=True)
        return gradient

    @cached_property
    def loss_gradients(self) -> LossGradients:
        """First derivatives of the loss that the form of the target implies (`archimed.batch.target_loss`)."""
        return self._differentiate(create_graph=False)

    @cached_property
    def curvature(self) -> float:
        """W' H g: the Hessian of the loss between the weights and its gradient, both over all layers.

        That is the derivative of g_fixed' dL(s W) by a common scale s at one, which the layers note while the
        derivative of g_fixed' g passes through them: no second derivatives by weights are needed.
        """
        gradients = self._differentiate(create_graph=True)
        fixed = [gradient.detach() for gradient in gradients.by_weight]
        self.__dict__["loss_gradients"] = LossGradients(gradients.weights, fixed, gradients.by_channel)
        with torch.enable_grad():
            terms = [(g * h).sum() for g, h in zip(fixed, gradients.by_weight, strict=True)]
            product = sum(terms, torch.zeros(()))
        if not product.requires_grad:  # the gradient does not depend on the weights
            return 0.0
        ledger = self._ledger_for("curvature")
        torch.autograd.grad(product, list(gradients.weights), retain_graph=True, allow_unused=True)
        return ledger.by_scale

    def _differentiate(self, create_graph: bool) -> LossGradients:
        layers = self._loss_pass.recorder.layers
        weights = list({id(layer.weight): layer.weight for layer in layers}.values())
        ledger = self._ledger_for("loss")
        with torch.enable_grad():
            loss = target_loss(self._loss_pass.logits, self.batch.target)
            by_weight = torch.autograd.grad(
                loss, weights, retain_graph=True, create_graph=create_graph, materialize_grads=True
            )
        by_channel = [(layers[number].filter_size, sums) for number, sums in sorted(ledger.by_channel.items())]
        return LossGradients(weights, by_weight, by_channel)

    def _ledger_for(self, purpose: Purpose) -> Ledger:
        ledger = self._loss_pass.ledger
        if ledger is None:
            raise RuntimeError("The pass behind the loss keeps a ledger.")
        ledger.purpose = purpose
        return ledger

    @cached_property
    def _loss_pass(self) -> ForwardPass:
        """The pass whose graph reaches the weights."""
        return self._forward(gradients=True, ledger=Ledger())

    @property
    def _known_pass(self) -> ForwardPass | None:
        """A pass on the batch that has run already."""
        found = (self.__dict__.get(name) for name in ("_loss_pass", "_input_pass", "_plain_pass"))
        return next((forward for forward in found if forward is not None), None)

    @property
    def _any_pass(self) -> ForwardPass:
        return self._known_pass or self._plain_pass

    @cached_property
    def _plain_pass(self) -> ForwardPass:
        return self._forward(gradients=False)

    @cached_property
    def _input_pass(self) -> ForwardPass:
        return self._forward(gradients=True)

    def _forward(self, gradients: bool, ledger: Ledger | None = None) -> ForwardPass:
        images = channels_last(self.batch.images.detach()).requires_grad_(gradients)
        with (
            left_as_found(self.network, training=True, seed=self.seed),
            torch.set_grad_enabled(gradients),
            Recorder(images, ledger) as recorder,
        ):
            logits = call_on_copied_buffers(self.network, images)
        return ForwardPass(images, logits, recorder, ledger)
