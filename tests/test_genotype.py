import numpy as np
import pytest

from archimed.errors import GenotypeError
from archimed.genotype import Choice, check_genotype, describe, parse, random_genotype

CHOICES = (
    Choice("node1.operation", ("conv", "pool", "zero")),
    Choice("node1.input", ("input",)),
    Choice("b", ("x", "y")),
)


@pytest.mark.parametrize("genotype", [(0, 0, 0), (2, 0, 1), (1, 0, 0)])
def test_described_and_parsed_is_the_same(genotype: tuple[int, ...]) -> None:
    assert parse(describe(genotype, CHOICES), CHOICES) == genotype


def test_a_description_names_choices_and_options() -> None:
    assert describe((2, 0, 1), CHOICES) == {"node1.operation": "zero", "node1.input": "input", "b": "y"}


def test_the_order_of_a_description_does_not_matter() -> None:
    assert parse({"b": "y", "node1.input": "input", "node1.operation": "pool"}, CHOICES) == (1, 0, 1)


@pytest.mark.parametrize(
    ("genotype", "complaint"),
    [
        ((0, 0), "3 choices, the genotype 2 genes"),
        ((0, 0, 0, 0), "3 choices, the genotype 4 genes"),
        ((3, 0, 0), "'node1.operation' has 3 options; got option number 3"),
        ((0, -1, 0), "'node1.input' has 1 options; got option number -1"),
    ],
)
def test_a_genotype_of_another_space_is_refused(genotype: tuple[int, ...], complaint: str) -> None:
    with pytest.raises(GenotypeError, match=complaint):
        check_genotype(genotype, CHOICES)
    with pytest.raises(GenotypeError, match=complaint):
        describe(genotype, CHOICES)


@pytest.mark.parametrize(
    ("description", "complaint"),
    [
        ({"node1.operation": "conv", "b": "x"}, "'node1.input' is missing"),
        ({"node1.operation": "conv", "node1.input": "input", "b": "x", "c": "z"}, "'c' is unknown"),
        (
            {"node1.operation": "attention", "node1.input": "input", "b": "x"},
            "conv, pool, zero; got 'attention'",
        ),
    ],
)
def test_a_description_of_another_space_is_refused(description: dict[str, str], complaint: str) -> None:
    with pytest.raises(GenotypeError, match=complaint):
        parse(description, CHOICES)


def test_random_genotypes_are_valid_uniform_and_repeatable() -> None:
    rng = np.random.default_rng(0)
    drawn = [random_genotype(CHOICES, rng) for _ in range(3000)]
    for genotype in drawn:
        check_genotype(genotype, CHOICES)
    shares = np.bincount([genotype[0] for genotype in drawn]) / len(drawn)
    assert shares == pytest.approx([1 / 3] * 3, abs=0.03)  # standard deviation 0.009
    again = np.random.default_rng(0)
    assert drawn[:50] == [random_genotype(CHOICES, again) for _ in range(50)]
