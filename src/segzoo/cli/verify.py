"""segzoo verify: are weights what was published, byte for byte and logit for logit?"""

import contextlib
import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from segzoo.cli.options import AsJson
from segzoo.cli.progress import working
from segzoo.cli.text import print_json, say
from segzoo.zoo.refs import HUB

EXIT_BROKEN = 3


def verify(
    ref: Annotated[
        str,
        typer.Argument(
            help="NAME.TAG, the folder of a saved model, or hf-hub:USER/NAME[@REVISION]."
        ),
    ],
    public_key: Annotated[
        Path | None,
        typer.Option(
            "--public-key",
            metavar="KEY.pub",
            help="It must be signed by the owner of this key. Needs the extra signing.",
        ),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Use what is cached; ask the Hub for nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check weights against what was published.

    Manifest, hashes, header, values, strict load, golden and signature.

    One line for each. Exit code 3 when one does not hold; its line says what to do.
    """
    from segzoo.checks.verify import verify as verified

    with contextlib.nullcontext() if ref.startswith(HUB) else working(f"verifying {ref}"):
        results = verified(ref, local_files_only=offline, public_key=public_key)
    broken = sum(not result.ok for result in results)
    if as_json:
        proofs = [dataclasses.asdict(result) for result in results]
        print_json({"ref": ref, "ok": not broken, "proofs": proofs})
    else:
        skipped = sum(bool(result.skipped) for result in results)
        count = f"{len(results) - broken - skipped} hold, {broken} broken, {skipped} skipped"
        say(ref, *(result.line for result in results), count)
    if broken:
        raise typer.Exit(EXIT_BROKEN)
