"""What is wrong with a data set, collected or raised.

Readers report every flaw to one `Problems`. A strict one raises the first fatal flaw as `DataError`, which is what a
run wants; a lenient one keeps them all, which is what `archimed data check` wants. So both walk the same code.
"""

from dataclasses import dataclass, field

from archimed.errors import DataError


@dataclass(frozen=True)
class Problem:
    """One flaw of a data set: one line that states the rule, the value and the next step.

    Attributes:
        message: the line, naming the file or row.
        fatal: whether the data set cannot be used as it is.
    """

    message: str
    fatal: bool


@dataclass
class Problems:
    """Collector of the flaws of one data set.

    Attributes:
        strict: raise the first fatal flaw instead of keeping it.
        found: the flaws kept so far, in the order of reading.
    """

    strict: bool
    found: list[Problem] = field(default_factory=list)

    def fatal(self, message: str) -> None:
        """Report a flaw that forbids the use of the data set; raises DataError if strict."""
        if self.strict:
            raise DataError(message)
        self.add(Problem(message, fatal=True))

    def caution(self, message: str) -> None:
        """Report a flaw that a user should know of; repeated ones are kept once."""
        self.add(Problem(message, fatal=False))

    def add(self, problem: Problem) -> None:
        """Keep a flaw unless it is already there."""
        if problem not in self.found:
            self.found.append(problem)

    @property
    def cautions(self) -> tuple[str, ...]:
        """The lines of the flaws that are not fatal."""
        return tuple(problem.message for problem in self.found if not problem.fatal)
