import numpy as np

from archimed.candidate import Candidate
from archimed.genotype import Choice, Genotype
from archimed.strategies import RandomSearch
from archimed.strategies.unique import draw_unique

CHOICES = tuple(Choice(f"gene_{n}", ("a", "b", "c")) for n in range(4))


def exhaust(strategy: RandomSearch) -> list[Genotype]:
    asked = []
    while batch := strategy.ask():
        assert len(batch) <= strategy.batch_size
        strategy.tell([Candidate(genotype, 0) for genotype in batch])
        asked.extend(batch)
    return asked


def test_asks_for_as_many_different_genotypes_as_wanted() -> None:
    asked = exhaust(RandomSearch(CHOICES, 50, np.random.default_rng(0), batch_size=16))
    assert len(asked) == len(set(asked)) == 50


def test_isomorphic_genotypes_count_once() -> None:
    asked = exhaust(RandomSearch(CHOICES, 12, np.random.default_rng(0), canonical=lambda one: tuple(sorted(one))))
    assert len({tuple(sorted(genotype)) for genotype in asked}) == len(asked) == 12


def test_ends_when_the_space_does() -> None:
    asked = exhaust(RandomSearch(CHOICES, 1000, np.random.default_rng(0), batch_size=50))
    assert len(asked) == len(set(asked)) == 81


def test_draws_options_uniformly() -> None:
    wide = tuple(Choice(f"gene_{n}", ("a", "b", "c")) for n in range(12))
    asked = np.array(exhaust(RandomSearch(wide, 3000, np.random.default_rng(0), batch_size=500)))
    shares = np.stack([(asked == option).mean(axis=0) for option in range(3)])
    np.testing.assert_allclose(shares, 1 / 3, atol=4 * np.sqrt(2 / 9 / 3000))


def test_keeps_everything_measured() -> None:
    strategy = RandomSearch(CHOICES, 3, np.random.default_rng(0))
    good, bad = Candidate((0,) * 4, 0), Candidate((1,) * 4, 0, dropped="failed")
    strategy.tell([good, bad])
    assert strategy.survivors == [good]


def test_duplicates_are_drawn_again_as_often_as_allowed() -> None:
    wanted: list[int] = []

    def draw(count: int) -> list[Genotype]:
        wanted.append(count)
        return [(0,), (len(wanted),)]

    assert draw_unique(draw, 4, [(2,)], lambda genotype: genotype, retries=3) == [(0,), (1,), (3,), (4,)]
    assert wanted == [4, 2, 2, 1]
    assert draw_unique(lambda _: [(0,)], 4, [], lambda genotype: genotype, retries=5) == [(0,)]
