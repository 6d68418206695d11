"""The promises that every plugin keeps."""

from dataclasses import replace
from importlib.util import find_spec as find_spec_of

import pytest

from segzoo.model import configured
from segzoo.model.load import find_spec
from segzoo.testing import assert_keeps_contract

pytestmark = pytest.mark.skipif(
    find_spec_of("transformers") is None, reason="transformers is not installed"
)


def with_options(model, **chosen):
    """The spec of a model as if these options were its defaults."""
    _, spec = find_spec(model)
    options = {name: option.default for name, option in spec.options.items()} | chosen
    variant = configured.variant_of(spec, options)
    defaults = {n: replace(option, default=options[n]) for n, option in spec.options.items()}
    return replace(variant, options=defaults)


def test_contract():
    assert_keeps_contract("hf_segformer")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("hf_segformer", {"image_size": 0}),
        ("hf_segformer", {"encoder": "mit_b2"}),
        ("hf_upernet", {}),
        ("hf_upernet", {"encoder": "swin_tiny", "aux": False}),
        ("hf_upernet", {"encoder": "swin_base", "image_size": 0}),
    ],
)
def test_the_whole_contract(model, options):
    assert_keeps_contract(with_options(model, **options) if options else model, slow=True)
