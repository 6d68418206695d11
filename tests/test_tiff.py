"""TIFFs beside those that Pillow has modes for: read exactly, or refused with the reason."""

import contextlib
import io
import itertools
import struct

import numpy as np
import PIL
import pytest
import tifffile
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from segzoo.errors import PictureError, PictureTooLargeError
from segzoo.pictures import arrays, tiff
from segzoo.pictures.codec import read
from segzoo.pictures.stored import read_labels

RANDOM = np.random.default_rng(4)
TYPES = ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")


def written(values, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, values, photometric=options.pop("photometric", "minisblack"), **options)
    file.seek(0)
    return file


def by_pillow(values, **options):
    file = io.BytesIO()
    Image.fromarray(values).save(file, "TIFF", **options)
    file.seek(0)
    return file


def values_of(file):
    layout = tiff.layout_of(file)
    assert layout is not None
    assert layout.fault == ""
    return tiff.samples(file, layout)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("bands", [1, 2, 7])
def test_every_type_and_way_to_lie(kind, bands):
    """Against tifffile's writer: planes, byte orders, strips and tiles, compressed, BigTIFF."""
    values = (RANDOM.random((50, 61, bands)) * 120).astype(kind)
    ways = itertools.product(("contig", "separate"), "<>", (None, (32, 48)), (None, "zlib"), (0, 1))
    for planar, order, tile, compression, big in ways:
        planes = values if planar == "contig" else np.ascontiguousarray(values.transpose(2, 0, 1))
        file = written(
            values[..., 0] if bands == 1 else planes,
            planarconfig=planar if bands > 1 else None,
            byteorder=order,
            tile=tile,
            compression=compression,
            bigtiff=bool(big),
            rowsperstrip=None if tile else 7,
        )
        found = values_of(file)
        assert found.dtype == np.dtype(kind)
        np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(
    "compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd"]
)
@pytest.mark.parametrize("predictor", [1, 2, 3])
def test_compressions_and_predictors_as_libtiff_writes_them(compression, predictor):
    if predictor > 1 and compression in ("raw", "packbits"):
        pytest.skip("libtiff has none for these")
    if compression == "zstd" and int(PIL.__version__.partition(".")[0]) < 12:
        pytest.skip("the libtiff of Pillow before 12 writes none")
    pictures = {
        2: [
            RANDOM.integers(0, 256, (50, 61), dtype=np.uint8),
            RANDOM.integers(0, 256, (50, 61, 3), dtype=np.uint8),
            RANDOM.integers(0, 256, (50, 61, 4), dtype=np.uint8),
            RANDOM.integers(0, 65536, (50, 61), dtype=np.uint16),
            RANDOM.integers(0, 1 << 31, (50, 61), dtype=np.int32),
        ],
        3: [RANDOM.random((50, 61)).astype(np.float32)],
    }
    for values in pictures.get(predictor, [*pictures[2], *pictures[3]]):
        info = {317: predictor, 278: 9} if predictor > 1 else {}
        file = by_pillow(values, compression=compression, tiffinfo=info)
        assert tiff.layout_of(file).predictor == predictor
        np.testing.assert_array_equal(values_of(file), values.reshape(50, 61, -1))


def test_differences_within_tiles_and_across_byte_orders():
    values = RANDOM.integers(0, 65536, (50, 61, 5), dtype=np.uint16)
    for order in "<>":
        file = written(
            values,
            planarconfig="contig",
            compression="zlib",
            predictor=2,
            byteorder=order,
            tile=(16, 32),
        )
        np.testing.assert_array_equal(values_of(file), values)


def test_pages_are_counted_and_a_chain_that_bites_its_tail_ends():
    for big in (False, True):
        file = written(np.zeros((3, 8, 9), np.uint8), bigtiff=big)
        assert tiff.pages(file) == 3
    data = bytearray(written(np.zeros((8, 9), np.uint8)).getvalue())
    (first,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[first : first + 2])
    data[first + 2 + 12 * count : first + 6 + 12 * count] = struct.pack("<I", first)
    assert tiff.pages(io.BytesIO(bytes(data))) == 1


# --- C4: valid TIFFs that were "not a picture" ----------------------------------------------------

GRADIENT = np.linspace(0, 1, 96 * 128).reshape(96, 128)
COLOURS = np.stack([GRADIENT, GRADIENT[::-1], GRADIENT[:, ::-1]], 2)


