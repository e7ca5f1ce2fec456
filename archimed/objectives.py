"""Objectives: what a search minimises, as a function of a whole population of candidates.

The paper normalises "the values of indicators and FLOPs from the same generation" (MSTF-NAS, Sec. III-B), so an
objective is undefined for a single network: a strategy calls it on parents and offspring together, at every survival.
"""

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from archimed.candidate import Candidate
from archimed.errors import ArchimedError, SettingsError
from archimed.userfile import is_user_object, load_object

Scores = Float[np.ndarray, "candidate objective"]
Objectives = Callable[[Sequence[Candidate]], Scores]  # the whole population; every column is minimised

TARGETS = ("accuracy", "potential")
SIZE_SIGNS = {"size": (1, -1), "size:small": (1,), "size:large": (-1,)}

_SIGNED_NAME = re.compile(r"([+-])([A-Za-z_]\w*)")


def rescale(values: Float[np.ndarray, " candidate"]) -> Float[np.ndarray, " candidate"]:
    """Map values to [0, 1] by their smallest and largest; a constant column becomes zeros.

    Raises:
        ValueError: a value is NaN or infinite, which would spread to all others.
    """
    values = np.asarray(values, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"Only finite values can be rescaled; got {values}. Drop such candidates first.")
    span = float(np.ptp(values)) if len(values) else 0.0
    return (values - values.min()) / span if span > 0 else np.zeros_like(values)


def column(candidates: Sequence[Candidate], name: str) -> Float[np.ndarray, " candidate"]:
    """One raw measurement of every candidate.

    Raises:
        SettingsError: a candidate has no measurement of this name.
    """
    for candidate in candidates:
        if name not in candidate.measurements:
            raise _unknown_measurement(name, tuple(candidate.measurements))
    return np.array([candidate.measurements[name] for candidate in candidates], dtype=np.float64)


def capability(candidates: Sequence[Candidate], indicators: Sequence[str]) -> Float[np.ndarray, " candidate"]:
    """Sum of the indicators, each rescaled over the given candidates; higher is better.

    With two indicators over the survivors of the last generation, the highest value is the paper's choice
    (MSTF-NAS, Sec. IV-B.1); over 100 random candidates it is its Table X.
    """
    return np.asarray(np.stack([rescale(column(candidates, name)) for name in indicators]).sum(axis=0))


@dataclass(frozen=True)
class SignedSums:
    """Objectives written as text: each is a signed sum of measurements, to be **maximised**.

    Every measurement is rescaled to [0, 1] over the population before it is added. `"naswot+macs"` asks for a high
    naswot and many MACs; `"-macs"` for few MACs. Returned scores are the negated sums, to be minimised.

    Attributes:
        expressions: one per objective, e.g. `("naswot+macs", "log_synflow-macs")`.

    Raises:
        SettingsError: no expression, or one that is not a signed sum of distinct names.
    """

    expressions: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.expressions:
            raise SettingsError("A search needs at least one objective; got none. Write for example 'naswot+macs'.")
        for expression in self.expressions:
            parse_signed_sum(expression)

    @cached_property
    def terms(self) -> tuple[dict[str, int], ...]:
        """For each objective, the sign of each measurement in it."""
        return tuple(parse_signed_sum(expression) for expression in self.expressions)

    @property
    def names(self) -> tuple[str, ...]:
        """The measurements that the objectives need, each once, in order of appearance."""
        return tuple(dict.fromkeys(name for terms in self.terms for name in terms))

    def check(self, measured: Sequence[str]) -> None:
        """Raise SettingsError unless all measurements that the objectives need are among those measured."""
        for name in self.names:
            if name not in measured:
                raise _unknown_measurement(name, measured)

    def __call__(self, candidates: Sequence[Candidate]) -> Scores:
        """Scores [candidate, objective] of one population, normalised together, to be minimised."""
        scaled = {name: rescale(column(candidates, name)) for name in self.names}
        sums = [np.sum([sign * scaled[name] for name, sign in terms.items()], axis=0) for terms in self.terms]
        return -np.stack(sums, axis=1)


@dataclass(frozen=True)
class OwnObjective:
    """Objectives of the user's own: `path/file.py:function` of a whole population, to be **minimised** as they are.

    The function returns [candidate] or [candidate, objective]; see `Objectives`. Making this executes the file.

    Raises:
        SettingsError: the file or function does not exist; when called, the function fails or returns something else.
    """

    name: str

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise SettingsError(
                f"An objective of your own is a function of candidates; {self.name} is {type(self.function).__name__}. "
                "Name a function of that file."
            )

    @cached_property
    def function(self) -> Objectives:
        """The user's function."""
        found: Objectives = load_object(self.name)
        return found

    def __call__(self, candidates: Sequence[Candidate]) -> Scores:
        """Scores [candidate, objective], to be minimised."""
        try:
            scores = np.asarray(self.function(candidates), dtype=np.float64)
        except ArchimedError:
            raise
        except Exception as error:
            raise SettingsError(
                f"An objective of your own must run on any population; {self.name} raised {type(error).__name__}: "
                f"{' '.join(str(error).split())}. Try it with archimed.testing.check_objective."
            ) from error
        scores = scores[:, None] if scores.ndim == 1 else scores
        if scores.ndim != 2 or len(scores) != len(candidates) or not np.isfinite(scores).all():
            raise SettingsError(
                f"An objective returns finite numbers, one or a row for each of {len(candidates)} candidates; "
                f"{self.name} gave shape {scores.shape}. Try it with archimed.testing.check_objective."
            )
        return scores


