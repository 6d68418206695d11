"""Memory that stays with the process for work that takes it again, and goes back afterwards."""

import ctypes
import sys
from pathlib import Path

import pytest

from segzoo.base.memory import kept
from segzoo.engine.flags import process_flags

resource = pytest.importorskip("resource")  # Windows has none

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"),
    reason="another C library than glibc",
)
LARGE = 48 << 20  # bytes: glibc has the system map what is over 32 MiB
PAGES = LARGE // resource.getpagesize()


def faults():
    """Pages that the system had to find while something large is made, used and let go."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(LARGE)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident():
    with open("/proc/self/statm", encoding="ascii") as stream:
        return int(stream.read().split()[1]) * resource.getpagesize()


def huge_pages_are_off():
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return not setting.exists() or "[always]" not in setting.read_text("ascii")


def test_what_is_let_go_is_taken_again_without_the_system():
    with kept():
        faults()
        assert faults() < PAGES / 100


def test_a_training_keeps_it():
    with process_flags(deterministic=False, fp32=True):
        faults()
        assert faults() < PAGES / 100


@pytest.mark.skipif(not huge_pages_are_off(), reason="a page has 2 MiB here")
def test_outside_of_it_every_page_is_found_anew():
    with kept():
        faults()
    faults()
    assert faults() > PAGES / 2


def test_at_the_end_the_memory_goes_back():
    with kept():
        held = bytearray(4 * LARGE)
        before = resident()
        del held
        assert resident() > before - LARGE  # it stays
    assert resident() < before - 3 * LARGE


def test_it_goes_back_whatever_happens():
    before = resident()
    with pytest.raises(ZeroDivisionError), kept():
        bytearray(4 * LARGE)
        1 / 0  # noqa: B018
    assert resident() < before + LARGE


def test_another_c_library_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with kept():
        pass
