"""The front matter of a card and the results of benchmarks, in YAML as the Hub reads it.

Every line of it is spelled by a public function: huggingface_hub's, and PyYAML's.
"""

import difflib
import re
from collections.abc import Iterator
from typing import Any

from segzoo.errors import UsageError, printable
from segzoo.publish.facts import EXAMPLE, EXAMPLE_MASK, Facts
from segzoo.publish.vocabulary import METRICS, TASK
from segzoo.spec import Dataset, Metric
from segzoo.zoo.licenses import PERMISSIVE

__all__ = ["benchmark_results", "front_matter", "license_fields", "spdx_of"]

DATASET_ON_HUB = re.compile(r"https://huggingface\.co/datasets/([\w.-]+/[\w.-]+)/?")
TAGS = {
    "binary": "semantic-segmentation",
    "multiclass": "semantic-segmentation",
    "multilabel": "semantic-segmentation",
    "saliency": "salient-object-detection",
}
# SPDX identifiers whose name on the Hub is not simply in lower case; the GNU ones are found below.
HUB_LICENSES = {
    "ODC-By-1.0": "odc-by",
    "ODbL-1.0": "odbl",
    "PDDL-1.0": "pddl",
    "PostgreSQL": "postgresql",
    "Zlib": "zlib",
}
SAME_ON_HUB = frozenset(  # SPDX identifiers that the Hub has in lower case
    "afl-3.0 apache-2.0 artistic-2.0 bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 "
    "cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 "
    "cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 "
    "cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0 "
    "ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 isc lppl-1.3c mit mpl-2.0 ms-pl ncsa "
    "ofl-1.1 osl-3.0 unlicense wtfpl".split()
)
GNU = re.compile(r"(agpl-3\.0|gpl-[23]\.0|lgpl-2\.1|lgpl-3\.0)(-only|-or-later)?")


def front_matter(facts: Facts) -> str:
    """The card's YAML, without the lines of dashes around it."""
    from huggingface_hub import ModelCardData

    config, paper = facts.config, facts.paper
    tags = ["segzoo", TAGS[config.task], config.model]
    results = list(_results(facts))
    data = ModelCardData(
        **license_fields(config.license),
        library_name="segzoo",
        pipeline_tag=TASK,
        tags=[*tags, f"arxiv:{paper.arxiv}"] if paper and paper.arxiv else tags,
        datasets=[*filter(None, map(_on_hub, config.trained_on))] or None,
        metrics=[*dict.fromkeys(METRICS[m.name] for m in facts.metrics if m.name in METRICS)]
        or None,
        base_model=facts.base_model or None,
        model_name=facts.repo.rpartition("/")[2],
        eval_results=results or None,
        widget=_widget(facts) or None,
    )
    if not results:
        data.model_name = None  # it stands in the results alone
    text: str = data.to_yaml(line_break="\n")
    return text


def benchmark_results(facts: Facts) -> dict[str, str]:
    """The files below .eval_results/: of the benchmark that the numbers are for, or none."""
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
    from yaml import safe_dump

    if (benchmark := facts.benchmark) is None:
        return {}
    main = facts.metrics[0]
    entry = EvalResultEntry(
        dataset_id=benchmark.dataset,
        task_id=benchmark.task,
        dataset_revision=benchmark.revision,
        value=main.value,
        notes=f"{main.name} on {main.split}; {main.protocol}",
    )
    text: str = safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False, allow_unicode=True)
    return {f"{_slug(benchmark.dataset)}.yaml": text}


def spdx_of(name: str) -> str:
    """A licence as SPDX writes it. UsageError, with a suggestion, for what is not in its list.

    Expressions such as "MIT OR Apache-2.0" are, and LicenseRef-NAME is one of somebody's own.
    """
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    try:
        return canonicalize_license_expression(name)
    except InvalidLicenseExpression:
        known = {each.lower(): each for each in (*SAME_ON_HUB, *HUB_LICENSES, *PERMISSIVE)}
        near = difflib.get_close_matches(name.lower(), known, n=2)
        raise UsageError(
            f"SPDX knows no licence {printable(name)[:100]!r}",
            expected="an identifier of https://spdx.org/licenses, or LicenseRef-NAME for another",
            next_step=f"Did you mean {' or '.join(known[each] for each in near)}?" if near else "",
        ) from None


def license_fields(name: str) -> dict[str, Any]:
    """A licence as the front matter has it: the Hub's name, or "other" with a name and a link."""
    lower = name.lower()
    if known := HUB_LICENSES.get(name) or (lower if lower in SAME_ON_HUB else ""):
        return {"license": known}
    if gnu := GNU.fullmatch(lower):
        return {"license": gnu[1]}
    own = lower.startswith("licenseref-")
    plain = re.sub(r"[^\w.+-]+", "-", lower.removeprefix("licenseref-"))
    listed = plain == lower and not own
    return {
        "license": "other",
        "license_name": plain,
        "license_link": f"https://spdx.org/licenses/{name}.html" if listed else "README.md",
    }


def _results(facts: Facts) -> Iterator[Any]:
    """Every number that was measured, for the card's model-index."""
    from huggingface_hub import EvalResult

    for metric in facts.metrics:
        yield EvalResult(
            task_type=TASK,
            dataset_type=_dataset_id(metric),
            dataset_name=metric.split,
            metric_type=METRICS.get(metric.name, _slug(metric.name).replace("-", "_")),
            metric_name=metric.name,
            metric_value=metric.value,
            metric_args={"protocol": metric.protocol},
        )


def _widget(facts: Facts) -> list[dict[str, Any]]:
    """The example on the model's page: a picture of the repository, and the mask of it."""
    if EXAMPLE not in facts.pictures:
        return []
    title = facts.example_title or "Example"
    return [{"src": EXAMPLE, "example_title": title, "output": {"url": EXAMPLE_MASK}}]


def _on_hub(data: Dataset) -> str:
    """The name that a data set has on the Hub; empty where it is elsewhere."""
    found = DATASET_ON_HUB.fullmatch(data.url)
    return found[1] if found else ""


def _dataset_id(metric: Metric) -> str:
    """The data set of the Hub that the words of a split name, else a short name for it."""
    found = re.match(r"hf:([\w.-]+/[\w.-]+)", metric.split)
    return found[1] if found else _slug(metric.split)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60].strip("-") or "data"
