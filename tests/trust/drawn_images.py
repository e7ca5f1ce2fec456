"""Image files of every format, their headers drawn field by field: mostly whole, now and then with an odd value."""

import gzip
import io
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import nibabel
import numpy as np
from hypothesis import strategies as st
from PIL import Image

Draw = st.DrawFn
ODD = st.sampled_from([0, 1, 2, 3, 5, 8, 16, 255, 256, 4096, 12_000, 65_535, 2**16, 2**31 - 1, 2**31, 2**32 - 1])
ODD_NUMBERS = st.sampled_from([0.0, -0.0, -1.0, 1e-30, 1e30, 3.4e38, float("nan"), float("inf"), -float("inf"), 0.5])
ODD_TEXTS = st.sampled_from(
    [
        "",
        "0",
        "-1",
        "1e9",
        "nan",
        "9" * 20,
        "1 1",
        "2 2 2 2",
        "LIST",
        "../x.raw",
        "(1,0,0)",
        "none",
        "True",
        "é",
        "1" * 99,
    ]
)
SIDES = st.integers(1, 6)
BITS = {"|u1": 8, "<i2": 16, "<u2": 16, ">i2": 16, "<i4": 32, "<f4": 32, "<f8": 64}


@dataclass(frozen=True)
class Drawn:
    """A file that was drawn.

    Attributes:
        suffix: the end of its name.
        content: its bytes.
        pixels: the values that it must hold, in some order; None if it need not be readable, or they are not known.
    """

    suffix: str
    content: bytes
    pixels: np.ndarray | None = None


@st.composite
def told(draw: Draw, fields: Mapping[str, Any], odd: st.SearchStrategy[Any] = ODD) -> tuple[dict[str, Any], bool]:
    """What a header tells: the fields, or with up to two odd values; and whether they are as they were."""
    if draw(st.integers(0, 2)) == 0:
        return dict(fields), True
    names = draw(st.lists(st.sampled_from(sorted(fields)), max_size=2, unique=True))
    return {**fields, **{name: draw(odd) for name in names}}, not names


def noise(draw: Draw, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Whole numbers that every type of pixel holds, of a drawn seed."""
    return np.random.default_rng(draw(st.integers(0, 2**16))).integers(0, 100, shape).astype(dtype)


def chunk(kind: bytes, body: bytes) -> bytes:
    """One part of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@st.composite
def png(draw: Draw) -> Drawn:
    kinds = [(1, 0), (2, 0), (8, 0), (16, 0), (8, 2), (16, 2), (1, 3), (8, 3), (8, 4), (16, 4), (8, 6), (16, 6)]
    depth, colour = draw(st.sampled_from(kinds))
    width, height = draw(SIDES), draw(SIDES)
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    stride = (width * channels * depth + 7) // 8
    lines = noise(draw, (height, stride), "u1")
    filters = draw(st.lists(st.sampled_from([0, 0, 0, 1, 2, 3, 4, 9]), min_size=height, max_size=height))
    raw = b"".join(bytes([kind]) + line.tobytes() for kind, line in zip(filters, lines, strict=True))
    names = {"width": width, "height": height, "depth": depth, "colour": colour, "pack": 0, "filter": 0, "lace": 0}
    head, whole = draw(told(names))
    ihdr = struct.pack(">II5B", head["width"], head["height"], *(head[name] % 256 for name in list(names)[2:]))
    more = {
        "palette": chunk(b"PLTE", bytes(range(192)) * (4 if depth == 8 else 1)),
        "text": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"seen")),
        "clear": chunk(b"tRNS", b"\0\1"),
        "frames": chunk(b"acTL", struct.pack(">II", draw(ODD), 0)),
        "exif": chunk(b"eXIf", b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0" + bytes([draw(st.integers(0, 9))]) + bytes(7)),
    }
    chosen = draw(st.lists(st.sampled_from(sorted(more)), max_size=2, unique=True))
    parts = [more["palette"] if colour == 3 else b"", *(more[name] for name in chosen)]
    body = chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    plain = whole and not chosen and not any(filters) and colour in (0, 2) and depth >= 8
    pixels = lines.view(">u2" if depth == 16 else "u1") if plain else None
    return Drawn(".png", b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + b"".join(parts) + body, pixels)


