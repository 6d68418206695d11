"""A light network for salient objects: EfficientNet-Lite down, separable convolutions up.

The encoder is EfficientNet-Lite as timm builds it (Tan, Le 2019, arXiv:1905.11946). The Lite
variants have ReLU6 instead of swish and no squeeze-and-excitation, which makes them fast on a CPU
and easy to store in eight bits. The decoder is a feature pyramid (Lin et al. 2017,
arXiv:1612.03144) of separable convolutions with a map of logits at each of its five sizes. Light
saliency networks are built like this: EDN-Lite (Wu et al. 2022, arXiv:2012.13093), which spends
most on the context of the coarsest map, and SCFNet (Zhang et al. 2022). The finest map is the
answer; the others are there to be trained, as the side outputs of U²-Net are (arXiv:2005.09007).
"""

from typing import Any, NamedTuple

import timm
from torch import Tensor, nn

from segzoo_lite.blocks import Context, Lateral, Step, enlarged


class Level(NamedTuple):
    """One size of the decoder: its stride, its channels, and how many convolutions refine it."""

    stride: int
    width: int
    convolutions: int


#         stride  width  convolutions
LITE0_DECODER = (
    Level(2, 32, 2),
    Level(4, 64, 2),
    Level(8, 64, 2),
    Level(16, 64, 2),
    Level(32, 64, 2),
)
LITE2_DECODER = (
    Level(2, 32, 2),
    Level(4, 64, 2),
    Level(8, 96, 2),
    Level(16, 96, 2),
    Level(32, 96, 2),
)


class LiteNet(nn.Module):
    """An encoder, a decoder of five steps and a head at each.

    x (N, in_channels, H, W) -> logits (N, num_classes, H, W), for any H and W from 1 up.
    In training mode, or with `all_heads=True`: a tuple of five such maps from the finest, which is
    the answer, to the coarsest, all at the input's size.
    """

    def __init__(
        self,
        backbone: str,
        decoder: tuple[Level, ...],
        *,
        in_channels: int = 3,
        num_classes: int = 1,
    ) -> None:
        super().__init__()
        encoder: Any = timm.create_model(
            backbone, pretrained=False, features_only=True, in_chans=in_channels
        )
        channels = encoder.feature_info.channels()
        self.backbone = encoder
        self.decoder, self.heads = nn.ModuleList(), nn.ModuleList()
        for number, (level, found) in enumerate(zip(decoder, channels, strict=True)):
            is_coarsest = number == len(decoder) - 1
            lateral = (Context if is_coarsest else Lateral)(found, level.width)
            out = decoder[max(0, number - 1)].width  # what the finer level, if any, adds up
            self.decoder.append(Step(lateral, level.width, out, convolutions=level.convolutions))
            self.heads.append(nn.Conv2d(out, num_classes, 3, padding=1))

    def forward(self, x: Tensor, *, all_heads: bool = False) -> Tensor | tuple[Tensor, ...]:
        features = self.backbone(x)
        maps: list[Tensor] = []
        coarser = None
        for step, found in zip(self.decoder[::-1], features[::-1], strict=True):
            coarser = step(found, coarser)
            maps.insert(0, coarser)
        if self.training or all_heads:
            heads = zip(self.heads, maps, strict=True)
            return tuple(enlarged(head(features), x) for head, features in heads)
        return enlarged(self.heads[0](maps[0]), x)

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Two stages of rates, as timm asks for them: the backbone, and what was made anew."""
        return {"backbone": r"^backbone\."}


def lite0(in_channels: int = 3, num_classes: int = 1) -> LiteNet:
    """On EfficientNet-Lite0: 3.2 million parameters for RGB and one class."""
    return LiteNet(
        "tf_efficientnet_lite0", LITE0_DECODER, in_channels=in_channels, num_classes=num_classes
    )


def lite2(in_channels: int = 3, num_classes: int = 1) -> LiteNet:
    """On EfficientNet-Lite2, with more channels in the decoder too."""
    return LiteNet(
        "tf_efficientnet_lite2", LITE2_DECODER, in_channels=in_channels, num_classes=num_classes
    )
