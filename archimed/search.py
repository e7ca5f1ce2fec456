"""The one loop of every discrete search: ask, evaluate, tell.

The log of candidates is the state of a search. A strategy, given its generator and the same answers, asks for the
same genotypes again; so a resumed search takes logged results instead of measuring, and ends like an unbroken one.
"""

import math
import re
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from archimed.candidate import Candidate
from archimed.errors import SearchError
from archimed.evaluators.protocol import Evaluate
from archimed.genotype import Genotype
from archimed.strategies.protocol import Canonical, Strategy

Record = Callable[[Candidate], None]
Progress = Callable[[int, int | None, int], None]  # genotypes done, genotypes planned if known, generation


@dataclass(frozen=True)
class SearchResult:
    """What a search leaves behind.

    Attributes:
        candidates: every unique candidate in the order of evaluation, the dropped ones too.
        survivors: what the strategy kept at the end.
        populations: what it kept after each generation, from the first, random one on.
        stopped: whether `stop` ended the search early.
    """

    candidates: tuple[Candidate, ...]
    survivors: tuple[Candidate, ...]
    populations: tuple[tuple[Candidate, ...], ...]
    stopped: bool

    @property
    def unique_candidates(self) -> int:
        """Candidates scored, isomorphic ones once: the budget that two searches are compared at."""
        return len(self.candidates)


def search_population(
    strategy: Strategy,
    evaluate: Evaluate,
    *,
    canonical: Canonical,
    generations: int | None,
    known: Sequence[Candidate] = (),
    record: Record = lambda _: None,
    progress: Progress = lambda _done, _planned, _generation: None,
    stop: Callable[[], bool] = lambda: False,
) -> SearchResult:
    """Ask, evaluate and tell, generation after generation.

    A genotype whose canonical form was scored before is not scored again: the strategy is told the candidate that
    stands for it. A candidate that failed or has a measurement that is not finite is dropped here, once, with its
    reason; strategies never select it.

    Args:
        strategy: fresh, with the generator it had when the known candidates were found.
        evaluate: measures genotypes, lazily and in order.
        canonical: genotypes it maps to the same one are the same network.
        generations: how often the strategy is asked, the first random population included; None for as long as it
            asks for anything.
        known: candidates of the interrupted search that this one continues, in order.
        record: called with each newly evaluated candidate, before the next is begun.
        progress: called after each candidate, known ones too.
        stop: asked before each evaluation; True ends the search with what it has.

    Raises:
        SearchError: the known candidates are not those that the strategy asks for, or more than half of a
            generation was dropped.
    """
    waiting = deque(known)
    scored: dict[Genotype, Candidate] = {}  # by canonical form, in order of evaluation
    populations: list[tuple[Candidate, ...]] = []
    done = full_size = 0
    stopped = False
    while not stopped and len(populations) != generations:
        generation = len(populations)
        forms: dict[Genotype, Genotype] = {}
        for genotype in strategy.ask():
            forms.setdefault(canonical(genotype), genotype)
        if not forms:
            break
        fresh = {form: genotype for form, genotype in forms.items() if form not in scored}
        planned = None if generations is None else done + len(forms) * (generations - generation)
        full_size = max(full_size, len(forms))
        done += len(forms) - len(fresh)
        with closing(_candidates(list(fresh.values()), generation, waiting, evaluate, record)) as candidates:
            for form in fresh:
                if not waiting and stop():
                    stopped = True
                    break
                scored[form] = candidate = next(candidates)
                done += 1
                progress(done, planned, generation)
                if candidate.dropped is not None:
                    _check_health(scored.values(), generation, full_size)
        if told := [scored[form] for form in forms if form in scored]:
            strategy.tell(told)
            populations.append(tuple(strategy.survivors))
    if waiting:
        raise SearchError(
            f"A search continues its own log; these settings ask for {len(scored)} candidates and the log holds "
            f"{len(known)}. Resume with the settings that the log was written with, or choose a new folder."
        )
    return SearchResult(tuple(scored.values()), tuple(strategy.survivors), tuple(populations), stopped)


def select_best(
    population: Sequence[Candidate], score: Callable[[Sequence[Candidate]], Float[np.ndarray, " candidate"]]
) -> Candidate:
    """The candidate with the highest score over the population; of equals the earliest, then the lowest genotype.

    Args:
        population: candidates in any order; dropped ones take no part.
        score: one number per candidate, e.g. `lambda population: capability(population, ("naswot", "synflow"))`.

    Raises:
        SearchError: there is no candidate to select.
    """
    candidates = [candidate for candidate in population if candidate.dropped is None]
    if not candidates:
        raise SearchError(
            f"A network is chosen among at least 1 measured candidate; got {len(population)}, none of them measured. "
            "Give the search more time (--budget) or look up why candidates were dropped in search/candidates.jsonl."
        )
    scores = score(candidates)
    rows = range(len(candidates))
    return candidates[min(rows, key=lambda row: (-scores[row], candidates[row].generation, candidates[row].genotype))]


def _candidates(
    genotypes: Sequence[Genotype], generation: int, waiting: deque[Candidate], evaluate: Evaluate, record: Record
) -> Generator[Candidate, None, None]:
    """The candidates of new genotypes: from the log as far as it reaches, then measured and recorded."""
    replayed = min(len(genotypes), len(waiting))
    for genotype in genotypes[:replayed]:
        logged = waiting.popleft()
        if (logged.genotype, logged.generation) != (genotype, generation):
            raise SearchError(
                f"A search continues its own log; candidate {logged.genotype} of generation {logged.generation} "
                f"stands where these settings ask for {genotype} in generation {generation}. The log belongs to other "
                "settings, another seed or another version: resume with those, or choose a new folder."
            )
        yield logged
    remaining = genotypes[replayed:]
    if not remaining:
        return
    for genotype, measured in zip(remaining, evaluate(remaining), strict=True):
        dropped = measured.failure or _not_finite(measured.values)
        candidate = Candidate(genotype, generation, measured.values, measured.seconds, dropped)
        record(candidate)
        yield candidate


def _not_finite(values: Mapping[str, float]) -> str | None:
    """Why these measurements cannot be compared: one NaN would turn a rescaled generation into NaN."""
    wrong = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
    return ", ".join(wrong) or None


def _check_health(scored: Iterable[Candidate], generation: int, full_size: int) -> None:
    """Raise SearchError once more than half of a full generation was dropped: then the cause is not the candidates."""
    reasons = [one.dropped for one in scored if one.generation == generation and one.dropped is not None]
    if 2 * len(reasons) <= full_size:
        return
    kinds = Counter(
        re.sub(r"[\d.]+", "#", reason) for reason in reasons
    )  # amounts of memory differ, the cause does not
    kind, count = kinds.most_common(1)[0]
    example = next(reason for reason in reasons if re.sub(r"[\d.]+", "#", reason) == kind)
    raise SearchError(
        f"At least half of a generation must be measurable; {len(reasons)} of {full_size} candidates of generation "
        f"{generation} were dropped, {count} of them because: {example}. Mend that cause, then search again in a new "
        "folder."
    )
