"""segzoo warm: make a model ready for a runtime ahead of its first picture."""

from typing import Annotated

import typer

from segzoo.base.records import Json
from segzoo.cli.options import (
    AsJson,
    ModelName,
    Options,
    Precision,
    PrecisionOf,
    WeightsFile,
    options_of,
)
from segzoo.cli.text import print_json, say, size_of, table, tell
from segzoo.errors import DependencyMissingError, UsageError
from segzoo.model.served import Request, found_by


def warm(
    model: ModelName,
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            help="onnxruntime or openvino; repeat it.  [default: those that are installed]",
            metavar="RUNTIME",
            show_default=False,
        ),
    ] = None,
    precision: PrecisionOf = Precision.fp32,
    weights: WeightsFile = None,
    option: Options = None,
    as_json: AsJson = False,
) -> None:
    """Make a model ready for a runtime without torch.

    The network is exported once and compared with torch on pictures of three sizes; then
    `segzoo predict MODEL ... --runtime RUNTIME` starts at once, and imports no torch.
    """
    from segzoo.predict.artefacts import ready, store
    from segzoo.predict.artefacts.identity import version_of
    from segzoo.predict.runtimes import offered

    names = list(dict.fromkeys(runtime or ())) or offered.installed(precision.value)
    for name in names:
        offered.refuse_unoffered(name, precision.value)
        if name not in ready.EXPORTED:
            raise UsageError(
                f"{name} needs nothing made for it", expected=" or ".join(ready.EXPORTED)
            )
    if not names:
        raise DependencyMissingError(
            f"no runtime is installed that computes in {precision.value} without torch",
            next_step="Run: pip install 'segzoo-core[openvino]'",
        )
    found = found_by(
        Request(
            ref=model,
            pretrained=weights is None,
            weights=weights,
            options=options_of(option),
            tell=tell,
        )
    )
    records: list[dict[str, Json]] = []
    for name in names:
        ready.runtime_for(found.subject, name, precision.value)
        artefact = store.read(found.subject.identity)
        parity = artefact and store.parity_of(artefact, name, precision.value, version_of(name))
        records.append(
            {
                "model": found.subject.identity.model,
                "runtime": name,
                "precision": precision.value,
                "difference": parity.difference if parity else None,
                "cases": [[*case.shape] for case in parity.cases] if parity else [],
                "bytes": artefact.size if artefact else None,
                "opset": artefact.opset if artefact else None,
                "folder": str(store.home_of(found.subject.identity)),
            }
        )
    if as_json:
        print_json(records)
        return
    rows = [
        (
            str(r["runtime"]),
            str(r["precision"]),
            "not kept" if r["difference"] is None else f"{r['difference']:.1g}",
            "" if r["bytes"] is None else size_of(r["bytes"]),
        )
        for r in records
    ]
    say(*table(("RUNTIME", "PRECISION", "FROM TORCH", "SIZE"), rows, right="  >>"))
    say(str(records[0]["folder"]))
