"""grad_norm, snip, fisher, grasp and jacob_cov against loops and finite differences."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from archimed.batch import Batch
from archimed.indicators import score

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)


def layers_of(network):
    return [module for module in network.modules() if isinstance(module, LAYERS)]


def loss_by_hand(logits, target):
    """Cross-entropy per image or pixel, or binary cross-entropy of the known labels, element by element."""
    if target.is_floating_point():
        pairs = [(z, t) for z, t in zip(logits.flatten(), target.flatten(), strict=True) if not math.isnan(t)]
        return sum(functional.softplus(-z if t == 1 else z) for z, t in pairs) / len(pairs)
    chosen = logits.log_softmax(1).gather(1, target[:, None])
    return -chosen.mean()


def gradients_of(network, batch):
    """Weights and gradients of the loss, layer by layer, on a copy in training mode."""
    clone = copy.deepcopy(network).train()
    loss = loss_by_hand(clone(batch.images), batch.target)
    weights = [layer.weight for layer in layers_of(clone)]
    return [weight.detach() for weight in weights], torch.autograd.grad(loss, weights)


def test_grad_norm_sums_norms_over_layers(example):
    _, gradients = gradients_of(example.network, example.batch)
    expected = sum(math.sqrt(sum(value**2 for value in g.flatten().tolist())) for g in gradients)
    assert score(example.network, example.batch, ["grad_norm"])["grad_norm"] == pytest.approx(expected, rel=1e-10)


def test_snip_sums_weight_times_gradient(example):
    weights, gradients = gradients_of(example.network, example.batch)
    expected = sum(
        abs(w * g)
        for weight, gradient in zip(weights, gradients, strict=True)
        for w, g in zip(weight.flatten().tolist(), gradient.flatten().tolist(), strict=True)
    )
    assert score(example.network, example.batch, ["snip"])["snip"] == pytest.approx(expected, rel=1e-10)


def test_fisher_sums_squares_image_by_image_and_channel_by_channel(example):
    clone = copy.deepcopy(example.network).train()
    outputs = {}

    def keep(layer, _, output):
        output.retain_grad()
        outputs[layer] = output
        return output.clone()  # so that work in place spares the output

    for layer in layers_of(clone):
        layer.register_forward_hook(keep)
    loss_by_hand(clone(example.batch.images), example.batch.target).backward()
    expected = 0.0
    for layer, output in outputs.items():
        flow = (output * output.grad).detach()
        for channel in range(flow.shape[1]):
            squares = [float(flow[image, channel].sum()) ** 2 for image in range(len(flow))]
            expected += 0.5 * np.mean(squares) * layer.weight.numel() / flow.shape[1]
    assert score(example.network, example.batch, ["fisher"])["fisher"] == pytest.approx(expected, rel=1e-10)


def test_grasp_equals_a_finite_difference_of_gradients(example):
    weights, gradients = gradients_of(example.network, example.batch)

    def moved(step):
        clone = copy.deepcopy(example.network)
        for layer, gradient in zip(layers_of(clone), gradients, strict=True):
            layer.weight.data += step * gradient
        return gradients_of(clone, example.batch)[1]

    step = 1e-6
    ahead, behind = moved(step), moved(-step)
    expected = -sum(float((w * (a - b)).sum()) / (2 * step) for w, a, b in zip(weights, ahead, behind, strict=True))
    assert score(example.network, example.batch, ["grasp"])["grasp"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(4, 6, 3, stride=2, dilation=2, groups=2),
        nn.Conv1d(4, 6, 4, padding="same", dilation=2),
        nn.Conv2d(4, 4, (3, 2), padding="valid", groups=4, bias=False),
        nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"),
        nn.ConvTranspose1d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
        nn.ConvTranspose2d(4, 6, 3, stride=(2, 1), dilation=2, bias=False),
        nn.ConvTranspose3d(4, 2, 2, stride=2),
        nn.Conv3d(4, 4, 3, padding=(0, 1, 1), groups=4),
        nn.Linear(9, 5),
    ],
    ids=str,
)
def test_grasp_agrees_with_native_double_backward_for_every_kind_of_layer(layer):
    torch.manual_seed(0)
    axes = 2 if isinstance(layer, nn.Linear) else layer.weight.dim() - 2
    pool = nn.Sequential(nn.Flatten(2), nn.AdaptiveAvgPool1d(5), nn.Tanh(), nn.Flatten(), nn.LazyLinear(3))
    network = nn.Sequential(layer, nn.Softplus(), pool).double()
    batch = Batch(torch.randn(3, 4, *(9,) * axes).double(), torch.tensor([0, 1, 2]))
    network(batch.images)
    weights = [layer.weight, pool[-1].weight]
    first = torch.autograd.grad(loss_by_hand(network(batch.images), batch.target), weights, create_graph=True)
    product = sum((g.detach() * g).sum() for g in first)
    second = torch.autograd.grad(product, weights)
    expected = -sum(float((w.detach() * h).sum()) for w, h in zip(weights, second, strict=True))
    measured = score(network, batch, ["grasp", "grad_norm"])
    assert measured["grasp"] == pytest.approx(expected, rel=1e-8)
    assert measured["grad_norm"] == pytest.approx(float(sum(g.detach().norm() for g in first)), rel=1e-10)


def test_jacob_cov_from_the_gradient_of_each_image(example):
    clone = copy.deepcopy(example.network).train()
    rows = []
    for image in range(len(example.batch)):
        images = example.batch.images.clone()
        one = images[image].clone().requires_grad_()
        clone(torch.cat([images[:image], one[None], images[image + 1 :]])).sum().backward()
        rows.append(one.grad.flatten().numpy())
    values = np.linalg.eigvals(np.corrcoef(np.array(rows))).real
    expected = -np.sum(np.log(values + 1e-5) + 1 / (values + 1e-5))
    assert score(example.network, example.batch, ["jacob_cov"])["jacob_cov"] == pytest.approx(expected, rel=1e-7)


def test_jacob_cov_of_a_network_that_ignores_its_images_is_not_a_number(chain):
    network, batch = chain
    nn.init.zeros_(network[-1].weight)
    assert math.isnan(score(network, batch, ["jacob_cov"])["jacob_cov"])


def test_shared_weights_count_once_with_the_gradient_of_all_their_uses():
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 2, 3, padding=1)
    network = nn.Sequential(layer, nn.Tanh(), layer, nn.Flatten()).double()
    batch = Batch(torch.randn(3, 2, 4, 4).double(), torch.tensor([1, 4, 5]))
    (gradient,) = torch.autograd.grad(loss_by_hand(network(batch.images), batch.target), [layer.weight])
    measured = score(network, batch, ["grad_norm", "snip"])
    assert measured["grad_norm"] == pytest.approx(float(gradient.norm()), rel=1e-10)
    assert measured["snip"] == pytest.approx(float((gradient * layer.weight.detach()).abs().sum()), rel=1e-10)


def test_layers_that_the_loss_does_not_reach_count_nothing(chain):
    network, batch = chain
    alone = score(network, batch, ["grad_norm", "snip", "fisher", "grasp"])

    class WithSpare(nn.Module):
        def __init__(self):
            super().__init__()
            self.network, self.spare = network, nn.Linear(4, 4)

        def forward(self, images):
            self.spare(images[:, 0, :4, :4])
            return self.network(images)

    assert score(WithSpare(), batch, list(alone)) == pytest.approx(alone, rel=1e-6)
