"""Memory that stays with the process for work that takes it again, and goes back afterwards.

Each in a process of its own: what others have let go here would serve as well.
"""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from segzoo.base.memory import keeping_memory

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"),
    reason="another C library than glibc",
)
BEGIN = """
import resource
from segzoo.base.memory import keeping_memory

PAGE = resource.getpagesize()
LARGE = 48 << 20  # bytes: glibc has the system map what is over 32 MiB

def faults():
    "Pages that the system had to find while something large is made and let go, of all its pages."
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(LARGE)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * PAGE / LARGE

def resident():
    with open("/proc/self/statm", encoding="ascii") as stream:
        return int(stream.read().split()[1]) * PAGE / LARGE
"""


def told(script):
    """What a process prints, as numbers."""
    line = [sys.executable, "-c", BEGIN + script]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def huge_pages_are_off():
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return not setting.exists() or "[always]" not in setting.read_text("ascii")


def test_what_is_let_go_is_taken_again_without_the_system():
    (share,) = told("with keeping_memory(): faults(); print(faults())")
    assert share < 0.01


def test_a_training_keeps_it():
    (share,) = told(
        "from segzoo.engine.flags import process_flags\n"
        "with process_flags(deterministic=False, fp32=True): faults(); print(faults())"
    )
    assert share < 0.01


@pytest.mark.skipif(not huge_pages_are_off(), reason="a page has 2 MiB here")
def test_outside_of_it_every_page_is_found_anew():
    (share,) = told("with keeping_memory(): faults()\nfaults(); print(faults())")
    assert share > 0.5


def test_at_the_end_the_memory_goes_back():
    full, let_go, after = told(
        "with keeping_memory():\n"
        "    held = bytearray(4 * LARGE); print(resident()); del held; print(resident())\n"
        "print(resident())"
    )
    assert let_go > full - 1  # it stays
    assert after < full - 3


def test_it_goes_back_whatever_happens():
    before, after = told(
        "print(resident())\n"
        "try:\n"
        "    with keeping_memory(): bytearray(4 * LARGE); 1 / 0\n"
        "except ZeroDivisionError: print(resident())"
    )
    assert after < before + 1


def test_another_c_library_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with keeping_memory():
        pass
