"""Looks for words in every byte of a folder, also within what is packed or written as base64."""

import base64
import binascii
import bz2
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

DEEPEST = 6  # packings within each other
BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{16,}={0,2}")
STREAMS = (b"\x1f\x8b", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda", b"BZh", b"\xfd7zXZ")
MOST_BYTES = 2**26  # of one unpacked piece


def found_in(folder: Path, words: Sequence[str]) -> list[str]:
    """Files that hold one of the words, in any capitals, or are named with one."""
    found = []
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        content = path.read_bytes() if path.is_file() else b""
        if holds(name.encode(), words) or any(holds(piece, words) for piece in pieces(content)):
            found.append(name)
    return found


def holds(content: bytes, words: Sequence[str]) -> bool:
    """Whether one of the words is in it as UTF-8 or UTF-16."""
    small = content.lower()
    return any(word.lower().encode(code) in small for word in words for code in ("utf-8", "utf-16-le", "utf-16-be"))


def pieces(content: bytes, depth: int = 0) -> Iterator[bytes]:
    """The content, and whatever in it can be unpacked or decoded, again and again."""
    yield content
    if depth == DEEPEST:
        return
    for inner in (*unpacked(content), *decoded(content)):
        yield from pieces(inner, depth + 1)


def unpacked(content: bytes) -> Iterator[bytes]:
    """Members of an archive, and every compressed stream that begins anywhere in the content."""
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield "\n".join(archive.namelist()).encode()
            yield from (archive.read(name) for name in archive.namelist())
        return
    for mark in STREAMS:
        start = content.find(mark)
        while start >= 0:
            if (inner := unpack(content[start:], mark)) is not None:
                yield inner
            start = content.find(mark, start + 1)


def unpack(stream: bytes, mark: bytes) -> bytes | None:
    """What a stream unpacks to, as far as it does; None if it is none."""
    try:
        if mark == b"\x1f\x8b":
            return gzip.GzipFile(fileobj=io.BytesIO(stream)).read(MOST_BYTES)
        if mark == b"BZh":
            return bz2.BZ2Decompressor().decompress(stream, MOST_BYTES)
        if mark == b"\xfd7zXZ":
            return lzma.LZMADecompressor().decompress(stream, MOST_BYTES)
        return zlib.decompressobj().decompress(stream, MOST_BYTES)
    except (OSError, EOFError, zlib.error, lzma.LZMAError):
        return None


def decoded(content: bytes) -> Iterator[bytes]:
    """Every run of base64 characters as the bytes it may stand for, at each of the four places it may begin."""
    for run in BASE64.findall(content):
        text = run.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        for start in range(4):
            part = text[start:]
            with_end = part[: len(part) - len(part) % 4]
            try:
                yield base64.b64decode(with_end)
            except binascii.Error:
                continue
