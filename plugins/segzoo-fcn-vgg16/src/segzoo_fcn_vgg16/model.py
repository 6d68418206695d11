"""FCN on VGG16: what the encoder saw at each size is added on the way up.

The network of an article ("图像语义分割简介", with code for Keras), after Long,
Shelhamer, Darrell 2015 (arXiv:1411.4038). Theirs classifies at three sizes and adds the scores;
this one adds 512 and 256 channels, with a convolution between. The backbone is timm's VGG16
(Simonyan, Zisserman 2014, arXiv:1409.1556) without its classifier. One difference in form from the
article's Keras code: the network returns logits, not probabilities.
"""

import timm
from torch import Tensor, nn

from segzoo_fcn_vgg16.blocks import Enlarge, Up

DECODER = (512, 512, 256, 128)  # channels of each step up; the first three meet a skip as wide
STRIDE = 32


class FCN(nn.Module):
    """VGG16's five stages down, five steps up; three skips, added.

    x (N, in_channels, H, W) -> logits (N, num_classes, H, W); H and W are multiples of 32, else
    ValueError.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.backbone = vgg16(in_channels)
        channels = 512
        self.decoder = nn.ModuleList()
        for out in DECODER:
            self.decoder.append(Up(channels, out))
            channels = out
        self.head = Enlarge(channels, num_classes)
        for module in (self.decoder, self.head):
            initialise(module)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if height % STRIDE or width % STRIDE:
            raise ValueError(
                f"this FCN takes sizes that are multiples of {STRIDE}, not {height}x{width}; "
                "pad the input, as predict does"
            )
        stages = []  # each before its pooling, at 1, 1/2, 1/4, 1/8, 1/16 of the size
        for layer in self.backbone:
            if isinstance(layer, nn.MaxPool2d):
                stages.append(x)
            x = layer(x)

        skips = stages[2:]
        for up in self.decoder:
            x = up(x)
            if skips:
                x = x + skips.pop()
        logits: Tensor = self.head(x)
        return logits


def vgg16(in_channels: int) -> nn.Sequential:
    """The convolutions and poolings of timm's VGG16, with random initial values.

    Its classifier is thrown away: `mlp_ratio` makes it small before it is.
    """
    network = timm.create_model("vgg16", pretrained=False, in_chans=in_channels, mlp_ratio=1 / 4096)
    assert isinstance(network.features, nn.Sequential)
    return network.features


def initialise(module: nn.Module) -> None:
    """Glorot's uniform values for kernels and zeros for biases, as Keras begins."""
    for parameter in module.parameters():
        if parameter.ndim == 4:
            nn.init.xavier_uniform_(parameter)
        else:
            nn.init.zeros_(parameter)


def fcn_vgg16(in_channels: int = 3, num_classes: int = 3, *, pixels: str = "imagenet") -> FCN:
    """26.4 million parameters. pixels: of the pictures before; the network is the same."""
    return FCN(in_channels, num_classes)
