"""The errors a user can cause and mend; the command line turns each into one line and exit code 2.

    ArchimedError
    ├── SettingsError   an unknown or impossible setting, method, space, indicator
    ├── DataError       images, labels, masks or splits that cannot be used as they are
    ├── GenotypeError   a genotype that does not belong to the search space
    ├── SearchError     a search that cannot go on
    └── RunError        a run directory that is missing, of another run, locked or damaged

A message states the rule, the value received and the next step, in that order, on one line.
Anything else that escapes (exit code 1) is our fault.
"""


class ArchimedError(Exception):
    """Base of all errors that the user's input or surroundings cause."""


class SettingsError(ArchimedError):
    """A setting, method, space or indicator that does not exist or cannot hold."""


class DataError(ArchimedError):
    """Images, labels, masks or splits that cannot be used as they are."""


class GenotypeError(ArchimedError):
    """A genotype that does not belong to the search space it is used with."""


class SearchError(ArchimedError):
    """A search that cannot go on."""


class RunError(ArchimedError):
    """A run directory that is missing, belongs to another run, is locked or damaged."""


class ContractError(AssertionError):
    """A part broke the contract of its kind; see `archimed.testing`."""
