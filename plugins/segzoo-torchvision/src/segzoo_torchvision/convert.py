"""Files that torchvision publishes, or that hold the state dict of one of its networks.

The tensors need no other names. Which options a file is of is told by those that it has.
"""

from collections.abc import Iterator, Mapping, Sequence

from segzoo.keymap import Converter

AUX = r"^aux_classifier\.4\.weight$"
ASPP = r"^classifier\.0\.project\.0\.weight$"
DEEPER = r"^backbone\.layer3\.22\."  # blocks of that stage: 6 of ResNet-50, 23 of ResNet-101

# Of each encoder the names that a file of it has, and those that it has not.
ENCODERS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "resnet50": ([r"^backbone\.layer3\.5\."], [DEEPER]),
    "resnet101": ([DEEPER], []),
    "mobilenet_v3_large": ([r"^backbone\.16\.0\.weight$"], []),
}


def layouts(
    family: str, encoders: Sequence[str], has: Sequence[str], lacks: Sequence[str] = ()
) -> Iterator[tuple[str, Converter]]:
    """A layout for each encoder, with the auxiliary classifier and without.

    has, lacks: names that every file of the family has, or has not.
    """
    for encoder in encoders:
        present, missing = ENCODERS[encoder]
        for aux in (True, False):
            yield (
                encoder if aux else f"{encoder}_without_aux",
                Converter(
                    summary=f"torchvision's {family}_{encoder}"
                    + ("" if aux else ", without the auxiliary classifier"),
                    detect=(*has, *present, *([AUX] if aux else [])),
                    absent=(*lacks, *missing, *([] if aux else [AUX])),
                    rules=(),
                    options={"encoder": encoder, "aux": aux},
                    hashed_name=True,
                ),
            )


DEEPLABV3 = dict(layouts("deeplabv3", [*ENCODERS], [ASPP]))
FCN = dict(layouts("fcn", ["resnet50", "resnet101"], [r"^classifier\.4\.weight$"], [ASPP]))
LRASPP = {
    "torchvision": Converter(
        summary="torchvision's lraspp_mobilenet_v3_large",
        detect=(r"^classifier\.low_classifier\.weight$", r"^classifier\.scale\.1\.weight$"),
        rules=(),
        hashed_name=True,
    )
}
