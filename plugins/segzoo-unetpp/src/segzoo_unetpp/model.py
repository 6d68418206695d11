"""UNet++: U-Nets of four depths nested in one network, and the depth to use chosen later.

Papers: Zhou, Siddiquee, Tajbakhsh, Liang, arXiv:1807.10165 (DLMIA 2018) and arXiv:1912.05074 (IEEE
TMI 2020). Two networks bear the name, and both are here: `unetpp` as in PyTorch code that many use
(batch normalisation, bilinear enlargement), and `unetpp_official` as in the authors' Keras code (no
normalisation, dropout, transposed convolutions). Differences in form: both return logits, the
deepest head's first, and what each code writes out node by node is one grid.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segzoo_unetpp.blocks import Node, TransposedNode

Mode = Literal["fast", "accurate", "accurate_multilabel"]

# Nodes X(row, column) of the paper's figure 1, in the order in which each code makes them: column
# by column from the encoder on, or from the shallowest of the nested networks to the deepest.
BY_COLUMN = tuple((row, column) for column in range(5) for row in range(5 - column))
BY_DEPTH = tuple((depth - column, column) for depth in range(5) for column in range(depth + 1))


class UNetPlusPlus(nn.Module):
    """U-Nets of depth 1 to `depth` that share their nodes, each with a head at full size.

    x (N, in_channels, H, W) -> logits (N, num_classes, H, W); H and W are multiples of 2**depth,
    else ValueError. In training mode, or with `all_heads=True`: a tuple of such maps from the
    deepest head to the shallowest. Without deep supervision there is the deepest head alone.

    mode: what is final in eval mode. "fast": the deepest head. "accurate": the logits of the mean
    of all heads' probabilities, by softmax where there are several classes; "accurate_multilabel":
    by the sigmoid in any case, for classes that overlap. Then `all_heads=True` gives this mean
    before the heads.

    A node or head has the same name at any depth, so the weights of a network hold those of every
    shallower one.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        width: int,
        depth: int,
        deep_supervision: bool,
        mode: Mode,
        grid: Sequence[tuple[int, int]],
        node: Callable[[int, int, int], nn.Module],
    ) -> None:
        super().__init__()
        self.depth = depth
        self.mode = mode
        self.grid = [(row, column) for row, column in grid if row + column <= depth]
        widths = [width * 2**row for row in range(depth + 1)]
        self.nodes = nn.ModuleDict()
        for row, column in self.grid:
            if column:
                channels = (column * widths[row], widths[row + 1])
            else:
                channels = (widths[row - 1] if row else in_channels, 0)
            self.nodes[f"{row}_{column}"] = node(*channels, widths[row])
        columns = range(1 if deep_supervision else depth, depth + 1)
        self.heads = nn.ModuleDict({str(c): nn.Conv2d(width, num_classes, 1) for c in columns})
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor, *, all_heads: bool = False) -> Tensor | tuple[Tensor, ...]:
        height, width = x.shape[-2:]
        if height % 2**self.depth or width % 2**self.depth:
            raise ValueError(
                f"UNet++ of depth {self.depth} takes sizes that are multiples of {2**self.depth}, "
                f"not {height}x{width}; pad the input, as predict does"
            )
        maps: dict[tuple[int, int], Tensor] = {}
        for (row, column), node in zip(self.grid, self.nodes.values(), strict=True):
            if column:
                left = [maps[row, c] for c in range(column)]
                maps[row, column] = node(left, maps[row + 1, column - 1])
            else:
                maps[row, column] = node([self.pool(maps[row - 1, 0]) if row else x], None)

        heads = [head(maps[0, int(column)]) for column, head in self.heads.items()][::-1]
        if self.mode != "fast" and not self.training:
            overlap = self.mode == "accurate_multilabel" or heads[0].shape[1] == 1
            heads = [mean_logits(heads, overlap=overlap), *heads]
        several = all_heads or (self.training and len(heads) > 1)
        return tuple(heads) if several else heads[0]


def mean_logits(heads: Sequence[Tensor], *, overlap: bool) -> Tensor:
    """Logits of the mean of several heads' probabilities; each head (N, K, H, W) logits.

    overlap: classes overlap, and probabilities are sigmoids; else they are the softmax over K.
    """
    maps = torch.stack([*heads])
    if overlap:  # of the mean, log p - log (1 - p)
        return F.logsigmoid(maps).logsumexp(0) - F.logsigmoid(-maps).logsumexp(0)
    return maps.log_softmax(2).logsumexp(0)


def unetpp(
    in_channels: int = 3,
    num_classes: int = 1,
    *,
    width: int = 32,
    depth: int = 4,
    deep_supervision: bool = True,
    mode: Mode = "fast",
) -> UNetPlusPlus:
    """UNet++ with batch normalisation: 9.16 million parameters for RGB and one class."""
    return UNetPlusPlus(
        in_channels,
        num_classes,
        width=width,
        depth=depth,
        deep_supervision=deep_supervision,
        mode=mode,
        grid=BY_COLUMN,
        node=Node,
    )


def unetpp_official(
    in_channels: int = 3,
    num_classes: int = 1,
    *,
    width: int = 32,
    depth: int = 4,
    deep_supervision: bool = True,
    mode: Mode = "fast",
    dropout: float = 0.5,
) -> UNetPlusPlus:
    """UNet++ as the authors' Keras code has it: 9.04 million parameters for RGB and one class."""
    return UNetPlusPlus(
        in_channels,
        num_classes,
        width=width,
        depth=depth,
        deep_supervision=deep_supervision,
        mode=mode,
        grid=BY_DEPTH,
        node=partial(TransposedNode, dropout=dropout),
    )