@pytest.mark.parametrize(
    ("values", "photometric", "shown"),
    [
        (GRADIENT, "minisblack", np.stack([GRADIENT] * 3, 2)),
        (GRADIENT, "miniswhite", 1 - np.stack([GRADIENT] * 3, 2)),
        (GRADIENT.astype("f2"), "minisblack", np.stack([GRADIENT] * 3, 2)),
        (COLOURS, "rgb", COLOURS),
        (COLOURS.astype("f4"), "rgb", COLOURS),
    ],
    ids=["float64", "float64-white", "float16", "rgb-float64", "rgb-float32"],
)
def test_c4_floating_point_is_read_where_its_brightness_is_known(values, photometric, shown):
    picture = read(written(values, photometric=photometric).getvalue())
    assert np.abs(picture.image - shown * 255).max() <= 0.7
    assert picture.notes == ("floating-point values multiplied by 255",)


def one_strip(**tags):
    """A TIFF of 8 x 8 whose directory says what is given: by tag number, all as 32-bit numbers."""
    pixels = bytes(1024)
    said = {256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 8, 279: 1024}
    said |= {int(name[1:]): value for name, value in tags.items()}
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(said.items()))
    directory = struct.pack("<H", len(said)) + rows + bytes(4)
    return struct.pack("<4sI", b"II*\0", 8 + len(pixels)) + pixels + directory


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (
            one_strip(t258=10),
            "1 band of 10 bits, unsigned (gray): its samples are of a type that numpy has not",
        ),
        (
            one_strip(t258=64, t339=6),
            "1 band of 64 bits, complex (gray): its samples are of a type that numpy has not",
        ),
        (
            one_strip(t262=32803, t258=16),
            "1 band of 16 bits, unsigned (a colour filter array): its colours are of another kind",
        ),
        (
            one_strip(t259=34712, t258=32),
            "1 band of 32 bits, unsigned (gray), compression 34712: "
            "its compression is about colours",
        ),
        (
            one_strip(t258=64, t278=1),
            "1 band of 64 bits, unsigned (gray): its strips or tiles do not cover it",
        ),
        (
            one_strip(t258=64, t317=7),
            "1 band of 64 bits, unsigned (gray): its predictor is 7",
        ),
    ],
    ids=["10-bits", "complex", "raw-sensor", "jpeg-2000", "strips", "predictor"],
)
def test_c4_a_tiff_that_is_not_read_says_why(file, reason, caplog):
    for function in (read, read_labels):
        with pytest.raises(PictureError) as raised:
            function(file)
        assert str(raised.value) == (
            f"this kind of TIFF is not read; found {reason}, expected gray or RGB of 8 or 16 bits. "
            "Save it so, or as .npy"
        )
    assert not caplog.records


def test_c4_values_of_unknown_brightness_say_so():
    """As of a picture that Pillow reads."""
    with pytest.raises(
        PictureError, match=r"these floating-point values are; found 0 to 255, .*peak=255"
    ):
        read(written(GRADIENT * 255).getvalue())
    with pytest.raises(
        PictureError, match="found NaN in 72 of 72 pixels, expected a brightness in each"
    ):
        read(written(np.full((8, 9), np.nan)).getvalue())
    with pytest.raises(PictureError, match="found values of type int16"):
        read(written(np.zeros((8, 9, 3), np.int16), photometric="rgb").getvalue())


def test_a_small_file_of_many_samples_is_refused_at_no_cost():
    bomb = one_strip(t256=9000, t257=9000, t258=64, t277=2, t278=9000)
    with pytest.raises(
        PictureTooLargeError, match="found 1296000000 bytes of samples, expected at"
    ):
        read(bomb, bands=True)
    wide = one_strip(t256=30000, t257=30000, t258=64, t278=30000)
    with pytest.raises(PictureTooLargeError, match="found height 30000 and width 30000"):
        read(wide)
    tiles = one_strip(t322=1 << 30, t323=1 << 30, t324=8, t325=1024, t258=64)
    with pytest.raises(PictureError, match="its tiles are far larger than it is"):
        read(tiles)


def test_600_mutated_tiffs_give_bands_or_one_error():
    import random

    chance, refused = random.Random(7), 0
    originals = [
        written(
            RANDOM.integers(0, 256, (20, 21, 7), dtype=np.uint8), planarconfig="contig"
        ).getvalue(),
        written(RANDOM.random((7, 20, 21)), planarconfig="separate", compression="zlib").getvalue(),
        written(RANDOM.random((40, 41)).astype("f4"), tile=(16, 16), compression="zlib").getvalue(),
        by_pillow(RANDOM.random((20, 21)).astype("f4"), compression="tiff_lzw").getvalue(),
    ]
    for _ in range(600):
        data = bytearray(chance.choice(originals))
        for _ in range(chance.choice((1, 2, 8))):
            data[int(len(data) * chance.random() ** 2)] = chance.randrange(256)
        try:
            found = read(bytes(data), bands=True, peak=1, max_pixels=1_000_000)
        except PictureError as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            assert found.image.dtype == np.uint8
    assert 50 < refused < 590


