"""How the tensors of the authors' files are called here.

The names are those of github.com/xuebinqin/U-2-Net at ac7e1c8, model/u2net.py; the published
u2net.pth, u2netp.pth and u2net_human_seg.pth have them, and so have files of its training script.
"""

from segzoo.keymap import Converter

HEIGHTS = {1: 7, 2: 6, 3: 5, 4: 4, 5: 4, 6: 4}  # of the RSU in each stage

OFFICIAL = Converter(
    summary="xuebinqin/U-2-Net, u2net.pth and u2netp.pth",
    detect=(r"^stage1\.rebnconvin\.conv_s1\.weight$", r"^outconv\.weight$"),
    rules=(
        # Inside an RSU the decoder counts from the bottom here, from the top there.
        *(
            (rf"^(stage{stage}d?)\.rebnconv{level}d\.", rf"\1.decoder.{height - 1 - level}.")
            for stage, height in HEIGHTS.items()
            for level in range(1, height)
        ),
        *((rf"\.rebnconv{level}\.", f".encoder.{level - 1}.") for level in range(1, 8)),
        (r"\.rebnconvin\.", ".conv_in."),
        (r"\.conv_s1\.", ".0."),
        (r"\.bn_s1\.", ".1."),
        *((rf"^stage{stage}\.", f"encoder.{stage - 1}.") for stage in range(1, 7)),
        *((rf"^stage{stage}d\.", f"decoder.{5 - stage}.") for stage in range(1, 6)),
        *((rf"^side{side}\.", f"heads.{side - 1}.") for side in range(1, 7)),
        (r"^outconv\.", "fuse."),
    ),
)


def executed() -> list[str]:
    """Our convolutions in the order in which they are run: stage by stage, then the heads."""
    stages = [(f"encoder.{stage - 1}", height) for stage, height in HEIGHTS.items()]
    stages += [(f"decoder.{5 - stage}", HEIGHTS[stage]) for stage in (5, 4, 3, 2, 1)]
    found = []
    for stage, height in stages:
        parts = ["conv_in", *(f"encoder.{i}" for i in range(height))]
        parts += [f"decoder.{i}" for i in range(height - 1)]
        found += [f"{stage}.{part}.0" for part in parts]
    return [*found, *(f"heads.{side}" for side in range(6)), "fuse"]


ONNX = Converter(
    summary="xuebinqin/U-2-Net as ONNX, u2net.onnx and u2netp.onnx, as rembg serves them",
    detect=(r"^conv_118\.bias$",),
    absent=(r"^conv_119\.", r"^norm_"),
    rules=tuple((rf"^conv_{i}\.", f"{name}.") for i, name in enumerate(executed())),
    folded_norms=True,
)

CONVERTERS = {"official": OFFICIAL, "onnx": ONNX}
