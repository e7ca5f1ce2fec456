"""Evolution that measures survivors again: what it asks for, and that a survivor is known by its latest score."""

from collections import Counter

import numpy as np
import pytest

from archimed.candidate import Candidate
from archimed.errors import SettingsError
from archimed.genotype import Choice, Genotype
from archimed.objectives import TargetsAndSize
from archimed.strategies import Nsga3, Pnsga3
from archimed.strategies.nsga3 import nsga3_selection, reference_directions
from archimed.strategies.pnsga3 import pnsga3_selection, stages
from archimed.strategies.variation import resampled, uniform_crossover

CHOICES = tuple(Choice(f"block{n}", tuple("abcdefgh")) for n in range(6))
RATES = {"newcomer_rate": 0.5, "crossover_rate": 0.3, "mutation_rate": 0.2}


def strategy(kind: type[Pnsga3 | Nsga3] = Pnsga3, objectives: str = "accuracy", **named: float) -> Pnsga3 | Nsga3:
    sizes = {"first_size": 9, "population_size": 6, "keep": 3, **RATES, **named}
    wanted = TargetsAndSize(tuple(objectives.split(",")))
    return kind(CHOICES, wanted, np.random.default_rng(1), **sizes)  # type: ignore[arg-type]


def candidate(name: int, accuracy: float, potential: float = 0.0, size: float = 1.0, epoch: int = 0) -> Candidate:
    return Candidate((name,), epoch, {"accuracy": accuracy, "potential": potential, "size": size})


def scored(genotype: Genotype, epoch: int, accuracy: float) -> Candidate:
    return Candidate(genotype, epoch, {"accuracy": accuracy, "potential": 0.0, "size": 1.0})


@pytest.mark.parametrize("kind", [Pnsga3, Nsga3])
def test_survivors_are_asked_for_again_and_hold_the_score_of_their_own_latest_measurement(
    kind: type[Pnsga3 | Nsga3],
) -> None:
    one = strategy(kind)
    truth = np.random.default_rng(5)
    for epoch in range(8):
        asked = one.ask()
        assert len(asked) == len(set(asked)) == (9 if epoch == 0 else 6)
        kept = [survivor.genotype for survivor in one.survivors]
        assert set(kept) <= set(asked)  # every survivor is measured again
        fresh = {genotype: float(truth.random()) for genotype in asked}  # ranks change: weights drift
        told = [scored(genotype, epoch, fresh[genotype]) for genotype in asked]
        one.tell(told)
        assert len(one.survivors) == (6 if epoch == 0 else 3)
        for survivor in one.survivors:
            assert survivor.generation == epoch
            assert survivor.measurements["accuracy"] == fresh[survivor.genotype]
        best = sorted(fresh, key=lambda genotype: -fresh[genotype])[: len(one.survivors)]
        assert {survivor.genotype for survivor in one.survivors} == set(best)


def test_scores_told_in_another_order_stay_with_their_paths() -> None:
    one, other = strategy(), strategy()
    asked = one.ask()
    assert other.ask() == asked
    told = [scored(genotype, 0, sum(genotype) + genotype[0] / 10 + genotype[1] / 100) for genotype in asked]
    one.tell(told)
    other.tell(told[::-1])
    assert {id(survivor) for survivor in one.survivors} == {id(survivor) for survivor in other.survivors}


def test_a_dropped_survivor_goes_and_a_generation_without_measurements_changes_nothing() -> None:
    one = strategy()
    one.tell([scored(genotype, 0, sum(genotype)) for genotype in one.ask()])
    asked = one.ask()
    lost = one.survivors[0].genotype
    one.tell([Candidate(g, 1, dropped="no memory") if g == lost else scored(g, 1, 1000 - sum(g)) for g in asked])
    assert lost not in [survivor.genotype for survivor in one.survivors]
    before = list(one.survivors)
    one.tell([Candidate(g, 2, dropped="no memory") for g in one.ask()])
    assert one.survivors == before


def test_half_of_the_new_paths_are_newcomers_and_children_take_genes_at_the_rates_of_the_paper() -> None:
    one = strategy(population_size=9)
    parents = [scored((gene,) * 6, 0, 1.0) for gene in (0, 1, 2)]
    one.survivors = parents
    new = [genotype for _ in range(400) for genotype in one.ask()[3:]]
    assert len(new) == 400 * 6
    likely = sum(Counter(genotype).most_common(1)[0][1] >= 4 for genotype in new) / len(new)
    # of one parent come 6 * .8 * .7 genes unchanged; of newcomers nearly none shares four genes
    assert 0.25 < likely < 0.5


def test_crossover_and_mutation_change_each_gene_at_their_rates() -> None:
    rng = np.random.default_rng(0)
    count, zeros, ones = 4000, (0,) * 6, (1,) * 6
    crossed = np.array([uniform_crossover(zeros, ones, 0.3, rng) for _ in range(count)])
    assert crossed.mean(axis=0) == pytest.approx(0.3, abs=0.03)
    changed = np.array([resampled(zeros, (8, 8, 8, 8, 8, 1), 0.2, rng) for _ in range(count)])
    assert (changed[:, :5] != 0).mean(axis=0) == pytest.approx(0.2, abs=0.03)  # a mutated gene is never the same
    assert not changed[:, 5].any()  # one option is no choice
    assert np.bincount(changed[:, 0], minlength=8)[1:] / count == pytest.approx(0.2 / 7, abs=0.01)


