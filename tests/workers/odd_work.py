"""Work that goes wrong in every way, in a module of its own, so that other processes can import it."""

import ctypes
import os
import signal
import time
from pathlib import Path

import torch

from archimed.workers.limits import OUT_OF_MEMORY, is_out_of_memory

LEAK = 24 * 2**20  # bytes that every item leaves behind


class OddWork:
    """Answers a word with itself; some words are trouble."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.kept: list[torch.Tensor] = []

    def __call__(self, word: str) -> str:
        if word == "hang":
            time.sleep(600)
        if word == "segfault":
            ctypes.string_at(0)
        if word.startswith("killed"):
            self._once_or_always(word)
        if word == "exhaust":
            return self._allocate(2**36)
        if word == "leak":
            return self._allocate(LEAK)
        return word

    def _once_or_always(self, word: str) -> None:
        met = self.folder / word
        if word != "killed once" or not met.exists():
            met.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def _allocate(self, size: int) -> str:
        try:
            self.kept.append(torch.ones(size, dtype=torch.uint8))
        except RuntimeError as error:
            return OUT_OF_MEMORY if is_out_of_memory(error) else repr(error)
        return f"process {os.getpid()}"


def is_spent(answer: str) -> bool:
    return answer == OUT_OF_MEMORY
