import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from archimed.data.readers import decoding
from archimed.data.readers.decoding import decode
from archimed.errors import DataError

RNG = np.random.default_rng(0)
GREY8 = RNG.integers(0, 256, (11, 7), dtype=np.uint8)
RGB8 = RNG.integers(0, 256, (11, 7, 3), dtype=np.uint8)
GREY16 = RNG.integers(0, 65536, (11, 7), dtype=np.uint16)
RGB16 = RNG.integers(0, 65536, (11, 7, 3), dtype=np.uint16)


def read(path: Path) -> np.ndarray:
    return np.moveaxis(decode(path, "row 1").pixels, 0, -1).squeeze()


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp"])
@pytest.mark.parametrize("pixels", [GREY8, RGB8], ids=["grey", "rgb"])
def test_eight_bit_is_read_exactly(tmp_path: Path, name: str, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(tmp_path / name)
    assert np.array_equal(read(tmp_path / name), pixels)
    assert read(tmp_path / name).dtype == np.uint8


def test_jpeg_is_read_nearly(tmp_path: Path) -> None:
    smooth = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
    assert np.abs(read(tmp_path / "a.jpg").astype(int) - smooth).max() < 8


def test_sixteen_bit_grey_png_is_read_exactly(tmp_path: Path) -> None:
    Image.fromarray(GREY16).save(tmp_path / "a.png")
    assert read(tmp_path / "a.png").dtype == np.uint16
    assert np.array_equal(read(tmp_path / "a.png"), GREY16)


@pytest.mark.parametrize("pixels", [GREY16, RGB16, GREY8, GREY16.astype(np.float32)], ids=["g16", "rgb16", "g8", "f32"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_is_read_exactly_in_both_byte_orders(tmp_path: Path, pixels: np.ndarray, order: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pixels, byteorder=order, compression="zlib" if order == "<" else None)
    found = read(tmp_path / "a.tif")
    assert found.dtype == pixels.dtype
    assert np.array_equal(found, pixels)


def test_signed_tiff_becomes_float(tmp_path: Path) -> None:
    values = np.array([[-1000, 0], [40, 3000]], np.int16)
    tifffile.imwrite(tmp_path / "a.tif", values)
    assert read(tmp_path / "a.tif").dtype == np.float32
    assert np.array_equal(read(tmp_path / "a.tif"), values)


def test_tiff_channels_first_inverted_and_palette(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "planar.tif", np.moveaxis(RGB8, -1, 0), photometric="rgb", planarconfig="separate")
    assert np.array_equal(read(tmp_path / "planar.tif"), RGB8)
    tifffile.imwrite(tmp_path / "white.tif", GREY16, photometric="miniswhite")
    assert np.array_equal(read(tmp_path / "white.tif"), 65535 - GREY16)
    table = RNG.integers(0, 256, (3, 256), dtype=np.uint16) * 257
    tifffile.imwrite(tmp_path / "palette.tif", GREY8, photometric="palette", colormap=table)
    assert np.array_equal(read(tmp_path / "palette.tif"), np.moveaxis((table >> 8)[:, GREY8], 0, -1))


def test_lzw_tiff_of_eight_bits_is_read(tmp_path: Path) -> None:
    Image.fromarray(RGB8).save(tmp_path / "a.tif", compression="tiff_lzw")
    assert np.array_equal(read(tmp_path / "a.tif"), RGB8)


@pytest.mark.parametrize("code", range(1, 9))
def test_orientation_is_applied_as_pillow_does(tmp_path: Path, code: int) -> None:
    exif = Image.Exif()
    exif[274] = code
    Image.fromarray(RGB8).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(read(tmp_path / "a.png"), upright)
    tifffile.imwrite(tmp_path / "a.tif", RGB8, photometric="rgb", extratags=[(274, "H", 1, code, True)])
    assert np.array_equal(read(tmp_path / "a.tif"), upright)


def test_alpha_is_dropped_with_a_remark(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([RGB8, GREY8])).save(tmp_path / "a.png")
    found = decode(tmp_path / "a.png", "row 1")
    assert np.array_equal(np.moveaxis(found.pixels, 0, -1), RGB8)
    assert found.remarks == ("the alpha channel was dropped",)


def test_palettes_are_looked_up_and_grey_ones_stay_grey(tmp_path: Path) -> None:
    image = Image.fromarray(GREY8).convert("P")
    image.save(tmp_path / "grey.png")
    assert np.array_equal(read(tmp_path / "grey.png"), GREY8)
    image.putpalette([value for k in range(256) for value in (k, 255 - k, 7)])
    image.save(tmp_path / "colour.png")
    assert np.array_equal(read(tmp_path / "colour.png")[..., 1], 255 - read(tmp_path / "colour.png")[..., 0])


def test_bilevel_images_are_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(GREY8 > 99).save(tmp_path / "a.png")
    assert np.array_equal(read(tmp_path / "a.png"), (GREY8 > 99) * 255)


def deep_png(pixels: np.ndarray, kinds: list[int], interlace: int = 0) -> bytes:
    """A PNG of 16 bits per channel written filter by filter, straight from the specification."""
    height, width, channels = pixels.shape
    step = 2 * channels
    lines = pixels.astype(">u2").tobytes()
    lines = [lines[y * width * step : (y + 1) * width * step] for y in range(height)]
    above = bytes(width * step)
    packed = b""
    for y, line in enumerate(lines):
        kind = kinds[y % len(kinds)]
        packed += bytes([kind])
        for x, value in enumerate(line):
            a, b, c = (line[x - step], above[x], above[x - step]) if x >= step else (0, above[x], 0)
            p = a + b - c
            nearest = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            packed += bytes([(value - (0, a, b, (a + b) // 2, nearest)[kind]) % 256])
        above = line
    colour = {3: 2, 2: 4, 4: 6}[channels]

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, interlace)
    data = zlib.compress(packed)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", data[:50]), chunk(b"IDAT", data[50:]), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("kinds", [[0], [1], [2], [3], [4], [4, 1, 3, 2, 0]])
@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bit_colour_png_is_read_exactly(tmp_path: Path, kinds: list[int], channels: int) -> None:
    pixels = RNG.integers(0, 65536, (9, 6, channels), dtype=np.uint16)
    data = deep_png(pixels, kinds)
    with Image.open(io.BytesIO(data)) as image:  # Pillow vouches for the file, at 8 bits
        assert np.abs(np.asarray(image).astype(int) - (pixels >> 8)).max() <= 1
    (tmp_path / "a.png").write_bytes(data)
    assert np.array_equal(read(tmp_path / "a.png"), pixels[..., :3])


@pytest.mark.parametrize("spoil", ["truncated", "interlaced", "flipped"])
def test_damaged_sixteen_bit_colour_png_is_refused(tmp_path: Path, spoil: str) -> None:
    data = bytearray(deep_png(RGB16, [4], interlace=int(spoil == "interlaced")))
    data = data[:-100] if spoil == "truncated" else data
    if spoil == "flipped":
        data[70] ^= 255
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(DataError, match=r"row 1, .*a\.png, is not \("):
        decode(tmp_path / "a.png", "row 1")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
@pytest.mark.parametrize("keep", [0, 10, 60, 0.5])
def test_truncated_file_is_refused_in_one_line(tmp_path: Path, name: str, keep: float) -> None:
    Image.fromarray(RNG.integers(0, 256, (64, 64), dtype=np.uint8)).save(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(keep * len(data)) if keep < 1 else int(keep)])
    with pytest.raises(DataError, match="Every image must be readable; row 1") as error:
        decode(tmp_path / name, "row 1")
    assert "\n" not in str(error.value)


def test_damaged_tiff_tag_is_refused_and_not_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GREY16)
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[data.index(struct.pack("<HH", 262, 3)) + 2] ^= 255  # the type of the tag that tells black from white
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(DataError, match="invalid data type"):
        decode(tmp_path / "a.tif", "row 1")
    assert capfd.readouterr().err == ""


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("not an image")
    with pytest.raises(DataError, match="readable"):
        decode(tmp_path / "a.png", "row 1")
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((3, 8, 8), np.uint8), photometric="minisblack")
    with pytest.raises(DataError, match="3 pictures"):
        decode(tmp_path / "stack.tif", "row 1")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_pixels_that_are_no_numbers_are_refused(tmp_path: Path, bad: float) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0.5, bad]], np.float32))
    with pytest.raises(DataError, match=r"finite numbers; row 1, .*a\.tif"):
        decode(tmp_path / "a.tif", "row 1")


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_decompression_bomb_is_refused_before_decoding(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "MAX_PIXELS", 70)
    Image.fromarray(GREY8).save(tmp_path / name)
    with pytest.raises(DataError, match="7 x 11 pixels, more than the 70 allowed"):
        decode(tmp_path / name, "row 1")
    (tmp_path / "deep.png").write_bytes(deep_png(RGB16, [0]))
    with pytest.raises(DataError, match="7 x 11 pixels"):
        decode(tmp_path / "deep.png", "row 1")


def test_bit_flips_never_end_in_anything_but_a_data_error(tmp_path: Path) -> None:
    sources = {"a.png": "PNG", "a.jpg": "JPEG", "a.tif": "TIFF"}
    for name, kind in sources.items():
        buffer = io.BytesIO()
        Image.fromarray(RGB8).save(buffer, kind)
        for trial in range(60):
            data = bytearray(buffer.getvalue())
            rng = np.random.default_rng(trial)
            for position in rng.integers(0, len(data), 3):
                data[position] ^= 1 << int(rng.integers(8))
            (tmp_path / name).write_bytes(data)
            try:
                found = decode(tmp_path / name, "row 1").pixels
            except DataError:
                continue
            assert found.shape[0] in (1, 3)
