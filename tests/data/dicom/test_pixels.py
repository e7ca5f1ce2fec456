import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmwrite
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from archimed.data.dicom.header import RefusedError
from archimed.data.dicom.reader import is_dicom, read_dicom
from archimed.data.readers.decoder_complaints import complaints_refused

Writer = Callable[..., Path]
Refused = Callable[[Path], str]


class TestValues:
    def test_monochrome1_is_inverted_within_the_bits_stored(self, write: Writer) -> None:
        pixels = np.array([[0, 1, 4095], [7, 8, 9]], np.uint16)
        tags = {"BitsStored": 12, "HighBit": 11, "PhotometricInterpretation": "MONOCHROME1"}
        volume = read_dicom(write("a.dcm", pixels, Modality="CR", **tags), "here")
        assert np.array_equal(volume.pixels[0], 4095 - pixels)
        assert volume.remarks == ("MONOCHROME1 was inverted",)
        assert np.array_equal(read_dicom(write("b.dcm", pixels, **tags), "here").pixels[0], pixels)

    def test_signed_monochrome1(self, write: Writer) -> None:
        pixels = np.array([[-5, 0, 5]], np.int16)
        path = write("a.dcm", pixels, Modality="CR", PhotometricInterpretation="MONOCHROME1")
        assert np.array_equal(read_dicom(path, "here").pixels[0], -1 - pixels)

    def test_unused_bits_are_not_read(self, write: Writer) -> None:
        pixels = np.array([[0x8001, 0x7FFF, 0x0FFF]], np.uint16)
        path = write("a.dcm", pixels, Modality="CR", BitsStored=12, HighBit=11)
        assert np.array_equal(read_dicom(path, "here").pixels[0], pixels & 0x0FFF)

    def test_palette_colours(self, write: Writer) -> None:
        pixels = np.array([[0, 1], [2, 3]], np.uint8)
        tables = {
            "Red": [0, 255, 0, 9],
            "Green": [0, 0, 255, 8],
            "Blue": [0, 10, 20, 7],
        }
        tags: dict[str, object] = {"PhotometricInterpretation": "PALETTE COLOR", "Modality": "US"}
        for colour, values in tables.items():
            tags[f"{colour}PaletteColorLookupTableDescriptor"] = [4, 0, 16]
            tags[f"{colour}PaletteColorLookupTableData"] = (np.array(values, "<u2") << 8).tobytes()
        volume = read_dicom(write("a.dcm", pixels, **tags), "here")
        assert volume.pixels.dtype == np.uint8
        for channel, values in enumerate(tables.values()):
            assert np.array_equal(volume.pixels[channel].ravel(), values)

    def test_ybr_becomes_rgb(self, write: Writer) -> None:
        ybr = np.random.default_rng(0).integers(60, 180, (4, 5, 3), dtype=np.uint8)
        path = write("a.dcm", ybr, Modality="US", PhotometricInterpretation="YBR_FULL")
        y, b, r = np.moveaxis(ybr.astype(float), -1, 0)  # ITU-R BT.601, as PS3.3 C.7.6.3.1.2 gives it
        expected = [y + 1.402 * (r - 128), y - 0.344136 * (b - 128) - 0.714136 * (r - 128), y + 1.772 * (b - 128)]
        assert np.abs(read_dicom(path, "here").pixels - np.clip(expected, 0, 255)).max() <= 1

    def test_colours_by_plane(self, write: Writer) -> None:
        rgb = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
        path = write("a.dcm", rgb, Modality="SC", PlanarConfiguration=1, PixelData=np.moveaxis(rgb, -1, 0).tobytes())
        assert np.array_equal(read_dicom(path, "here").pixels, np.moveaxis(rgb, -1, 0))

    def test_a_coloured_view_of_a_ct_is_no_ct(self, write: Writer) -> None:
        volume = read_dicom(write("a.dcm", np.zeros((4, 5, 3), np.uint8), RescaleSlope=None), "here")
        assert volume.kind == "other"

    def test_floating_point_pixels(self, refused: Refused, write: Writer) -> None:
        values = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
        tags = {"PixelData": None, "BitsStored": None, "Modality": "OT", "RescaleSlope": None, "RescaleIntercept": None}
        path = write("a.dcm", values, FloatPixelData=values.tobytes(), **tags)
        assert np.array_equal(read_dicom(path, "here").pixels[0], values)
        values[1, 2] = np.nan
        assert "NaN" in refused(write("b.dcm", values, FloatPixelData=values.tobytes(), **tags))

    def test_single_bits(self, write: Writer) -> None:
        bits = np.random.default_rng(0).integers(0, 2, (3, 5), dtype=np.uint8)
        packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
        tags = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "Modality": "OT"}
        path = write("a.dcm", bits, PixelData=packed, **tags)
        assert np.array_equal(read_dicom(path, "here").pixels[0], bits * 255)

    def test_a_ct_with_a_table_but_no_scale_is_refused(self, write: Writer, refused: Refused) -> None:
        tags = {"ModalityLUTSequence": [Dataset()], "RescaleSlope": None, "RescaleIntercept": None}
        assert "Rescale" in refused(write("a.dcm", np.zeros((3, 4), np.uint8), **tags))

    def test_modality_look_up_table(self, write: Writer) -> None:
        table = Dataset()
        table.LUTDescriptor, table.ModalityLUTType = [4, 0, 16], "US"
        table["LUTDescriptor"].VR = "US"
        table.LUTData = [10, 40, 90, 160]
        table["LUTData"].VR = "US"
        tags = {"ModalityLUTSequence": [table], "Modality": "CR", "RescaleSlope": None, "RescaleIntercept": None}
        path = write("a.dcm", np.array([[0, 1], [2, 3]], np.uint8), **tags)
        assert read_dicom(path, "here").pixels.ravel().tolist() == [10, 40, 90, 160]


