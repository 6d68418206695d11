"""YAML that comes from a file or from the Hub: plain values, and no anchors."""

from typing import Any

from segzoo.base.records import Json
from segzoo.base.strictjson import short

__all__ = ["strict_yaml"]


def strict_yaml(text: str) -> Json:
    """The value that a text in YAML stands for; the caller has judged its length.

    ValueError for what is no YAML; for anchors, a few lines of which stand for gigabytes; and for a
    key that stands twice, of which PyYAML would keep the last.
    """
    import yaml

    try:
        tokens = yaml.scan(text, Loader=yaml.SafeLoader)
        if any(isinstance(token, yaml.AnchorToken | yaml.AliasToken) for token in tokens):
            raise yaml.YAMLError("it holds anchors")
        loader = yaml.SafeLoader(text)
        plain = loader.construct_mapping

        def unique(node: Any, deep: bool = False) -> dict[Any, Any]:
            found: dict[Any, Any] = plain(node, deep)  # what << merges is in the node after it
            seen = set()
            for key, _ in node.value if len(found) < len(node.value) else ():
                if (name := loader.construct_object(key)) in seen:
                    line = key.start_mark.line + 1
                    raise yaml.YAMLError(
                        f"the key '{short(name)}' stands twice, again in line {line}"
                    )
                seen.add(name)
            return found

        loader.construct_mapping = unique
        return loader.get_single_data()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())[:200]) from None
    except (ValueError, LookupError, AttributeError):  # of 2026-13-01, !!bool x, 5,000 digits
        raise ValueError("a number, a date or a value with a tag in it cannot be read") from None
