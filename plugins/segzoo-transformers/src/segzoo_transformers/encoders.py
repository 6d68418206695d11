"""The encoders of published checkpoints, as keywords of transformers' config classes."""

from collections.abc import Mapping
from typing import Any, NamedTuple

STAGES = ["stage1", "stage2", "stage3", "stage4"]
HEADS = [1, 2, 5, 8]  # of attention, in every Mix Transformer


class Mix(NamedTuple):
    """A Mix Transformer, and how wide SegFormer's decoder is on it."""

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    decoder: int


class ConvNext(NamedTuple):
    depths: tuple[int, ...]
    widths: tuple[int, ...]


class Swin(NamedTuple):
    """width: of the first stage; each has twice that of the one before."""

    depths: tuple[int, ...]
    width: int
    heads: tuple[int, ...]
    window: int


WIDE = (64, 128, 320, 512)
MIX = {
    "mit_b0": Mix((2, 2, 2, 2), (32, 64, 160, 256), 256),
    "mit_b1": Mix((2, 2, 2, 2), WIDE, 256),
    "mit_b2": Mix((3, 4, 6, 3), WIDE, 768),
    "mit_b3": Mix((3, 4, 18, 3), WIDE, 768),
    "mit_b4": Mix((3, 8, 27, 3), WIDE, 768),
    "mit_b5": Mix((3, 6, 40, 3), WIDE, 768),
}
CONVNEXT = {
    "convnext_tiny": ConvNext((3, 3, 9, 3), (96, 192, 384, 768)),
    "convnext_small": ConvNext((3, 3, 27, 3), (96, 192, 384, 768)),
    "convnext_base": ConvNext((3, 3, 27, 3), (128, 256, 512, 1024)),
    "convnext_large": ConvNext((3, 3, 27, 3), (192, 384, 768, 1536)),
    "convnext_xlarge": ConvNext((3, 3, 27, 3), (256, 512, 1024, 2048)),
}
SWIN = {
    "swin_tiny": Swin((2, 2, 6, 2), 96, (3, 6, 12, 24), 7),
    "swin_small": Swin((2, 2, 18, 2), 96, (3, 6, 12, 24), 7),
    "swin_base": Swin((2, 2, 18, 2), 128, (4, 8, 16, 32), 12),
    "swin_large": Swin((2, 2, 18, 2), 192, (6, 12, 24, 48), 12),
}


def segformer(encoder: str) -> dict[str, Any]:
    """Keywords of SegformerConfig."""
    mix = MIX[encoder]
    return {
        "depths": [*mix.depths],
        "hidden_sizes": [*mix.widths],
        "decoder_hidden_size": mix.decoder,
        "num_encoder_blocks": len(mix.depths),
        "num_attention_heads": HEADS,
        "sr_ratios": [8, 4, 2, 1],
        "patch_sizes": [7, 3, 3, 3],
        "strides": [4, 2, 2, 2],
        "mlp_ratios": [4, 4, 4, 4],
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "reshape_last_stage": True,
    }


def backbone(encoder: str) -> dict[str, Any]:
    """ "model_type", and keywords of ConvNextConfig or SwinConfig."""
    if encoder in CONVNEXT:
        convnext = CONVNEXT[encoder]
        return {
            "model_type": "convnext",
            "depths": [*convnext.depths],
            "hidden_sizes": [*convnext.widths],
            "num_stages": len(convnext.depths),
            "patch_size": 4,
            "hidden_act": "gelu",
            "out_features": STAGES,
        }
    swin = SWIN[encoder]
    return {
        "model_type": "swin",
        "depths": [*swin.depths],
        "embed_dim": swin.width,
        "num_heads": [*swin.heads],
        "window_size": swin.window,
        "patch_size": 4,
        "mlp_ratio": 4.0,
        "qkv_bias": True,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "use_absolute_embeddings": False,
        "out_features": STAGES,
    }


def upernet(encoder: str) -> dict[str, Any]:
    """Keywords of UperNetConfig, but for the backbone and whether it has an auxiliary head."""
    return {
        "hidden_size": 512,
        "pool_scales": [1, 2, 3, 6],
        "auxiliary_in_channels": third_width(encoder),
        "auxiliary_channels": 256,
        "auxiliary_num_convs": 1,
        "auxiliary_concat_input": False,
    }


def third_width(encoder: str) -> int:
    """Channels of the features that the auxiliary head is fed with."""
    return CONVNEXT[encoder].widths[2] if encoder in CONVNEXT else 4 * SWIN[encoder].width


UPERNET: Mapping[str, object] = {**CONVNEXT, **SWIN}
