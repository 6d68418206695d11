"""The metadata of a model card (README.md), and what the Hub refuses in it."""

import re
from typing import Any

import yaml

BLOCK = re.compile(r"^\s*---[\r\n]+([\S\s]*?)[\r\n]+---(\r\n|\n|$)")
LICENSES = (
    "apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0"
    " bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause"
    " bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0"
    " cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0"
    " cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0"
    " cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1"
    " eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research"
    " intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl openmdw-1.0"
    " openmdw-1.1 openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr"
    " deepfloyd-if-license fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2"
    " llama3.3 llama4 grok2-community gemma unknown other"
).split()
STRINGS = ("library_name", "pipeline_tag", "license_name", "license_link", "thumbnail")
LISTS = ("datasets", "metrics", "tags", "base_model")  # a string alone is taken, but for tags
EMPTY = "empty or missing yaml metadata in repo card"


def metadata(text: str) -> dict[str, Any]:
    """The front matter, empty where there is none. Raises yaml.YAMLError."""
    found = BLOCK.match(text)
    data = yaml.safe_load(found[1]) if found else None
    return data if isinstance(data, dict) else {}


def words(data: dict[str, Any], key: str) -> list[str]:
    """The strings below a key, which may have one or a list of them."""
    value = data.get(key, [])
    return [e for e in (value if isinstance(value, list) else [value]) if isinstance(e, str)]


def judged(text: str) -> tuple[list[str], list[str]]:
    """Errors and warnings about a card."""
    try:
        data = metadata(text)
    except yaml.YAMLError as error:
        return [f"YAML parse error: {str(error).splitlines()[0]}"], []
    if not data:
        return [], [EMPTY]
    errors = []
    licenses = data.get("license", "unknown")
    for each in licenses if isinstance(licenses, list) else [licenses]:
        if each not in LICENSES:
            errors.append(f'"license" must be one of [{", ".join(LICENSES)}, array]')
    for key in STRINGS:
        if not isinstance(data.get(key, ""), str):
            errors.append(f'"{key}" must be a string')
    for key in LISTS:
        value = data.get(key, [])
        if isinstance(value, str) and key != "tags":
            value = [value]
        if not isinstance(value, list):
            errors.append(f'"{key}" must be an array')
        else:
            wrong = (i for i, each in enumerate(value) if not isinstance(each, str))
            errors += [f'"{key}[{i}]" must be a string' for i in wrong]
    if "model-index" in data:
        errors += wrong_results(data["model-index"])
    return errors, []


def wrong_results(index: Any) -> list[str]:
    """What is missing in a model-index."""
    if not isinstance(index, list):
        return ['"model-index" must be an array']
    errors = []
    for i, model in enumerate(index):
        at = f"model-index[{i}]"
        errors += missing(model, at, "name", "results")
        results = model.get("results") if isinstance(model, dict) else None
        for j, result in enumerate(results if isinstance(results, list) else []):
            at = f"model-index[{i}].results[{j}]"
            errors += missing(result, at, "task", "metrics")
            if not isinstance(result, dict):
                continue
            errors += missing(result.get("task", {"type": ""}), f"{at}.task", "type")
            if "dataset" in result:
                errors += missing(result["dataset"], f"{at}.dataset", "type", "name")
            metrics = result.get("metrics")
            for k, metric in enumerate(metrics if isinstance(metrics, list) else []):
                errors += missing(metric, f"{at}.metrics[{k}]", "type", "value")
    return errors


def missing(value: Any, at: str, *keys: str) -> list[str]:
    if not isinstance(value, dict):
        return [f'"{at}" must be of type object']
    return [f'"{at}.{key}" is required' for key in keys if value.get(key) is None]