@dataclass(frozen=True)
class WrittenObjectives:
    """Objectives as they are written in settings: signed sums (see `SignedSums`), and functions of the user's own.

    Attributes:
        expressions: one or more, e.g. `("naswot+macs", "my_objective.py:novelty")`.

    Raises:
        SettingsError: no expression, or one that is neither.
    """

    expressions: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.parts) == 0:
            raise SettingsError("A search needs at least one objective; got none. Write for example 'naswot+macs'.")

    @cached_property
    def parts(self) -> tuple[SignedSums | OwnObjective, ...]:
        """What each expression means."""
        return tuple(OwnObjective(one) if is_user_object(one) else SignedSums((one,)) for one in self.expressions)

    def check(self, measured: Sequence[str]) -> None:
        """Raise SettingsError unless all measurements that the signed sums need are among those measured."""
        for part in self.parts:
            if isinstance(part, SignedSums):
                part.check(measured)

    def __call__(self, candidates: Sequence[Candidate]) -> Scores:
        """Scores [candidate, objective] of one population, to be minimised."""
        return np.concatenate([part(candidates) for part in self.parts], axis=1)


@dataclass(frozen=True)
class TargetsAndSize:
    """Objectives of weight sharing: `accuracy` and `potential` as high as can be, and the size (EMARS, Sec. IV).

    `size:small` asks for small networks, `size:large` for large ones and `size` alone for both ends. Values are taken
    raw: nothing is added up, so nothing needs a common scale.

    Attributes:
        expressions: for example `("accuracy", "potential", "size:small")`, at least one of the first two.

    Raises:
        SettingsError: other names, a name twice, or no target.
    """

    expressions: tuple[str, ...]

    def __post_init__(self) -> None:
        names = [expression.partition(":")[0] for expression in self.expressions]
        example = "Write for example accuracy,potential,size:small."
        for expression in self.expressions:
            if expression not in {*TARGETS, *SIZE_SIGNS}:
                raise SettingsError(
                    f"Objectives of a search by weight sharing are {', '.join((*TARGETS, *SIZE_SIGNS))}; got "
                    f"{expression!r}. {example}"
                )
            if names.count(expression.partition(":")[0]) > 1:
                raise SettingsError(f"An objective is named once; got {', '.join(self.expressions)}. {example}")
        if not self.targets:
            got = ", ".join(self.expressions) or "none"
            raise SettingsError(
                f"A search by weight sharing raises accuracy or potential; its objectives: {got}. {example}"
            )

    @property
    def targets(self) -> tuple[str, ...]:
        """What is to be high."""
        return tuple(name for name in self.expressions if name in TARGETS)

    @property
    def size_signs(self) -> tuple[int, ...]:
        """What the size is multiplied by to be minimised: 1 for small, -1 for large, both, or nothing."""
        return next((SIZE_SIGNS[name] for name in self.expressions if name in SIZE_SIGNS), ())

    def planes(self, candidates: Sequence[Candidate]) -> list[Scores]:
        """For each target and each end of the size asked for, both to be minimised; the target alone without a size."""
        sizes = [sign * column(candidates, "size") for sign in self.size_signs]
        targets = [-column(candidates, name) for name in self.targets]
        if not sizes:
            return [target[:, None] for target in targets]
        return [np.stack([target, size], axis=1) for target in targets for size in sizes]

    def __call__(self, candidates: Sequence[Candidate]) -> Scores:
        """Scores [candidate, objective], targets first, to be minimised."""
        sizes = [sign * column(candidates, "size") for sign in self.size_signs]
        return np.stack([*(-column(candidates, name) for name in self.targets), *sizes], axis=1)


def eq5(first: str, second: str) -> SignedSums:
    """The paper's pair of conflicting objectives, f1 = -p1 - F and f2 = -p2 + F (MSTF-NAS, Eq. 5).

    F is the complexity: the paper says FLOPs and means what we call MACs. As written, F is *rewarded* in f1 and
    penalised in f2, and cancels in f1 + f2: the pair spreads the front from small to large networks rather than
    making them all small.

    Args:
        first: p1, the indicator that goes with large networks.
        second: p2, the indicator that goes with small ones.
    """
    return SignedSums((f"{first}+macs", f"{second}-macs"))


def parse_signed_sum(expression: str) -> dict[str, int]:
    """The sign, +1 or -1, of each measurement named in an expression such as `"-macs+naswot"`.

    Raises:
        SettingsError: the expression is not a signed sum, or names a measurement twice.
    """
    compact = "".join(expression.split())
    signed = compact if compact.startswith(("+", "-")) else f"+{compact}"
    terms = _SIGNED_NAME.findall(signed)
    names = [name for _, name in terms]
    if not terms or "".join(sign + name for sign, name in terms) != signed:
        raise SettingsError(
            f"An objective is a signed sum of measurement names; got {expression!r}. "
            "Write for example 'naswot+macs' or 'log_synflow-macs'."
        )
    if repeated := [name for name in names if names.count(name) > 1]:
        raise SettingsError(
            f"An objective names each measurement once; got {expression!r}. Name {repeated[0]!r} a single time."
        )
    return {name: 1 if sign == "+" else -1 for sign, name in terms}


def _unknown_measurement(name: str, measured: Sequence[str]) -> SettingsError:
    nearest = difflib.get_close_matches(name, measured, n=1, cutoff=0.0)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return SettingsError(
        f"An objective uses what was measured ({', '.join(sorted(measured)) or 'nothing'}); got {name!r}.{hint}"
    )
