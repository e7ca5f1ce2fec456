"""Files of strangers: none executes code, leads out of its folder, or fills the memory; each is refused in one line."""

import gzip
import io
import json
import pickle
import shutil
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch

import archimed
from archimed.data.formats.csv_table import list_csv
from archimed.data.formats.npz import read_npz
from archimed.data.problems import Problems
from archimed.data.readers.any_image import read_image
from archimed.data.settings import DataSettings
from archimed.data.source import load_dataset
from archimed.errors import ArchimedError, DataError
from tests.cli.command import command
from tests.data.dicom.conftest import make_header, write_header
from tests.experiment.tiny import TINY, command_line_settings, read, tiny_run, write_npz
from tests.trust.drawn_images import chunk

MARK = "executed"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("made")
    return tiny_run(write_npz(folder / "data.npz"), folder / "run")


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to spoil."""
    return Path(shutil.copytree(made, tmp_path / "run"))


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.mark,)


def python_file(folder: Path) -> Path:
    """A Python file that makes a file when it is imported."""
    path = folder / "trap.py"
    path.write_text(f"from pathlib import Path\nPath({str(folder / MARK)!r}).touch()\nthing = None\n")
    return path


def refused(*words: str) -> str:
    """The one line of a refused command."""
    said = command(*words)
    assert said.code == 2, said.stderr
    assert "Traceback" not in said.stderr
    return said.stderr.splitlines()[-1]


YAML_TAGS = (
    "!!python/object/apply:pathlib.Path.touch [{mark}]",
    "!!python/object/apply:os.system ['touch {mark}']",
    "!!python/name:os.system",
    "!!python/module:os",
)


@pytest.mark.parametrize("tag", YAML_TAGS)
def test_settings_execute_nothing(run: Path, tmp_path: Path, tag: str) -> None:
    text = f"seed: {tag.format(mark=tmp_path / MARK)}\n"
    with (run / "experiment.yaml").open("a") as file:
        file.write(text)
    (tmp_path / "own.yaml").write_text(text)
    for verb in ("resume", "report", "train"):
        refused(verb, str(run))
    refused(
        "run", "mstf-nas", "--data", "phantom:xray", "--out", str(tmp_path / "o"), "--config", f"{tmp_path}/own.yaml"
    )
    assert not (tmp_path / MARK).exists()


@pytest.mark.parametrize("field", ["method", "sources", "space"])
def test_a_run_names_no_code_to_execute(run: Path, tmp_path: Path, field: str) -> None:
    import yaml

    name = f"{python_file(tmp_path)}:thing"
    document = yaml.safe_load((run / "experiment.yaml").read_text())
    document[field] = {"method": name, "sources": [name], "space": {**document["space"], "name": name}}[field]
    (run / "experiment.yaml").write_text(yaml.safe_dump(document))
    assert "needs your word" in refused("resume", str(run))
    assert "needs your word" in refused("train", str(run))
    config = ["--config", str(run / "experiment.yaml"), "--out", str(tmp_path / "again")]
    refused("run", "mstf-nas", *([] if field == "sources" else ["--data", "phantom:xray"]), *config)
    assert not (tmp_path / MARK).exists()


def test_a_file_with_data_that_was_named_is_known_until_it_changes(tmp_path: Path) -> None:
    from archimed.data.own_files import refuse_unnamed

    source = python_file(tmp_path)
    refused("run", "mstf-nas", "--data", f"{source}:thing", "--out", str(tmp_path / "run"))  # None is no data set
    assert (tmp_path / MARK).exists()  # the user typed it
    refuse_unnamed([f"{source}:thing"])
    source.write_text(source.read_text() + "thing = 3\n")
    with pytest.raises(ArchimedError, match="changed since"):
        refuse_unnamed([f"{source}:thing"])


@pytest.mark.parametrize("name", ["architecture.json", "selected.json"])
def test_no_file_of_a_run_names_a_space_to_execute(run: Path, tmp_path: Path, name: str) -> None:
    [path] = run.rglob(name)
    document, trap = read(path), f"{python_file(tmp_path)}:thing"
    if name == "selected.json":
        document["selected"][0]["space"]["name"] = trap
        shutil.rmtree(run / "networks")
    else:
        document["space"]["name"] = trap
    path.write_text(json.dumps(document))
    (run / "summary.json").rename(tmp_path / "summary.json")
    assert "needs your word" in refused("resume", str(run))
    (tmp_path / "summary.json").rename(run / "summary.json")
    if name == "architecture.json":
        with pytest.raises(ArchimedError):
            archimed.load(run)
    assert not (tmp_path / MARK).exists()


@pytest.mark.parametrize("form", [pickle.dumps, None])
def test_weights_execute_nothing(run: Path, tmp_path: Path, form: Callable[[object], bytes] | None) -> None:
    [path] = run.rglob("weights.safetensors")
    trap = {"weights": Trap(tmp_path / MARK)}
    path.write_bytes(form(trap)) if form else torch.save(trap, path)
    with pytest.raises(ArchimedError, match="weights"):
        archimed.load(run)
    (run / "networks" / "mstf-nas" / "fold0.seed0" / "metrics.json").unlink()
    refused("evaluate", str(run))
    assert not (tmp_path / MARK).exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_initial_weights_execute_nothing(tmp_path: Path, suffix: str) -> None:
    torch.save({"weights": Trap(tmp_path / MARK)}, tmp_path / f"w{suffix}")
    words = ["run", "mstf-nas", "--data", str(write_npz(tmp_path / "d.npz")), "--out", str(tmp_path / "run")]
    settings = {**TINY, "training.initial_weights": str(tmp_path / f"w{suffix}")}
    refused(*words, *command_line_settings(settings))
    assert not (tmp_path / MARK).exists()


def test_arrays_execute_nothing(tmp_path: Path) -> None:
    images = np.array([Trap(tmp_path / MARK)] * 4, dtype=object)
    np.savez(tmp_path / "set.npz", train_images=images, train_labels=np.arange(4) % 2, allow_pickle=True)
    with pytest.raises(DataError, match="plain arrays"):
        read_npz(tmp_path / "set.npz", Problems(strict=True))
    assert not (tmp_path / MARK).exists()


@pytest.mark.parametrize("name", ["../../outside", "/outside-of-all", "..", "a/../../../outside"])
def test_a_run_leads_to_no_place_outside_it(run: Path, tmp_path: Path, name: str) -> None:
    selected = read(run / "search" / "selected.json")
    selected["selected"][0]["network"] = name
    (run / "search" / "selected.json").write_text(json.dumps(selected))
    summary = read(run / "summary.json")
    summary["chosen"] = name
    (run / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(ArchimedError, match="name is that of one folder"):
        archimed.load(run)
    around = {path for path in tmp_path.rglob("*") if run not in path.parents}
    for verb in ("train", "resume", "report"):
        said = command(verb, str(run))
        assert said.code in (0, 2), said.stderr
    assert {path for path in tmp_path.rglob("*") if run not in path.parents} == around
    assert not Path("/outside-of-all").exists()


def test_names_in_a_run_are_text_in_its_report(run: Path) -> None:
    trap = "<script>alert(1)</script>"
    for path in (run / "data.json", run / "summary.json", run / "search" / "selected.json"):
        text = path.read_text().replace("multiscale", trap).replace('"0"', json.dumps(trap)).replace("mstf-nas", trap)
        path.write_text(text)
    assert command("report", str(run)).code == 0
    assert trap not in (run / "report.html").read_text()
    assert not [path for path in (run / "figures").glob("*.svg") if trap in path.read_text()]


def test_settings_that_grow_without_end_are_refused(run: Path, tmp_path: Path) -> None:
    laughs = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    deep = "seed: " + "[" * 100_000
    for text in (laughs, deep):
        (tmp_path / "own.yaml").write_text(text)
        (run / "experiment.yaml").write_text(text)
        refused("resume", str(run))
        words = ["--data", "phantom:xray", "--out", str(tmp_path / "o"), "--config", f"{tmp_path}/own.yaml"]
        refused("run", "mstf-nas", *words)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' + "1" * 10_000 + "}", '{"a": NaN', "\ufeff{}"])
def test_json_that_no_parser_takes_is_refused(run: Path, text: str) -> None:
    (run / "summary.json").write_text(text)
    assert "damaged" in refused("report", str(run))
    (run / "data.json").write_text(text)
    assert "damaged" in refused("resume", str(run))


def tiff_bomb(path: Path) -> None:
    """A page of 16 x 16 pixels whose one piece unpacks to 128 MiB."""
    packed = zlib.compress(bytes(2**27), 1)
    tags = [(256, 16), (257, 16), (258, 8), (259, 8), (262, 1), (273, 8), (277, 1), (278, 16), (279, len(packed))]
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in tags)
    table = struct.pack("<H", len(tags)) + entries + bytes(4)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + table)


def wide_tiff(path: Path) -> None:
    """A page that tells of 60,000 samples per pixel."""
    tags = [(256, 9000), (257, 9000), (258, 8), (259, 1), (262, 1), (273, 8), (277, 60000), (278, 9000), (279, 4)]
    entries = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + bytes(4))


def asking_tiff(path: Path) -> None:
    """A deflated page of one pixel whose one piece is said to have 1 GiB."""
    tags = [(256, 1), (257, 1), (258, 8), (259, 8), (262, 1), (273, 8), (277, 1), (278, 1), (279, 2**30)]
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in tags)
    packed = b"nothing"
    table = struct.pack("<H", len(tags)) + entries + bytes(4)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + table)


def lacking_tiff(path: Path) -> None:
    """Sixteen million pieces of a row each, of which one is there; found by coverage-guided fuzzing."""
    tags = [(256, 1), (257, 2**24), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 1)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    path.write_bytes(b"II*\0" + struct.pack("<I", 9) + b"U" + struct.pack("<H", len(tags)) + entries + bytes(4))


def asking_dicom(path: Path) -> None:
    """A text that is said to have 1 GiB."""
    write_header(make_header(np.zeros((4, 4), np.int16)), path)
    text = b"\x08\x00\x05\x03UC\0\0" + struct.pack("<I", 2**30)
    path.write_bytes(path.read_bytes().partition(b"\x08\x00\x16\x00")[0] + text + b"short")


def nifti_bomb(path: Path) -> None:
    """A header of 512 x 512 x 512 voxels of 8 bytes over nothing but zeros."""
    import nibabel

    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.float64)
    header.set_data_shape((512, 512, 512))
    header["magic"], header["vox_offset"] = b"n+1", 352
    path.write_bytes(gzip.compress(header.binaryblock + bytes(2**28), 1))


def skipping_nifti(path: Path) -> None:
    """A header whose few voxels begin 120 MiB later, and more after them."""
    import nibabel

    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((4, 4, 4))
    header["magic"], header["vox_offset"] = b"n+1", 120 * 2**20
    path.write_bytes(gzip.compress(header.binaryblock + bytes(121 * 2**20), 1))


def png_bomb(path: Path, side: int = 60_000) -> None:
    """A header of 60,000 x 60,000 pixels, and a comment that unpacks to 128 MiB."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2**27), 1)) if side > 10_000 else b""
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + head + text + chunk(b"IDAT", zlib.compress(bytes(2**20))) + chunk(b"IEND", b"")
    )


