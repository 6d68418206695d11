"""The U-Net family: one network, and a table of how its variants differ.

Paper: Ronneberger, Fischer, Brox 2015, arXiv:1505.04597. Each row of the table follows a text or a
repository that `spec.py` names with its commit; the numbers are theirs, the code is not. Common to
all: the network returns logits where some of them return probabilities, and where nothing is
normalised the weights start as the paper says (He), not as each framework's default.
"""

from dataclasses import dataclass, replace

from torch import Tensor, nn

from segzoo_unet import blocks
from segzoo_unet.blocks import DecoderStage, DoubleConv, Down, EncoderStage, Head, Join, Up

STAGES = 5  # of the encoder, the lowest one included; the decoder has one less


@dataclass(frozen=True, kw_only=True)
class Variant:
    """How one U-Net differs from another; the defaults are what most of them do.

    width: channels of the first stage, doubled from each stage to the next.
    padding: of the 3x3 convolutions; 0 leaves the border out ("valid").
    bias, bottom_bias: whether the 3x3 convolutions have one, and those of the lowest stage.
    batch_norm: after each 3x3 convolution. slope: of the ReLU below zero.
    dropout: after the first and the second convolution of each block.
    deep_dropout: after the last two stages of the encoder.
    entry_dropout, entry_norm: before each block but the first. The rate is half in the second
        stage, and holds before the head too.
    early_narrowing: each block ends with the width of the stage above it, because the way up does
        not change it.
    least, step: the sides that it takes, least + step * n.
    """

    width: int = 64
    padding: int = 1
    bias: bool = True
    bottom_bias: bool = True
    batch_norm: bool = False
    slope: float = 0.0
    dropout: tuple[float, float] = (0.0, 0.0)
    deep_dropout: float = 0.0
    entry_dropout: float = 0.0
    entry_norm: bool = False
    down: Down = blocks.max_pool
    up: Up = blocks.transposed
    early_narrowing: bool = False
    join: Join = blocks.skip_last
    head: Head = blocks.conv_1x1
    least: int = 16
    step: int = 1


UNET = Variant(bias=False, batch_norm=True, join=blocks.skip_first)
UNET_BILINEAR = replace(UNET, up=blocks.bilinear, early_narrowing=True)
VGGBLOCK = Variant(width=32, batch_norm=True, up=blocks.bilinear, join=blocks.skip_first)
MRGIOVANNI = Variant(width=32, dropout=(0.5, 0.5))
ZHIXUHAO = Variant(
    deep_dropout=0.5, up=blocks.nearest_2x2, join=blocks.skip_first, head=blocks.through_two
)
# Valid convolutions: only sides of 16 m + 12 are even before every pooling. Below 188 the paper's
# network has no output; below 140 the one on a canvas has nothing in its lowest stage.
PAPER = Variant(
    padding=0, deep_dropout=0.5, join=blocks.cropped_skip_first, least=16 * 11 + 12, step=16
)
RELEASED = replace(PAPER, up=blocks.transposed_relu, join=blocks.cropped_skip_last)
CANVAS = Variant(padding=0, bottom_bias=False, join=blocks.skip_first, least=16 * 8 + 12)
CANVAS_TOP_LEFT = replace(CANVAS, join=blocks.skip_first_top_left)
DICE = Variant(width=32)
STRIDED = Variant(
    batch_norm=True,
    slope=0.01,
    dropout=(0.3, 0.4),
    down=blocks.strided,
    up=blocks.nearest_1x1,
    head=blocks.conv_3x3,
    least=1,
)
SLIM = Variant(width=32, slope=0.2, down=blocks.max_pool_ceil, up=blocks.transposed_plain, least=1)
SLIM_3X = replace(SLIM, head=blocks.three_times)


