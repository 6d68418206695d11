"""What people met: results that were wrong without a word, each now right or said."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image, TiffImagePlugin

from segzoo.base import formats
from segzoo.data.check import check
from segzoo.data.paired import TURNED
from segzoo.data.readers.folder import open_folder
from segzoo.data.sample import picture_of
from segzoo.data.source import Subset
from segzoo.errors import DatasetError, PictureError, PictureTooLargeError
from segzoo.pictures import kinds
from segzoo.pictures.codec import read
from segzoo.pictures.stored import INVERTED, read_labels
from segzoo.predict.preprocess import prepare
from segzoo.spec import Preprocess

RANDOM = np.random.default_rng(13)


def content(image, format, **options):
    im = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    file = io.BytesIO()
    im.save(file, format, **options)
    return file.getvalue()


def tiff(values, **options):
    """A TIFF by tifffile: the layout is what its options say."""
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def folder(path, images, masks, *, image="png", mask="png"):
    """A data set folder of files' contents."""
    for place, files, ending in (("images", images, image), ("masks", masks, mask)):
        (path / place).mkdir(parents=True)
        for number, data in enumerate(files):
            (path / place / f"s{number}.{ending}").write_bytes(data)
    return path


GRAY = RANDOM.integers(0, 256, (12, 10), dtype=np.uint8)
RGB = RANDOM.integers(0, 256, (12, 10, 3), dtype=np.uint8)
MASK = ((np.indices((12, 10)).sum(axis=0) % 5 == 0) * 255).astype(np.uint8)


# --- B4: files in which 0 is white ----------------------------------------------------------------


def packed(values, bits, *, reverse=False):
    """Rows of values of 1, 2, 4, 8, 16 or 32 bits as a TIFF stores them, rows byte-aligned."""
    if bits > 8:
        return values.astype(f"<u{bits // 8}" if values.dtype.kind == "u" else "<f4").tobytes()
    places = np.arange(bits - 1, -1, -1)
    rows = (values[..., None] >> places & 1).reshape(len(values), -1).astype(np.uint8)
    data = np.packbits(rows, axis=1, bitorder="little" if reverse else "big")
    return data.tobytes()


def tagged(values, *, photometric, bits, fill=1, kind=1):
    """A TIFF of one strip, tag by tag."""
    height, width = values.shape
    pixels = packed(values, bits, reverse=fill == 2)
    tags = {
        256: width,
        257: height,
        258: bits,
        259: 1,
        262: photometric,
        266: fill,
        273: 8,
        277: 1,
        278: height,
        279: len(pixels),
        339: kind,
    }
    rows = b"".join(
        n.to_bytes(2, "little") + b"\4\0\1\0\0\0" + v.to_bytes(4, "little") for n, v in tags.items()
    )
    head = b"II*\0" + (8 + len(pixels)).to_bytes(4, "little")
    return head + pixels + len(tags).to_bytes(2, "little") + rows + bytes(4)


WHITE_IS_ZERO = sorted(
    (bits[0], fill, kind[0])
    for order, photometric, kind, fill, bits, _ in TiffImagePlugin.OPEN_INFO
    if order == b"II" and photometric == 0
)


@pytest.mark.parametrize(("bits", "fill", "kind"), WHITE_IS_ZERO)
def test_b4_every_depth_in_which_0_is_white(bits, fill, kind):
    """Labels as they are stored, pictures as they are shown; every such layout that Pillow has."""
    most = 1 if kind == 3 else (1 << bits) - 1
    stored = np.array([[0, most, most], [most, 0, 0]])
    stored = stored.astype(np.float32 if kind == 3 else np.uint32)
    file = tagged(stored, photometric=0, bits=bits, fill=fill, kind=kind)
    labels = read_labels(file)
    assert labels.values.tolist() == (stored * 255 if bits == 1 else stored).tolist()
    assert labels.notes == (INVERTED,)
    shown = read(file).image[..., 0]
    assert shown.tolist() == [[255, 0, 0], [0, 255, 255]]
    straight = tagged(stored, photometric=1, bits=bits, fill=fill, kind=kind)
    assert read_labels(straight).values.tolist() == labels.values.tolist()
    assert read_labels(straight).notes == ()
    assert read(straight).image[..., 0].tolist() == (255 - shown).tolist()


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "group4"])
def test_b4_compressed_files_too(compression):
    gray = compression != "group4"
    im = Image.fromarray(MASK) if gray else Image.fromarray(MASK > 0)
    shown = np.asarray(im) * (1 if gray else 255)
    file = content(im, "TIFF", compression=compression, tiffinfo={262: 0})
    assert Image.open(io.BytesIO(file)).tag_v2[262] == 0
    assert (read_labels(file).values == 255 - read(file).image[..., 0]).all()
    assert (read(file).image[..., 0] == shown).all()  # Pillow has turned the values over