def small_png_bomb(path: Path) -> None:
    """A header of 8,000 x 8,000 pixels, which a program may well read, but not here."""
    png_bomb(path, 8_000)


def dicom_bomb(path: Path) -> None:
    """Frames without end, and hardly any bytes."""
    header = make_header(np.zeros((4, 4), np.int16))
    header.Rows = header.Columns = 65_000
    header.NumberOfFrames = 100_000
    write_header(header, path)


def deflated_dicom(path: Path) -> None:
    """A deflated file that unpacks to 128 MiB."""
    from pydicom import FileDataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    header = make_header(np.zeros((4, 4), np.int16))
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    file = FileDataset(str(path), header, file_meta=meta, preamble=b"\0" * 128)
    file.PixelData = bytes(2**27)
    file.save_as(path, enforce_file_format=True)


def nrrd_bomb(path: Path) -> None:
    """A text header that tells of 1 GiB over as many zeros."""
    text = "NRRD0004\ntype: double\ndimension: 3\nsizes: 512 512 512\nendian: little\nencoding: gzip\n\n"
    path.write_bytes(text.encode() + gzip.compress(bytes(2**27), 1))


BOMBS = {
    "strip.tif": tiff_bomb,
    "wide.tif": wide_tiff,
    "zeros.nii.gz": nifti_bomb,
    "late.nii.gz": skipping_nifti,
    "asking.tif": asking_tiff,
    "lacking.tif": lacking_tiff,
    "asking.dcm": asking_dicom,
    "large.png": png_bomb,
    "less.png": small_png_bomb,
    "frames.dcm": dicom_bomb,
    "deflated.dcm": deflated_dicom,
    "zeros.nrrd": nrrd_bomb,
}


