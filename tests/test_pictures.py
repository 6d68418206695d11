"""Pictures: every way to be broken, too large or unusual, and files that are whole or not there."""

import colorsys
import io
import os
import random
import re
import struct
import subprocess
import sys
import threading
import warnings
import weakref
import zlib
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image, ImageFile, ImageOps
from skimage.color import lab2xyz

from segzoo.errors import PictureError, PictureTooLargeError, UsageError
from segzoo.pictures import codec, kinds
from segzoo.pictures.codec import Picture, encode, flatten, read
from segzoo.pictures.stored import read_labels

PILLOW = int(PIL.__version__.partition(".")[0])
MIB = 1 << 20
RGB = np.random.default_rng(0).integers(0, 256, (24, 37, 3), dtype=np.uint8)
SMOOTH = np.stack(
    np.broadcast_arrays(np.arange(0, 240, 10)[:, None], np.arange(37) * 6, 90), axis=2
).astype(np.uint8)


def content(im: Image.Image | np.ndarray, format: str, **options) -> bytes:
    """A picture as the content of a file, by Pillow."""
    im = Image.fromarray(im) if isinstance(im, np.ndarray) else im
    file = io.BytesIO()
    im.save(file, format, **options)
    return file.getvalue()


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of these chunks, with right checksums."""
    file = b"\x89PNG\r\n\x1a\n"
    for kind, data in (*chunks, (b"IEND", b"")):
        file += struct.pack(">I", len(data)) + kind + data
        file += struct.pack(">I", zlib.crc32(kind + data))
    return file


def ihdr(height: int, width: int, depth: int = 8, colour: int = 2) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)


def idat(rows: bytes) -> tuple[bytes, bytes]:
    return b"IDAT", zlib.compress(rows)


def png16(values: np.ndarray, *extra: tuple[bytes, bytes]) -> bytes:
    """(H, W, 1|2|3|4) uint16 as a PNG of 16 bits."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    return png(ihdr(height, width, 16, colour), *extra, idat(rows))


def tiff(*tags: tuple[int, int, int, int], pixels: bytes = b"", tail: bytes = b"") -> bytes:
    """A little-endian TIFF. tags: (number, type, count, value); the pixels lie at 8."""
    head = b"II*\0" + struct.pack("<I", 8 + len(pixels))
    directory = struct.pack("<H", len(tags))
    directory += b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags)) + b"\0\0\0\0"
    return head + pixels + directory + tail


def gray_tiff(height: int, width: int, bits: int, pixels: bytes) -> bytes:
    return tiff(
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, bits),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (277, 3, 1, 1),
        (278, 4, 1, height),
        (279, 4, 1, len(pixels)),
        pixels=pixels,
    )


def python(code: str, *, timeout: float = 100) -> str:
    """What a program prints in a process of its own."""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=timeout
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


DAMAGED = (
    "the picture is damaged, cut short or not supported; found {}. "
    "Open it in a viewer and save it anew, or fetch it again"
)
UNKNOWN = (
    "not a picture that segzoo reads, or its header is damaged; found a file that begins with {}, "
    "expected PNG, JPEG, WEBP, TIFF, BMP, GIF, PPM or AVIF"
)
TOO_LARGE = (
    "the picture is too large; found height {} and width {}, expected at most {} pixels. "
    "Allow more with --max-pixels (max_pixels= in Python)"
)


# --- I1: not a picture ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"Dear all,\n", UNKNOWN.format("b'Dear all'"), id="I1-text"),
        pytest.param(b"<!DOCTYPE html>", UNKNOWN.format("b'<!DOCTYP'"), id="I1-html"),
        pytest.param(b"", "the file is empty", id="I1-empty"),
        pytest.param(b"\x89PNG\r\n\x1a\n", UNKNOWN.format(r"b'\x89PNG\r\n\x1a\n'"), id="I1-magic"),
        pytest.param(
            png(ihdr(0, 0), idat(b"")), UNKNOWN.format(r"b'\x89PNG\r\n\x1a\n'"), id="I1-no-pixels"
        ),
        pytest.param(
            png(ihdr(1, 2**31 - 1), idat(b"\0")),
            TOO_LARGE.format(1, 2**31 - 1, 89_000_000),
            id="I1-wide",
        ),
        pytest.param(
            content(RGB, "ICO", sizes=[(16, 16)]),
            UNKNOWN.format(r"b'\x00\x00\x01\x00\x01\x00\x10\n'"),
            id="I1-ico",
        ),
    ],
)
def test_what_is_no_picture_is_refused(data, message, tmp_path):
    file = tmp_path / "photo.jpg"
    file.write_bytes(data)
    with pytest.raises(PictureError, match=f"^{re.escape(message)}$"):
        read(data)
    with pytest.raises(PictureError, match=f"^{re.escape(f'{file}: {message}')}$"):
        read(file)


@pytest.fixture
def odd_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "folder.png").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("none.png", "there is no such file", id="I1-missing"),
        pytest.param("folder.png", "is a folder, not a picture", id="I1-folder"),
        pytest.param("pipe.png", "is not a regular file", id="I1-fifo"),
        pytest.param("/dev/null", "is not a regular file", id="I1-device"),
        pytest.param("loop.png", "cannot be read: .*symbolic link.*", id="I1-loop"),
        pytest.param("a\0b", "cannot be read: embedded null byte", id="I1-nul"),
        pytest.param("n" * 300, "cannot be read: File name too long", id="I1-long-name"),
        pytest.param(
            "http://host/a.png",
            "there is no such file. segzoo reads files; download it first",
            id="I1-url",
        ),
    ],
)
def test_what_is_no_file_is_refused(name, message, odd_files):
    shown = re.escape(os.path.join(odd_files, name).replace("\0", "\\x00"))
    with pytest.raises(PictureError, match=f"^{shown}: {message}$"):
        read(os.path.join(odd_files, name))


def test_a_name_with_a_newline_stays_on_one_line(tmp_path):
    with pytest.raises(PictureError, match=r"a\\nb\.png: there is no such file$"):
        read(tmp_path / "a\nb.png")


@pytest.mark.parametrize("source", [None, 7, [1, 2], io.BytesIO(b"")])
def test_another_type_of_source_is_a_type_error(source):
    kind = type(source).__name__
    with pytest.raises(TypeError, match=f"^a picture is a path, bytes, .* array, not {kind}$"):
        read(source)


