"""Folders that may not be written to, also for root, whose privilege to write everywhere is laid down meanwhile."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

VERSION_3 = 0x20080522  # of Linux's capabilities, in two words of 32
OVERRIDES = (1, 2)  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: root passes over permissions


class Head(ctypes.Structure):
    """Whose capabilities."""

    _fields_ = (("version", ctypes.c_uint32), ("thread", ctypes.c_int))


class Sets(ctypes.Structure):
    """Bits of what holds now, what may be taken up again, and what children inherit."""

    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder, and all in it, may be read and not written."""
    modes = {path: path.stat().st_mode for path in (folder, *folder.rglob("*"))}
    for path, mode in modes.items():
        path.chmod(mode & 0o555)
    try:
        with as_others():
            if os.access(folder, os.W_OK, effective_ids=True):
                pytest.skip("this user may write everywhere, and cannot lay that down")
            yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


@contextmanager
def as_others() -> Iterator[None]:
    """This thread without root's privilege over permissions."""
    if os.geteuid() != 0 or sys.platform != "linux":
        yield
        return
    library, head, sets = ctypes.CDLL(None, use_errno=True), Head(VERSION_3, 0), (Sets * 2)()
    library.capget(ctypes.byref(head), sets)
    kept = sets[0].effective
    sets[0].effective = kept & ~sum(1 << number for number in OVERRIDES)
    library.capset(ctypes.byref(head), sets)
    try:
        yield
    finally:
        sets[0].effective = kept
        library.capset(ctypes.byref(head), sets)