class TestEncodings:
    @pytest.mark.parametrize(
        "syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, JPEG2000Lossless, RLELossless]
    )
    def test_one_image_in_many_syntaxes(
        self, make: Callable[..., Dataset], save: Writer, tmp_path: Path, stored: np.ndarray, syntax: str
    ) -> None:
        pixels = np.tile(stored[0], (6, 6))
        header = make(pixels)
        if syntax in (JPEG2000Lossless, RLELossless):
            save(header, tmp_path / "plain.dcm")
            header.compress(syntax, generate_instance_uid=False)
        assert np.array_equal(read_dicom(save(header, tmp_path / "a.dcm", syntax), "here").pixels[0], pixels)

    def test_big_endian(self, make: Callable[..., Dataset], save: Writer, tmp_path: Path, stored: np.ndarray) -> None:
        header = make(stored[0], PixelData=stored[0].astype(">i2").tobytes())
        volume = read_dicom(save(header, tmp_path / "a.dcm", ExplicitVRBigEndian), "here")
        assert np.array_equal(volume.pixels[0], stored[0])
        assert volume.pixels.dtype == np.int16

    @pytest.mark.parametrize("implicit", [True, False])
    def test_without_preamble_and_file_meta(
        self, make: Callable[..., Dataset], tmp_path: Path, stored: np.ndarray, implicit: bool
    ) -> None:
        path = tmp_path / "slice"
        dcmwrite(path, make(stored[0]), implicit_vr=implicit, little_endian=True, enforce_file_format=False)
        assert is_dicom(path)
        assert is_dicom(tmp_path)
        assert np.array_equal(read_dicom(path, "here").pixels[0], stored[0])

    def test_jpeg(self, refused: Refused, make: Callable[..., Dataset], save: Writer, tmp_path: Path) -> None:
        smooth = np.add.outer(np.arange(32), np.arange(40)).astype(np.uint8) * 3
        for name, cut, whole in (("a", None, True), ("b", -40, False)):
            header = make(smooth, Modality="CR")
            buffer = io.BytesIO()
            Image.fromarray(smooth).save(buffer, "JPEG", quality=98)
            header.PixelData = encapsulate([buffer.getvalue()[:cut]])
            header["PixelData"].is_undefined_length = True
            path = save(header, tmp_path / f"{name}.dcm", JPEGBaseline8Bit)
            if whole:
                assert np.abs(read_dicom(path, "here").pixels[0].astype(int) - smooth).max() <= 3
            else:
                assert "ends too early" in refused(path)

    @pytest.mark.parametrize("syntax", [JPEG2000Lossless, RLELossless])
    @pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
    def test_frames_that_end_too_early_are_refused(
        self, refused: Refused, make: Callable[..., Dataset], save: Writer, tmp_path: Path, syntax: str, kept: float
    ) -> None:
        from pydicom.encaps import generate_frames

        header = make(np.random.default_rng(0).integers(0, 4000, (32, 32)).astype(np.uint16))
        save(header, tmp_path / "plain.dcm")
        header.compress(syntax, generate_instance_uid=False)
        (frame,) = generate_frames(header.PixelData, number_of_frames=1)
        header.PixelData = encapsulate([frame[: int(kept * len(frame))]])
        refused(save(header, tmp_path / "a.dcm", syntax))
        if syntax == JPEG2000Lossless:
            header.PixelData = encapsulate([frame[: int(kept * len(frame))] + b"\xff\xd9"])
            refused(save(header, tmp_path / "b.dcm", syntax))

    def test_a_compressed_file_cut_anywhere_is_refused(
        self, refused: Refused, make: Callable[..., Dataset], save: Writer, tmp_path: Path, stored: np.ndarray
    ) -> None:
        header = make(stored.astype(np.uint16)[0])
        save(header, tmp_path / "a.dcm")
        header.compress(RLELossless, generate_instance_uid=False)
        data = save(header, tmp_path / "a.dcm", RLELossless).read_bytes()
        for kept in range(200, len(data) - 20, 7):
            (tmp_path / "b.dcm").write_bytes(data[:kept])
            refused(tmp_path / "b.dcm")

    @pytest.mark.parametrize(
        ("marker", "offset", "value"),
        [
            (b"\xff\xc0", 4, 55),
            (b"\xff\xc4", 0, 0x94),
            (b"\xff\xdb", 0, 0xD7),
            (b"\xff\xc0", 11, 0),
            (b"\xff\xc4", 6, 90),
        ],
    )
    def test_impossible_jpeg_headers_are_refused(
        self,
        make: Callable[..., Dataset],
        save: Writer,
        refused: Refused,
        tmp_path: Path,
        marker: bytes,
        offset: int,
        value: int,
    ) -> None:
        pixels = np.zeros((16, 16), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG")
        data = bytearray(buffer.getvalue())
        data[data.index(marker) + offset] = value
        header = make(pixels, Modality="CR", PixelData=encapsulate([bytes(data)]))
        header["PixelData"].is_undefined_length = True
        assert "with a damaged header" in refused(save(header, tmp_path / "a.dcm", JPEGBaseline8Bit))

    def test_a_jpeg_2000_file_within_a_frame(self, make: Callable[..., Dataset], save: Writer, tmp_path: Path) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (32, 40), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG2000", irreversible=False)
        header = make(pixels, PixelData=encapsulate([buffer.getvalue()]))
        header["PixelData"].is_undefined_length = True
        path = save(header, tmp_path / "a.dcm", JPEG2000Lossless)
        assert np.array_equal(read_dicom(path, "here").pixels[0], pixels)

    @pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGBaseline8Bit])
    @pytest.mark.parametrize(("rows", "columns"), [(40, 32), (32, 39), (16, 80), (31, 40)])
    def test_a_header_that_tells_another_size_is_refused(
        self,
        make: Callable[..., Dataset],
        save: Writer,
        refused: Refused,
        tmp_path: Path,
        syntax: str,
        rows: int,
        columns: int,
    ) -> None:
        header = make(np.zeros((32, 40), np.uint8))
        save(header, tmp_path / "plain.dcm")
        if syntax == JPEGBaseline8Bit:
            buffer = io.BytesIO()
            Image.fromarray(np.zeros((32, 40), np.uint8)).save(buffer, "JPEG")
            header.PixelData = encapsulate([buffer.getvalue()])
            header["PixelData"].is_undefined_length = True
        else:
            header.compress(syntax, generate_instance_uid=False)
        assert read_dicom(save(header, tmp_path / "a.dcm", syntax), "here").pixels.shape == (1, 32, 40)
        header.Rows, header.Columns = rows, columns
        assert "of another size" in refused(save(header, tmp_path / "b.dcm", syntax))

    def test_damage_that_libjpeg_only_complains_of_is_refused(
        self,
        make: Callable[..., Dataset],
        save: Writer,
        refused: Refused,
        tmp_path: Path,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
        data = buffer.getvalue()
        header = make(pixels, Modality="CR", PixelData=encapsulate([data[: len(data) // 2] + b"\xff\xd9"]))
        header["PixelData"].is_undefined_length = True
        assert "damaged JPEG data" in refused(save(header, tmp_path / "a.dcm", JPEGBaseline8Bit))
        assert capfd.readouterr() == ("", "")


def test_what_others_write_to_the_terminal_meanwhile_gets_there(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RefusedError), complaints_refused():
        os.write(2, b"a note\nCorrupt JPEG data: bad Huffman code\n")
    with complaints_refused():
        os.write(2, b"Corrupt JPEG data: 4 extraneous bytes before marker 0xd9\n")
    assert capfd.readouterr().err == "a note\n"
