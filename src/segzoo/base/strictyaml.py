"""YAML that comes from a file or from the Hub: plain values, and no anchors."""

from segzoo.base.records import Json

__all__ = ["strict_yaml"]


def strict_yaml(text: str) -> Json:
    """The value that a text in YAML stands for; the caller has judged its length.

    ValueError for what is no YAML, and for anchors: a few lines of them stand for gigabytes.
    """
    import yaml

    try:
        tokens = yaml.scan(text, Loader=yaml.SafeLoader)
        if any(isinstance(token, yaml.AnchorToken | yaml.AliasToken) for token in tokens):
            raise ValueError("it holds anchors")
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())[:200] or "it is nested too deeply") from None