def test_a_picture_is_of_no_format_that_starts_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_: (tmp_path / MARK).touch())
    (tmp_path / "image.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%EOF\n")
    refuse_image(tmp_path / "image.png")
    assert not (tmp_path / MARK).exists()


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which 64 MiB are free."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**26))


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_it_takes_memory(tmp_path: Path, name: str) -> None:
    BOMBS[name](tmp_path / name)
    assert peak_of(lambda: refuse_image(tmp_path / name)) < 2**25


def refuse_image(path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_image(path, "the test")
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


def peak_of(work: Callable[[], object]) -> int:
    """The most bytes that Python and NumPy held at once meanwhile."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def npz_bomb(path: Path, told: tuple[int, ...], zeros: int) -> None:
    """An archive whose images' header tells of a shape, over so many zeros."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": told})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train_images.npy", head.getvalue() + bytes(zeros))


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(("told", "zeros"), [((2**27,), 2**27), ((2**40, 28, 28), 100), ((2**13, 64, 64), 100)])
def test_an_archive_of_arrays_is_refused_before_it_takes_memory(
    tmp_path: Path, told: tuple[int, ...], zeros: int
) -> None:
    npz_bomb(tmp_path / "set.npz", told, zeros)

    def refuse() -> None:
        with pytest.raises(DataError, match=r"set\.npz"):
            read_npz(tmp_path / "set.npz", Problems(strict=True))

    assert peak_of(refuse) < 2**25


TABLES = {
    "lines": (b"image,label\n" + b"\n" * 2**20, "must fit into memory"),
    "cases": (b"image,label\n" + b"a,b\n" * 2**18, "must fit into memory"),
    "long row": (b"image,label\n" + b"," * 2**22, "characters"),
    "row of many lines": (b"image,label\n" + b',"\n"' * 2**20, "characters|must fit into memory"),
    "wide": (b"," * 20_000 + b"\n", "columns"),
    "long field": (b"image,label\n" + b"a" * 2**18 + b",b\n", "field limit"),
    "long names": (b";".join(b"x" * 10_000 + b"%d" % number for number in range(50)) + b"\n", "column `image`"),
}


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_absurd_size_is_refused_before_it_takes_memory(tmp_path: Path, name: str) -> None:
    content, reason = TABLES[name]
    path = tmp_path / "cases.csv"
    path.write_bytes(content)
    del content

    def refuse() -> None:
        with pytest.raises(DataError, match=reason) as caught:
            list_csv(path, DataSettings(), Problems(strict=True))
        assert len(str(caught.value)) < 3000
        assert "\n" not in str(caught.value)

    assert peak_of(refuse) < 2**25


@pytest.mark.parametrize(("most", "reason"), [("csv_table.MOST_BYTES", "MiB"), ("json_files.MOST_BYTES", "256 MiB")])
def test_lists_of_cases_have_a_largest_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: str, reason: str
) -> None:
    path = tmp_path / ("cases.csv" if "csv" in most else "cases.json")
    path.write_text("image,label\n")
    monkeypatch.setattr(f"archimed.data.formats.{most}", 5)
    with pytest.raises(DataError, match=reason):
        load_dataset(str(path), DataSettings(), 0)


