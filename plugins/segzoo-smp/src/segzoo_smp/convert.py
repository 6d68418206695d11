"""Folders that SMP and timm save: how they are known."""

from segzoo.keymap import SavedFolder

SMP = SavedFolder(
    summary="segmentation-models-pytorch",
    keys=("_model_class", "encoder_name", "classes"),
    arguments="segzoo_smp.checkpoint:arguments",
)
TIMM = SavedFolder(summary="timm", keys=("architecture", "pretrained_cfg"))
