"""segzoo doctor: what there is on this machine, and what is wrong with it."""

import typer

from segzoo.base.counts import count_of
from segzoo.base.records import Json
from segzoo.cli.options import AsJson
from segzoo.cli.progress import working
from segzoo.cli.text import print_json, say, size_of, table


def doctor(
    as_json: AsJson = False,
) -> None:
    """Show what is here, and what is broken or missing.

    Versions, devices, caches and plugins.

    Exit code 1 when something is broken. Nothing is downloaded or changed.
    """
    from segzoo.checks.doctor import examine

    with working("looking around"):
        report = examine()
    if as_json:
        print_json(report)
    else:
        for number, section in enumerate(_sections(report)):
            say(*[""] * bool(number), *section)
    if any(finding["state"] == "broken" for finding in report["findings"]):
        raise typer.Exit(1)


def _sections(report: dict[str, Json]) -> list[list[str]]:
    libraries = report["versions"] | report["runtimes"] | report["optional"]
    versions = [(name, version or "not installed") for name, version in libraries.items()]
    devices = [(device["device"], device["name"], _device(device)) for device in report["devices"]]
    no_cuda = [f"No CUDA: {report['no_cuda']}"] if report["no_cuda"] else []
    caches = [
        (cache["name"], size_of(cache["bytes"]) if cache["exists"] else "not there", cache["path"])
        for cache in report["caches"]
    ]
    plugins = [
        (p["model"], f"{p['plugin']} {p['version']}", p["state"], f"{p['seconds']:.2f} s")
        for p in report["plugins"]
    ]
    findings = [(f["state"], f"{f['what']}. {f['next_step']}") for f in report["findings"]]
    sections = [
        table(("LIBRARY", "VERSION"), versions),
        [*table(("DEVICE", "NAME", ""), devices), *no_cuda],
        table(("CACHE", "SIZE", "FOLDER"), caches, right=" >"),
    ]
    if report["speeds"]:
        names = list(report["runtimes"])
        rows = [
            (s["model"], s["precision"], *(_milliseconds(s["seconds"].get(n)) for n in names))
            for s in report["speeds"]
        ]
        head = ("MODEL", "PRECISION", *(name.upper() for name in names))
        sections.append(table(head, rows, right="  " + ">" * len(names)))
    if plugins:
        sections.append(table(("MODEL", "PLUGIN", "STATE", "IMPORT"), plugins, right="   >"))
    sections.append(table(("FINDING", ""), findings) if findings else ["Nothing is wrong."])
    return sections


def _device(device: dict[str, Json]) -> str:
    if "memory" in device:
        return size_of(device["memory"])
    if "cores" in device:
        threads = f", {count_of(device['threads'], 'thread')}" if "threads" in device else ""
        return f"{device['usable_cores']} of {count_of(device['cores'], 'core')}{threads}"
    return ""


def _milliseconds(seconds: float | None) -> str:
    """How long a picture takes in a runtime; "-" where it was not measured."""
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"
