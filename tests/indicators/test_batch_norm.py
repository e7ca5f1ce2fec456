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
