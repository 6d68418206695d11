"""segzoo warm: make a model ready for a runtime ahead of its first picture."""

from typing import Annotated, Any

import typer

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
from segzoo.errors import DependencyMissingError, OutputError, UsageError
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
    data: Annotated[
        str | None,
        typer.Option(
            help="Pictures with their truth, as segzoo train takes them: bf16 and int8 are used "
            "when little enough is lost on those held out; int8 is made of the others.",
            metavar="WORDS",
        ),
    ] = None,
    val: Annotated[
        str | None,
        typer.Option(help="What to measure on, where --data holds none out.", metavar="WORDS"),
    ] = None,
    weights: WeightsFile = None,
    option: Options = None,
    as_json: AsJson = False,
) -> None:
    """Make a model ready for a runtime without torch.

    The network is exported once and compared with torch on pictures of three sizes; then
    `segzoo predict MODEL ... --runtime RUNTIME` starts at once, and imports no torch. With --data
    a lower precision is measured beside fp32, and used from then on if it loses little.
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
    request = Request(
        ref=model,
        pretrained=weights is None,
        weights=weights,
        options=options_of(option),
        tell=tell,
    )
    if data is not None:
        _measured(request, names, precision.value, (data, val), as_json=as_json)
        return
    if val is not None:
        raise UsageError("--val goes with --data")
    found = found_by(request)
    records: list[dict[str, Any]] = []
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
    else:
        _say_differences(records)
    if lost := [r["folder"] for r in records if r["difference"] is None]:
        raise OutputError(
            "what was made could not be kept",
            file=lost[0],
            next_step="Free some space there, or choose another place: SEGZOO_HOME=FOLDER",
        )


def _say_differences(records: list[dict[str, Any]]) -> None:
    rows = [
        (
            r["runtime"],
            r["precision"],
            "not kept" if r["difference"] is None else f"{r['difference']:.1g}",
            "" if r["bytes"] is None else size_of(r["bytes"]),
        )
        for r in records
    ]
    say(*table(("RUNTIME", "PRECISION", "FROM TORCH", "SIZE"), rows, right="  >>"))
    say(records[0]["folder"])


def _measured(
    request: Request,
    runtimes: list[str],
    precision: str,
    words: tuple[str, str | None],
    *,
    as_json: bool,
) -> None:
    from segzoo.predict.artefacts import store
    from segzoo.runs.lowered import Lowering, lowered

    found = lowered(
        Lowering(
            request=request, precision=precision, runtimes=runtimes, data=words[0], val=words[1]
        )
    )
    if as_json:
        print_json(
            [
                {
                    "model": each.identity.model,
                    "runtime": each.runtime,
                    "precision": each.precision,
                    "data": each.data,
                    "pictures": each.pictures,
                    "fp32": dict(each.exact),
                    "found": dict(each.found),
                    "lost": each.lost,
                    "in_fp32": [*each.kept],
                    "bytes": each.size,
                    "sha256": each.sha256,
                    "folder": str(store.home_of(each.identity)),
                }
                for each in found
            ]
        )
        return
    names = [*found[0].exact]
    rows = [
        (
            each.runtime,
            each.precision,
            *(f"{each.found[n]:.4f} ({each.lost[n]:+.4f} lost)" for n in names),
            size_of(each.size),
        )
        for each in found
    ]
    say(*table(("RUNTIME", "PRECISION", *names, "SIZE"), rows, right="  " + ">" * (len(names) + 1)))
    if found[0].kept:
        say(f"in fp32: {', '.join(found[0].kept)}")
