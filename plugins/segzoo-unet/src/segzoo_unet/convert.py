"""How the tensors of other codes' files are called here; `spec.py` has their commits."""

from dataclasses import replace

from segzoo.keymap import KERAS_CHANGES, KERAS_RULES, Converter

# --- PyTorch --------------------------------------------------------------------------------------

MILESIAL = Converter(
    summary="milesial/Pytorch-UNet, transposed convolutions",
    detect=(r"^inc\.double_conv\.0\.weight$", r"^up1\.up\.weight$"),
    rules=(
        (r"^inc\.", "encoder.0.block."),
        (r"^down(\d)\.maxpool_conv\.1\.", r"encoder.\1.block."),
        *((rf"^up{stage}\.up\.", f"decoder.{stage - 1}.up.conv.") for stage in range(1, 5)),
        *((rf"^up{stage}\.conv\.", f"decoder.{stage - 1}.block.") for stage in range(1, 5)),
        (r"\.double_conv\.0\.", ".conv1."),
        (r"\.double_conv\.1\.", ".norm1."),
        (r"\.double_conv\.3\.", ".conv2."),
        (r"\.double_conv\.4\.", ".norm2."),
        (r"^outc\.conv\.", "head."),
    ),
)
MILESIAL_BILINEAR = replace(
    MILESIAL,
    summary="milesial/Pytorch-UNet, bilinear=True",
    detect=(r"^inc\.double_conv\.0\.weight$",),
    absent=(r"^up1\.up\.weight$",),
    options={"bilinear": True},
)

# Stage n of the encoder is conv{n}_0, stage n of the decoder conv{3 - n}_{n + 1}.
VGGBLOCK = Converter(
    summary="4uiiurz1/pytorch-nested-unet, UNet",
    detect=(r"^conv0_4\.conv1\.weight$", r"^final\.weight$"),
    absent=(r"^conv0_3\.conv1\.weight$",),  # of its NestedUNet
    rules=(
        (r"^conv(\d)_0\.", r"encoder.\1.block."),
        *((rf"^conv{3 - n}_{n + 1}\.", f"decoder.{n}.block.") for n in range(4)),
        (r"\.bn(\d)\.", r".norm\1."),
        (r"^final\.", "head."),
    ),
)

# --- Keras ----------------------------------------------------------------------------------------

# Two convolutions in each of the five stages of the encoder, the lowest one included.
ENCODER = tuple(
    (f"^conv2d_{2 * stage + n}/", f"encoder.{stage}.block.conv{n + 1}/")
    for stage in range(5)
    for n in (0, 1)
)

DICE = Converter(
    summary="an article's Keras U-Net, which is jocicmarko/ultrasound-nerve-segmentation's",
    detect=(r"^conv2d_18/kernel$", r"^conv2d_transpose_3/kernel$"),
    rules=(
        *ENCODER,
        *((f"^conv2d_transpose_{stage}/", f"decoder.{stage}.up.conv/") for stage in range(4)),
        *(
            (f"^conv2d_{10 + 2 * stage + n}/", f"decoder.{stage}.block.conv{n + 1}/")
            for stage in range(4)
            for n in (0, 1)
        ),
        ("^conv2d_18/", "head/"),
        *KERAS_RULES,
    ),
    changes=KERAS_CHANGES,
)

ZHIXUHAO = Converter(
    summary="zhixuhao/unet, Keras",
    detect=(r"^conv2d_23/kernel$",),
    absent=(r"^conv2d_transpose_0/",),
    rules=(
        *ENCODER,
        *((f"^conv2d_{10 + 3 * stage}/", f"decoder.{stage}.up.conv/") for stage in range(4)),
        *(
            (f"^conv2d_{11 + 3 * stage + n}/", f"decoder.{stage}.block.conv{n + 1}/")
            for stage in range(4)
            for n in (0, 1)
        ),
        ("^conv2d_22/", "head.conv1/"),
        ("^conv2d_23/", "head.conv2/"),
        *KERAS_RULES,
    ),
    changes=KERAS_CHANGES,
)

# Layers are named by the row and the column of the UNet++ grid, both from 1.
MRGIOVANNI = Converter(
    summary="MrGiovanni/UNetPlusPlus, Keras, U_Net",
    detect=(r"^conv11_1/kernel$", r"^output/kernel$"),
    absent=(r"^conv12_1/kernel$",),  # of its UNetPlusPlus
    rules=(
        *((f"^conv{n + 1}1_", f"encoder.{n}.block.conv") for n in range(5)),
        *((f"^up{4 - n}{n + 2}/", f"decoder.{n}.up.conv/") for n in range(4)),
        *((f"^conv{4 - n}{n + 2}_", f"decoder.{n}.block.conv") for n in range(4)),
        ("^output/", "head/"),
        *KERAS_RULES,
    ),
    changes=KERAS_CHANGES,
)

# --- by model -------------------------------------------------------------------------------------

UNET = {"milesial": MILESIAL, "milesial_bilinear": MILESIAL_BILINEAR}
UNET_VGGBLOCK = {"nested_unet": VGGBLOCK}
UNET_DICE = {"keras": DICE}
UNET_ZHIXUHAO = {"keras": ZHIXUHAO}
UNET_MRGIOVANNI = {"keras": MRGIOVANNI}
