import subprocess
import sys

import numpy as np
import torch
from torch import nn

from archimed.seeding import derive_seed, numpy_generator, torch_generator, torch_seed

WEIGHTS_OF_SEED_0 = 5147875554478041081  # the first 63 bits of sha256("(0, 'weights')")


def test_the_same_names_give_the_same_seed_on_every_machine() -> None:
    assert derive_seed(0, "weights") == WEIGHTS_OF_SEED_0  # runs on disk count on it
    said = subprocess.run(
        [sys.executable, "-c", "from archimed.seeding import derive_seed as d; print(d(7, 'a', (1, 2), 3))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert int(said) == derive_seed(7, "a", (1, 2), 3)  # no hash randomisation between processes


def test_seeds_differ_by_seed_and_by_every_name() -> None:
    names = [("a",), ("b",), ("a", "b"), ("ab",), (1,), ("1",), ((1,),), ((1, 2),), (1, 2), ((1,), 2), ()]
    seeds = {derive_seed(seed, *name) for seed in range(3) for name in names}
    assert len(seeds) == 3 * len(names)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_streams_do_not_depend_on_what_was_drawn_before() -> None:
    first = numpy_generator(0, "x").random(4)
    numpy_generator(0, "y").random(100)
    assert (numpy_generator(0, "x").random(4) == first).all()
    assert (numpy_generator(0, "y").random(4) != first).all()


def test_a_torch_generator_is_a_stream_of_its_own() -> None:
    first = torch.rand(3, generator=torch_generator(0, "x"))
    torch.rand(5)
    assert torch.equal(torch.rand(3, generator=torch_generator(0, "x")), first)


def test_layers_drawn_inside_are_the_same_and_nothing_changes_outside() -> None:
    torch.manual_seed(1)
    untouched = torch.rand(3)
    torch.manual_seed(1)
    with torch_seed(5, "weights"):
        first = nn.Linear(4, 4).weight.detach().clone()
    assert torch.equal(torch.rand(3), untouched)
    with torch_seed(5, "weights"):
        assert torch.equal(nn.Linear(4, 4).weight, first)


def test_numpy_streams_of_neighbouring_seeds_are_uncorrelated() -> None:
    draws = np.stack([numpy_generator(seed, "x").standard_normal(4000) for seed in range(4)])
    correlations = np.corrcoef(draws) - np.eye(4)
    assert np.abs(correlations).max() < 5 / np.sqrt(4000)
