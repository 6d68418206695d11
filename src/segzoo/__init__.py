"""segzoo: a model zoo for image segmentation that architectures join as plugins.

    import segzoo

    segzoo.list_models()                             # what is installed
    model = segzoo.load("u2netp", pretrained=True)   # an nn.Module with its preprocessing
    model.predict("photo.jpg").mask                  # (H, W) uint8 at the photo's size

The names below are imported when they are first used, so `import segzoo` costs no torch.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segzoo.api import list_models as list_models
    from segzoo.api import load as load
    from segzoo.api import model_info as model_info
    from segzoo.errors import SegzooError as SegzooError
    from segzoo.evaluation import evaluate as evaluate
    from segzoo.model import Model as Model
    from segzoo.predictor import Prediction as Prediction
    from segzoo.predictor import Predictor as Predictor
    from segzoo.spec import Recipe as Recipe
    from segzoo.training import train as train

_HOME_OF = {
    "Model": "segzoo.model",
    "Prediction": "segzoo.predictor",
    "Predictor": "segzoo.predictor",
    "Recipe": "segzoo.spec",
    "SegzooError": "segzoo.errors",
    "evaluate": "segzoo.evaluation",
    "list_models": "segzoo.api",
    "load": "segzoo.api",
    "model_info": "segzoo.api",
    "train": "segzoo.training",
}
__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("segzoo-core")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'segzoo' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOME_OF, "__version__"]


def _warn_of_namesake() -> None:
    """Another project's distribution is called segzoo and unpacks into the folder of this one."""
    beside = os.path.dirname(os.path.dirname(__file__))
    if any(
        name.startswith("segzoo-") and name[7:8].isdigit() and name.endswith("-info")
        for name in os.listdir(beside)
    ):
        import warnings

        warnings.warn(
            "the distribution 'segzoo', another project, is installed over this one; run: "
            "pip uninstall -y segzoo && pip install --force-reinstall --no-deps segzoo-core",
            stacklevel=3,
        )


_warn_of_namesake()
