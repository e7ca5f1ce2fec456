"""A small set of files and a reader of them for tests of the cache; run as a script, a process that builds one."""

import os
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from archimed.data.arrays import Arrays
from archimed.data.dataset import Case
from archimed.data.listing import Entry, Listing
from archimed.data.preparation.cache import prepared
from archimed.data.preparation.store import Facts, Prepared, Sink
from archimed.data.privacy import hidden
from archimed.data.problems import Problems
from archimed.data.settings import DataSettings

CASES = 12
CANARY = "Doe^Jane"


def make_files(folder: Path, size: int = 64) -> Listing:
    """Files of random bytes, whose names hold a patient's, and the listing of them."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for number in range(CASES):
        path = folder / f"{CANARY}{number}.raw"
        if not path.exists():
            path.write_bytes(bytes(torch.randint(0, 256, (size,), generator=torch.Generator().manual_seed(number))))
        case = Case(f"case-{number}", f"{CANARY}{number}", origin=f"line {number} of {CANARY}.csv")
        entries.append(Entry(case, (path,), label="ab"[number % 2]))
    return Listing(f"{CANARY} set", "csv", tuple(entries))


class Reader:
    """Puts each file as one image of one row, and its first bytes as mask; counts how often it is called.

    Attributes:
        calls: how often the set was read.
        masks: whether there are masks.
        pause: seconds before each case.
        leave_out: a case that cannot be used.
    """

    def __init__(
        self, listing: Listing, *, masks: bool = False, pause: float = 0, leave_out: int | None = None
    ) -> None:
        self.listing, self.masks, self.pause, self.leave_out = listing, masks, pause, leave_out
        self.calls = 0

    def __call__(self, sink: Sink) -> Facts:
        self.calls += 1
        facts = Facts(("PET",), ("pet",), remarks={"the alpha channel was dropped": 2})
        for row, entry in enumerate(self.listing.entries):
            time.sleep(self.pause)
            if row == self.leave_out:
                continue
            image, mask = self.image(row), self.mask(row)
            sink.put(image, mask)
            facts.rows.append(row)
            facts.spacing.append((0.1, 2.0) if row % 2 else None)
            facts.patients.append(hidden(entry.case.patient))
            facts.mask_values.append([] if mask is None else sorted(set(mask.flatten().tolist())))
        return facts

    def image(self, row: int) -> Tensor:
        path = self.listing.entries[row].images[0]
        assert path is not None
        return torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8).view(1, 1, -1).to(torch.int16) - 100

    def mask(self, row: int) -> Tensor | None:
        return (self.image(row)[0] % 3).to(torch.uint8) if self.masks else None

    def check(self, found: Prepared) -> None:
        """Whether what was found is what the files hold."""
        rows = [row for row in range(CASES) if row != self.leave_out]
        assert found.facts.rows == rows
        assert all(torch.equal(image, self.image(row)) for row, image in zip(rows, found.images, strict=True))
        assert (found.masks is not None) == self.masks
        for row, mask in zip(rows, found.masks or Arrays.of([]), strict=self.masks):
            assert torch.equal(mask, self.mask(row))


def build(reader: Reader, settings: DataSettings | None = None, problems: Problems | None = None) -> Prepared:
    return prepared(reader.listing, settings or DataSettings(), problems or Problems(strict=True), reader)


if __name__ == "__main__":
    made = make_files(Path(sys.argv[1]))
    slow = Reader(made, masks=True, pause=float(sys.argv[2]))
    print("started", flush=True)
    slow.check(build(slow))
    print(f"done after {slow.calls} readings", flush=True)
    os._exit(0)