@pytest.mark.usefixtures("little_memory")
def test_a_datalist_that_unfolds_beyond_the_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text('{"training": [' + "{}," * 2**20 + "{}]}")

    def refuse() -> None:
        with pytest.raises(DataError, match="memory"):
            load_dataset(str(path), DataSettings(), 0)

    assert peak_of(refuse) < 2**25


def test_arrays_of_an_archive_leave_no_files(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_npz(folder / "set.npz")
    with zipfile.ZipFile(folder / "set.npz", "a") as archive:
        archive.writestr("../../escaped.npy", b"x")
        archive.writestr("/escaped.npy", b"x")
    with pytest.raises(DataError):
        read_npz(folder / "set.npz", Problems(strict=True))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["set.npz"]
    assert not Path("/escaped.npy").exists()


def test_a_header_reaches_no_file_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.raw").write_bytes(bytes(64))
    (tmp_path / "in").mkdir()
    for place in ("../secret.raw", str(tmp_path / "secret.raw")):
        mhd = f"NDims = 3\nDimSize = 4 4 4\nElementType = MET_UCHAR\nElementDataFile = {place}\n"
        nhdr = f"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 4 4 4\nencoding: raw\ndata file: {place}\n\n"
        for name, text in (("a.mhd", mhd), ("a.nhdr", nhdr)):
            (tmp_path / "in" / name).write_text(text)
            with pytest.raises(DataError, match="same folder"):
                read_image(tmp_path / "in" / name, "the test")
