"""The texts are met through their callers too: test_header.py and test_config.py have the rows."""

import pytest

from segzoo.base.strictjson import short, strict_json
from segzoo.errors import ConfigError, WeightsFormatError


def test_it_says_what_it_was_reading():
    raw = b'{"a": [1, 2.5, null], "b": {"c": "[[[["}}'
    parsed = strict_json(raw, "f", what="the index", error=WeightsFormatError, levels=2)
    assert parsed == {"a": [1, 2.5, None], "b": {"c": "[[[["}}
    with pytest.raises(WeightsFormatError) as caught:
        strict_json(b"[1]", "index.json", what="the index", error=WeightsFormatError, levels=4)
    assert str(caught.value) == "index.json: the index is not a JSON object; found list"


@pytest.mark.parametrize("levels", [2, 4, 32])
def test_levels(levels):
    def nested(depth):
        return b'{"a":' * depth + b"1" + b"}" * depth

    strict_json(nested(levels), "f", what="it", error=ConfigError, levels=levels)
    with pytest.raises(ConfigError, match="it is nested too deeply"):
        strict_json(nested(levels + 1), "f", what="it", error=ConfigError, levels=levels)


def test_short_is_printable_and_short():
    assert short("a\nb") == "a\\nb"
    assert short("x" * 80) == "x" * 80
    assert short("x" * 81) == "x" * 77 + "..."
