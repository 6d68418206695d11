"""The page of `segzoo demo` as the folder of a Space of the Hugging Face Hub."""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata as installed
from pathlib import Path
from string import Template

from segzoo.base import files
from segzoo.base.home import expanded
from segzoo.errors import ConfigError, UsageError, printable
from segzoo.model import origin
from segzoo.model.origin import Origin
from segzoo.publish.folder import build_folder, refuse_existing
from segzoo.publish.metadata import license_fields
from segzoo.publish.request import PublishRequest
from segzoo.saved import config as configs
from segzoo.saved.config import Config
from segzoo.zoo import refs
from segzoo.zoo.refs import Folder, Hub

__all__ = ["APP", "GRADIO", "BuiltSpace", "app_text", "build_space"]

APP = "app.py"
GRADIO = "6.31.0"  # with which the page was tried
PYTHON = "3.11"
MODEL = "model"  # a folder of the Space, for weights that are nowhere else
TITLE_LENGTH = 60

APP_TEXT = Template('''"""A page to drop pictures on. Made by segzoo publish --space."""

import os
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # nobody is told of visitors

from gradio import Server
from segzoo.serve.hosted import hosted

HERE = Path(__file__).resolve().parent
# What segzoo.load takes, by the name that visitors choose; the first is shown first.
MODELS = {
$models}

page = hosted(MODELS, frames="https://huggingface.co", max_pixels=32_000_000)
app = Server(docs_url=None, redoc_url=None, openapi_url=None)
app.router.routes.extend(page.routes)
app.launch(app_kwargs={"lifespan": page.lifespan}, ssr_mode=False)
''')

README_TEXT = Template("""---
$front---

# $title

Drop a picture, and see what `$model` sees in it: the page of segzoo on Gradio's server. Pictures
are written nowhere, and leave the memory of this Space with the answer.

$about
Who likes to ask from a program may: `POST /predict`, as `/openapi.json` describes it.
""")


@dataclass(frozen=True)
class BuiltSpace:
    """A folder that can be a Space. sizes: of its files, by their names in it."""

    path: Path
    sizes: Mapping[str, int]


def app_text(models: Mapping[str, str]) -> str:
    """The program of a Space. models: expressions of Python for references, by their names."""
    lines = "".join(f"    {json.dumps(name)}: {said},\n" for name, said in models.items())
    return APP_TEXT.substitute(models=lines)


def build_space(request: PublishRequest, folder: str | os.PathLike[str]) -> BuiltSpace:
    """Make the folder of a Space for one model. It is new, or was empty; nothing is sent.

    What a plugin or the Hub has is named in it. A run or a saved model lies in it, in a folder that
    `build_folder` makes, and so with all that this asks for. UsageError for a model in hand, errors
    of `build_folder`, and of `segzoo.load` for a model that is not there.
    """
    source = request.source
    if not isinstance(source, str | os.PathLike):
        raise UsageError("a Space needs a model that has a name or a folder")
    target = Path(expanded(folder))
    refuse_existing(target)
    files.make_folder(target.parent)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".segzoo-") as place:
        inside = Path(place) / "space"
        files.make_folder(inside)
        config, name, expression, repo = _model_of(request, os.fspath(source), inside)
        if not config.distribution:
            raise ConfigError(
                f"'{config.model}' is of a spec that no plugin offers, which no Space can load",
                next_step="Put the spec in a plugin: segzoo new",
            )
        files.write(inside / APP, app_text({name: expression}).encode())
        files.write(inside / "requirements.txt", _requirements(config).encode())
        files.write(inside / "README.md", _readme(config, name, repo).encode())
        there = sorted(file for file in inside.rglob("*") if file.is_file())
        sizes = {file.relative_to(inside).as_posix(): file.stat().st_size for file in there}
        try:
            inside.rename(target)
        except OSError as error:
            raise files.unwritable(target, error) from None
    return BuiltSpace(target, sizes)


def _model_of(request: PublishRequest, source: str, inside: Path) -> tuple[Config, str, str, str]:
    """The model's config, its name for visitors, how the program refers to it, and where it is on
    the Hub, if it is there."""
    place = Path(expanded(source))
    if (place / refs.RUN).is_file() or (place / configs.CONFIG_NAME).is_file():
        built = build_folder(request, inside / MODEL)
        name = request.repo.rpartition("/")[2]
        return built.facts.config, name, f'f"{refs.LOCAL_DIR}{{HERE}}/{MODEL}"', ""
    ref = refs.parse(source)
    if isinstance(ref, Folder):
        raise UsageError(
            f"'{printable(source)}' is a folder of this machine alone",
            next_step="Give the folder of a run or of a saved model, without a word before it",
        )
    found = origin.find(source, pretrained=True)
    name = ref.repo.rpartition("/")[2] if isinstance(ref, Hub) else _tagged(found, source)
    refers = source if isinstance(ref, Hub) else name
    return found.config, name, json.dumps(refers), ref.repo if isinstance(ref, Hub) else ""


def _tagged(found: Origin, source: str) -> str:
    """The name of weights with their tag, so that another default later changes nothing here."""
    tags = [tag for tag, record in found.spec.weights.items() if record is found.record]
    return f"{found.entry.name}.{tags[0]}" if tags else source


def _requirements(config: Config) -> str:
    core = installed.version("segzoo-core")
    return (
        "# The small build of torch. On a GPU of Spaces, take this line out.\n"
        "--extra-index-url https://download.pytorch.org/whl/cpu\n"
        f"segzoo-core[serve]=={core}\n"
        f"{config.distribution}=={config.version}\n"
    )


def _readme(config: Config, name: str, repo: str) -> str:
    from huggingface_hub import SpaceCardData

    title = f"segzoo: {name}"[:TITLE_LENGTH]
    about = f"The weights are under {config.license}.\n" if config.license else ""
    if repo:
        about = f"The weights are [{repo}](https://huggingface.co/{repo}). " + about
    data = SpaceCardData(
        title=title,
        emoji="✂️",
        colorFrom="green",
        colorTo="gray",
        sdk="gradio",
        sdk_version=GRADIO,
        python_version=PYTHON,
        app_file=APP,
        short_description="Drop a picture, and see what a model sees in it",
        **(license_fields(config.license) if config.license else {}),
        models=[repo] if repo else None,
        tags=["segzoo", "image-segmentation"],
    )
    front: str = data.to_yaml(line_break="\n")
    return README_TEXT.substitute(
        front=front.strip("\n") + "\n", title=title, model=name, about=about
    )
