import pytest
import torch
from torch.nn import functional

from archimed.indicators.batch_norm import batch_norm


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (3, 3, 2, 3), (3, 3, 2, 3, 2)])
@pytest.mark.parametrize("affine", [True, False])
def test_value_and_both_derivatives(shape, affine):
    torch.manual_seed(0)
    features = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    scale, shift = (torch.rand(3).double() + 0.5, torch.randn(3).double()) if affine else (None, None)

    def ours(features):
        return batch_norm(features, scale, shift, 1e-3)

    torch.testing.assert_close(
        ours(features), functional.batch_norm(features, None, None, scale, shift, training=True, eps=1e-3)
    )
    torch.autograd.gradcheck(ours, features)
    torch.autograd.gradgradcheck(ours, features)


def test_the_layout_of_the_gradient_is_that_of_the_features_and_changes_no_value():
    torch.manual_seed(0)
    features = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    weighting = torch.randn(2, 3, 4, 4)

    def gradient(weighting):
        (found,) = torch.autograd.grad(batch_norm(features, None, None, 1e-5), features, weighting)
        return found

    sliced = torch.cat([weighting, weighting], dim=1).contiguous(memory_format=torch.channels_last)[:, :3]
    expected = gradient(weighting.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(gradient(sliced), expected, rtol=0, atol=0)
    torch.testing.assert_close(gradient(weighting), expected, rtol=0, atol=0)