class UNet(nn.Module):
    """An encoder of five stages, a decoder of four that joins each with the stage beside it.

    x (N, in_channels, H, W) -> logits (N, num_classes, H', W'), where H' is H with padding, 3 H
    with the head `three_times`, and H less what valid convolutions eat: 184 when the skip is
    cropped (the paper), 8 when the upsampled map is laid on a canvas of the skip's size.
    ValueError for a side that is not `least` + `step` * n.
    """

    def __init__(self, variant: Variant, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.least, self.step = variant.least, variant.step
        widths = [variant.width * 2**level for level in range(STAGES)]
        ends = [widths[0], *widths[:-1]] if variant.early_narrowing else widths

        self.encoder = nn.ModuleList()
        channels = in_channels
        for level, width in enumerate(widths):
            bottom, deep = level == STAGES - 1, level >= STAGES - 2
            end = ends[level] if bottom else width
            block = _block(
                variant,
                (channels, end, end),
                bias=variant.bias and (variant.bottom_bias or not bottom),
                last_dropout=variant.deep_dropout if deep else 0.0,
                entry=(0.0, 0.5, 1.0, 1.0, 1.0)[level],
            )
            self.encoder.append(EncoderStage(variant.down(channels) if level else None, block))
            channels = end

        self.decoder = nn.ModuleList()
        for level in reversed(range(STAGES - 1)):
            up = variant.up(channels, widths[level])
            raised = channels if variant.up is blocks.bilinear else widths[level]
            block = _block(
                variant,
                (raised + widths[level], widths[level], ends[level]),
                bias=variant.bias,
                last_dropout=0.0 if level else variant.entry_dropout,
            )
            self.decoder.append(DecoderStage(up, variant.join, block))
            channels = ends[level]

        self.head = variant.head(channels, num_classes)
        if not variant.batch_norm:
            blocks.he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        self._check(*x.shape[-2:])
        skips: list[Tensor] = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        skips.pop()  # the lowest map goes up itself
        for stage in self.decoder:
            x = stage(x, skips.pop())
        logits: Tensor = self.head(x)
        return logits

    def _check(self, h: int, w: int) -> None:
        if min(h, w) < self.least or (h - self.least) % self.step or (w - self.least) % self.step:
            every = f"{self.least} + {self.step} * n" if self.step > 1 else f"at least {self.least}"
            raise ValueError(f"x of height {h} and width {w}: this U-Net takes sides of {every}")


def _block(
    variant: Variant,
    channels: tuple[int, int, int],
    *,
    bias: bool,
    last_dropout: float,
    entry: float = 1.0,
) -> DoubleConv:
    """The block of a stage. last_dropout: after it, beside the block's own. entry: factor of the
    dropout before it; 0 for the first block, which has no normalisation there either."""
    first, second = variant.dropout
    return DoubleConv(
        *channels,
        padding=variant.padding,
        bias=bias,
        batch_norm=variant.batch_norm,
        slope=variant.slope,
        dropout=(first, second or last_dropout),
        entry_dropout=variant.entry_dropout * entry,
        entry_norm=variant.entry_norm and entry > 0,
    )


# --- the builders ---------------------------------------------------------------------------------


def unet(
    in_channels: int = 3, num_classes: int = 2, *, bilinear: bool = False, width: int = 64
) -> UNet:
    """Same padding and batch normalisation. Any sides from 16 up."""
    variant = UNET_BILINEAR if bilinear else UNET
    return UNet(replace(variant, width=width), in_channels, num_classes)


def unet_vggblock(in_channels: int = 3, num_classes: int = 1, *, width: int = 32) -> UNet:
    """Bilinear interpolation on the way up, batch normalisation beside biases."""
    return UNet(replace(VGGBLOCK, width=width), in_channels, num_classes)


def unet_mrgiovanni(in_channels: int = 3, num_classes: int = 1, *, width: int = 32) -> UNet:
    """The baseline of the UNet++ paper: dropout 0.5 after each convolution.

    Its wide baseline has 35, 70, 140, 280, 560 channels.
    """
    return UNet(replace(MRGIOVANNI, width=width), in_channels, num_classes)


def unet_zhixuhao(in_channels: int = 1, num_classes: int = 1) -> UNet:
    """The paper's widths with padding; a head through two channels."""
    return UNet(ZHIXUHAO, in_channels, num_classes)


def unet_paper(
    in_channels: int = 1, num_classes: int = 2, *, released: bool = False, width: int = 64
) -> UNet:
    """The network of the paper's figure 1: sides of 16 m + 12 from 188 up, 184 less comes out.

    released: as in ports of the Caffe network that the authors released, ReLU after each
    up-convolution and the skip last. The figure shows neither.
    """
    variant = RELEASED if released else PAPER
    return UNet(replace(variant, width=width), in_channels, num_classes)


def unet_canvas(in_channels: int = 3, num_classes: int = 4, *, placement: str = "centre") -> UNet:
    """Valid convolutions; the upsampled map is laid on zeros of the skip's size. 8 less comes out.

    placement: "top_left" as in the article, where a slip puts it there and the right and the
    bottom of every decoder stage see no deep features; "centre" as its formula intends.
    """
    variant = CANVAS_TOP_LEFT if placement == "top_left" else CANVAS
    return UNet(variant, in_channels, num_classes)


def unet_dice(
    in_channels: int = 1,
    num_classes: int = 1,
    *,
    dropout: bool = False,
    batch_norm: bool = False,
) -> UNet:
    """Half the paper's width, with padding.

    dropout, batch_norm: before the blocks, where the article has them in comments.
    """
    entry_dropout = 0.5 if dropout else 0.0
    variant = replace(DICE, entry_dropout=entry_dropout, entry_norm=batch_norm)
    return UNet(variant, in_channels, num_classes)


def unet_strided(in_channels: int = 3, num_classes: int = 3) -> UNet:
    """Convolutions of stride 2 in place of the pooling, repeated pixels on the way up."""
    return UNet(STRIDED, in_channels, num_classes)


def unet_slim(in_channels: int = 3, num_classes: int = 6) -> UNet:
    """Leaky ReLU, plain transposed convolutions. Any sides from 1 up, odd ones too."""
    return UNet(SLIM, in_channels, num_classes)


def unet_slim_3x(in_channels: int = 3, num_classes: int = 3) -> UNet:
    """`unet_slim` with logits three times as high and wide as x."""
    return UNet(SLIM_3X, in_channels, num_classes)
