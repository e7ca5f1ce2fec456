"""The command line: one file per verb. Heavy libraries are imported by the verb that needs them."""

import os
import sys


def main() -> None:
    """Run the command line; errors of the user's side become one line and exit code 2."""
    # With another job on the machine, threads that spin at every barrier make a run many times slower; threads that
    # sleep at once make an idle machine slower by half. Spinning briefly costs little in either case.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    from archimed.cli.app import app
    from archimed.cli.failures import run_guarded
    from archimed.cli.teams import in_team, run_in_team

    sys.exit(run_in_team(app) if in_team() else run_guarded(app))