@st.composite
def tiff(draw: Draw) -> Drawn:
    order, bits = draw(st.sampled_from("<>")), draw(st.sampled_from([8, 16]))
    width, height, samples = draw(SIDES), draw(SIDES), draw(st.sampled_from([1, 3]))
    pixels = noise(draw, (height, width, samples), f"{order}u{bits // 8}")
    packing = draw(st.sampled_from([1, 8, 32946, 5, 7]))
    data = zlib.compress(pixels.tobytes()) if packing in (8, 32946) else pixels.tobytes()
    tags = {
        **{256: width, 257: height, 258: bits, 259: packing, 262: 1 if samples == 1 else 2, 273: 8, 277: samples},
        **{278: height, 279: len(data), 284: 1, 339: 1},
    }
    named = {str(tag): value for tag, value in tags.items()}
    more = draw(
        st.dictionaries(st.sampled_from(["274", "322", "323", "324", "325", "317", "338", "32997"]), ODD, max_size=2)
    )
    head, whole = draw(told(named))
    entries = sorted((int(tag), value) for tag, value in (head | more).items())
    count = draw(st.sampled_from([1, 1, 1, 1, 2, 2**31]))
    table = b"".join(
        struct.pack(f"{order}HHI", tag, 4 if tag != 258 else 3, count if tag in (258, 273, 279) else 1)
        + (struct.pack(f"{order}I", value) if tag != 258 else struct.pack(f"{order}HH", value % 65536, 0))
        for tag, value in entries
    )
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    last = draw(st.sampled_from([0, 0, 0, 8, 2**31]))
    tail = struct.pack(f"{order}H", len(entries)) + table + struct.pack(f"{order}I", last)
    sound = whole and not more and count == 1 and last == 0 and packing in (1, 8, 32946)
    content = mark + struct.pack(f"{order}I", 8 + len(data)) + data + tail
    return Drawn(".tif", content, pixels if sound and samples == 1 else None)


@st.composite
def bmp(draw: Draw) -> Drawn:
    width, height = draw(SIDES), draw(SIDES)
    pixels = noise(draw, (height, width, 3), "u1")
    lines = b"".join(line.tobytes() + bytes(-3 * width % 4) for line in pixels)
    names = {
        **{"size": 54 + len(lines), "start": 54, "head": 40, "width": width, "height": height, "planes": 1, "bits": 24},
        **{"pack": 0, "bytes": len(lines), "across": 0, "down": 0, "colours": 0, "needed": 0},
    }
    head, whole = draw(told(names))
    values = list(head.values())
    content = b"BM" + struct.pack("<IHHI", values[0], 0, 0, values[1]) + struct.pack("<III", *values[2:5])
    content += struct.pack("<HH", values[5] % 65536, values[6] % 65536) + struct.pack("<6I", *values[7:]) + lines
    return Drawn(".bmp", content, pixels if whole else None)


@st.composite
def jpeg(draw: Draw) -> Drawn:
    mode, bare = draw(st.sampled_from(["L", "RGB", "CMYK"])), draw(st.booleans())
    channels = {"L": (), "RGB": (3,), "CMYK": (4,)}[mode]
    pixels = noise(draw, (draw(SIDES), draw(SIDES), *channels), "u1")
    exif = Image.Exif()
    exif[0x0112] = draw(st.integers(0, 9))
    file = io.BytesIO()
    Image.fromarray(pixels, mode).save(
        file, "JPEG", progressive=draw(st.booleans()), quality=draw(st.integers(1, 95)), exif=b"" if bare else exif
    )
    return Drawn(".jpg", file.getvalue())


@st.composite
def nifti(draw: Draw) -> Drawn:
    dtype = draw(st.sampled_from(sorted(BITS)))
    shape = draw(st.lists(SIDES, min_size=2, max_size=4))
    pixels = noise(draw, tuple(shape[::-1]), dtype)
    kind = draw(st.sampled_from([nibabel.Nifti1Header, nibabel.Nifti2Header]))
    header = kind(endianness=draw(st.sampled_from("<>")))
    pixels = pixels.astype(pixels.dtype.newbyteorder(header.endianness))
    header.set_data_dtype(pixels.dtype)
    header.set_data_shape(shape)
    start = 352 if kind is nibabel.Nifti1Header else 544
    header["magic"], header["vox_offset"] = (b"n+1" if start == 352 else b"n+2"), start
    header["sform_code"] = draw(st.sampled_from([0, 0, 1]))
    header["srow_x"], header["srow_y"], header["srow_z"] = [2, 0, 0, 1], [0, 0, 3, 0], [0, 1, 0, 0]
    names = ("scl_slope", "scl_inter", "pixdim", "qform_code", "sform_code", "quatern_b", "srow_x", "xyzt_units")
    numbers, fine = draw(told(dict.fromkeys(names), ODD_NUMBERS))
    wholes, plain = draw(told(dict.fromkeys(("dim", "bitpix", "datatype", "vox_offset", "sizeof_hdr")), ODD))
    for name, value in (numbers | wholes).items():
        if value is not None:
            set_field(header, name, value, draw(st.integers(0, 7)))
    content = header.binaryblock[: start - 4] + bytes(4) + pixels.tobytes()
    packed = draw(st.booleans())
    sound = fine and plain and shape[3:] in ([], [1])
    return Drawn(
        ".nii.gz" if packed else ".nii", gzip.compress(content, 1) if packed else content, pixels if sound else None
    )


