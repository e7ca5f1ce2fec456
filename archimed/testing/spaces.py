"""The contract of search spaces, with and without a supernet."""

import json
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from archimed.batch import target_loss
from archimed.errors import ArchimedError, ContractError
from archimed.genotype import Choice, Genotype, describe, parse, random_genotype
from archimed.networks.fitted import Fitted
from archimed.seeding import numpy_generator, torch_generator, torch_seed
from archimed.spaces.protocol import Mixture, RelaxableSpace, SearchSpace, canonical
from archimed.task import ImagingTask

GENOTYPES = 3  # random genotypes that a space is checked with
BATCH_SIZE = 2
TOLERANCE = 1e-6  # between a supernet's path and the network it stands for, in float64


def check_search_space(space: SearchSpace, task: ImagingTask) -> None:
    """Check that methods can search a space for networks that classify, or give masks, as the task says.

    Random genotypes must survive being written and read, have one canonical form, and build networks that give
    logits (of masks in training a tuple of several outputs, if they like), train (or are fitted, see
    `archimed.networks.fitted`), take single images, and repeat given the same seed and genotype.

    Raises:
        ContractError: the first law that does not hold.
    """
    if not isinstance(space, SearchSpace):
        raise ContractError(
            f"A search space has `choices` and `build(genotype, task)`; {type(space).__name__} lacks one of them. "
            "See archimed.spaces.protocol.SearchSpace."
        )
    _check_choices(space.choices)
    rng = numpy_generator(0, "check_search_space")
    for genotype in dict.fromkeys(random_genotype(space.choices, rng) for _ in range(GENOTYPES)):
        _check_written_form(genotype, space.choices)
        _check_canonical(space, genotype)
        _check_network(space, genotype, task)


def check_relaxable_space(space: RelaxableSpace, task: ImagingTask) -> None:
    """Check that gradients can search a space through its supernet; see also `check_search_space`.

    One path through the supernet must be the network that `build` makes, a mixture that holds a path must give it
    back, options of weight zero must not be computed, recomputation must not change gradients, and the mixture must
    have the gradient that differences of the loss show.

    Raises:
        ContractError: the first law that does not hold.
    """
    if not isinstance(space, RelaxableSpace):
        raise ContractError(
            "A relaxable space has `mixed_choices`, `supernet`, `derive`, `one_hot` and `inherit` besides those of a "
            f"search space; {type(space).__name__} lacks one of them. See archimed.spaces.protocol.RelaxableSpace."
        )
    _check_choices(space.mixed_choices)
    rng = numpy_generator(0, "check_relaxable_space")
    generator = torch_generator(0, "check_relaxable_space")
    images = torch.randn((BATCH_SIZE, task.channels, *task.image_size), generator=generator, dtype=torch.float64)
    for genotype in dict.fromkeys(random_genotype(space.choices, rng) for _ in range(GENOTYPES)):
        _check_path(space, genotype, task, images)
    uniform = {c.name: torch.full((len(c.options),), 1 / len(c.options)).double() for c in space.mixed_choices}
    _check_recomputation(space, task, images, uniform)
    _check_mixture_gradient(space, task, images, uniform)


def _outputs(logits: Tensor | tuple[Tensor, ...]) -> Tensor:
    """All outputs in one."""
    return torch.stack(logits) if isinstance(logits, tuple) else logits


def _supernet(space: RelaxableSpace, task: ImagingTask, *, recompute: bool = False) -> nn.Module:
    with torch_seed(0, "check_relaxable_space"):
        return space.supernet(task, recompute=recompute).double()