def test_a_file_its_content_and_its_path_as_text_are_one_picture(tmp_path):
    file = tmp_path / "a b.png"
    file.write_bytes(content(RGB, "PNG"))
    for source in (file, str(file), file.read_bytes()):
        np.testing.assert_array_equal(read(source).image, RGB)


# --- I2: too large --------------------------------------------------------------------------------

# The largest resident size of this program in MiB. ru_maxrss would count its parent's too.
PEAK = """
import re
def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1]) >> 10
"""
MEMORY = f"""{PEAK}
import sys
import segzoo.pictures.codec
from segzoo.errors import PictureError
before = peak()
for file in sys.argv[1:]:
    try:
        segzoo.pictures.codec.read(file)
        print("read", end=" ")
    except PictureError as error:
        print(type(error).__name__, end=" ")
    print(peak() - before, flush=True)
"""
needs_proc = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory is read from /proc"
)


def outcomes_and_peak(files: list[Path]) -> tuple[list[str], int]:
    """What reading each in one process gives, and by how many MiB that process grew at most."""
    result = subprocess.run(
        [sys.executable, "-c", MEMORY, *map(str, files)],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert result.returncode == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    return [word for word, _ in lines], max(int(mib) for _, mib in lines)


def bits_png(side: int) -> bytes:
    """A white square of one bit per pixel: a few KB."""
    return png(ihdr(side, side, 1, 0), idat((b"\0" + b"\xff" * ((side + 7) // 8)) * side))


@needs_proc
def test_a_small_file_of_many_pixels_is_refused_at_no_cost(tmp_path):
    """Row I2. Pillow by itself only warns of the second."""
    (tmp_path / "20000.png").write_bytes(bits_png(20_000))
    (tmp_path / "10000.png").write_bytes(bits_png(10_000))
    (tmp_path / "canvas.webp").write_bytes(
        b"RIFF\x1a\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + (16382).to_bytes(3, "little") * 2
    )
    outcomes, peak = outcomes_and_peak(sorted(tmp_path.iterdir()))
    canvas = "PictureTooLargeError" if PILLOW >= 13 else "PictureError"  # it is not told which
    assert outcomes == ["PictureTooLargeError", "PictureTooLargeError", canvas]
    assert peak < 200
    with pytest.raises(PictureTooLargeError) as caught:
        read(tmp_path / "10000.png")
    expected = TOO_LARGE.format(10_000, 10_000, 89_000_000)
    assert str(caught.value) == f"{tmp_path / '10000.png'}: {expected}"


def test_the_limit_is_the_callers():
    file = content(RGB, "PNG")
    assert read(file, max_pixels=24 * 37).image.shape == (24, 37, 3)
    for source in (file, Image.fromarray(RGB)):
        with pytest.raises(PictureTooLargeError, match=re.escape(TOO_LARGE.format(24, 37, 887))):
            read(source, max_pixels=887)


@pytest.mark.parametrize("pillows", [10, None])
def test_pillows_own_limit_does_not_matter_and_is_left_as_it_was(pillows, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillows)
    for format in kinds.FORMATS:
        assert read(content(RGB, format)).image.shape == (24, 37, 3)
        with pytest.raises(PictureTooLargeError):
            read(content(RGB, format), max_pixels=887)
    assert Image.MAX_IMAGE_PIXELS == pillows


@pytest.mark.skipif(PILLOW < 13, reason="older ones say that they have no decoder")
def test_what_pillow_finds_too_large_first():
    canvas = b"RIFF\x1a\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + (16382).to_bytes(3, "little") * 2
    with pytest.raises(PictureTooLargeError) as caught:
        read(canvas)
    assert str(caught.value) == (
        "the picture is too large for its decoder; "
        "found Image size (268402689 pixels) exceeds limit of 178956970 pixels. "
        "Allow more with --max-pixels (max_pixels= in Python)"
    )


@pytest.mark.parametrize("lenient", [True, False])
def test_the_process_is_left_as_it_was_by_threads_and_by_failures(lenient, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    whole = content(SMOOTH, "JPEG")
    before = Image.MAX_IMAGE_PIXELS, list(warnings.filters), warnings.showwarning
    seen = set()

    def work(source, expected):
        for _ in range(50):
            try:
                read(source)
                seen.add((expected, "read"))
            except PictureError:
                seen.add((expected, "refused"))

    sources = [(whole, "read"), (whole[: len(whole) // 2], "refused"), (b"text", "refused")]
    threads = [threading.Thread(target=work, args=source) for source in sources * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {("read", "read"), ("refused", "refused")}
    assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters), warnings.showwarning) == before
    assert ImageFile.LOAD_TRUNCATED_IMAGES is lenient


# --- I3: cut short, damaged -----------------------------------------------------------------------

WAYS = {
    "png": ("PNG", {}),
    "jpeg": ("JPEG", {}),
    "jpeg-progressive": ("JPEG", {"progressive": True}),
    "webp": ("WEBP", {}),
    "webp-lossless": ("WEBP", {"lossless": True}),
    "gif": ("GIF", {}),
    "bmp": ("BMP", {}),
    "ppm": ("PPM", {}),
    "tiff": ("TIFF", {}),
    "tiff-lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "tiff-deflate": ("TIFF", {"compression": "tiff_deflate"}),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_picture_cut_anywhere_is_never_half_gray(way):
    """Row I3. A GIF may lack the bytes that end it, a BMP the one that fills its last row."""
    format, options = WAYS[way]
    whole = content(RGB, format, **options)
    read(whole)
    optional = {"GIF": 2, "BMP": 1}.get(format, 0)
    for length in [*range(0, len(whole) - optional, 7), len(whole) - optional - 1]:
        with pytest.raises(PictureError):
            read(whole[:length])


def test_what_is_said_of_a_cut_picture():
    cause = "image file is truncated (12 bytes not processed)"
    with pytest.raises(PictureError) as caught:
        read(content(RGB, "JPEG")[:800])
    assert re.sub(r"\d+ bytes", "12 bytes", str(caught.value)) == DAMAGED.format(cause)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(
            lambda file: file[:-12],
            "the PNG is cut short; found no end, expected a chunk IEND",
            id="I3-no-end",
        ),
        pytest.param(
            lambda file: file[:-30],
            "the PNG is damaged in its chunk b'IDAT': it is cut short",
            id="I3-cut",
        ),
        pytest.param(
            lambda file: file[:-17] + bytes([file[-17] ^ 1]) + file[-16:],
            "the PNG is damaged in its chunk b'IDAT': its checksum is wrong",
            id="I3-pixels",
        ),
        pytest.param(
            lambda file: file[:-13] + bytes([file[-13] ^ 1]) + file[-12:],
            "the PNG is damaged in its chunk b'IDAT': its checksum is wrong",
            id="I3-crc",
        ),
        pytest.param(
            lambda file: file[:20] + b"\1" + file[21:],
            UNKNOWN.format(r"b'\x89PNG\r\n\x1a\n'"),
            id="I3-header",
        ),
    ],
)
def test_a_png_with_a_wrong_checksum_is_refused(damage, message):
    with pytest.raises(PictureError, match=f"^{re.escape(message)}$"):
        read(damage(content(RGB, "PNG")))


# --- I4: EXIF orientation -------------------------------------------------------------------------

# orientation -> how a camera that was held so stores the upright picture
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("format", ["PNG", "TIFF", "TIFF-deflate", "WEBP"])
@pytest.mark.parametrize("orientation", STORED)
def test_every_orientation_gives_the_upright_picture(orientation, format):
    """Row I4. Colours, alpha and resolution are turned alike."""
    rgba = np.dstack([RGB, RGB[..., 0]])
    stored = Image.fromarray(rgba)
    if STORED[orientation] is not None:
        stored = stored.transpose(STORED[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {
        "PNG": {"dpi": (254, 127)},
        "TIFF": {"dpi": (254, 127)},
        "TIFF-deflate": {"dpi": (254, 127), "compression": "tiff_deflate"},
        "WEBP": {"lossless": True, "exact": True},
    }[format]
    file = content(stored, format.partition("-")[0], exif=exif, **options)
    for source in (file, Image.open(io.BytesIO(file))):
        picture = read(source)
        np.testing.assert_array_equal(picture.image, RGB)
        np.testing.assert_array_equal(picture.alpha, RGB[..., 0])
        assert picture.image.flags.c_contiguous
        alpha = "its last band is taken as alpha, as the file says"
        assert picture.notes == (alpha,) * format.startswith("TIFF")
        if format != "WEBP":
            upright = (127, 254) if orientation > 4 else (254, 127)
            assert picture.dpi == pytest.approx(upright, abs=0.01)


@pytest.mark.parametrize("orientation", STORED)
def test_an_oriented_jpeg_is_as_pillow_turns_it(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = content(SMOOTH, "JPEG", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(file))))
    np.testing.assert_array_equal(read(file).image, expected)


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_does_not_exist_is_ignored(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(read(content(RGB, "PNG", exif=exif)).image, RGB)


# --- I5: what comes with the pixels ---------------------------------------------------------------


@pytest.mark.filterwarnings("default")  # Pillow warns of the second
@pytest.mark.parametrize(
    "exif",
    [
        pytest.param(b"Exif\0\0nonsense", id="I5-nonsense"),
        pytest.param(b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0", id="I5-cut"),
    ],
)
def test_broken_exif_is_ignored_with_a_note(exif, recwarn):
    picture = read(content(SMOOTH, "JPEG", exif=exif))
    assert picture.notes == ("its broken EXIF data is ignored",)
    assert np.abs(picture.image.astype(int) - SMOOTH).mean() < 5


@needs_proc
def test_bombs_beside_the_pixels_cost_little(tmp_path):
    """Row I5: what unpacks to 200 MB, what is 200 MB, what points at one MB a thousand times."""
    rows = b"\0" + b"\1\2\3"
    bomb = zlib.compress(bytes(200 * MIB))
    one = ihdr(1, 1), idat(rows)
    pointers = [(40000 + n, 7, MIB, 8) for n in range(2000)]
    with_tags = tiff((256, 4, 1, 1), (257, 4, 1, 1), *pointers, pixels=bytes(MIB))
    exif = tiff(*[(1000 + n, 7, MIB, 8) for n in range(2000)], pixels=bytes(MIB))
    profile = b"ICC_PROFILE\0%c%c" + b"p" * 65519
    jpeg = content(RGB, "JPEG")
    segments = b"".join(
        b"\xff\xe2" + struct.pack(">H", 65535) + profile % (n, 255) for n in range(1, 256)
    )
    files = {
        "ztxt.png": (png(one[0], (b"zTXt", b"k\0\0" + bomb), one[1]), "PictureError"),
        "iccp.png": (png(one[0], (b"iCCP", b"k\0\0" + bomb), one[1]), "PictureError"),
        "itxt.png": (png(one[0], (b"iTXt", b"k\0\1\0\0\0" + bomb), one[1]), "PictureError"),
        "late.png": (png(*one, (b"zTXt", b"k\0\0" + bomb)), "PictureError"),
        "text.png": (png(one[0], (b"tEXt", b"k\0" + bytes(200 * MIB)), one[1]), "PictureError"),
        "tags.tif": (with_tags, "PictureError"),
        "exif.png": (content(RGB, "PNG", exif=exif), "read"),
        "icc.jpg": (jpeg[:2] + segments + jpeg[2:], "read"),
    }
    for name, (data, _) in files.items():
        (tmp_path / name).write_bytes(data)
    outcomes, peak = outcomes_and_peak([tmp_path / name for name in files])
    assert outcomes == [outcome for _, outcome in files.values()]
    assert peak < 200
    with pytest.raises(PictureError, match=r"its header is too long"):
        read(tmp_path / "text.png")
    with pytest.raises(PictureError, match=r"found Decompressed data too large for"):
        read(tmp_path / "ztxt.png")


def test_an_error_of_memory_keeps_nothing_of_the_picture(monkeypatch):
    """Whoever keeps the error, as a list of what failed does, would keep what was decoded."""
    decoded = []

    def out_of_memory(array, orientation):
        decoded.append(weakref.ref(array))
        raise MemoryError

    monkeypatch.setattr(codec, "turned", out_of_memory)
    with pytest.raises(PictureTooLargeError, match="memory ran out while it was decoded") as error:
        read(content(RGB, "PNG"))
    assert error.value.__cause__ is not None
    assert decoded[0]() is None


def profile_of(space: bytes, size: int = 200) -> bytes:
    return bytes(16) + space + bytes(size - 20)


@pytest.mark.parametrize(
    ("profile", "note"),
    [
        (profile_of(b"RGB "), None),
        (profile_of(b"GRAY"), "its ICC profile is dropped: it is about GRAY, not RGB"),
        (profile_of(b"CMYK"), "its ICC profile is dropped: it is about CMYK, not RGB"),
        (b"short", "its ICC profile is dropped: it is about nothing, not RGB"),
        (profile_of(b"RGB ", MIB + 1), "its ICC profile is dropped: it is larger than 1 MiB"),
    ],
    ids=["rgb", "gray", "cmyk", "short", "large"],
)
def test_a_profile_is_kept_when_a_cut_out_can_hold_it(profile, note):
    picture = read(content(RGB, "TIFF", icc_profile=profile))
    assert picture.icc_profile == (None if note else profile)
    assert picture.notes == ((note,) if note else ())
    if not note:
        written = encode(RGB, icc_profile=profile, dpi=(96, 48))
        assert read(written).icc_profile == profile
        assert read(written).dpi == pytest.approx((96, 48), abs=0.02)


@pytest.mark.parametrize(
    "dpi", [(0, 0), (float("nan"), 1), (1, 1e9), (72,), ("a", "b"), 72, None, (1, 0)]
)
def test_a_resolution_that_makes_no_sense_is_none(dpi):
    im = Image.fromarray(RGB)
    im.info["dpi"] = dpi
    assert read(im).dpi is None


# --- I6: more than 8 bits -------------------------------------------------------------------------

DEPTHS = np.array([[0, 1, 128, 129, 255, 256, 32767, 32896, 65406, 65407, 65535]], np.uint16)
DIVIDED = np.array([[0, 0, 0, 1, 1, 1, 127, 128, 254, 255, 255]], np.uint8)  # by 257, rounded


@pytest.mark.parametrize(
    ("source", "note"),
    [
        pytest.param(png16(DEPTHS[..., None]), "16-bit values divided by 257", id="I6-png"),
        pytest.param(
            content(DEPTHS, "TIFF"), "16-bit values divided by 257", id="I6-tiff-little-endian"
        ),
        pytest.param(
            content(Image.frombytes("I;16B", (11, 1), DEPTHS.astype(">u2").tobytes()), "TIFF"),
            "16-bit values divided by 257",
            id="I6-tiff-big-endian",
        ),
        pytest.param(content(DEPTHS, "PPM"), "16-bit values divided by 257", id="I6-pgm"),
        pytest.param(
            content(DEPTHS.astype(np.int32), "TIFF"), "16-bit values divided by 257", id="I6-int32"
        ),
        pytest.param(
            Image.frombytes("I;16B", (11, 1), DEPTHS.astype(">u2").tobytes()),
            "16-bit values divided by 257",
            id="I6-PIL-big-endian",
        ),
        pytest.param(DEPTHS, "16-bit values divided by 257", id="I6-array"),
        pytest.param(
            DEPTHS.astype(">u2"), "16-bit values divided by 257", id="I6-array-big-endian"
        ),
        pytest.param(
            DEPTHS[..., None] / np.float64(65535),
            "floating-point values multiplied by 255",
            id="I6-array-float",
        ),
        pytest.param(
            content((DEPTHS / np.float32(65535)).astype(np.float32), "TIFF"),
            "floating-point values multiplied by 255",
            id="I6-tiff-float",
        ),
    ],
)
def test_deep_gray_is_scaled_and_never_saturated(source, note):
    picture = read(source)
    np.testing.assert_array_equal(picture.image, np.repeat(DIVIDED[..., None], 3, axis=2))
    assert picture.notes == (note,)
    assert picture.alpha is None


def test_twelve_bits_reach_white():
    packed = bytes([0x00, 0x08, 0x00, 0xFF, 0xFF, 0xFF])  # 0, 2048, 4095, 4095
    picture = read(gray_tiff(1, 4, 12, packed))
    assert picture.image[0, :, 0].tolist() == [0, 128, 255, 255]
    assert picture.notes == ("12-bit values divided by 16.059",)


def test_sixteen_bit_colours_are_cut_to_their_high_byte_with_a_note():
    values = np.array([[[30000, 255, 65535], [256, 65280, 0]]], np.uint16)
    picture = read(png16(values))
    assert picture.image.tolist() == [[[117, 0, 255], [1, 255, 0]]]
    assert picture.notes == ("16-bit colours cut to their high byte",)
    with_alpha = read(png16(np.dstack([values, [[65535, 257]]]).astype(np.uint16)))
    assert with_alpha.alpha.tolist() == [[255, 1]]
    assert with_alpha.notes == ("16-bit colours cut to their high byte",)
    gray = read(png16(np.array([[[30000, 65535], [511, 0]]], np.uint16)))
    assert gray.image.tolist() == [[[117] * 3, [1] * 3]]
    assert gray.alpha.tolist() == [[255, 0]]


def test_a_transparent_colour_of_sixteen_bits():
    gray = read(png16(np.array([[[300], [301]]], np.uint16), (b"tRNS", struct.pack(">H", 300))))
    assert gray.alpha.tolist() == [[0, 255]]
    key = b"tRNS", struct.pack(">HHH", 300, 300, 300)
    rgb = read(png16(np.full((1, 1, 3), 300, np.uint16), key))
    assert rgb.alpha is None
    assert rgb.notes[-1] == "the transparent colour of a 16-bit picture is ignored"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param(
            np.array([[0, 70000]], np.int32),
            "it is not known how bright these 32-bit values are; found 0 to 70000, "
            "expected values in 0..65535. Save it with 8 or 16 bits, or say it: "
            "peak=131071 (predict: --peak 131071)",
            id="I6-int32-large",
        ),
        pytest.param(
            np.array([[-1, 5]], np.int32),
            "it is not known how bright these 32-bit values are; found -1 to 5, "
            "expected values in 0..65535. Save it with 8 or 16 bits",
            id="I6-int32-negative",
        ),
        pytest.param(
            np.array([[0.5, np.nan]], np.float32),
            "the picture holds values that are no numbers; found NaN in 1 of 2 pixels, expected a "
            "brightness in each. Write what those pixels are meant to show, such as 0, and save "
            "it anew",
            id="I6-float-nan",
        ),
        pytest.param(
            np.array([[0.5, np.inf]], np.float32),
            "it is not known how bright these floating-point values are; found 0.5 to inf, "
            "expected finite values in 0..1. Divide by the largest value that there can be",
            id="I6-float-inf",
        ),
        pytest.param(
            np.array([[0.5, 255.0]], np.float32),
            "it is not known how bright these floating-point values are; found 0.5 to 255, "
            "expected finite values in 0..1. Divide by the largest value that there can be, or say "
            "it: peak=255 (predict: --peak 255)",
            id="I6-float-255",
        ),
    ],
)
def test_values_of_unknown_brightness_are_refused(values, message):
    for source in (content(values, "TIFF"), Image.fromarray(values)):
        with pytest.raises(PictureError, match=f"^{re.escape(message)}$"):
            read(source)


# --- I7: modes ------------------------------------------------------------------------------------


def one(mode: str, colour, **info) -> Image.Image:
    """A picture of two equal pixels."""
    im = Image.new(mode, (2, 1), colour)
    im.info.update(info)
    return im


def palette(transparency=None, mode="P") -> Image.Image:
    im = one(mode, 1)
    im.putpalette([9, 9, 9, 10, 20, 30])
    if transparency is not None:
        im.info["transparency"] = transparency
    return im


HSV = tuple(round(255 * v) for v in colorsys.hsv_to_rgb(100 / 255, 200 / 255, 150 / 255))
# LAB's white is D50, sRGB's D65: XYZ to linear sRGB by the Bradford-adapted matrix that Lindbloom
# publishes, then the curve of IEC 61966-2-1
BRADFORD = [
    [3.1338561, -1.6168667, -0.4906146],
    [-0.9787684, 1.9161415, 0.0334540],
    [0.0719453, -0.2289914, 1.4052427],
]
LINEAR = BRADFORD @ lab2xyz([60 / 2.55, 150 - 128, 90 - 128], illuminant="D50")
LAB = tuple(255 * (1.055 * LINEAR ** (1 / 2.4) - 0.055))
YCBCR = (100 + 1.402 * 50, 100 - 0.344136 * -28 - 0.714136 * 50, 100 + 1.772 * -28)  # JFIF


@pytest.mark.parametrize(
    ("im", "colour", "alpha", "notes"),
    [
        pytest.param(one("1", 1), (255, 255, 255), None, (), id="I7-1"),
        pytest.param(one("1", 0), (0, 0, 0), None, (), id="I7-1-black"),
        pytest.param(one("L", 100), (100, 100, 100), None, (), id="I7-L"),
        pytest.param(one("L", 7, transparency=7), (7, 7, 7), 0, (), id="I7-L-transparency"),
        pytest.param(one("LA", (100, 7)), (100, 100, 100), 7, (), id="I7-LA"),
        pytest.param(one("La", (10, 51)), (50, 50, 50), 51, (), id="I7-La"),
        pytest.param(palette(), (10, 20, 30), None, (), id="I7-P"),
        pytest.param(palette(1), (10, 20, 30), 0, (), id="I7-P-transparent-index"),
        pytest.param(palette(b"\xff\x46"), (10, 20, 30), 70, (), id="I7-P-transparency"),
        pytest.param(one("RGB", (1, 2, 3)), (1, 2, 3), None, (), id="I7-RGB"),
        pytest.param(
            one("RGB", (1, 2, 3), transparency=(1, 2, 3)), (1, 2, 3), 0, (), id="I7-RGB-key"
        ),
        pytest.param(one("RGBX", (1, 2, 3, 4)), (1, 2, 3), None, (), id="I7-RGBX"),
        pytest.param(one("RGBA", (1, 2, 3, 0)), (1, 2, 3), 0, (), id="I7-RGBA"),
        pytest.param(one("RGBA", (1, 2, 3, 255)), (1, 2, 3), 255, (), id="I7-RGBA-opaque"),
        pytest.param(one("RGBa", (20, 10, 2, 51)), (100, 50, 10), 51, (), id="I7-RGBa"),
        pytest.param(
            one("CMYK", (0, 255, 255, 0)),
            (255, 0, 0),
            None,
            ("CMYK converted to RGB without a profile",),
            id="I7-CMYK",
        ),
        pytest.param(
            one("CMYK", (0, 0, 0, 255)),
            (0, 0, 0),
            None,
            ("CMYK converted to RGB without a profile",),
            id="I7-CMYK-black",
        ),
        pytest.param(one("YCbCr", (100, 100, 178)), YCBCR, None, (), id="I7-YCbCr"),
        pytest.param(one("LAB", (60, 150, 90)), LAB, None, ("LAB converted to sRGB",), id="I7-LAB"),
        pytest.param(one("HSV", (100, 200, 150)), HSV, None, (), id="I7-HSV"),
    ],
)
def test_every_mode_has_a_defined_result(im, colour, alpha, notes):
    before = im.copy()
    picture = read(im)
    assert picture.image.shape == (1, 2, 3)
    assert picture.image.dtype == np.uint8
    tolerance = 0 if all(isinstance(value, int) for value in colour) else 2
    assert np.abs(picture.image.astype(float) - colour).max() <= tolerance
    assert (None if picture.alpha is None else picture.alpha.tolist()) == (
        None if alpha is None else [[alpha] * 2]
    )
    assert picture.notes == notes
    assert im == before


@pytest.mark.parametrize(
    ("im", "format"),
    [
        pytest.param(one("CMYK", (0, 255, 255, 0)).resize((16, 16)), "JPEG", id="I7-CMYK-adobe"),
        pytest.param(one("CMYK", (0, 255, 255, 0)).resize((16, 16)), "TIFF", id="I7-CMYK-tiff"),
    ],
)
def test_red_of_a_press_is_red(im, format):
    """An Adobe JPEG stores CMYK inverted; Pillow writes such a one."""
    file = content(im, format)
    assert (b"Adobe" in file) == (format == "JPEG")
    picture = read(file)
    assert np.abs(picture.image.astype(int) - (255, 0, 0)).max() <= 3
    assert picture.notes == ("CMYK converted to RGB without a profile",)


@pytest.mark.parametrize(
    ("im", "format"),
    [
        ("1", "PNG"),
        ("1", "TIFF"),
        ("L", "JPEG"),
        ("LA", "PNG"),
        ("P", "PNG"),
        ("P", "GIF"),
        ("RGBA", "TIFF"),
        ("RGBA", "WEBP"),
        pytest.param(
            "YCbCr",
            "TIFF",
            marks=pytest.mark.skipif(PILLOW < 13, reason="older ones cannot read what they write"),
        ),
        ("LAB", "TIFF"),
    ],
)
def test_modes_are_the_same_from_a_file(im, format):
    picture = Image.fromarray(np.dstack([SMOOTH, SMOOTH[..., 1]]))
    picture = picture.convert("RGB").convert(im) if im != "RGBA" else picture
    file = content(
        picture, format, **({"lossless": True, "exact": True} if format == "WEBP" else {})
    )
    found, expected = read(file), read(picture)
    assert np.abs(found.image.astype(int) - expected.image).max() <= (8 if format == "JPEG" else 0)
    assert (found.alpha is None) == (expected.alpha is None)
    if found.alpha is not None:
        np.testing.assert_array_equal(found.alpha, expected.alpha)


def test_a_picture_is_laid_over_a_colour_as_pillow_does_it():
    rgba = np.random.default_rng(1).integers(0, 256, (40, 50, 4), dtype=np.uint8)
    for colour in ((255, 255, 255), (0, 10, 200)):
        below = Image.new("RGBA", (50, 40), (*colour, 255))
        expected = np.asarray(Image.alpha_composite(below, Image.fromarray(rgba)))[..., :3]
        found = flatten(read(rgba), colour)
        assert np.abs(found.astype(int) - expected).max() <= 1
    opaque = Picture(RGB, np.full(RGB.shape[:2], 255, np.uint8))
    assert flatten(opaque) is RGB
    transparent = Picture(RGB, np.zeros(RGB.shape[:2], np.uint8))
    assert (flatten(transparent) == 255).all()


# --- I8: several frames ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format", "options", "count"),
    [
        pytest.param("GIF", {}, 3, id="I8-gif"),
        pytest.param("WEBP", {"lossless": True}, 3, id="I8-webp"),
        pytest.param("PNG", {}, 3, id="I8-apng"),
        pytest.param("TIFF", {}, 3, id="I8-tiff"),
        pytest.param("TIFF", {"compression": "tiff_deflate"}, 3, id="I8-tiff-deflate"),
    ],
)
def test_the_first_frame_is_read_with_a_note(format, options, count):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
    file = content(frames[0], format, save_all=True, append_images=frames[1:], **options)
    picture = read(file)
    assert (picture.image == (255, 0, 0)).all()
    assert picture.notes == (f"the first of {count} frames",)


def test_one_frame_and_the_previews_of_a_photo_need_no_note():
    red, blue = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    assert read(content(red, "GIF")).notes == ()
    photo = read(content(red, "MPO", save_all=True, append_images=[blue]))
    assert photo.notes == ()
    assert np.abs(photo.image.astype(int) - (255, 0, 0)).max() <= 3


def test_damage_behind_the_first_frame_does_not_matter():
    frames = [Image.fromarray(RGB), Image.fromarray(RGB[::-1]), Image.fromarray(RGB[:, ::-1])]
    whole = content(frames[0], "GIF", save_all=True, append_images=frames[1:])
    first = len(content(frames[0], "GIF"))
    picture = read(whole[: first + 500])
    np.testing.assert_array_equal(picture.image, read(whole).image)


def test_the_current_frame_of_a_pil_image_is_the_callers_choice():
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    im = Image.open(io.BytesIO(content(frames[0], "TIFF", save_all=True, append_images=frames[1:])))
    im.seek(1)
    picture = read(im)
    assert (picture.image == (0, 0, 255)).all()
    assert picture.notes == ()


# --- I9: odd sizes --------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG"])
@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1), (3, 5), (17, 1)])
def test_every_size_is_read(size, format):
    """Row I9."""
    image = np.full((*size, 3), 200, np.uint8)
    options = {"lossless": True} if format == "WEBP" else {}
    np.testing.assert_array_equal(read(content(image, format, **options)).image, image)


# --- I10: formats that run other programs ---------------------------------------------------------

FOREIGN = {
    "I10-eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n",
    "I10-ps": b"%!PS\n(x) show showpage\n",
    "I10-pdf": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF",
    "I10-svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "I10-wmf": b"\xd7\xcd\xc6\x9a\0\0\0\0\0\0\x10\0\x10\0`\0\0\0\0\0\0\0\1\0\t\0\0\x03" + bytes(40),
    "I10-emf": b"\1\0\0\0\x6c\0\0\0" + bytes(32) + b" EMF" + bytes(60),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_formats_are_refused(kind):
    with pytest.raises(PictureError, match=r"^not a picture that segzoo reads, or its header is"):
        read(FOREIGN[kind])


def test_no_process_is_started_for_a_foreign_format(tmp_path):
    for name, data in FOREIGN.items():
        (tmp_path / f"{name}.png").write_bytes(data)
    printed = python(
        f"""
import pathlib, sys
started = []
watched = ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork")
sys.addaudithook(lambda event, _: event.startswith(watched) and started.append(event))
from segzoo.errors import PictureError
from segzoo.pictures.codec import read
for file in pathlib.Path({str(tmp_path)!r}).iterdir():
    try:
        read(file)
    except PictureError:
        print("refused")
seen = len(started)
import subprocess
subprocess.run(["true"])
print(seen, len(started) > 0)
"""
    )
    assert printed.splitlines() == [*["refused"] * len(FOREIGN), "0 True"]


# --- I11: mutated files ---------------------------------------------------------------------------


def seeds() -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    turned = [Image.fromarray(RGB[::-1]), Image.fromarray(RGB[:, ::-1])]
    return [
        *(content(RGB, format, **options) for format, options in WAYS.values()),
        content(RGB, "JPEG", exif=exif, dpi=(72, 72)),
        content(RGB, "WEBP", exif=exif.tobytes()),
        content(Image.fromarray(RGB).convert("P"), "PNG", transparency=3),
        content(RGB, "TIFF", compression="jpeg"),
        content(RGB, "GIF", save_all=True, append_images=turned),
        content(RGB, "TIFF", save_all=True, append_images=turned),
        content(RGB, "MPO", save_all=True, append_images=turned),
        png16(np.full((5, 5, 4), 999, np.uint16)),
    ]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Bytes changed, removed, inserted, or all after one place; mostly near the beginning."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 2, 8, 30))):
        place = int(len(changed) * chance.random() ** 2)
        kind = chance.random()
        if kind < 0.6 and changed:
            changed[place] = chance.choice((0, 255, chance.randrange(256)))
        elif kind < 0.75:
            del changed[place : place + chance.randrange(1, 20)]
        elif kind < 0.95:
            changed[place:place] = chance.randbytes(chance.randrange(1, 20))
        else:
            del changed[place:]
    return bytes(changed)


def read_mutated(count: int, seed: int) -> tuple[int, int]:
    """How many are refused and read; anything else than a PictureError goes through."""
    chance, refused = random.Random(seed), 0
    originals = seeds()
    for _ in range(count):
        data = mutated(chance.choice(originals), chance)
        try:
            picture = read(data)
        except PictureError as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            assert picture.image.dtype == np.uint8
            assert picture.image.shape[2:] == (3,)
    return refused, count - refused


def test_600_mutated_files_give_a_picture_or_one_error(capfd):
    """Row I11."""
    refused, whole = read_mutated(600, seed=0)
    assert refused > 200
    assert whole > 50


@pytest.mark.stress
@needs_proc
def test_20000_mutated_files_give_a_picture_or_one_error():
    """Row I11, in a process of its own, whose memory is judged too."""
    printed = python(
        f"""{PEAK}
import runpy
read_mutated = runpy.run_path({__file__!r})["read_mutated"]
print(*read_mutated(20_000, seed=1), peak())
""",
        timeout=3600,  # a machine that has other work makes it slow and not wrong
    )
    refused, whole, mib = map(int, printed.split())
    assert refused > 5_000
    assert whole > 2_000
    assert mib < 300


# --- the values that files of labels store --------------------------------------------------------


def read_values(source, **options):
    return read_labels(source, **options).values


LABELS = np.random.default_rng(2).integers(0, 256, (9, 14), dtype=np.uint8)


def indexed(values: np.ndarray, colours: int = 256) -> Image.Image:
    """A picture whose palette runs against its indices, so that one is not taken for the other."""
    im = Image.fromarray(values)
    im.putpalette([255 - n for n in range(colours) for _ in "RGB"])
    return im


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP", "PPM"])
def test_values_of_gray_pictures(format):
    values = read_values(content(LABELS, format))
    np.testing.assert_array_equal(values, LABELS)
    assert values.dtype == np.uint8


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP", "GIF"])
@pytest.mark.parametrize("colours", [2, 4, 16, 256])
def test_values_of_palettes_are_indices(colours, format):
    stored = (LABELS.astype(int) % colours).astype(np.uint8)
    options = {"optimize": False} if format == "GIF" else {}  # else Pillow renumbers the entries
    file = content(indexed(stored, colours), format, **options)
    np.testing.assert_array_equal(read_values(file), stored)


def test_values_of_a_palette_with_a_transparent_entry_are_indices():
    np.testing.assert_array_equal(
        read_values(content(indexed(LABELS), "PNG", transparency=3)), LABELS
    )


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP"])
def test_values_of_one_bit_are_0_and_255(format):
    found = read_values(content(Image.fromarray(LABELS > 99), format))
    np.testing.assert_array_equal(found, (LABELS > 99) * 255)
    assert found.dtype == np.uint8


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_values_of_sixteen_bits(format):
    stored = LABELS.astype(np.uint16) * 257
    found = read_values(content(stored, format))
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, stored)


@pytest.mark.parametrize("more", [0, -70000, 70000])
def test_values_of_32_bits(more):
    stored = LABELS.astype(np.int32) * 257 + more
    found = read_values(content(stored, "TIFF"))
    np.testing.assert_array_equal(found, stored)
    assert found.dtype == (np.int32 if more else np.uint16)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP"])
def test_values_of_colours(format):
    np.testing.assert_array_equal(read_values(content(RGB, format)), RGB)
    opaque = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])
    np.testing.assert_array_equal(read_values(content(opaque, format)), RGB)


@pytest.mark.parametrize("orientation", STORED)
def test_values_lie_as_the_picture_does(orientation):
    stored = indexed(LABELS)
    if STORED[orientation] is not None:
        stored = stored.transpose(STORED[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    for format in ("PNG", "TIFF"):
        found = read_values(content(stored, format, exif=exif))
        np.testing.assert_array_equal(found, LABELS)
        assert found.flags.c_contiguous


NO_LABELS = (
    "a picture of mode {} does not hold labels; "
    "expected gray values, palette indices or opaque RGB colours. {}"
)
CHANNEL = "Say which channel the mask is: channel=alpha, or channel=red of a gray one"


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (content(np.dstack([RGB, RGB[..., 0]]), "PNG"), NO_LABELS.format("RGBA", CHANNEL)),
        (content(np.dstack([LABELS, LABELS]), "PNG"), NO_LABELS.format("LA", CHANNEL)),
        (
            content(Image.fromarray(RGB).convert("LAB"), "TIFF"),
            NO_LABELS.format("LAB", "Save it as a PNG of gray values"),
        ),
        (content(LABELS, "PNG")[:-20], "the PNG is damaged in its chunk b'IDAT': it is cut short"),
        (b"", "the file is empty"),
    ],
)
def test_files_that_hold_no_labels(file, message, tmp_path):
    path = tmp_path / "mask"
    path.write_bytes(file)
    with pytest.raises(PictureError) as raised:
        read_values(path)
    assert str(raised.value) == f"{path}: {message}"


def test_values_under_the_limit_alone():
    with pytest.raises(PictureTooLargeError, match="found height 9 and width 14, expected at most"):
        read_values(content(LABELS, "PNG"), max_pixels=9 * 14 - 1)
    with pytest.raises(TypeError, match=r"not ndarray$"):
        read_values(LABELS)


def test_600_mutated_files_give_values_or_one_error():
    chance, refused = random.Random(3), 0
    originals = [*seeds(), content(indexed(LABELS), "PNG"), content(indexed(LABELS), "GIF")]
    for _ in range(600):
        try:
            values = read_values(mutated(chance.choice(originals), chance))
        except PictureError:
            refused += 1
        else:
            assert values.dtype.kind in "uif"
            assert values.ndim == 2 or values.shape[2:] == (3,)
    assert 200 < refused < 550


# --- arrays ---------------------------------------------------------------------------------------


def test_arrays_are_pictures():
    assert np.shares_memory(read(RGB).image, RGB)
    np.testing.assert_array_equal(read(RGB).image, RGB)
    np.testing.assert_array_equal(read(RGB[..., 0]).image, np.repeat(RGB[..., :1], 3, axis=2))
    np.testing.assert_array_equal(read(RGB[..., :1]).image, np.repeat(RGB[..., :1], 3, axis=2))
    rgba = read(np.dstack([RGB, RGB[..., 1]]))
    np.testing.assert_array_equal(rgba.image, RGB)
    np.testing.assert_array_equal(rgba.alpha, RGB[..., 1])
    assert rgba.alpha.flags.c_contiguous
    turned = read(RGB[::-1, ::-1]).image
    assert turned.flags.c_contiguous
    np.testing.assert_array_equal(turned, RGB[::-1, ::-1])
    assert read(np.array([[True, False]])).image[0, :, 1].tolist() == [255, 0]
    assert read(np.array([[0.0, 0.5, 1.0]], np.float16)).image[0, :, 1].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.zeros((3, 8, 9), np.uint8),
            "this array is not a picture; found shape (3, 8, 9), expected (H, W), (H, W, 1), "
            "(H, W, 3) or (H, W, 4). Move its channels to the end: array.transpose(1, 2, 0)",
        ),
        (
            np.zeros((1, 8, 9, 3), np.uint8),
            "this array is not a picture; found shape (1, 8, 9, 3), expected (H, W), (H, W, 1), "
            "(H, W, 3) or (H, W, 4)",
        ),
        (
            np.zeros((8, 0, 3), np.uint8),
            "this array is not a picture; found shape (8, 0, 3), expected (H, W), (H, W, 1), "
            "(H, W, 3) or (H, W, 4)",
        ),
        (
            np.zeros((8, 9), np.int64),
            "this array is not a picture; found values of type int64, expected uint8, bool, "
            "uint16, or float in 0..1. Values in 0..255: array.astype(numpy.uint8)",
        ),
        (
            np.zeros((8, 9), np.int32),
            "this array is not a picture; found values of type int32, expected uint8, bool, "
            "uint16, or float in 0..1. Values in 0..255: array.astype(numpy.uint8)",
        ),
        (
            np.full((8, 9, 3), "a", object),
            "this array is not a picture; found values of type object, expected uint8, bool, "
            "uint16, or float in 0..1. Values in 0..255: array.astype(numpy.uint8)",
        ),
        (
            np.full((2, 2, 3), 200.0),
            "it is not known how bright these floating-point values are; found 200 to 200, "
            "expected finite values in 0..1. Divide by the largest value that there can be, or say "
            "it: peak=255 (predict: --peak 255)",
        ),
    ],
    ids=["channels-first", "batch", "empty", "int64", "int32", "object", "float-255"],
)
def test_other_arrays_are_refused_with_the_mend(array, message):
    with pytest.raises(PictureError, match=f"^{re.escape(message)}$"):
        read(array)


def test_a_mode_without_a_rule_is_refused():
    im = Image.new("RGB", (2, 2))
    im._mode = "BGR;15"  # Pillow has no such mode any more, and may have a new one some day
    with pytest.raises(PictureError, match=r"^pictures of mode BGR;15 are not supported\. Convert"):
        read(im)


def test_a_pil_image_without_pixels_is_refused():
    with pytest.raises(PictureError, match=r"^the picture has no pixels; found 0 rows of 5$"):
        read(Image.new("RGB", (5, 0)))


# --- writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "image",
    [RGB, RGB[..., 0], np.dstack([RGB, RGB[..., 0]]), DEPTHS, RGB[::2, ::3]],
    ids=["rgb", "gray", "rgba", "16-bit", "strided"],
)
def test_png_is_lossless_in_pillows_eyes(image):
    im = Image.open(io.BytesIO(encode(image)))
    assert im.format == "PNG"
    np.testing.assert_array_equal(np.asarray(im), image)


def test_a_palette_keeps_the_indices():
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
    colours = tuple((n, 2 * n, 255 - n) for n in range(12))
    file = encode(mask, palette=colours)
    im = Image.open(io.BytesIO(file))
    assert im.mode == "P"
    np.testing.assert_array_equal(np.asarray(im), mask)
    np.testing.assert_array_equal(read(file).image, np.array(colours, np.uint8)[mask])


def test_webp_is_lossless_and_keeps_colours_below_transparency_and_jpeg_is_near():
    rgba = np.dstack([RGB, np.zeros(RGB.shape[:2], np.uint8)])
    picture = read(encode(rgba, format="WEBP"))
    np.testing.assert_array_equal(np.dstack([picture.image, picture.alpha]), rgba)
    assert np.abs(read(encode(SMOOTH, format="JPEG")).image.astype(int) - SMOOTH).max() <= 4


def test_a_profile_is_not_written_with_gray():
    file = encode(RGB[..., 0], icc_profile=profile_of(b"RGB "), dpi=(100, 100))
    im = Image.open(io.BytesIO(file))
    assert "icc_profile" not in im.info
    assert im.info["dpi"] == pytest.approx((100, 100), abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"image": RGB.astype(float)},
            "this array is not a picture; found float64 of shape (24, 37, 3), "
            "expected (H, W) uint8 or uint16, or (H, W, 3) or (H, W, 4) uint8",
        ),
        (
            {"image": RGB[None]},
            "this array is not a picture; found uint8 of shape (1, 24, 37, 3), "
            "expected (H, W) uint8 or uint16, or (H, W, 3) or (H, W, 4) uint8",
        ),
        (
            {"image": RGB[:0]},
            "this array is not a picture; found uint8 of shape (0, 37, 3), "
            "expected (H, W) uint8 or uint16, or (H, W, 3) or (H, W, 4) uint8",
        ),
        (
            {"image": np.full((2, 2), 2, np.uint8), "palette": [(0, 0, 0), (1, 1, 1)]},
            "the palette does not fit the picture; found 2 colours, uint8 values up to 2, "
            "expected (H, W) uint8 and a colour for each value",
        ),
        (
            {"image": np.dstack([RGB, RGB[..., 0]]), "format": "JPEG"},
            "JPEG cannot hold this picture; found RGBA. Use PNG",
        ),
        ({"image": DEPTHS, "format": "WEBP"}, "WEBP cannot hold this picture; found I;16. Use PNG"),
        ({"image": RGB, "format": "TGA"}, "TGA cannot hold this picture; found RGB. Use PNG"),
    ],
    ids=["float", "batch", "empty", "palette", "jpeg-alpha", "webp-16", "tga"],
)
def test_what_cannot_be_encoded_is_refused(arguments, message):
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        encode(**arguments)


def test_the_limit_is_below_pillows_warning():
    assert codec.MAX_PIXELS < Image.MAX_IMAGE_PIXELS
