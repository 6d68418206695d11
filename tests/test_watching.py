"""Pictures that come while a folder is watched."""

import io
import os
from pathlib import Path

import pytest
from PIL import Image

from segzoo.cli import jobs, watching
from segzoo.cli.jobs import Layout
from segzoo.cli.watching import Claims, arrivals


@pytest.fixture
def looks(tmp_path, monkeypatch):
    """Runs the watch; between two looks the next of some actions happens, and then Ctrl-C."""
    folder = tmp_path / "photos"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)

    def run(*actions):
        upcoming = iter(actions)

        def pause(seconds):
            try:
                next(upcoming)()
            except StopIteration:
                raise KeyboardInterrupt from None

        monkeypatch.setattr(watching.time, "sleep", pause)

        def find():
            return jobs.find(["photos"], recursive=False, out="out", may_be_empty=True)

        found = []
        with pytest.raises(KeyboardInterrupt):
            for new in arrivals(find):
                found.append([os.path.basename(job.source) for job in new])
        return found

    return run


def write(name, size=10):
    return lambda: Path("photos", name).write_bytes(bytes(size))


def nothing():
    pass


def test_what_is_there_and_what_comes(looks):
    write("a.jpg")()
    assert looks(nothing, write("b.jpg"), nothing, nothing) == [["a.jpg"], ["b.jpg"]]


def test_what_still_grows_is_waited_for(looks):
    assert looks(write("a.jpg", 1), write("a.jpg", 2), write("a.jpg", 3), nothing) == [["a.jpg"]]
    assert looks(write("b.jpg", 1), write("b.jpg", 2)) == [["a.jpg"]]


def test_what_changes_comes_again_and_what_is_gone_is_forgotten(looks):
    write("a.jpg")()
    gone = Path("photos/a.jpg").unlink
    assert looks(nothing, write("a.jpg", 99), nothing, nothing) == [["a.jpg"], ["a.jpg"]]
    assert looks(nothing, gone, write("a.jpg", 99), nothing) == [["a.jpg"], ["a.jpg"]]


def test_files_of_other_kinds_are_none(looks):
    write("notes.txt")()
    write(".hidden.jpg")()
    assert looks(nothing, nothing) == []


class Told:
    """What `Outcomes` is told."""

    def __init__(self):
        self.failed, self.skipped = [], []

    def fail(self, job, error):
        self.failed.append(str(error))

    def skip(self, job):
        self.skipped.append(job.source)


def test_an_output_belongs_to_one_picture(tmp_path):
    claims = Claims(Layout(str(tmp_path), ("mask",)), overwrite=False, skip_existing=False)
    told = Told()
    one, two = jobs.Job("a.jpg", "a"), jobs.Job("a.png", "a")
    assert [*claims.allowed([one], told)] == [one]
    (tmp_path / "a.png").write_bytes(b"made")
    assert [*claims.allowed([two, one], told)] == [one]  # its own is made anew
    assert told.failed == [
        f"a.png: another picture has this one's output; found {tmp_path / 'a.png'}, which is of "
        "a.jpg. Rename one of the two"
    ]


@pytest.mark.parametrize(
    ("settings", "done", "failed", "skipped"),
    [
        ({}, 0, 1, 0),
        ({"overwrite": True}, 1, 0, 0),
        ({"skip_existing": True}, 0, 0, 1),
    ],
)
def test_what_was_there_before(tmp_path, settings, done, failed, skipped):
    settings = {"overwrite": False, "skip_existing": False} | settings
    (tmp_path / "a.png").write_bytes(b"of an earlier run")
    told = Told()
    claims = Claims(Layout(str(tmp_path), ("mask",)), **settings)
    found = [*claims.allowed([jobs.Job("a.jpg", "a")], told)]
    assert (len(found), len(told.failed), len(told.skipped)) == (done, failed, skipped)


def photo(name, shade):
    content = io.BytesIO()
    Image.new("RGB", (8, 6), shade).save(content, "PNG")
    return lambda: Path("photos", name).write_bytes(content.getvalue())


def test_the_command_goes_on_until_it_is_ended(tmp_path, monkeypatch, capsys):
    from segzoo.cli.main import run

    monkeypatch.setenv("SEGZOO_MODELS", "bright=bright:BRIGHT")
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    actions = iter([nothing, photo("b.png", "white"), nothing, write("c.png"), nothing])
    photo("a.png", "white")()

    def pause(seconds):
        try:
            next(actions)()
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(watching.time, "sleep", pause)
    line = ["predict", "bright", "photos", "-o", "out", "--watch", "--random-init"]
    assert run(line) == 1  # c.png is no picture
    assert sorted(os.listdir("out")) == ["a.png", "b.png", "errors.jsonl"]
    told = capsys.readouterr().err
    assert "2 written; waiting for more, Ctrl-C ends it" in told
    assert "1 of 3 pictures failed" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-", "-o", "out"], "--watch is about folders; found standard input"),
        (["photos/a.png", "-o", "out"], "--watch is about folders; found photos/a.png"),
        (["photos", "-o", "one.png"], "--watch has many outputs; found -o one.png"),
    ],
)
def test_what_cannot_be_watched(tmp_path, monkeypatch, capsys, arguments, message):
    from segzoo.cli.main import run

    monkeypatch.setenv("SEGZOO_MODELS", "bright=bright:BRIGHT")
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    photo("a.png", "white")()
    assert run(["predict", "bright", *arguments, "--watch", "--random-init"]) == 2
    assert message in capsys.readouterr().err
