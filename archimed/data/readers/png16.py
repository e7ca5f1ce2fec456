"""PNG with 16 bits per channel and more than one channel, which Pillow reads as 8 bits without a word.

Follows the PNG specification (ISO/IEC 15948, sections 5 and 9).
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8, UInt16

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {2: 3, 4: 2, 6: 4}  # by colour type: RGB, grey with alpha, RGB with alpha
HEADER_BYTES = 29  # signature, length, "IHDR" and the header's first 13 bytes


def is_deep_png(head: bytes) -> bool:
    """Whether a file that starts with these 29 bytes is such a PNG."""
    return head.startswith(SIGNATURE) and len(head) >= HEADER_BYTES and head[24] == 16 and head[25] in CHANNELS


def read_deep_png(path: Path) -> UInt16[np.ndarray, "height width channel"]:
    """All channels, alpha last if there is one; ValueError or zlib.error if the file is damaged or interlaced."""
    data = path.read_bytes()
    width, height, _, colour, _, _, interlace = struct.unpack(">IIBBBBB", data[16:HEADER_BYTES])
    if interlace:
        raise ValueError("interlaced PNG of 16 bits is not supported; save it without interlacing")
    pixel = 2 * CHANNELS[colour]
    stride = width * pixel
    packed = b"".join(_chunks(data, b"IDAT"))
    raw = zlib.decompressobj().decompress(packed, height * (stride + 1))
    if len(raw) != height * (stride + 1):
        raise ValueError("the image data end too early")
    lines = np.frombuffer(raw, np.uint8).reshape(height, stride + 1)
    rows = np.zeros((height + 1, stride), np.uint8)
    for y, line in enumerate(lines):
        rows[y + 1] = _unfilter(int(line[0]), line[1:], rows[y], pixel)
    return rows[1:].reshape(height, width, CHANNELS[colour], 2).copy().view(">u2")[..., 0].astype(np.uint16)


def _chunks(data: bytes, kind: bytes) -> Iterator[bytes]:
    start = len(SIGNATURE)
    while start + 12 <= len(data):
        (length,) = struct.unpack(">I", data[start : start + 4])
        body = data[start + 8 : start + 8 + length]
        if data[start + 4 : start + 8] == kind:
            if zlib.crc32(kind + body) != struct.unpack(">I", data[start + 8 + length : start + 12 + length])[0]:
                raise ValueError("a checksum does not match")
            yield body
        start += 12 + length


def _unfilter(
    kind: int, line: UInt8[np.ndarray, " byte"], above: UInt8[np.ndarray, " byte"], pixel: int
) -> UInt8[np.ndarray, " byte"]:
    """Undo one line's filter (section 9.2), modulo 256; `pixel` is the distance to the byte on the left."""
    if kind == 0:
        return line
    if kind == 1:
        summed = np.add.accumulate(line.reshape(-1, pixel), axis=0, dtype=np.uint8)
        return np.asarray(summed.reshape(-1))
    if kind == 2:
        return np.asarray(line + above)
    if kind not in (3, 4):
        raise ValueError(f"unknown PNG filter {kind}")
    values, upper = line.tolist(), above.tolist()
    done = [0] * pixel + values
    corner = [0] * pixel + upper
    for i, value in enumerate(values):
        left, up = done[i], upper[i]
        guess = (left + up) // 2 if kind == 3 else _paeth(left, up, corner[i])
        done[i + pixel] = (value + guess) & 255
    return np.array(done[pixel:], np.uint8)


def _paeth(left: int, up: int, corner: int) -> int:
    """Of the three neighbours, the one closest to left + up - corner (section 9.4)."""
    to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
    if to_left <= to_up and to_left <= to_corner:
        return left
    return up if to_up <= to_corner else corner