def test_stages_of_pnsga3_by_hand() -> None:
    """Fronts of five networks, drawn on paper: accuracy against size, and potential against size."""
    rows = [
        candidate(0, accuracy=0.9, potential=0.0, size=4.0),
        candidate(1, accuracy=0.8, potential=0.1, size=2.0),
        candidate(2, accuracy=0.7, potential=0.0, size=3.0),  # dominated in both planes by 1
        candidate(3, accuracy=0.6, potential=0.3, size=3.0),  # best potential
        candidate(4, accuracy=0.5, potential=-0.1, size=1.0),  # smallest
    ]
    small = TargetsAndSize(("accuracy", "potential", "size:small"))
    # accuracy and size: {0, 1, 4}, {2}, {3}; potential and size: {1, 3, 4}, {2}, {0}
    assert stages(small, rows) == [[0, 1, 3, 4], [2]]
    # accuracy and size: {0}, {2, 3 not: 2 is better at the same size}, ...
    large = TargetsAndSize(("accuracy", "size:large"))
    assert stages(large, rows) == [[0], [1, 2], [3], [4]]
    both = TargetsAndSize(("accuracy", "size"))
    assert stages(both, rows) == [[0, 1, 4], [2], [3]]
    assert stages(TargetsAndSize(("accuracy",)), rows) == [[0], [1], [2], [3], [4]]
    assert stages(TargetsAndSize(("potential",)), rows) == [[3], [1], [0, 2], [4]]


def test_the_last_stage_of_pnsga3_gives_its_least_crowded() -> None:
    wanted = TargetsAndSize(("accuracy", "size:small"))
    rows = [candidate(n, accuracy=a, size=a) for n, a in enumerate((0.1, 0.5, 0.55, 0.8, 1.0))]
    # one front; gaps of neighbours: ends infinite, 1: .45, 2: .3, 3: .45
    assert pnsga3_selection(wanted, rows, 2) == [0, 4]
    assert pnsga3_selection(wanted, rows, 4) == [0, 4, 1, 3]
    assert pnsga3_selection(wanted, rows, 5) == [0, 1, 2, 3, 4]


def test_nsga3_takes_whole_fronts_and_the_nearest_to_each_free_direction() -> None:
    rng = np.random.default_rng(0)
    directions = reference_directions(2, 3)
    assert directions.tolist() == [[0, 1], [0.5, 0.5], [1, 0]]
    line = np.array([[0.0, 1.0], [0.1, 0.9], [0.45, 0.55], [0.6, 0.4], [0.8, 0.2], [1.0, 0.0]])
    # one front on the line between both ends: the ends lie on the outer directions, row 2 next to the middle one
    assert sorted(nsga3_selection(line, directions, 3, rng)) == [0, 2, 5]
    worse = line + 1
    # a whole front, then of the second the direction that the first has left empty, whatever the chance
    taken = nsga3_selection(np.concatenate([line[[0, 1, 5]], worse[[2, 0]]]), directions, 4, rng)
    assert taken == [0, 1, 2, 3]


def test_nsga3_agrees_with_the_survival_of_pymoo() -> None:
    from pymoo.algorithms.moo.nsga3 import ReferenceDirectionSurvival
    from pymoo.core.population import Population

    directions = reference_directions(3, 10)
    assert len(directions) == 10
    for seed in range(20):
        scores = np.random.default_rng(seed).random((20, 3)).round(2)
        pool = Population.new("F", scores)
        pool.set("row", np.arange(20))
        survival = ReferenceDirectionSurvival(directions)
        kept = survival._do(None, pool, 10, random_state=np.random.default_rng(7))
        ours = nsga3_selection(scores, directions, 10, np.random.default_rng(7))
        assert sorted(ours) == sorted(int(row) for row in kept.get("row"))


def test_one_objective_is_ranked_by_nsga3_too() -> None:
    one = strategy(Nsga3)
    rows = [candidate(n, accuracy=a) for n, a in enumerate((0.3, 0.9, 0.1, 0.5))]
    assert one.select(rows, 2) == [1, 3]


def test_nsga3_refuses_both_ends_of_the_size_and_sizes_must_rise() -> None:
    with pytest.raises(SettingsError, match="size:small or size:large"):
        strategy(Nsga3, "accuracy,size")
    with pytest.raises(ValueError, match="Choose sizes that rise"):
        strategy(keep=7)


@pytest.mark.parametrize(
    ("objectives", "message"),
    [
        ("accuracy,speed", "got 'speed'"),
        ("size:small", "its objectives: size:small"),
        ("accuracy,size,size:small", "named once"),
        ("accuracy,accuracy", "named once"),
    ],
)
def test_objectives_that_mean_nothing_are_refused(objectives: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        TargetsAndSize(tuple(objectives.split(",")))


def test_scores_are_minimised_targets_first() -> None:
    rows = [candidate(0, 0.9, 0.2, 4.0), candidate(1, 0.5, -0.1, 1.0)]
    wanted = TargetsAndSize(("size:small", "accuracy", "potential"))
    assert wanted(rows).tolist() == [[-0.9, -0.2, 4.0], [-0.5, 0.1, 1.0]]
    assert [plane.tolist() for plane in wanted.planes(rows)] == [
        [[-0.9, 4.0], [-0.5, 1.0]],
        [[-0.2, 4.0], [0.1, 1.0]],
    ]
