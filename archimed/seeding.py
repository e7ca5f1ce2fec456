"""One seed gives every part of a run its own named stream of random numbers.

A stream depends only on the run's seed and its names, never on what was drawn before it, so results do not
change with the order of evaluation, the number of workers or an interruption.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

Name = str | int | tuple[int, ...]


def derive_seed(seed: int, *names: Name) -> int:
    """A 63-bit seed that belongs to these names, e.g. `derive_seed(0, "candidate", genotype)`."""
    digest = hashlib.sha256(repr((seed, *names)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def numpy_generator(seed: int, *names: Name) -> "np.random.Generator":
    """The NumPy generator of a named stream."""
    import numpy as np

    return np.random.default_rng(derive_seed(seed, *names))


def torch_generator(seed: int, *names: Name) -> "torch.Generator":
    """The PyTorch CPU generator of a named stream."""
    import torch

    return torch.Generator().manual_seed(derive_seed(seed, *names))


@contextmanager
def torch_seed(seed: int, *names: Name) -> Iterator[None]:
    """Run a block with PyTorch's global CPU generator set to a named stream, and restored after it.

    Layers draw their initial weights from the global generator, so networks are built inside this.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, *names))
        yield
