"""What the processor has instructions for."""

import platform

from segzoo.errors import DeviceError

__all__ = ["lacks_bf16", "refuse_without_int8"]

# As Linux calls instructions that add up products of eight bits in 32: on x86, on ARM.
PRODUCTS = {"avx512_vnni", "avx_vnni", "asimddp"}
# And those that multiply bfloat16.
BFLOAT16 = {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"}


def lacks_bf16() -> bool:
    """Whether bfloat16 is computed in software here; False where it is not known.

    A convolution then takes up to ten times as long as in float32.
    """
    flags = _flags() if platform.system() == "Linux" else set()
    return bool(flags) and flags.isdisjoint(BFLOAT16)


def refuse_without_int8() -> None:
    """DeviceError on a processor without instructions for int8.

    Without them sums are made in 16 bits, which they leave, and nothing is gained.
    """
    flags = _flags()
    if flags and not flags & PRODUCTS:
        raise DeviceError(
            "this processor has no instructions for int8 (VNNI): answers would be others, "
            "and no quicker",
            next_step="Give --precision fp32",
        )


def _flags() -> set[str]:
    """The processor's features in Linux's words; empty where they are not known."""
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return {"asimddp"}
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() in ("flags", "Features"):
                    return set(value.split())
    except OSError:
        pass
    return set()