def set_field(header: nibabel.Nifti1Header, name: str, value: float, place: int) -> None:
    """Set a field, or one number of several, to a value that may not fit."""
    field = header.structarr[name]
    with np.errstate(all="ignore"):
        if field.dtype.kind in "iu":
            limits = np.iinfo(field.dtype)
            value = 0 if np.isnan(value) else int(np.clip(value, limits.min, limits.max))
        if field.ndim:
            field[place % len(field)] = value
        else:
            header.structarr[name] = value


@st.composite
def metaimage(draw: Draw) -> Drawn:
    types = {"|u1": "MET_UCHAR", "<i2": "MET_SHORT", "<u2": "MET_USHORT", "<i4": "MET_INT", "<f4": "MET_FLOAT"}
    dtype = draw(st.sampled_from(sorted(types)))
    shape = draw(st.lists(SIDES, min_size=2, max_size=3))
    pixels = noise(draw, tuple(shape[::-1]), dtype)
    packed = draw(st.booleans())
    fields = {
        **{"ObjectType": "Image", "NDims": str(len(shape)), "BinaryData": "True", "CompressedData": str(packed)},
        **{"DimSize": " ".join(map(str, shape)), "ElementType": types[dtype], "Offset": "1 2 3"[: 2 * len(shape) - 1]},
        **{"ElementSpacing": "1 2 3"[: 2 * len(shape) - 1], "ElementNumberOfChannels": "1"},
    }
    head, whole = draw(told(fields, ODD_TEXTS))
    last = draw(st.sampled_from(["LOCAL", "LOCAL", "LOCAL", "x.raw", "../x.raw", "/etc/passwd", "LIST", ""]))
    text = "".join(f"{name} = {value}\n" for name, value in head.items()) + f"ElementDataFile = {last}\n"
    data = zlib.compress(pixels.tobytes()) if packed else pixels.tobytes()
    return Drawn(".mha", text.encode() + data, pixels if whole and last == "LOCAL" else None)


@st.composite
def nrrd(draw: Draw) -> Drawn:
    types = {"|u1": "uchar", "<i2": "short", "<u2": "ushort", "<i4": "int", "<f4": "float", "<f8": "double"}
    dtype = draw(st.sampled_from(sorted(types)))
    shape = draw(st.lists(SIDES, min_size=2, max_size=3))
    pixels = noise(draw, tuple(shape[::-1]), dtype)
    packing = draw(st.sampled_from(["raw", "gzip"]))
    steps = {2: "(1,0) (0,2)", 3: "(1,0,0) (0,2,0) (0,0,3)"}[len(shape)]
    fields = {
        **{"type": types[dtype], "dimension": str(len(shape)), "sizes": " ".join(map(str, shape)), "endian": "little"},
        **{"encoding": packing, "space directions": steps, "kinds": " ".join(["domain"] * len(shape))},
        **{"space dimension": str(len(shape)), "space origin": {2: "(0,1)", 3: "(0,1,2)"}[len(shape)]},
    }
    head, whole = draw(told(fields, ODD_TEXTS))
    more = draw(
        st.dictionaries(st.sampled_from(["byte skip", "line skip", "data file", "spacings"]), ODD_TEXTS, max_size=1)
    )
    text = "NRRD0004\n" + "".join(f"{name}: {value}\n" for name, value in (head | more).items()) + "\n"
    data = gzip.compress(pixels.tobytes(), 1) if packing == "gzip" else pixels.tobytes()
    return Drawn(".nrrd", text.encode() + data, pixels if whole and not more else None)


FORMATS: Mapping[str, Callable[[], st.SearchStrategy[Drawn]]] = {
    **{"png": png, "tiff": tiff, "bmp": bmp, "jpeg": jpeg, "nifti": nifti, "metaimage": metaimage, "nrrd": nrrd},
}


@st.composite
def damage(draw: Draw, content: bytes) -> bytes:
    """The content, damaged in up to three places: cut off, overwritten, doubled, or with a number replaced."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        kind = draw(st.sampled_from(["cut", "byte", "bytes", "number", "doubled", "lost"]))
        if kind == "cut":
            del data[at:]
        elif kind == "byte":
            data[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif kind == "bytes":
            new = draw(st.binary(max_size=12))
            data[at : at + len(new)] = new
        elif kind == "number":
            size = draw(st.sampled_from([2, 4, 8]))
            order = draw(st.sampled_from(["little", "big"]))
            data[at : at + size] = (draw(ODD) % 2 ** (8 * size)).to_bytes(size, order)
        elif kind == "doubled":
            data[at:at] = data[at // 2 : at]
        else:
            del data[at : at + draw(st.integers(1, 40))]
    return bytes(data)
