"""The command line, called in this process."""

import contextlib
import io
import signal
import sys
from dataclasses import dataclass

import pytest

from archimed.cli import main


@dataclass(frozen=True)
class Said:
    """How a command ended and what it said."""

    code: int
    stdout: str
    stderr: str


def command(*words: str) -> Said:
    """Run `archimed words...` and return its end; the handler of SIGTERM is put back."""
    stdout, stderr = io.StringIO(), io.StringIO()
    handler = signal.getsignal(signal.SIGTERM)
    code: object = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["archimed", *words])
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            try:
                main()
            except SystemExit as end:
                code = end.code
            finally:
                signal.signal(signal.SIGTERM, handler)
    return Said(code if isinstance(code, int) else 0 if code is None else 1, stdout.getvalue(), stderr.getvalue())
