"""The command line: one file per verb. Heavy libraries are imported by the verb that needs them."""

import os
import sys


def main() -> None:
    """Run the command line; errors of the user's side become one line and exit code 2."""
    # Waiting threads must not spin: with another job on the machine, spinning makes a run many times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from archimed.cli.app import app
    from archimed.cli.failures import run_guarded

    sys.exit(run_guarded(app))
