"""What transformers' `save_pretrained` writes: names of tensors, and how its folders are known.

The library saves under the names of its first releases, whatever it calls the tensors in memory.
"""

from segzoo.keymap import Converter, SavedFolder

ATTENTION = (
    (r"attention\.self\.query\.", "attention.q_proj."),
    (r"attention\.self\.key\.", "attention.k_proj."),
    (r"attention\.self\.value\.", "attention.v_proj."),
    (r"attention\.output\.dense\.", "attention.o_proj."),
)
MIX = (
    (r"^segformer\.encoder\.patch_embeddings\.(\d+)\.", r"segformer.stages.\1.patch_embeddings."),
    (r"^segformer\.encoder\.block\.(\d+)\.", r"segformer.stages.\1.blocks."),
    (r"^segformer\.encoder\.layer_norm\.(\d+)\.", r"segformer.stages.\1.layer_norm."),
    *ATTENTION,
    (r"attention\.self\.sr\.", "attention.sequence_reduction.sequence_reduction."),
    (r"attention\.self\.layer_norm\.", "attention.sequence_reduction.layer_norm."),
    (r"\.mlp\.dense(\d)\.", r".mlp.fc\1."),
    (r"\.layer_norm_1\.", ".layernorm_before."),
    (r"\.layer_norm_2\.", ".layernorm_after."),
    (r"^decode_head\.linear_c\.", "decode_head.linear_projections."),
)
TABLE = ".relative_position_bias_table"
ENCODER = r"^segformer\.encoder\.block\."
DECODER = r"^decode_head\.linear_c\."

SEGFORMER = {
    "transformers": Converter(
        summary="transformers' SegformerForSemanticSegmentation",
        detect=(ENCODER, DECODER),
        rules=MIX,
    ),
    "encoder": Converter(
        summary="transformers' SegformerForImageClassification",
        detect=(ENCODER,),
        absent=(r"^decode_head\.",),
        rules=MIX,
        leave_out=(r"^classifier\.",),
        part="segformer.",
    ),
}
UPERNET = {
    # UPerNet on ConvNeXt needs no layout: its names have stayed as they were.
    "transformers": Converter(
        summary="transformers' UperNetForSemanticSegmentation on Swin",
        detect=(r"^backbone\.(swin\.)?encoder\.layers\.", r"^decode_head\.psp_modules\."),
        rules=(
            (r"^backbone\.swin\.", "backbone."),
            *ATTENTION,
            (r"attention\.self\.relative_", "attention.relative_position_bias.relative_"),
            (r"\.intermediate\.dense\.", ".mlp.fc1."),
            (r"\.output\.dense\.", ".mlp.fc2."),
        ),
        # no output depends on the one, and the other follows from the window's size
        leave_out=(r"^backbone\.swin\.layernorm\.", r"\.relative_position_index$"),
    )
}
FOLDER = SavedFolder(
    summary="transformers",
    keys=("architectures",),
    arguments="segzoo_transformers.checkpoint:arguments",
)