def test_b4_as_tifffile_reads_them():
    """The report's own: an 8-bit and a 16-bit mask of ImageJ with an inverting table."""
    for dtype in (np.uint8, np.uint16):
        stored = MASK.astype(dtype)
        file = tiff(stored, photometric="miniswhite")
        assert (read_labels(file).values == tifffile.imread(io.BytesIO(file))).all()
    deep = RANDOM.integers(0, 65536, (12, 10), dtype=np.uint16)
    shown = read(tiff(deep, photometric="miniswhite")).image[..., 0]
    assert (shown == read(tiff(65535 - deep, photometric="minisblack")).image[..., 0]).all()


@pytest.mark.parametrize("file", [b"P1 3 2\n0 1 1\n1 0 0\n", b"P4 3 2\n\x60\x80"])
def test_b4_a_pbm_stores_1_for_black(file):
    labels = read_labels(file)
    assert labels.values.tolist() == [[0, 255, 255], [255, 0, 0]]
    assert labels.notes == (INVERTED,)
    assert read(file).image[..., 0].tolist() == [[255, 0, 0], [0, 255, 255]]


def test_b4_palettes_store_indices_whatever_their_colours():
    im = Image.fromarray((MASK > 0).astype(np.uint8))
    im.putpalette([255, 255, 255, 0, 0, 0])
    for format in ("PNG", "TIFF", "BMP", "GIF"):
        options = {"optimize": False} if format == "GIF" else {}
        file = content(im, format, **options)
        assert (read_labels(file).values == (MASK > 0)).all()
        assert (read(file).image[..., 0] == 255 - MASK).all()


@pytest.mark.parametrize(
    ("file", "values"),
    [
        (tagged(np.array([[0, 1, 3]]), photometric=1, bits=2), [0, 1, 3]),
        (tagged(np.array([[0, 9, 15]]), photometric=1, bits=4), [0, 9, 15]),
        (b"P2 3 1 4\n0 3 4\n", [0, 3, 4]),
        (b"P5 3 1 4\n\x00\x03\x04", [0, 3, 4]),
        (b"P2 3 1 1000\n0 3 999\n", [0, 3, 999]),
        (b"P5 3 1 1000\n\x00\x00\x00\x03\x03\xe7", [0, 3, 999]),
    ],
    ids=["tiff-2", "tiff-4", "pgm-plain", "pgm", "pgm-plain-16", "pgm-16"],
)
def test_b4_few_levels_are_labels_as_stored_and_shown_up_to_white(file, values):
    assert read_labels(file).values.tolist() == [values]
    assert read(file).image.max() == 255


