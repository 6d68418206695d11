"""segzoo: a model zoo for image segmentation that architectures join as plugins.

    import segzoo

    segzoo.cutout("photo.jpg").save("cutout.png")    # the subject on transparency
    segzoo.list_models()                             # what is installed
    model = segzoo.load("u2netp", pretrained=True)   # an nn.Module with its preprocessing
    model.predict("photo.jpg").mask                  # (H, W) uint8 at the photo's size

The names below are imported when they are first used, so `import segzoo` costs no torch.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segzoo.automatic.auto import auto as auto
    from segzoo.errors import SegzooError as SegzooError
    from segzoo.model.load import list_models as list_models
    from segzoo.model.load import load as load
    from segzoo.model.load import model_info as model_info
    from segzoo.model.loaded import Model as Model
    from segzoo.predict.prediction import Prediction as Prediction
    from segzoo.predict.predictor import Predictor as Predictor
    from segzoo.runs.cutout import cutout as cutout
    from segzoo.runs.evaluation import evaluate as evaluate
    from segzoo.runs.training import train as train
    from segzoo.spec import Recipe as Recipe

_HOME_OF = {
    "Model": "segzoo.model.loaded",
    "Prediction": "segzoo.predict.prediction",
    "Predictor": "segzoo.predict.predictor",
    "Recipe": "segzoo.spec",
    "SegzooError": "segzoo.errors",
    "auto": "segzoo.automatic.auto",
    "cutout": "segzoo.runs.cutout",
    "evaluate": "segzoo.runs.evaluation",
    "list_models": "segzoo.model.load",
    "load": "segzoo.model.load",
    "model_info": "segzoo.model.load",
    "train": "segzoo.runs.training",
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
