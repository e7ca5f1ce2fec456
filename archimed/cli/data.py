"""`archimed data check|describe`: look at data before a run is spent on it."""

from typing import Annotated

import typer

app = typer.Typer(help="Look at data before a run is spent on it.", no_args_is_help=True)
Source = Annotated[str, typer.Argument(metavar="DATA", help="As --data of: archimed run")]
