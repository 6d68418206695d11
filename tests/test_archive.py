"""Archives: what is unpacked is what was packed, and nothing of a hostile one is left anywhere."""

import gzip
import io
import os
import random
import re
import shutil
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from segzoo.data import archive as archives
from segzoo.data.archive import safe_extract
from segzoo.errors import DatasetError, OutputError, ResourceError, UnsafeArchiveError

FILES = {"images/a.png": b"picture", "masks/a.png": bytes(70_000), "readme.txt": b"", "Æ/ü.b": b"1"}
MODES = {"tar": "w", "tar.gz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}
KINDS = [*MODES, "zip", "tgz"]


def tar(path: Path, *members: tarfile.TarInfo | tuple[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as made:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                made.addfile(member, io.BytesIO(bytes(member.size)))
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                made.addfile(info, io.BytesIO(member[1]))
    return path


def zipped(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in members:
            made.writestr(zipfile.ZipInfo(name) if name == "" else name, data)
    return path


def entry(name: str, kind: bytes, target: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, size
    return info


def unix(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


def tree(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


@pytest.fixture
def place(tmp_path):
    """A folder with an archive's future place in it, and a file that nobody may touch."""
    place = tmp_path / "place"
    place.mkdir()
    (place / "canary").write_bytes(b"alive")
    yield place
    assert (place / "canary").read_bytes() == b"alive"
    assert {*os.listdir(place)} <= {"canary", "set", "fits", "deep"}
    assert {*os.listdir(tmp_path)} <= {
        "place",
        "cut",
        "inner.zip",
        "set",
        *map("set.{}".format, KINDS),
    }


@pytest.mark.parametrize("kind", [*MODES, "zip"])
def test_what_is_unpacked_is_what_was_packed(kind, tmp_path, place):
    file = tmp_path / f"set.{kind}"
    if kind == "zip":
        zipped(file, ("images/", b""), *FILES.items())
    else:
        tar(file, entry("images", tarfile.DIRTYPE), *FILES.items(), mode=MODES[kind])
    safe_extract(file, place / "deep" / "set")
    assert tree(place / "deep" / "set") == FILES


def test_the_ways_that_programs_write_names(tmp_path, place):
    members = [entry("./", tarfile.DIRTYPE), ("./a/./b", b"1"), entry("a", tarfile.DIRTYPE)]
    long = "d" * 90 + "/" + "f" * 200  # beyond a header's field
    safe_extract(tar(tmp_path / "set.tar", *members, (long, b"2")), place / "set")
    assert tree(place / "set") == {"a/b": b"1", long: b"2"}


def test_modes_are_not_taken_over(tmp_path, place):
    info = tarfile.TarInfo("run.sh")
    info.mode = 0o4777
    safe_extract(tar(tmp_path / "set.tar", info), place / "set")
    assert not (place / "set" / "run.sh").stat().st_mode & 0o4111


NAMES = [
    ("../x", "would write outside its folder"),
    ("a/../../x", "would write outside its folder"),
    ("a/..", "would write outside its folder"),
    ("/etc/x", "has an absolute path"),
    ("//server/x", "has an absolute path"),
    ("C:/x", "has a path of Windows"),
    ("a/c:x", "has a path of Windows"),
    ("..\\x", "has a path of Windows"),
    ("\\\\server\\share", "has a path of Windows"),
    ("CON", "has a name that Windows takes for another"),
    ("a/aux.png", "has a name that Windows takes for another"),
    ("Lpt1 .txt", "has a name that Windows takes for another"),
    ("nul/x", "has a name that Windows takes for another"),
    ("a./x", "has a name that Windows takes for another"),
    ("x ", "has a name that Windows takes for another"),
    ("a\nb", "has a name that is not plain text"),
    ("", "has a file without a name"),
    ("./.", "has a file without a name"),
]


@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.parametrize(("name", "fault"), NAMES, ids=[f"M5-{name!r}" for name, _ in NAMES])
def test_names_that_lead_elsewhere(name, fault, kind, tmp_path, place):
    make = tar if kind == "tar" else zipped
    file = make(tmp_path / "set", ("fine.txt", b"1"), (name, b"2"))
    with pytest.raises(UnsafeArchiveError) as raised:
        safe_extract(file, place / "set")
    assert str(raised.value) == (
        f"{file}: the archive {fault}; found {name!a}, expected plain files and folders below "
        "one folder. Nothing was unpacked; do not trust where it came from"
    )
    assert not (place / "set").exists()


LINK = "has a link or a device"
BAD = [
    pytest.param(tar, [entry("l", tarfile.SYMTYPE, "/etc"), ("l/x", b"")], LINK, id="M5-symlink"),
    pytest.param(tar, [entry("l", tarfile.SYMTYPE, "a")], LINK, id="M5-inner-symlink"),
    pytest.param(tar, [("a", b""), entry("l", tarfile.LNKTYPE, "a")], LINK, id="M5-hard-link"),
    pytest.param(tar, [entry("null", tarfile.CHRTYPE)], LINK, id="M5-character-device"),
    pytest.param(tar, [entry("disk", tarfile.BLKTYPE)], LINK, id="M5-block-device"),
    pytest.param(tar, [entry("pipe", tarfile.FIFOTYPE)], LINK, id="M5-fifo"),
    pytest.param(zipped, [(unix("l", 0o120777), b"/etc"), ("l/x", b"")], LINK, id="M5-zip-symlink"),
    pytest.param(zipped, [(unix("null", 0o020666), b"")], LINK, id="M5-zip-device"),
    pytest.param(zipped, [(unix("d", 0o040755), b"")], LINK, id="M5-zip-folder-by-mode-alone"),
    *(
        pytest.param(
            make,
            [(one, b"1"), (other, b"2")],
            f"has two members of one name, {met!r} and another",
            id=f"M5-{make.__name__}-{one}-{other}",
        )
        for make in (tar, zipped)
        for one, other, met in [
            ("a.png", "A.PNG", "a.png"),
            ("Dir/a", "dir/b", "Dir"),
            ("a", "a/b", "a"),
            ("a/b", "a", "a"),
            ("same", "./same", "same"),
            ("stra\u00dfe", "STRASSE", "stra\u00dfe"),
            ("e\u0301", "\u00e9", "e\u0301"),
        ]
    ),
]


@pytest.mark.parametrize(("make", "members", "fault"), BAD)
def test_what_is_no_plain_tree(make, members, fault, tmp_path, place):
    file = make(tmp_path / "set", *members)
    with pytest.raises(UnsafeArchiveError, match=re.escape(f"{file}: the archive {fault}; found ")):
        safe_extract(file, place / "set")
    assert not (place / "set").exists()


def test_m5_a_name_with_a_nul(tmp_path, place):
    """zipfile itself would cut it there: `x.png`."""
    file = zipped(tmp_path / "set.zip", ("x.pngQ.exe", b"1"))
    file.write_bytes(file.read_bytes().replace(b"x.pngQ.exe", b"x.png\0.exe"))
    with pytest.raises(UnsafeArchiveError, match="name that is not plain text"):
        safe_extract(file, place / "set")


def test_m5_a_name_that_is_not_utf_8(tmp_path, place):
    file = tar(tmp_path / "set.tar", (os.fsdecode(b"\xff.png"), b""))
    with pytest.raises(UnsafeArchiveError, match=r"not plain text; found '\\udcff.png'"):
        safe_extract(file, place / "set")


# --- bombs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_m5_a_bomb_of_zeros(kind, tmp_path, place):
    zeros = bytes(archives.RATIO_BYTES + 1)
    make = zipped if kind == "zip" else tar
    mode = {} if kind == "zip" else {"mode": "w:gz"}
    file = make(tmp_path / "set", ("a", zeros), **mode)
    packed = file.stat().st_size
    message = f"unpacks to more than {archives.RATIO_BYTES} bytes, from {packed}"
    with pytest.raises(UnsafeArchiveError, match=message):
        safe_extract(file, place / "set")
    assert not (place / "set").exists()


def test_what_compresses_well_and_is_small_is_no_bomb(tmp_path, place):
    file = zipped(tmp_path / "set.zip", ("mask", bytes(1 << 20)))
    assert (1 << 20) / file.stat().st_size > archives.MAX_RATIO
    safe_extract(file, place / "set")


@pytest.mark.parametrize("make", [tar, zipped])
def test_m5_more_bytes_than_allowed(make, tmp_path, place):
    file = make(tmp_path / "set", *((str(n), bytes(1000)) for n in range(3)))
    safe_extract(file, place / "fits", max_bytes=3000)
    with pytest.raises(UnsafeArchiveError, match=r"more than 2999 bytes, from \d+; found '2'"):
        safe_extract(file, place / "set", max_bytes=2999)
    assert not (place / "set").exists()


@pytest.mark.parametrize("make", [tar, zipped])
def test_m5_more_members_than_allowed(make, tmp_path, place):
    file = make(tmp_path / "set", *((str(n), b"") for n in range(50)))
    safe_extract(file, place / "fits", max_members=50)
    with pytest.raises(UnsafeArchiveError, match="has more than 49 members; found '49'"):
        safe_extract(file, place / "set", max_members=49)
    assert not (place / "set").exists()


def test_m5_members_that_share_their_bytes(tmp_path, place):
    """A zip whose directory names one member 300 times, as in a bomb without recursion."""
    file = zipped(tmp_path / "set.zip", ("000", os.urandom(1 << 20)))
    data = file.read_bytes()
    start = data.index(b"PK\x01\x02")
    end = data.index(b"PK\x05\x06")
    record = data[start:end]
    many = b"".join(record.replace(b"000", b"%03d" % n) for n in range(300))
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 300, 300, len(many), start, 0)
    file.write_bytes(data[:start] + many + tail)
    with pytest.raises((UnsafeArchiveError, DatasetError)):
        safe_extract(file, place / "set")
    assert not (place / "set").exists()


def test_m5_a_header_without_end(tmp_path, place):
    """A name of 300 MB, which compression makes short."""
    info = entry("././@LongLink", tarfile.GNUTYPE_LONGNAME, size=300 << 20)
    file = tar(tmp_path / "set.tgz", info, mode="w:gz")
    assert file.stat().st_size < 1 << 20
    with pytest.raises(UnsafeArchiveError, match=f"a header that is too long; found {300 << 20}"):
        safe_extract(file, place / "set")


def test_m5_padding_without_end(tmp_path, place, monkeypatch):
    monkeypatch.setattr(archives, "RATIO_BYTES", 1 << 20)
    file = tar(tmp_path / "set.tgz", ("a", b"1"), mode="w:gz")
    with gzip.open(file, "ab") as more:
        more.write(bytes(8 << 20))
    with pytest.raises(UnsafeArchiveError, match="unpacks to far more than it names"):
        safe_extract(file, place / "set")


def test_m5_a_file_with_holes_counts_as_long_as_it_is(tmp_path, place):
    """GNU tar stores 1 TiB of zeros in one header."""
    header = bytearray(entry("holes", tarfile.GNUTYPE_SPARSE).tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"\x80" + (1 << 40).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    file = tmp_path / "set.tar"
    file.write_bytes(bytes(header) + bytes(1024))
    with pytest.raises(UnsafeArchiveError, match="unpacks to more than"):
        safe_extract(file, place / "set")


def test_m5_an_archive_in_an_archive_stays_packed(tmp_path, place):
    inner = zipped(tmp_path / "inner.zip", ("a", b"1")).read_bytes()
    safe_extract(zipped(tmp_path / "set.zip", ("inner.zip", inner)), place / "set")
    assert tree(place / "set") == {"inner.zip": inner}


# --- damage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*MODES, "zip"])
def test_cut_short_anywhere(kind, tmp_path, place):
    members = [("a", os.urandom(3000)), ("b", b"2"), ("c", os.urandom(700))]
    whole = tmp_path / f"set.{kind}"
    make, mode = (zipped, {}) if kind == "zip" else (tar, {"mode": MODES[kind]})
    data = make(whole, *members, **mode).read_bytes()
    end = 12 * 512 if kind == "tar" else len(data) - 1  # after the members of a tar come zeros
    for length in {*range(0, end, max(1, len(data) // 60)), *range(0, end + 1, 512), end}:
        cut = tmp_path / "cut"
        cut.write_bytes(data[:length])
        with pytest.raises(DatasetError, match="damaged, cut short or of an unknown kind; found "):
            safe_extract(cut, place / "set")
        assert not (place / "set").exists(), length


def test_a_header_that_is_damaged_is_not_the_end(tmp_path, place):
    file = tar(tmp_path / "set.tar", ("a", b"1"), ("b", b"2"))
    data = bytearray(file.read_bytes())
    data[1024] ^= 1  # the name of b: its checksum is wrong
    file.write_bytes(data)
    with pytest.raises(DatasetError, match="found there is no end mark"):
        safe_extract(file, place / "set")


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_a_flipped_byte_in_compressed_data(kind, tmp_path, place):
    make, mode = (zipped, {}) if kind == "zip" else (tar, {"mode": "w:gz"})
    file = make(tmp_path / "set", ("a", os.urandom(20_000)), **mode)
    data = bytearray(file.read_bytes())
    data[10_000] ^= 0x55
    file.write_bytes(data)
    with pytest.raises(DatasetError, match="damaged"):
        safe_extract(file, place / "set")
    assert not (place / "set").exists()


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
def test_any_damage_is_an_error_or_harmless(kind, tmp_path, place):
    members = [("a/b", b"1" * 600), ("c", os.urandom(700))]
    make, mode = (zipped, {}) if kind == "zip" else (tar, {"mode": MODES[kind]})
    data = make(tmp_path / f"set.{kind}", *members, **mode).read_bytes()[:4096]
    draw = random.Random(0)
    for number in range(400):
        mutant = bytearray(data)
        for _ in range(draw.randint(1, 4)):
            mutant[draw.randrange(len(data))] = draw.choice([0, 255, 46, 47, draw.randrange(256)])
        cut = tmp_path / "cut"
        cut.write_bytes(mutant)
        try:
            safe_extract(cut, place / "set")
        except (DatasetError, UnsafeArchiveError):
            assert not (place / "set").exists(), number
        else:
            shutil.rmtree(place / "set")


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\x03\x04", b"\x1f\x8bxx", b"BZh9", b"<html>"])
def test_what_is_no_archive(data, tmp_path, place):
    file = tmp_path / "set.tar"
    file.write_bytes(data)
    with pytest.raises(DatasetError) as raised:
        safe_extract(file, place / "set")
    assert str(raised.value).startswith(
        f"{file}: the archive is damaged, cut short or of an unknown kind; found "
    )
    assert str(raised.value).endswith(
        ", expected a zip, or a tar, which gzip, bzip2 or xz may have compressed. Fetch it again"
    )


def test_an_encrypted_zip(tmp_path, place):
    file = zipped(tmp_path / "set.zip", ("a", b"1"))
    data = bytearray(file.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    file.write_bytes(data)
    with pytest.raises(UnsafeArchiveError, match="the archive is encrypted; found 'a'"):
        safe_extract(file, place / "set")


def test_an_archive_that_is_not_there(tmp_path, place):
    with pytest.raises(DatasetError, match=r"no.tar: cannot be read: No such file or directory$"):
        safe_extract(tmp_path / "no.tar", place / "set")


def test_a_folder_that_is_there_is_left_alone(tmp_path, place):
    file = tar(tmp_path / "set.tar", ("a", b"1"))
    (place / "set").mkdir()
    with pytest.raises(OutputError, match=r"set: is already there\. Choose a new folder$"):
        safe_extract(file, place / "set")
    assert tree(place / "set") == {}
    (place / "set").rmdir()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_disk_that_is_full(tmp_path, place, monkeypatch):
    def full(path, mode, **options):
        return open("/dev/full" if mode == "xb" else path, mode.replace("x", "w"), **options)

    monkeypatch.setattr(archives, "open", full, raising=False)
    file = tar(tmp_path / "set.tar", ("a", b"1"))
    with pytest.raises(ResourceError, match="set: cannot be written: No space left on"):
        safe_extract(file, place / "set")
    assert not (place / "set").exists()


def test_a_folder_that_cannot_be_made(tmp_path, place):
    file = tar(tmp_path / "set.tar", ("a", b"1"))
    with pytest.raises(OutputError, match=r"set: cannot be written: "):
        safe_extract(file, place / "canary" / "set")