def _check_path(space: RelaxableSpace, genotype: Genotype, task: ImagingTask, images: Tensor) -> None:
    spelt = describe(genotype, space.choices)
    path = {name: weights.double() for name, weights in space.one_hot(genotype).items()}
    found = canonical(space, space.derive(path))
    if found != canonical(space, genotype):
        raise ContractError(
            f"`derive(one_hot(genotype))` is the genotype again; {spelt} became {describe(found, space.choices)}."
        )
    supernet, network = _supernet(space, task), _built(space, genotype, task).double()
    _outputs(supernet(images, path)).sum().backward()
    space.inherit(supernet, genotype, network)
    for mode in (True, False):
        ours, theirs = _outputs(supernet.train(mode)(images, path)), _outputs(network.train(mode)(images))
        if not torch.allclose(ours, theirs, rtol=0, atol=TOLERANCE):
            raise ContractError(
                f"One path through the supernet gives the logits of the network built from it; for {spelt} in "
                f"{'training' if mode else 'eval'} mode they differ by {(ours - theirs).detach().abs().max():.1e}. "
                "Does `inherit` copy every weight and statistic of the path, and no other option add anything?"
            )
    untouched = [weight for weight in supernet.parameters() if weight.grad is None]
    with torch.no_grad():
        for weight in untouched:
            weight.fill_(torch.nan)
    if not untouched or not bool(torch.isfinite(_outputs(supernet(images, path))).all()):
        raise ContractError(
            f"Options of weight zero are not computed; along the path of {spelt} they were. "
            "Skip them, rather than multiply them by zero."
        )


def _gradients(supernet: nn.Module, images: Tensor, mixture: Mixture) -> tuple[Tensor, ...]:
    """Gradients of a loss, by the mixture first, then by the weights; at the end the running statistics after it."""
    leaves = {name: weights.clone().requires_grad_() for name, weights in mixture.items()}
    loss = _outputs(supernet(images, leaves)).square().sum()
    weights = list(supernet.parameters())
    found = torch.autograd.grad(loss, [*leaves.values(), *weights], allow_unused=True)
    return (*(torch.zeros(()) if g is None else g for g in found), *(buffer.double() for buffer in supernet.buffers()))


def _check_recomputation(space: RelaxableSpace, task: ImagingTask, images: Tensor, mixture: Mixture) -> None:
    once, again = (
        _gradients(_supernet(space, task, recompute=recompute), images, mixture) for recompute in (False, True)
    )
    if not all(torch.allclose(a, b, atol=TOLERANCE) for a, b in zip(once, again, strict=True)):
        raise ContractError(
            "A supernet that recomputes its cells has the same gradients and running statistics; these differ. "
            "Are statistics updated a second time, or random numbers drawn anew?"
        )


def _check_mixture_gradient(space: RelaxableSpace, task: ImagingTask, images: Tensor, mixture: Mixture) -> None:
    supernet = _supernet(space, task)
    choice = space.mixed_choices[-1]
    position = list(mixture).index(choice.name)
    gradient = _gradients(supernet, images, mixture)[position]
    step = 1e-6
    for option, name in enumerate(choice.options):
        losses = []
        for sign in (1, -1):
            moved = {
                **mixture,
                choice.name: mixture[choice.name] + sign * step * torch.eye(len(choice.options))[option],
            }
            with torch.no_grad():
                losses.append(float(_outputs(supernet(images, moved)).square().sum()))
        slope = (losses[0] - losses[1]) / (2 * step)
        if abs(slope - float(gradient[option])) > 1e-4 * max(1.0, abs(slope)):
            raise ContractError(
                f"The mixture has the gradient of the loss; that of {choice.name} = {name} is "
                f"{float(gradient[option]):.3g}, differences of the loss give {slope:.3g}. Is a weight detached?"
            )


def _check_choices(choices: Sequence[Choice]) -> None:
    names = [choice.name for choice in choices]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ContractError(f"Every choice has a name of its own; {twice[0]!r} names several. Number them.")
    for choice in choices:
        if not choice.options or len(set(choice.options)) < len(choice.options):
            raise ContractError(
                f"A choice has one or more options, all different; {choice.name!r} has {choice.options}. "
                "Name each option once."
            )


def _check_written_form(genotype: Genotype, choices: Sequence[Choice]) -> None:
    written = json.loads(json.dumps(describe(genotype, choices)))
    if parse(written, choices) != genotype:
        raise ContractError(f"A genotype reads back as it was written; {genotype} became {parse(written, choices)}.")


