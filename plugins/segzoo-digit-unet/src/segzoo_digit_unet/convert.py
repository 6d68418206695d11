"""How the tensors of the article's Keras files (first_model.h5 and so on) are called here."""

from segzoo.keymap import KERAS_CHANGES, KERAS_RULES, Converter

KERAS = Converter(
    summary="the article's Keras network, .h5 or .keras",
    detect=("^conv2d_11/kernel$", "^conv2d_transpose_5/kernel$", "^batch_normalization_11/gamma$"),
    rules=(
        *(
            (f"^conv2d_{2 * stage + n}/", f"encoder.{stage}.{2 * n}/")
            for stage in range(5)
            for n in (0, 1)
        ),
        *((f"^batch_normalization_{stage}/", f"encoder.{stage}.4.1/") for stage in range(5)),
        *((f"^conv2d_{10 + n}/", f"bottleneck.{2 * n}/") for n in (0, 1)),
        *((f"^batch_normalization_{5 + n}/", f"bottleneck.{2 * n + 1}.1/") for n in (0, 1)),
        *((f"^conv2d_transpose_{stage}/", f"decoder.{stage}.up/") for stage in range(4)),
        *((f"^batch_normalization_{7 + n}/", f"decoder.{n}.norm.1/") for n in range(4)),
        ("^conv2d_transpose_4/", "head.0.up/"),
        ("^batch_normalization_11/", "head.0.norm.1/"),
        ("^conv2d_transpose_5/", "head.1/"),
        *KERAS_RULES,
    ),
    changes=KERAS_CHANGES,
)

CONVERTERS = {"keras": KERAS}
