"""Training on masks: the loop against its own bare steps with a small U-Net, and the loss against MONAI's.

Run by `make bench`, or alone: python -m benchmarks.masks [--threads N] [--repeats N]
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from archimed.data.arrays import Arrays
from archimed.seeding import torch_generator, torch_seed
from archimed.training.augmentation import augment
from archimed.training.machine import Machine
from archimed.training.mask_loss import mask_loss
from archimed.training.recipe import Recipe
from archimed.training.steps import Feed, NormalisedImages, make_optimizer, training_pass, training_step
from benchmarks.timing import interleaved, machine, markdown_table

CASES, BATCH, PATCH = 64, 8, (128, 128)
TURNED = Recipe(augment_flips=True, augment_turns=True)


@dataclass(frozen=True)
class Examples:
    images: Arrays
    target: Tensor
    masks: Arrays


def examples(side: int) -> Examples:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (CASES, 3, side, side), generator=generator, dtype=torch.uint8)
    masks = torch.randint(0, 2, (CASES, side, side), generator=generator, dtype=torch.uint8)
    return Examples(Arrays.of(images), torch.ones(CASES, 2), Arrays.of(masks))


def normalise(images: Tensor) -> Tensor:
    return images.float() / 127.5 - 1


def unet() -> nn.Module:
    from monai.networks.nets.unet import UNet

    with torch_seed(0, "unet"):
        network: nn.Module = UNet(2, 3, 2, (16, 32, 64, 128), (2, 2, 2))
    return network.train()


def loop_arms(where: Machine) -> dict[str, Callable[[], object]]:
    """One epoch of the network each, from its own first weights."""
    whole = NormalisedImages(examples(PATCH[0]), normalise, where, PATCH)
    parts = NormalisedImages(examples(2 * PATCH[0]), normalise, where, PATCH, TURNED.foreground_share)
    images, target = whole.batch(torch.arange(BATCH))

    def drawn(cases: Tensor, step: int) -> tuple[Tensor, Tensor]:
        return parts.batch(cases, torch_generator(0, step))

    def ours(feed: Feed) -> Callable[[], object]:
        network = where.place_network(unet())
        optimizer, order = make_optimizer(network, TURNED), torch.randperm(CASES)
        return lambda: training_pass(
            network, optimizer, feed=feed, order=order, batch_size=BATCH, weights=None, machine=where
        )

    network = where.place_network(unet())
    optimizer = make_optimizer(network, TURNED)

    def bare() -> None:
        for _ in range(CASES // BATCH):
            training_step(network, optimizer, images=images, target=target, weights=None, machine=where)

    return {
        "bare steps on one batch (the floor)": bare,
        "ours, whole images": ours(lambda cases, _: whole.batch(cases)),
        "ours, patches of images four times as large": ours(drawn),
        "the same, turned over and turned": ours(lambda cases, step: augment(*drawn(cases, step), TURNED, 0, 1, step)),
    }


def loss_arms(shape: tuple[int, ...]) -> Mapping[str, Callable[[], object]]:
    """Loss and gradient of logits [batch, class, *space]."""
    from monai.losses.dice import DiceCELoss

    theirs = DiceCELoss(
        include_background=False, to_onehot_y=True, softmax=True, lambda_ce=0.5, smooth_nr=1e-5, smooth_dr=1e-5
    )
    logits = torch.randn(shape, requires_grad=True)
    target = torch.randint(shape[1], (shape[0], *shape[2:]))
    return {
        "MONAI's DiceCELoss": lambda: theirs(logits, target[:, None]).backward(),
        "ours": lambda: mask_loss(logits, target).backward(),
    }


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"## Masks\n\n{machine()}; arms in turn, medians of up to {arguments.repeats} rounds.\n")
    where = Machine(arguments.threads)
    with where.session():
        times = interleaved(loop_arms(where), arguments.repeats, 60)
        losses = {shape: interleaved(loss_arms(shape), 10, 10) for shape in ((8, 2, 128, 128), (2, 4, 64, 64, 64))}
    floor = next(iter(times.values()))
    rows = [[name, f"{CASES / seconds:,.0f}", f"{floor / seconds:.2f}"] for name, seconds in times.items()]
    header = [f"an epoch of {CASES} images, batches of {BATCH} of 128x128, MONAI's UNet", "images/s", "of the floor"]
    print(markdown_table(header, rows) + "\n")
    rows = [
        ["x".join(map(str, shape)), name, f"{1000 * seconds:.1f}"]
        for shape, arms in losses.items()
        for name, seconds in arms.items()
    ]
    print(markdown_table(["loss of masks with its gradient: logits", "", "ms"], rows))


if __name__ == "__main__":
    main()
