"""What files hold, as hashes, remembered from run to run so that files that did not change need not be read again."""

import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from archimed.files import write_through

READERS = 4  # threads at most: hashing releases the interpreter
IDENTITY, DIGEST = 16, 32  # bytes
RECORD = IDENTITY + DIGEST
MOST = 2**20  # files remembered; the oldest are forgotten first
SETTLED = 2_000_000_000  # nanoseconds without a change, after which a further one must show in a file's times
DETACHED = (".mhd", ".mha", ".nhdr", ".nrrd")  # headers that may name the file of their voxels
HEADER = 2**20  # bytes
NAMES_FILE = re.compile(rb"^\s*(?:ElementDataFile\s*=|data ?file:)\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE)


class Contents:
    """Hashes of files.

    A file counts as unchanged while its path, inode, size and times are. What is remembered is one file: the SHA-256 of
    the rest; then for each file seen 16 bytes of the SHA-256 of those facts, which names nothing, and the SHA-256 of
    what it holds. A damaged one is not believed.
    """

    def __init__(self, memory: Path) -> None:
        """Hashes remembered in a file, which may not exist yet."""
        self._memory = memory
        self._known = _read(memory)
        self._identities: dict[Path, bytes] = {}
        self._new: dict[bytes, bytes] = {}

    def of(self, paths: Iterable[Path]) -> dict[Path, str]:
        """SHA-256 of each file or, of the folder of a DICOM series, of its files.

        Raises:
            OSError: one cannot be read, or changes meanwhile.
        """
        wanted = {path: files_of(path) for path in dict.fromkeys(paths)}
        files = list(dict.fromkeys(file for parts in wanted.values() for file in parts))
        facts = {file: file.stat() for file in files}
        self._identities.update((file, _identity(file, found)) for file, found in facts.items())
        unknown = [file for file in files if self._identities[file] not in self._known]
        with ThreadPoolExecutor(min(READERS, os.cpu_count() or 1)) as pool:
            for file, digest in zip(unknown, pool.map(self._hash, unknown), strict=True):
                self._learn(file, facts[file], digest)
        return {
            path: hashlib.sha256(b"".join(self._known[self._identities[file]] for file in parts)).hexdigest()
            for path, parts in wanted.items()
        }

    def unchanged(self) -> bool:
        """Whether all files asked for are still those that were hashed."""
        try:
            return all(_identity(file, file.stat()) == identity for file, identity in self._identities.items())
        except OSError:
            return False

    def remember(self) -> None:
        """Write what was learnt; without it, files are read again."""
        if not self._new:
            return
        known = {**_read(self._memory), **self._new}
        records = b"".join(identity + digest for identity, digest in list(known.items())[-MOST:])
        content = hashlib.sha256(records).digest() + records
        write_through(self._memory, lambda temporary: temporary.write_bytes(content))
        self._new.clear()

    def _hash(self, file: Path) -> bytes:
        if not file.is_file():
            raise OSError(f"{file} is not a file")
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").digest()
        if _identity(file, file.stat()) != self._identities[file]:
            raise OSError(f"{file} changes while it is read")
        return digest

    def _learn(self, file: Path, facts: os.stat_result, digest: bytes) -> None:
        self._known[self._identities[file]] = digest
        if time.time_ns() - max(facts.st_mtime_ns, facts.st_ctime_ns) > SETTLED:
            self._new[self._identities[file]] = digest


def files_of(path: Path) -> list[Path]:
    """The files that a reader opens: itself, those of a DICOM series, or a header and the file of its voxels."""
    if path.is_dir():
        return sorted(inner for inner in path.iterdir() if inner.is_file() and not inner.name.startswith("."))
    return [path, *_voxel_files(path)]


def _voxel_files(header: Path) -> Iterator[Path]:
    if header.suffix.lower() not in DETACHED:
        return
    with header.open("rb") as stream:
        names = NAMES_FILE.findall(stream.read(HEADER))
    for name in names:
        beside = header.parent / os.fsdecode(name)
        if b"\0" not in name and beside.is_file():
            yield beside


def _identity(file: Path, facts: os.stat_result) -> bytes:
    numbers = (facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
    return hashlib.sha256(f"{file.absolute()}\0{numbers}".encode(errors="surrogateescape")).digest()[:IDENTITY]


def _read(memory: Path) -> dict[bytes, bytes]:
    try:
        content = memory.read_bytes()
    except OSError:
        return {}
    records = content[DIGEST:]
    if len(records) % RECORD or hashlib.sha256(records).digest() != content[:DIGEST]:
        return {}
    return {records[at : at + IDENTITY]: records[at + IDENTITY : at + RECORD] for at in range(0, len(records), RECORD)}
