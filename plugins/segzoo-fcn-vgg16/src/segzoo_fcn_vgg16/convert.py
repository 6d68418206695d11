"""How the tensors of VGG16 files, which hold the backbone, are called here.

Both libraries call the convolutions alike and the classifier, which is left out, differently.
"""

from dataclasses import replace

from segzoo.keymap import Converter

TORCHVISION = Converter(
    summary="torchvision's VGG16, vgg16-397923af.pth",
    detect=(r"^features\.28\.weight$", r"^classifier\.6\.weight$"),
    rules=((r"^features\.", "backbone."),),
    leave_out=(r"^classifier\.",),
    part="backbone.",
    hashed_name=True,
)
TIMM = replace(
    TORCHVISION,
    summary="timm's VGG16, timm/vgg16.tv_in1k",
    detect=(r"^features\.28\.weight$",),
    absent=(r"^classifier\.",),
    leave_out=(r"^pre_logits\.", r"^head\."),
)

CONVERTERS = {"torchvision": TORCHVISION, "timm": TIMM}