def test_a_jpeg_in_a_tiff_is_read_after_its_size_is_judged(monkeypatch):
    def whole(stream, layout):
        raise AssertionError("its strips were read")

    file = by_pillow(np.zeros((64, 64, 3), np.uint8), compression="jpeg").getvalue()
    assert read(file).image.shape == (64, 64, 3)
    monkeypatch.setattr(arrays, "judge_jpegs", whole)
    with pytest.raises(PictureTooLargeError, match="height 64 and width 64, expected at most 4095"):
        read(file, max_pixels=4095)
    with pytest.raises(PictureError, match="strips were read"):
        read(file, max_pixels=4096)


def jpeg_saying(height: int, width: int) -> bytes:
    """A progressive JPEG of 64 x 2000 that says it has another size."""
    file = io.BytesIO()
    Image.new("RGB", (2000, 64), (200, 100, 50)).save(file, "JPEG", progressive=True)
    before, begins, after = file.getvalue().partition(b"\xff\xc2\0\x11\x08")
    return before + begins + struct.pack(">HH", height, width) + after[4:]


def tiff_of(jpegs: list[bytes], *, height: int = 64, apart: bool = True, without: int = 0) -> bytes:
    """Strips of 64 x 2000, which are JPEGs; not apart: ever less of the first one."""
    many, lying = len(jpegs), b"".join(jpegs if apart else jpegs[:1])
    places = [14 + apart * sum(map(len, jpegs[:n])) for n in range(many)]
    lengths = [len(data) - (not apart) * n for n, data in enumerate(jpegs)]
    lists = 14 + len(lying)
    tags = [
        (256, 4, 1, 2000),
        (257, 4, 1, height),
        (258, 3, 3, 8),
        (259, 3, 1, 7),
        (262, 3, 1, 6),
        (273, 4, many, lists if many > 1 else places[0]),
        (277, 3, 1, 3),
        (278, 4, 1, 64),
        (279, 4, many, lists + 4 * many if many > 1 else lengths[0]),
    ]
    tags = [tag for tag in tags if tag[0] != without]
    body = struct.pack("<3H", 8, 8, 8) + lying
    body += struct.pack(f"<{2 * many}I", *places, *lengths)
    rows = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    head = b"II*\0" + struct.pack("<I", 8 + len(body))
    return head + body + struct.pack("<H", len(tags)) + rows + bytes(4)


WHOLE = jpeg_saying(64, 2000)
FAR_LARGER = (
    "the TIFF is damaged: a JPEG in it is far larger than its strip or tile; found height {} and "
    "width {}, expected height 64 and width 2000"
)


def test_a_jpeg_that_is_higher_than_its_strip_is_refused_where_it_costs(monkeypatch):
    """libtiff decodes a progressive one to its end: of 65,000 rows of 16,000 that takes 3 GB."""
    for jpegs, height in (([WHOLE], 64), ([WHOLE, WHOLE], 128), ([jpeg_saying(80, 2000)], 64)):
        found = read(tiff_of(jpegs, height=height)).image
        assert found.shape == (height, 2000, 3) and abs(found[0, 0] - [200.0, 100, 50]).max() < 9
    monkeypatch.setattr(TiffImageFile, "load", pytest.fail)
    for size in ((65000, 2000), (64, 65000), (800, 2000)):
        for jpegs in ([jpeg_saying(*size)], [WHOLE, jpeg_saying(*size)]):
            with pytest.raises(PictureError, match=f"^{FAR_LARGER.format(*size)}$"):
                read(tiff_of(jpegs, height=64 * len(jpegs)))


@pytest.mark.parametrize(
    ("file", "fault"),
    [
        (tiff_of([WHOLE] * 3, height=192, apart=False), "its strips or tiles lie upon each other"),
        (tiff_of([WHOLE], without=279), "it does not say where the JPEGs lie that it is made of"),
        (
            tiff_of([WHOLE[:2] + b"\xff\xd0" * 1000 + WHOLE[2:]]),
            "a JPEG in it has too many parts; expected at most 1,000",
        ),
    ],
    ids=["overlap", "unknown", "parts"],
)
def test_jpegs_in_a_tiff_that_cannot_be_judged_are_refused(file, fault):
    with pytest.raises(PictureError, match=f"^the TIFF is damaged: {fault}"):
        read(file)


@pytest.mark.parametrize("end", [2, 3, 20, 170, len(WHOLE) // 2])
def test_a_jpeg_in_a_tiff_that_is_cut_short_is_an_error_or_a_picture(end):
    with contextlib.suppress(PictureError):
        assert read(tiff_of([WHOLE[:end]])).image.shape == (64, 2000, 3)
