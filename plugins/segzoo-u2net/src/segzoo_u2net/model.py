"""U²-Net and U²-Netp: a U-Net whose every stage is a residual U-block.

Paper: Qin et al. 2020, arXiv:2005.09007, figure 5 and table 1. Numbers follow the authors' code,
github.com/xuebinqin/U-2-Net at ac7e1c8 (Apache-2.0), with three differences in form: the network
returns logits, not probabilities; it returns the fused map alone unless it is training or asked for
all heads; and one table with one block replaces the classes written out for each height.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from segzoo_u2net.blocks import RSU, Pool, downsample, upsample_to


class Stage(NamedTuple):
    """One row of the paper's table 1: an RSU without its input channels."""

    height: int
    mid_channels: int
    out_channels: int
    dilated: bool = False


#          height  mid  out   dilated
U2NET_ENCODER = (
    Stage(7, 32, 64),
    Stage(6, 32, 128),
    Stage(5, 64, 256),
    Stage(4, 128, 512),
    Stage(4, 256, 512, True),
    Stage(4, 256, 512, True),
)
U2NET_DECODER = (
    Stage(4, 256, 512, True),
    Stage(4, 128, 256),
    Stage(5, 64, 128),
    Stage(6, 32, 64),
    Stage(7, 16, 64),
)
# U²-Netp: the same heights, 16 channels inside and 64 between all stages.
U2NETP_ENCODER = tuple(s._replace(mid_channels=16, out_channels=64) for s in U2NET_ENCODER)
U2NETP_DECODER = tuple(s._replace(mid_channels=16, out_channels=64) for s in U2NET_DECODER)


class U2Net(nn.Module):
    """Encoder and decoder of RSUs with a side output at every decoder stage and their fusion.

    x (N, in_channels, H, W) -> logits (N, num_classes, H, W), for any H and W from 1 up.
    In training mode, or with `all_heads=True`: a tuple of seven such maps, the fused one first,
    then the side outputs from the finest (1) to the coarsest (6), all at the input's size.
    """

    def __init__(
        self,
        encoder: Sequence[Stage],
        decoder: Sequence[Stage],
        *,
        in_channels: int = 3,
        num_classes: int = 1,
        pool: Pool = "ceil",
    ) -> None:
        super().__init__()
        self.encoder = nn.ModuleList()
        for height, mid, out, dilated in encoder:
            self.encoder.append(RSU(height, in_channels, mid, out, dilated=dilated, pool=pool))
            in_channels = out

        skips = [stage.out_channels for stage in encoder[-2::-1]]
        self.decoder = nn.ModuleList()
        for (height, mid, out, dilated), skip in zip(decoder, skips, strict=True):
            self.decoder.append(
                RSU(height, in_channels + skip, mid, out, dilated=dilated, pool=pool)
            )
            in_channels = out

        # Heads from the finest map to the coarsest, which is the encoder's last.
        widths = [stage.out_channels for stage in (*decoder[::-1], encoder[-1])]
        self.heads = nn.ModuleList(nn.Conv2d(width, num_classes, 3, padding=1) for width in widths)
        self.fuse = nn.Conv2d(len(widths) * num_classes, num_classes, 1)
        self.pool = downsample(pool)

    def forward(self, x: Tensor, *, all_heads: bool = False) -> Tensor | tuple[Tensor, ...]:
        skips: list[Tensor] = []
        for stage in self.encoder:
            x = stage(self.pool(skips[-1]) if skips else x)
            skips.append(x)

        x = skips.pop()
        maps = [x]
        for stage in self.decoder:
            skip = skips.pop()
            x = stage(torch.cat([upsample_to(x, skip), skip], dim=1))
            maps.append(x)

        finest = maps[-1]
        sides = [
            upsample_to(head(features), finest)
            for head, features in zip(self.heads, reversed(maps), strict=True)
        ]
        fused = self.fuse(torch.cat(sides, dim=1))
        return (fused, *sides) if self.training or all_heads else fused


def u2net(in_channels: int = 3, num_classes: int = 1, *, pool: Pool = "ceil") -> U2Net:
    """U²-Net at full width: 44.0 million parameters for RGB and one class."""
    return U2Net(
        U2NET_ENCODER, U2NET_DECODER, in_channels=in_channels, num_classes=num_classes, pool=pool
    )


def u2netp(in_channels: int = 3, num_classes: int = 1, *, pool: Pool = "ceil") -> U2Net:
    """U²-Netp, the small one: 1.13 million parameters for RGB and one class."""
    return U2Net(
        U2NETP_ENCODER, U2NETP_DECODER, in_channels=in_channels, num_classes=num_classes, pool=pool
    )