def test_b4_a_png_of_few_bits_too():
    stored = np.array([[0, 3, 2, 1]], np.uint8)
    im = Image.fromarray(stored)
    for bits in (2, 4):
        file = io.BytesIO()
        im.convert("P", palette=Image.Palette.ADAPTIVE).save(file, "PNG", bits=bits)
        raw = bytearray(file.getvalue())
        assert raw[25] == 3  # a palette; gray of as many bits is the same pixels without one
        gray = gray_png(stored, bits)
        assert read_labels(gray).values.tolist() == stored.tolist()
        assert read(gray).image[..., 0].tolist() == [
            [v * 255 // ((1 << bits) - 1) for v in [0, 3, 2, 1]]
        ]


def gray_png(values, bits):
    import struct
    import zlib

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width = values.shape
    rows = packed(values, bits)
    per = len(rows) // height
    lines = b"".join(b"\0" + rows[n * per : (n + 1) * per] for n in range(height))
    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


def test_b4_in_a_data_set(tmp_path):
    """Rows 40 and 40b: classes as stored, at both depths, and a note for a person."""
    masks = [
        tiff(MASK, photometric="miniswhite"),
        tiff(MASK.astype("u2"), photometric="miniswhite"),
    ]
    data = open_folder(
        folder(tmp_path, [content(RGB, "PNG")] * 2, masks, mask="tif"), values="0,255"
    )
    for number in range(2):
        assert (data[number]["target"] == (MASK > 0)).all()
        assert data[number]["notes"] == (f"mask: {INVERTED}",)


# --- B5: few of the levels, further pages, and notes that reach a person --------------------------

CAMERA = (RANDOM.integers(0, 110, (12, 10)) * 16).astype(np.uint16)  # of 12 bits, below 1760
SPARE = (
    "its values use less than a sixteenth of their range; found {}, of {}. Say the largest that "
    "there can be, such as peak=4095 (predict: --peak 4095)"
)


@pytest.mark.parametrize(
    ("file", "found", "full"),
    [
        (content(CAMERA, "TIFF"), f"0 to {CAMERA.max()}", 65535),
        (content(CAMERA, "PNG"), f"0 to {CAMERA.max()}", 65535),
        (
            tiff(np.stack([CAMERA] * 3, 2), photometric="rgb"),
            "values up to 1791 at most",
            65535,
        ),
        (tiff((CAMERA / 65535).astype("f4")), f"0 to {CAMERA.max() / 65535:g}", 1),
        (b"\x93NUMPY", f"0 to {CAMERA.max()}", 65535),
    ],
    ids=["tiff", "png", "tiff-rgb", "float", "npy"],
)
def test_b5_a_range_that_is_hardly_used_is_said(file, found, full):
    """Row 21. Every way that deep values come in."""
    if file == b"\x93NUMPY":
        stream = io.BytesIO()
        np.save(stream, CAMERA)
        file = stream.getvalue()
    assert read(file).notes[-1] == SPARE.format(found, full)
    assert len(np.unique(read(file).image)) < 9
    assert not any("sixteenth" in note for note in read(content(CAMERA * 37, "PNG")).notes)


def deep_png(values):
    """(H, W, 3 or 4) uint16 as a PNG: Pillow writes none."""
    import struct
    import zlib

    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0),
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts.items()
    )


@pytest.mark.parametrize(
    "file",
    [
        content(CAMERA, "TIFF"),
        content(CAMERA, "PNG"),
        content(CAMERA.astype(np.int32), "TIFF"),
        tiff(np.stack([CAMERA] * 3, 2), photometric="rgb"),
        tiff(np.stack([CAMERA] * 3, 2), photometric="rgb", compression="zlib", predictor=True),
        tiff(np.stack([CAMERA] * 3, 0), photometric="rgb", planarconfig="separate"),
        tiff(CAMERA.astype("f4")),
        tiff(CAMERA.astype("f8")),
        tiff(CAMERA.astype("u4")),
        deep_png(np.stack([CAMERA] * 3, 2)),
        b"P5 10 12 65535\n" + CAMERA.astype(">u2").tobytes(),
        b"P5 10 12 4095\n" + CAMERA.astype(">u2").tobytes(),
        CAMERA,
        CAMERA.astype(np.float64),
        CAMERA.astype(np.int64),
    ],
)
def test_b5_a_peak_gives_the_levels_back(file):
    """As a 12-bit picture has them, of every kind of file; the same 12 bits by themselves."""
    expected = np.rint(CAMERA * (255 / 4095)).astype(np.uint8)
    picture = read(file, peak=4095)
    for channel in range(3):
        np.testing.assert_array_equal(picture.image[..., channel], expected)
    assert picture.notes == ("values divided by 16.059, as 4095 is said to be the largest",)


def test_b5_what_is_above_the_peak_is_said_and_what_is_no_brightness_is_refused():
    picture = read(np.array([[0, 1000, 2000]], np.uint16), peak=1000)
    assert picture.image[0, :, 0].tolist() == [0, 255, 255]
    assert picture.notes[-1] == "values above 1000 became 255; found up to 2000"
    for values in ([[-1.0, 5]], [[np.nan, 5]], [[np.inf, 5]]):
        with pytest.raises(
            PictureError,
            match=r"that are no (brightness; found .* expected fi|numbers; found NaN in 1 of 2)",
        ):
            read(np.array(values), peak=10)
    assert (read(RGB, peak=10).image == RGB).all()  # 8 bits are what they are
    rgba = read(
        tiff(np.full((2, 2, 4), 4095, np.uint16), photometric="rgb", extrasamples=[2]), peak=4095
    )
    assert (rgba.image == 255).all()
    assert (rgba.alpha == 16).all()  # is not of the camera