def _check_canonical(space: SearchSpace, genotype: Genotype) -> None:
    first = canonical(space, genotype)
    try:
        describe(first, space.choices)
    except ArchimedError as error:
        raise ContractError(f"`canonical` returns a genotype of its space; {genotype} gave {first}: {error}") from error
    if canonical(space, first) != first:
        raise ContractError(
            f"`canonical` leaves its own result alone; {genotype} became {first}, then {canonical(space, first)}. "
            "Make it pick one representative, whatever form it is given."
        )


def _check_network(space: SearchSpace, genotype: Genotype, task: ImagingTask) -> None:
    network, twin = (_built(space, genotype, task) for _ in range(2))
    spelt = describe(genotype, space.choices)
    if not _same_weights(network, twin):
        raise ContractError(
            f"Weights come from PyTorch's global generator alone; those of {spelt} differ under the same seed. "
            "Draw them with torch.nn.init, without a generator of your own."
        )
    images = torch.randn(
        (BATCH_SIZE, task.channels, *task.image_size), generator=torch_generator(0, "check_search_space")
    )
    _check_logits(network(images), task, spelt)
    if isinstance(network, Fitted):
        network.fit([images], torch.arange(BATCH_SIZE) % task.num_outputs, seed=0)
    else:
        _check_training(network, images, task, spelt)
    twin.load_state_dict(network.state_dict())
    with torch.no_grad():
        alone, again = (model.eval()(images[:1]) for model in (network, twin))
    if not bool(torch.isfinite(alone).all()):
        raise ContractError(f"A network in eval mode gives finite logits for a single image; {spelt} gave {alone}.")
    if not torch.equal(alone, again):
        raise ContractError(
            f"A network with the same weights gives the same logits; {spelt} built twice did not. "
            "Build it from the genotype and the task alone."
        )


def _built(space: SearchSpace, genotype: Genotype, task: ImagingTask) -> nn.Module:
    with torch_seed(0, "check_search_space"):
        network: object = space.build(genotype, task)
    if not isinstance(network, nn.Module):
        raise ContractError(f"`build` returns a torch.nn.Module; {genotype} gave {type(network).__name__}.")
    return network


def _same_weights(network: nn.Module, twin: nn.Module) -> bool:
    ours, theirs = network.state_dict(), twin.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def _check_logits(logits: object, task: ImagingTask, spelt: dict[str, str]) -> None:
    masks = task.kind == "segmentation"
    expected = (BATCH_SIZE, task.num_outputs, *(task.image_size if masks else ()))
    several = masks and isinstance(logits, tuple) and len(logits) > 0
    for each in logits if several else (logits,):  # type: ignore[attr-defined]
        if not isinstance(each, Tensor) or tuple(each.shape) != expected:
            found = tuple(each.shape) if isinstance(each, Tensor) else type(each).__name__
            raise ContractError(
                f"A network maps images [batch, channel, *space] to logits [batch, output{', *space' * masks}], here "
                f"{expected}; {spelt} gave {found}. Give its last layer task.num_outputs outputs."
            )


def _target(task: ImagingTask) -> Tensor:
    if task.kind == "multi-label":
        return torch.zeros(BATCH_SIZE, task.num_outputs)
    if task.kind == "segmentation":
        return torch.zeros((BATCH_SIZE, *task.image_size), dtype=torch.int64)
    return torch.zeros(BATCH_SIZE, dtype=torch.int64)


def _check_training(network: nn.Module, images: Tensor, task: ImagingTask, spelt: dict[str, str]) -> None:
    logits = network(images)
    outputs = logits if isinstance(logits, tuple) else (logits,)
    torch.stack([target_loss(each, _target(task)) for each in outputs]).mean().backward()
    gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
    if not any(bool(gradient.any()) for gradient in gradients):
        raise ContractError(
            f"The loss has a gradient for some weight; that of {spelt} has none. "
            "Is the output detached from the weights?"
        )
    if not all(bool(torch.isfinite(gradient).all()) for gradient in gradients):
        raise ContractError(f"Gradients are finite; those of {spelt} are not. Look for divisions by zero.")
