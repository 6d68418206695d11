"""EXIF data that cost far more than they weigh are never given to Pillow; those of cameras are."""

import io
import random
import struct

import pytest
from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin, features

from segzoo.errors import PictureError
from segzoo.pictures import exif
from segzoo.pictures.codec import read
from segzoo.pictures.exif import is_cheap

BYTES, SHORT, LONG, FRACTION = 7, 3, 4, 5
EXIF, GPS, INTEROP = 0x8769, 0x8825, 0xA005
PREFIX = b"Exif\0\0"
IGNORED = ("its broken EXIF data is ignored",)
REFUSED = (
    "the picture's tags point at the same bytes too often; expected at most 1000 tags, and no more "
    "bytes than there are. Save it anew without EXIF data"
)


def directory(*entries: tuple[int, int, int, int], order: str = "<") -> bytes:
    """entries: (tag, type, count, value or place)."""
    rows = b"".join(struct.pack(f"{order}HHII", *entry) for entry in entries)
    return struct.pack(f"{order}H", len(entries)) + rows + bytes(4)


def block(*entries: tuple[int, int, int, int], values: bytes = b"", order: str = "<") -> bytes:
    """EXIF data of one directory: the values lie at 8, and it behind them."""
    magic = b"II*\0" if order == "<" else b"MM\0*"
    head = magic + struct.pack(f"{order}I", 8 + len(values))
    return head + values + directory(*entries, order=order)