def test_b5_pages_of_pictures_and_masks(tmp_path):
    """Row 22: what is not read is said, of both."""
    stack = tiff(np.stack([CAMERA * 37] * 5))
    masks = tiff(np.stack([MASK] * 5))
    (sample,) = [open_folder(folder(tmp_path, [stack], [masks], image="tif", mask="tif"))[0]]
    assert sample["notes"] == (
        "16-bit values divided by 257",
        "the first of 5 frames",
        "mask: the first of 5 frames",
    )
    bands = read(
        tiff(np.stack([BANDS] * 3), photometric="minisblack", planarconfig="contig"), bands=True
    )
    assert bands.notes == ("the first of 3 frames",)


def test_b5_notes_reach_the_check_grouped(tmp_path):
    files = [content(CAMERA, "TIFF"), content(CAMERA // 2, "TIFF")]
    data = open_folder(
        folder(tmp_path, files, [content(MASK, "PNG")] * 2, image="tif"),
        values="0,255",
        classes="a,b",
    )
    report = check(data)
    assert [(note.problem, note.count) for note in report.notes] == [
        ("16-bit values divided by 257", 2),
        ("its values use less than a sixteenth of their range", 2),
    ]
    assert [item.detail for item in report.notes[1].items] == [
        f"0 to {CAMERA.max()}, of 65535",
        f"0 to {CAMERA.max() // 2}, of 65535",
    ]
    assert "peak=4095" in report.notes[1].next_step
    said = open_folder(tmp_path, values="0,255", peak="4095")
    assert len(np.unique(said[0]["image"])) > 100 / 2
    assert [note.problem for note in check(said).notes[:1]] == [
        "values divided by 16.059, as 4095 is said to be the largest"
    ]


# --- B6: bands ------------------------------------------------------------------------------------

BANDS = RANDOM.integers(0, 256, (12, 10, 7), dtype=np.uint8)


def saved(values):
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


FILES_OF_BANDS = {
    "rgb+nir": (tiff(BANDS[..., :4], photometric="rgb", extrasamples=[0]), 4),
    "rgb+alpha": (tiff(BANDS[..., :4], photometric="rgb", extrasamples=[2]), 4),
    "rgb+multiplied": (tiff(BANDS[..., :4], photometric="rgb", extrasamples=[1]), 4),
    "4": (tiff(BANDS[..., :4], photometric="minisblack", planarconfig="contig"), 4),
    "2": (tiff(BANDS[..., :2], photometric="minisblack", planarconfig="contig"), 2),
    "5": (tiff(BANDS[..., :5], photometric="rgb", extrasamples=[0, 0]), 5),
    "6": (tiff(BANDS[..., :6], photometric="rgb", extrasamples=[0, 0, 0]), 6),
    "7": (tiff(BANDS, photometric="minisblack", planarconfig="contig"), 7),
    "7-planar": (
        tiff(BANDS.transpose(2, 0, 1), photometric="minisblack", planarconfig="separate"),
        7,
    ),
    "rgb+nir-planar": (
        tiff(
            BANDS[..., :4].transpose(2, 0, 1),
            photometric="rgb",
            planarconfig="separate",
            extrasamples=[0],
        ),
        4,
    ),
    "npy": (saved(BANDS), 7),
    "npy-4": (saved(BANDS[..., :4]), 4),
    "png-rgba": (content(BANDS[..., :4], "PNG"), 4),
    "png-rgb": (content(BANDS[..., :3], "PNG"), 3),
    "png-gray": (content(BANDS[..., 0], "PNG"), 1),
}


@pytest.mark.parametrize("name", FILES_OF_BANDS)
def test_b6_every_band_as_it_is_stored(name):
    file, count = FILES_OF_BANDS[name]
    picture = read(file, bands=True)
    np.testing.assert_array_equal(picture.image, BANDS[..., :count])
    assert picture.alpha is None


@pytest.mark.parametrize(
    "name", ["rgb+nir", "4", "2", "5", "6", "7", "7-planar", "rgb+nir-planar", "npy"]
)
def test_b6_bands_that_are_no_colours_are_refused_where_colours_are_read(name, caplog):
    """Rows 20, 20d and 02: none vanishes, none is called damaged, and Pillow's log is silent."""
    file, count = FILES_OF_BANDS[name]
    with pytest.raises(PictureError, match=f"bands={count} in a data set's words"):
        read(file)
    assert not caplog.records


def test_b6_a_band_that_a_file_calls_alpha_is_said():
    """Row 20b: the file says so, and nobody can know better."""
    picture = read(FILES_OF_BANDS["rgb+alpha"][0])
    assert picture.notes == ("its last band is taken as alpha, as the file says",)


def banded(path, count, *, files=None):
    files = [
        tiff(np.roll(BANDS[..., :count], n, 0), photometric="minisblack", planarconfig="contig")
        for n in range(4)
    ]
    return folder(path, files, [content(np.roll(MASK, n, 0), "PNG") for n in range(4)], image="tif")


def test_b6_a_data_set_of_bands(tmp_path):
    data = open_folder(banded(tmp_path, 7), values="0,255", classes="a,b", bands="7")
    np.testing.assert_array_equal(data[0]["image"], BANDS)
    assert data.info.bands == 7
    report = check(data)
    assert report.ok
    assert len(report.mean) == 7
    assert report.mean == pytest.approx((BANDS / 255).mean(axis=(0, 1)))
    other = open_folder(tmp_path, values="0,255", bands="4")
    with pytest.raises(DatasetError, match=r"another number of bands; found 7, expected bands=4"):
        other[0]
    with pytest.raises(
        DatasetError, match=r"s0\.tif: the picture has 7 bands, and not all of them"
    ):
        open_folder(tmp_path)[0]


def test_b6_a_npy_for_each_picture_and_mask(tmp_path):
    """Row 19, and pictures too."""
    path = folder(tmp_path, [saved(BANDS)], [saved(MASK > 0)], image="npy", mask="npy")
    sample = open_folder(path, bands="7")[0]
    np.testing.assert_array_equal(sample["image"], BANDS)
    np.testing.assert_array_equal(sample["target"], MASK > 0)


def test_b6_a_network_reads_what_it_asks_for():
    bands = Preprocess(mode="bands")
    x, _ = prepare(read(BANDS, bands=True), bands, 7)
    np.testing.assert_array_equal(np.rint(x * 255), BANDS.transpose(2, 0, 1))
    with pytest.raises(
        PictureError, match="has not as many bands as the network takes; found 7, expec"
    ):
        prepare(read(BANDS, bands=True), bands, 4)
    with pytest.raises(
        PictureError, match="the picture is neither gray nor in colours; found 7 bands"
    ):
        prepare(read(BANDS, bands=True), Preprocess(), 3)
    with pytest.raises(
        DatasetError, match=r"has 3 of the four channels that the network takes.*bands=rgba"
    ):
        picture_of(RGB, Preprocess(), 4)
    with pytest.raises(DatasetError, match=r"not as many bands as the network takes; .*bands=4$"):
        picture_of(RGB, bands, 4)
    with pytest.raises(DatasetError, match="is neither gray nor in colours; found 7 bands"):
        picture_of(BANDS, Preprocess(), 3)


def test_b6_colours_with_alpha_on_demand(tmp_path):
    """`bands=rgba`: four channels of every picture, 255 where a file has no alpha."""
    files = [content(RGB, "PNG"), content(np.dstack([RGB, GRAY]), "PNG")]
    data = open_folder(folder(tmp_path, files, [content(MASK, "PNG")] * 2), bands="rgba")
    np.testing.assert_array_equal(data[0]["image"], np.dstack([RGB, np.full_like(GRAY, 255)]))
    np.testing.assert_array_equal(data[1]["image"], np.dstack([RGB, GRAY]))


# --- B9: pictures of other formats ----------------------------------------------------------------


def test_b9_avif_is_read_as_pillow_reads_it():
    file = content(RGB, "AVIF", quality=100, subsampling="4:4:4")
    np.testing.assert_array_equal(read(file).image, np.asarray(Image.open(io.BytesIO(file))))
    assert read_labels(content(MASK, "AVIF")).lossy


def test_b9_heic_by_pillow_heif_under_any_name(tmp_path):
    """Row 05: also one that is called .JPG, as telephones send them."""
    heif = pytest.importorskip("pillow_heif")
    stream = io.BytesIO()
    smooth = np.stack(np.broadcast_arrays(np.arange(64)[:, None] * 3, np.arange(48) * 4, 90), 2)
    heif.from_pillow(Image.fromarray(smooth.astype(np.uint8))).save(stream, quality=95)
    for name in ("a.heic", "IMG_0001.JPG"):
        (tmp_path / name).write_bytes(stream.getvalue())
        picture = read(tmp_path / name)
        assert np.abs(picture.image.astype(int) - smooth).mean() < 4
        assert picture.lossy
    assert "HEIF" not in Image.OPEN  # Pillow is left as it was
    with pytest.raises(PictureTooLargeError):
        read(stream.getvalue(), max_pixels=64 * 48 - 1)


def test_b9_without_pillow_heif_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(kinds.util, "find_spec", lambda name: None)
    with pytest.raises(
        PictureError, match=r"a HEIC picture needs pillow-heif.*pip install 'segzoo-core\[heic\]'"
    ):
        read(b"\0\0\0\x1cftypheic\0\0\0\0mif1heic")
    assert ".heic" not in formats.endings()
    told = formats.left_out({".heic": 2, ".jxl": 1})
    assert told == (
        "3 files of other kinds left out: 2 .heic, 1 .jxl "
        "(pip install 'segzoo-core[heic]' reads .heic)"
    )


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\xff\x0a" + bytes(30), "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(20), "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(20), "JPEG 2000"),
        (b"8BPS" + bytes(30), "Photoshop"),
        (b"v/1\x01" + bytes(30), "OpenEXR"),
    ],
)
def test_b9_what_is_not_read_is_called_by_its_name(head, kind):
    with pytest.raises(PictureError, match=f"found a {kind} file, expected .*Save it as PNG"):
        read(head)


