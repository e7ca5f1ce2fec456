"""The command in processes that torchrun started: the first one runs it, the others join its trainings."""

import os
import signal
import sys
from collections.abc import Callable

from archimed.cli.failures import USER_SIDE, run_guarded, say

FOR_TEAMS = ("run", "resume", "train")


def in_team() -> bool:
    """Whether torchrun started this process among several."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) > 1


def run_in_team(app: Callable[..., object]) -> int:
    """Run a Typer app in the first process and let the others follow; returns the exit code."""
    from archimed.training.team import join_team, leave_team

    leads = os.environ["RANK"] == "0"
    verb = next((word for word in sys.argv[1:] if not word.startswith("-")), "--help")
    if verb not in FOR_TEAMS:
        told = f"torchrun is for the verbs that train: {', '.join(FOR_TEAMS)}; got {verb!r}. Leave torchrun out."
        return say(told, USER_SIDE) if leads else 0
    if not leads:
        return run_guarded(follower)
    team = join_team()
    code = run_guarded(app)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # this process is about to end
    if code == 0:  # else torchrun ends the others
        team.send(None)
        leave_team()
    return code


def follower(standalone_mode: bool = False) -> int:  # noqa: ARG001 (as Typer's apps have it)
    """Join the trainings of the first process; ended by torchrun, at once, since nothing needs to be saved."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    from archimed.experiment.train_as_team import follow
    from archimed.training.team import join_team, leave_team

    follow(join_team())
    leave_team()
    return 0