def same_bytes(number: int, size: int, kind: int = BYTES) -> bytes:
    """So many entries at the same bytes, which are no numbers of 0."""
    entries = [(1000 + n, kind, size // exif.SIZES[kind], 8) for n in range(number)]
    return block((0x0112, SHORT, 1, 6), *entries, values=b"\1" * size)


def deeper(bomb: bytes, tag: int = EXIF) -> bytes:
    """The directory of a bomb, named by an entry of the first."""
    (place,) = struct.unpack("<I", bomb[4:8])
    first = directory((0x0112, SHORT, 1, 6), (tag, LONG, 1, place))
    return b"II*\0" + struct.pack("<I", len(bomb)) + bomb[8:] + first


def of_camera(orientation: int = 6) -> Image.Exif:
    """What a phone writes: numbers, fractions, words, and directories in directories."""
    found = Image.Exif()
    found.update({0x0112: orientation, 0x010F: "a camera", 0x011A: 72.0, 0x011B: 72.0, 0x0128: 2})
    inner = found.get_ifd(EXIF)
    inner.update({0x829A: 1 / 60, 0x9003: "2020:01:02 03:04:05", 0x927C: b"\1\2" * 900})
    inner[INTEROP] = {1: "R98", 2: b"0100"}
    found.get_ifd(GPS).update({1: "N", 2: (47.0, 22.0, 10.5), 29: "2020:01:02"})
    return found


def file_of(format: str, data: bytes, **options) -> bytes:
    """A picture of 8 x 4 with EXIF data, by Pillow."""
    content = io.BytesIO()
    Image.new("RGB", (8, 4), (200, 100, 50)).save(content, format, exif=data, **options)
    return content.getvalue()


def png_text(data: bytes) -> bytes:
    """As ImageMagick keeps EXIF data in a PNG."""
    said = PngImagePlugin.PngInfo()
    text = f"\nexif\n{len(data):8}\n{data.hex()}\n"
    said.add_text("Raw profile type exif", text, zip=True)
    content = io.BytesIO()
    Image.new("RGB", (8, 4)).save(content, "PNG", pnginfo=said)
    return content.getvalue()


def with_index(index: bytes) -> bytes:
    """A JPEG with an MPO's index of its pictures."""
    jpeg = file_of("JPEG", b"")
    segment = b"MPF\0" + index
    return jpeg[:2] + b"\xff\xe2" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


def jpeg(data: bytes) -> bytes:
    """In as many segments as it takes, as Pillow joins them; without dots per inch of its own."""
    plain = file_of("JPEG", b"")
    size = 65000
    parts = [data[n : n + size] for n in range(0, len(data), size)]
    segments = (b"\xff\xe1" + struct.pack(">H", len(part) + 8) + PREFIX + part for part in parts)
    return plain[:2] + b"".join(segments) + plain[2 + 18 :]


def heic(data: bytes) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    content = io.BytesIO()
    picture = pillow_heif.from_pillow(Image.new("RGB", (64, 64)))
    picture.save(content, exif=data)
    return content.getvalue()


CARRIERS = {
    "jpeg": jpeg,
    "png": lambda data: file_of("PNG", data),
    "png-text": png_text,
    "webp": lambda data: file_of("WEBP", PREFIX + data),
    "heic": heic,
}
BOMBS = {
    "400 KB 200 times": same_bytes(200, 400_000),
    "30 KB of fractions 2,000 times": same_bytes(2000, 30_000, FRACTION),
    "50,000 fractions": same_bytes(1, 400_000, FRACTION),
    "one directory down": deeper(same_bytes(200, 100_000)),
    "in the directory of places": deeper(same_bytes(200, 100_000), GPS),
}


@pytest.fixture
def loads(monkeypatch):
    """How many bytes of values each directory took that Pillow has read."""
    found = []
    load = TiffImagePlugin.ImageFileDirectory_v2.load

    def counted(self, fp):
        load(self, fp)
        found.append(sum(map(len, self._tagdata.values())))

    monkeypatch.setattr(TiffImagePlugin.ImageFileDirectory_v2, "load", counted)
    return found


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_bomb_is_ignored_and_never_read(carrier, bomb, loads):
    picture = read(CARRIERS[carrier](BOMBS[bomb]))
    assert picture.notes == IGNORED
    assert picture.exif is None and picture.turned == 1
    assert loads == []


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
@pytest.mark.filterwarnings("ignore:Tag data larger")  # as it is written
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_in_an_avif_is_refused(bomb, loads):
    """Its EXIF data are read when it is opened, and cannot be left out."""
    upright = BOMBS[bomb].replace(struct.pack("<HHII", 0x0112, SHORT, 1, 6), bytes(12))
    file = file_of("AVIF", upright)  # of another orientation Pillow would write them anew
    loads.clear()
    with pytest.raises(PictureError, match=f"^{REFUSED}$"):
        read(file)
    assert loads == []


def test_a_bomb_in_a_tiff_is_refused(loads):
    """One of its own directories, or one below."""
    plain = file_of("TIFF", b"")
    (place,) = struct.unpack("<I", plain[4:8])
    (number,) = struct.unpack("<H", plain[place : place + 2])
    rows = plain[place + 2 : place + 2 + 12 * number]
    below = directory(*((1000 + n, BYTES, 4000, 8) for n in range(200)))
    for more in (below[2:-4], struct.pack("<HHII", EXIF, LONG, 1, len(plain) + 4000)):
        first = struct.pack("<H", number + len(more) // 12) + rows + more + bytes(4)
        file = plain + bytes(4000) + below
        bomb = file[:4] + struct.pack("<I", len(file)) + file[8:] + first
        with pytest.raises(PictureError, match=f"^{REFUSED}$"):
            read(bomb)
        assert loads == []


def test_the_index_of_an_mpo_is_judged_too(loads):
    """Pillow reads it when it opens a JPEG."""
    picture = read(with_index(same_bytes(2000, 30_000, FRACTION)))
    assert picture.notes == () and loads == []


# --- what cameras write ---------------------------------------------------------------------------


@pytest.mark.parametrize("carrier", CARRIERS)
def test_what_a_camera_writes_is_kept(carrier):
    data = of_camera().tobytes().removeprefix(PREFIX)
    picture = read(CARRIERS[carrier](data))
    assert picture.notes == ()
    assert picture.turned == (1 if carrier == "heic" else 6)  # pillow-heif turns it itself
    kept = Image.Exif()
    kept.load(picture.exif)
    assert kept[0x010F] == "a camera" and 0x0112 not in kept
    assert kept.get_ifd(EXIF)[0x9003] == "2020:01:02 03:04:05"
    assert kept.get_ifd(ExifTags.IFD.Interop) == {1: "R98", 2: b"0100"}
    assert kept.get_ifd(GPS)[2] == (47.0, 22.0, 10.5)


@pytest.mark.parametrize("format", ["TIFF", "MPO"])
def test_formats_with_directories_of_their_own_are_read_as_before(format):
    content = io.BytesIO()
    im = Image.new("RGB", (8, 4))
    im.save(content, format, exif=of_camera(), save_all=True, append_images=[im])
    picture = read(content.getvalue())
    assert picture.turned == 6 and picture.size == (8, 4)
    assert picture.notes == (("the first of 2 frames",) if format == "TIFF" else ())


def test_dots_per_inch_of_a_jpeg_are_those_of_its_exif_data():
    said = Image.Exif()
    said.update({0x011A: 300.0, 0x011B: 300.0, 0x0128: 2})
    assert read(jpeg(said.tobytes().removeprefix(PREFIX))).dpi == (300, 300)


# --- the walk -------------------------------------------------------------------------------------


def pair(size: int, order: str) -> bytes:
    """38 bytes and 1,000, at which two entries point."""
    return block((1, BYTES, size, 8), (2, BYTES, size, 8), values=bytes(1000), order=order)


@pytest.mark.parametrize(
    ("cheap", "costly"),
    [
        (pair(1026, "<"), pair(1027, "<")),  # 12 bytes for an entry: twice 1038 in all
        (pair(1026, ">"), pair(1027, ">")),
        (same_bytes(999, 2), same_bytes(1000, 2)),  # and the orientation
        (same_bytes(1, 8000, FRACTION), same_bytes(1, 8008, FRACTION)),
        (deeper(same_bytes(1, 8000, FRACTION)), deeper(same_bytes(1, 8008, FRACTION))),
    ],
    ids=["bytes", "bytes-mm", "entries", "fractions", "deeper"],
)
def test_the_limits(cheap, costly):
    for prefix in (b"", PREFIX, 2 * PREFIX):
        assert is_cheap(prefix + cheap) and not is_cheap(prefix + costly)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"II*\0",
        b"nonsense" * 3,
        block((EXIF, LONG, 1, 8)),  # names itself
        block((EXIF, LONG, 1, 1 << 31), (GPS, LONG, 0, 0), (INTEROP, BYTES, 4, 8)),
        block((1, BYTES, 1 << 31, 8), *((n, BYTES, 100, 8) for n in range(2, 200))),  # Pillow stops
        block(*((n, 99, 100, 8) for n in range(200))),  # of no type
        b"II+\0" + struct.pack("<HHQ", 8, 0, 1 << 63),
    ],
)
def test_what_cannot_be_read_is_cheap(data):
    assert is_cheap(data)


class Counted(io.BytesIO):
    """How much was read of it."""

    count = 0

    def read(self, size=-1):
        data = super().read(size)
        self.count += len(data)
        return data


def read_by_pillow(data: bytes) -> int:
    """How many bytes of EXIF data Pillow reads, some many times."""
    stream = Counted(data)
    found = Image.Exif()
    try:
        found.load_from_fp(stream)
        found.tobytes()
    except Exception:  # as of whatever is damaged
        pass
    return stream.count


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(4))
def test_no_more_is_read_of_what_is_cheap_than_twice_what_there_is(seed):
    """Numbers are changed. A value that is cut short is read to the end, once a directory."""
    chance = random.Random(seed)
    real = of_camera().tobytes().removeprefix(PREFIX)
    many = deeper(same_bytes(60, 1800))
    cheap = 0
    for _ in range(300):
        data = bytearray(chance.choice((real, many)))
        for _ in range(chance.choice((1, 4, 16))):
            data[chance.randrange(len(data))] = chance.choice((0, 1, 7, 255))
        if is_cheap(bytes(data)):
            cheap += 1
            assert read_by_pillow(bytes(data)) <= (2 + 4) * len(data)
    assert 100 < cheap < 300
