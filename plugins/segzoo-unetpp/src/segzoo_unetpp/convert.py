"""How the tensors of two other codes' files are called here."""

from dataclasses import replace

from segzoo.keymap import KERAS_CHANGES, KERAS_RULES, Converter

# github.com/4uiiurz1/pytorch-nested-unet at 557ea02, class NestedUNet of archs.py.
NESTED = Converter(
    summary="4uiiurz1/pytorch-nested-unet, NestedUNet with deep supervision",
    detect=(r"^conv0_4\.conv1\.weight$", r"^final1\.weight$"),
    rules=(
        (r"^conv(\d)_(\d)\.conv(\d)\.", r"nodes.\1_\2.convs.\3.0."),
        (r"^conv(\d)_(\d)\.bn(\d)\.", r"nodes.\1_\2.convs.\3.1."),
        (r"\.convs\.1\.", ".convs.0."),
        (r"\.convs\.2\.", ".convs.1."),
        (r"^final(\d)\.", r"heads.\1."),
        (r"^final\.", "heads.4."),
    ),
)
NESTED_SINGLE = replace(
    NESTED,
    summary="4uiiurz1/pytorch-nested-unet, NestedUNet with one head",
    detect=(r"^conv0_3\.conv1\.weight$", r"^final\.weight$"),
    options={"deep_supervision": False},
)

# github.com/MrGiovanni/UNetPlusPlus at 2659ddc, UNetPlusPlus of keras/helper_functions.py: layers
# are named by the row and the column of their node, both from 1.
KERAS = Converter(
    summary="MrGiovanni/UNetPlusPlus, Keras, all four heads",
    detect=(r"^conv15_1/kernel$", r"^conv12_1/kernel$", r"^output_1/kernel$"),
    rules=(
        *(
            (f"^conv{row + 1}{column + 1}_{conv}/", f"nodes.{row}_{column}.convs.{conv - 1}.0/")
            for row in range(5)
            for column in range(5 - row)
            for conv in (1, 2)
        ),
        *(
            (f"^up{row + 1}{column + 1}/", f"nodes.{row}_{column}.up/")
            for row in range(4)
            for column in range(1, 5 - row)
        ),
        (r"^output_(\d)/", r"heads.\1/"),
        *KERAS_RULES,
    ),
    changes=KERAS_CHANGES,
)

NESTED_UNET = {"nested_unet": NESTED, "nested_unet_single": NESTED_SINGLE}
OFFICIAL = {"keras": KERAS}
