"""Deterministic, framework-independent parameter and image filler (numpy only).

Every parameter tensor of a model is numbered k = 0, 1, 2, ... in the order given in the
manifest ("params"), BatchNorm running statistics included; each has a kind:

    conv       kernel (out, in, kh, kw)
    convT      kernel (in, out, kh, kw) of a transposed convolution with the given stride
    bias       bias of a convolution
    bn_weight, bn_bias, bn_mean, bn_var    BatchNorm gamma, beta, running mean, running variance

Values are computed in float64 and cast once, at the end, to float32.

Two bases exist ("filler" = "sin" or "mix"); everything else is shared. A pure sine of the flat
index makes every kernel a rank-2 matrix whose sums nearly cancel, so deep activations are
mostly biases; "mix" replaces it by an integer hash with the same variance. Use "mix" for
sensitive checks and "sin" as a second, independent one.
"""

import numpy as np


def base(n, k):
    """sin(12.9898 * i + 78.233 * k + 0.5) for i = 0 .. n-1, float64, C order."""
    i = np.arange(n, dtype=np.float64)
    return np.sin(12.9898 * i + 78.233 * k + 0.5)


def base_mix(n, k):
    """Exact 32-bit integer mixing, uniform on +-sqrt(1.5) (variance 1/2, as the sine)."""
    i = np.arange(n, dtype=np.uint64)
    m = np.uint64(0xFFFFFFFF)
    h = (i * np.uint64(0x9E3779B1) + np.uint64(k * 0x85EBCA77 + 0x165667B1)) & m
    h ^= h >> np.uint64(16)
    h = (h * np.uint64(0x7FEB352D)) & m
    h ^= h >> np.uint64(15)
    h = (h * np.uint64(0x846CA68B)) & m
    h ^= h >> np.uint64(16)
    u = (h.astype(np.float64) + 0.5) / 4294967296.0
    return np.sqrt(1.5) * (2.0 * u - 1.0)


BASES = {"sin": base, "mix": base_mix}


def fill(kind, shape, k, stride=1, gain=1.0, filler="mix"):
    shape = tuple(int(s) for s in shape)
    b = BASES[filler](int(np.prod(shape)), k).reshape(shape)
    if kind == "conv":
        fan_in = shape[1] * shape[2] * shape[3]
        v = gain * b * np.sqrt(2.0) * np.sqrt(2.0 / fan_in)
    elif kind == "convT":
        fan_in = shape[0] * shape[2] * shape[3] / float(stride * stride)
        v = gain * b * np.sqrt(2.0) * np.sqrt(2.0 / fan_in)
    elif kind == "bias":
        v = 0.1 * b
    elif kind == "bn_weight":
        v = 1.0 + 0.1 * b
    elif kind in ("bn_bias", "bn_mean"):
        v = 0.1 * b
    elif kind == "bn_var":
        v = 1.0 + 0.5 * np.abs(b)
    else:
        raise ValueError(kind)
    return v.astype(np.float32)


def image(b, c, h, w):
    """x[b,c,h,w] = 0.5 + 0.5*sin(0.37*h + 0.23*w + 1.7*c + 2.9*b), NCHW float32."""
    bb, cc, hh, ww = np.meshgrid(
        *[np.arange(n, dtype=np.float64) for n in (b, c, h, w)], indexing="ij"
    )
    return (0.5 + 0.5 * np.sin(0.37 * hh + 0.23 * ww + 1.7 * cc + 2.9 * bb)).astype(np.float32)