def test_b9_files_of_other_kinds_are_counted(tmp_path):
    """Rows 62 and 64: in a training folder, and in its check."""
    path = folder(tmp_path, [content(RGB, "PNG")] * 2, [content(MASK, "PNG")] * 2)
    assert open_folder(path).notes == ()
    (path / "images" / "s9.jxl").write_bytes(b"x")
    (path / "images" / "s9.dng").write_bytes(b"x")
    (path / "masks" / "s9.jxl").write_bytes(b"x")
    (path / "masks" / ".DS_Store").write_bytes(b"x")
    said = "3 files of other kinds left out: 2 .jxl, 1 .dng"
    data = open_folder(path, values="0,255")
    assert data.notes == (said,)
    assert Subset(data, [0]).notes == (said,)
    assert said in [note.problem for note in check(data).notes]
    (path / "masks" / "s9.png").write_bytes(content(MASK, "PNG"))
    with pytest.raises(
        DatasetError, match=r"masks without a picture: 1 \(s9\.png\); 3 files of other"
    ):
        open_folder(path)


# --- B10: pictures that EXIF turns ----------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("square", [True, False])
def test_b10_a_mask_that_would_fit_both_ways(orientation, square, tmp_path):
    """Row 24b. Where a picture is not square a quarter turn shows in its size; half a turn not."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.ascontiguousarray(RGB[:10] if square else RGB)
    picture = content(pixels, "JPEG", exif=exif)
    upright = read(picture).image.shape[:2]
    mask = content(np.zeros(upright, np.uint8), "PNG")
    notes = open_folder(folder(tmp_path / "a", [picture], [mask], image="jpg"))[0].get("notes", ())
    turned = orientation in ((2, 3, 4, 5, 6, 7, 8) if square else (2, 3, 4))
    assert (TURNED in notes) == turned
    same = content(np.zeros(pixels.shape[:2], np.uint8), "PNG", exif=exif)
    notes = open_folder(folder(tmp_path / "b", [picture], [same], image="jpg"))[0].get("notes", ())
    assert TURNED not in notes
