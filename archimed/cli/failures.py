"""From an exception to one clear line and an exit code: 2 the user's side, 1 ours, 130 interrupted, 143 terminated."""

import errno
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from archimed.errors import ArchimedError

USER_SIDE = 2
OUR_FAULT = 1
INTERRUPTED = 130
TERMINATED = 143
GO_ON = "What was done is saved; go on with the same command, or of a run with: archimed resume RUN"
INTERRUPTION = f"Interrupted. {GO_ON}"


class Terminated(BaseException):
    """The process was asked to end (SIGTERM)."""


def run_guarded(app: Callable[..., object]) -> int:
    """Run a Typer app and return its exit code; never shows a traceback."""
    signal.signal(signal.SIGTERM, raise_terminated)
    try:
        result = app(standalone_mode=False)
    except ArchimedError as error:
        return say(one_line(error), USER_SIDE)
    except OSError as error:
        return say(surroundings(error), USER_SIDE) if is_surroundings(error) else our_fault(error)
    except KeyboardInterrupt:
        return say(INTERRUPTION, INTERRUPTED)
    except Terminated:
        return say(f"Terminated. {GO_ON}", TERMINATED)
    except Exception as error:  # noqa: BLE001
        return usage_or_fault(error)
    code = result if isinstance(result, int) else 0
    return say(INTERRUPTION, code) if code == INTERRUPTED else code  # Typer turns Ctrl-C into this number


def usage_or_fault(error: Exception) -> int:
    """Complaints about the command line itself are the user's side; all else is our fault."""
    import typer

    if isinstance(error, typer.Exit):
        return int(error.exit_code)
    if isinstance(error, typer.Abort):
        return say(INTERRUPTION, INTERRUPTED)
    if complaint := getattr(error, "format_message", None):  # the base class of usage errors is Typer's private matter
        return say(f"{complaint().rstrip('.')}. See: archimed --help", USER_SIDE)
    return our_fault(error)


def is_surroundings(error: OSError) -> bool:
    """Whether an operating-system error is about the user's disk, permissions or paths."""
    mendable = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR}
    return error.errno in mendable | {errno.EISDIR, errno.ENAMETOOLONG, errno.EFBIG}


def surroundings(error: OSError) -> str:
    """The line for a full disk, a missing permission and their like."""
    where = f": {error.filename}" if error.filename else ""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return f"The disk is full{where}. Make room, then go on with: archimed resume RUN"
    return f"{os.strerror(error.errno or 0)}{where}. Check the path and its permissions."


def our_fault(error: Exception) -> int:
    """Keep the traceback in a file and say where it is."""
    text = "".join(traceback.format_exception(error))
    with tempfile.NamedTemporaryFile("w", prefix="archimed-", suffix=".log", delete=False, encoding="utf-8") as file:
        file.write(text)
    return say(
        f"This is a fault of archimed ({type(error).__name__}: {one_line(error)}). "
        f"The details are in {Path(file.name)}; please report them.",
        OUR_FAULT,
    )


def one_line(error: BaseException) -> str:
    """An error's text on one line."""
    return " ".join(str(error).split())


def say(message: str, code: int) -> int:
    """Print a message to stderr and pass the exit code on."""
    sys.stderr.write(f"archimed: {message}\n")
    return code


def raise_terminated(_number: int, _frame: FrameType | None) -> None:
    """Turn SIGTERM into an exception, so that files are closed on the way out."""
    raise Terminated
