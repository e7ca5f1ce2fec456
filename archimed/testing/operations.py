"""The contract of an operation on the edges of cells."""

import torch
from torch import Tensor, nn

from archimed.errors import ContractError
from archimed.networks.operations import Operation
from archimed.seeding import torch_generator, torch_seed

CHANNELS = 6
BATCH_SIZE = 3
SIZES = {2: (9, 12), 3: (5, 6, 7)}  # odd and even


def check_operation(operation: Operation, spatial_dims: tuple[int, ...] = (2, 3)) -> None:
    """Check that cells can offer an operation on their edges, in images (2 axes) and volumes (3 axes).

    It keeps channels and size, at stride 2 an axis of n pixels becomes ceil(n / 2); it leaves its input alone, which
    other edges read too; its weights come from PyTorch's global generator, and the loss has a gradient for them.

    Args:
        operation: yours.
        spatial_dims: for how many axes it is meant.

    Raises:
        ContractError: the first law that does not hold.
    """
    if not isinstance(operation, Operation):
        raise ContractError(
            f"An operation is an archimed.networks.operations.Operation(name, make); got {type(operation).__name__}. "
            "Wrap your module: Operation('my_name', MyModule)."
        )
    if not operation.name.replace("_", "a").isalnum():
        raise ContractError(
            f"An operation's name stands in genotypes: letters, digits and _; got {operation.name!r}. Rename it."
        )
    for dims in spatial_dims:
        for stride in (1, 2):
            _check_form(operation, dims, stride)


def _check_form(operation: Operation, dims: int, stride: int) -> None:
    where = f"{operation.name} with {CHANNELS} channels, {dims} axes and stride {stride}"
    module, twin = (_built(operation, dims, stride, where) for _ in range(2))
    features = torch.randn((BATCH_SIZE, CHANNELS, *SIZES[dims]), generator=torch_generator(0, "check_operation"))
    before = features.clone()
    try:
        found = module(features.requires_grad_())
    except Exception as error:
        raise ContractError(
            f"An operation takes features [batch, channel, *space]; {where} raised {type(error).__name__}: "
            f"{' '.join(str(error).split())}. For layers of 2 and 3 axes see archimed.networks.layers."
        ) from error
    expected = (BATCH_SIZE, CHANNELS, *(-(-side // stride) for side in SIZES[dims]))
    if not isinstance(found, Tensor) or tuple(found.shape) != expected:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ContractError(
            f"An operation keeps the channels, and of n pixels leaves ceil(n / stride): {expected} of "
            f"{tuple(features.shape)}; {where} gave {shape}. Check padding, stride and channels."
        )
    if not torch.equal(features, before):
        raise ContractError(
            f"An operation leaves its input as it is, since other edges read it; {where} changed it. "
            "Is there an in-place layer at its beginning, as in nn.ReLU(inplace=True)?"
        )
    if not bool(torch.isfinite(found).all()):
        raise ContractError(
            f"An operation of finite features is finite; {where} gave NaN or infinity. Look for divisions."
        )
    _check_gradient(module, found, where)
    twin(features.detach())  # running statistics as the other's
    _check_repeats(module, twin, features.detach(), where)


def _built(operation: Operation, dims: int, stride: int, where: str) -> nn.Module:
    with torch_seed(0, "check_operation"):
        try:
            found: object = operation.build(CHANNELS, dims, stride)
        except Exception as error:
            raise ContractError(
                f"`make(channels, spatial_dims)` builds a module for any number of channels; {where} raised "
                f"{type(error).__name__}: {error}. For layers of 2 and 3 axes see archimed.networks.layers."
            ) from error
    if not isinstance(found, nn.Module):
        raise ContractError(f"`make` returns a torch.nn.Module; {where} gave {type(found).__name__}. Return a module.")
    return found


def _check_gradient(module: nn.Module, found: Tensor, where: str) -> None:
    if not found.requires_grad:
        raise ContractError(
            f"A gradient flows back through an operation; that of {where} is cut off. Look for detach or no_grad."
        )
    found.square().sum().backward()
    idle = [name for name, weight in module.named_parameters() if weight.grad is None]
    if idle:
        raise ContractError(
            f"Every weight of an operation takes part; the loss has no gradient for {idle[0]} of {where}. "
            "Use it in `forward`, or leave it out: it would be counted among the parameters."
        )


def _check_repeats(module: nn.Module, twin: nn.Module, features: Tensor, where: str) -> None:
    ours, theirs = module.state_dict(), twin.state_dict()
    if ours.keys() != theirs.keys() or any(not torch.equal(ours[name], theirs[name]) for name in ours):
        raise ContractError(
            f"Weights come from PyTorch's global generator alone; those of {where} differ under the same seed. "
            "Draw them with torch.nn.init, without a generator of your own."
        )
    with torch.no_grad():
        one, again = module.eval()(features[:1]), twin.eval()(features[:1])
    if not torch.equal(one, again):
        raise ContractError(
            f"An operation in eval mode repeats exactly, for a single image too; {where} did not. "
            "Is there chance in `forward` that eval() does not switch off?"
        )
