"""Recipes: which one, with what changed, as a table, as JSON, and the loss that it names.

name, recipe = of_spec(spec, "seed")
recipe = overridden(recipe, ["lr=3e-4", "epochs=+2", "optimizer=adamw", "crop=256"])
loss = loss_of(recipe, spec.tasks["binary"], num_classes=1)
"""

import difflib
import json
import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NoReturn, TypeAlias, Union, get_args, get_origin, get_type_hints

from segzoo import losses
from segzoo.base.counts import count_of
from segzoo.base.records import Json, Record, asdict, from_dict, typed
from segzoo.errors import ConfigError, UsageError, printable
from segzoo.losses import Loss
from segzoo.spec import LENGTHS, ModelSpec, Recipe, TaskDefaults

__all__ = [
    "DEFAULT",
    "described",
    "fields_of",
    "from_json",
    "loss_of",
    "of_spec",
    "overridden",
    "to_json",
]

Changes: TypeAlias = Mapping[str, str] | Iterable[str]

# For a model that declares no recipe, whatever it is made of.
DEFAULT = Recipe(
    epochs=100,
    batch_size=8,
    optimizer=("adamw", {}),
    lr=3e-4,
    weight_decay=1e-2,
    decay="weights",
    schedule=("cosine", {}),
    warmup=100,
    grad_clip=1.0,
)
NOTHING = ("none", "null")
HINTS: Mapping[str, Any] = types.MappingProxyType(get_type_hints(Recipe))


def of_spec(spec: ModelSpec, name: str | None = None) -> tuple[str, Recipe]:
    """A model's recipe and its name: the first, or the one of this name.

    A recipe that freezes nothing freezes what the model does by default. Without any recipe it is
    `DEFAULT`, named "default", with a crop of 256x256 where pictures keep their size. UsageError
    for another name.
    """
    recipes = spec.recipes
    if not recipes:
        recipes = {"default": replace(DEFAULT, crop=None if spec.preprocess.size else (256, 256))}
    name = next(iter(recipes)) if name is None else name
    if name not in recipes:
        near = difflib.get_close_matches(name, recipes, n=1)
        raise UsageError(
            f"no recipe {printable(name)[:100]!r}",
            expected=" or ".join(recipes),
            next_step=f"Did you mean {near[0]!r}?" if near else "",
        )
    recipe = recipes[name]
    return name, replace(recipe, frozen=recipe.frozen or spec.frozen)


def overridden(recipe: Recipe, changes: Changes) -> Recipe:
    """The recipe with some values changed, each written as "field=value".

    | written                                    | is                                          |
    |--------------------------------------------|---------------------------------------------|
    | `lr=3e-4` `precision=bf16`                 | the value                                   |
    | `ema=none` `augment=none`                  | None, or nothing of it                      |
    | `epochs=+2`                                | two more                                    |
    | `steps=500` `minutes=30`                   | so many, instead of epochs                  |
    | `crop=256` `crop=256,320`                  | (H, W); one number for both                 |
    | `frozen=encoder.,stem.` `class_weights=1,2`| several                                     |
    | `optimizer=adamw` `augment=flip,rotate`    | by name, with no options                    |
    | `optimizer.betas=[0.9,0.99]`               | one option more of it; a JSON value, or text|
    | `optimizer=["adamw",{"eps":1e-6}]`         | JSON, for every field                       |

    UsageError names everything that is wrong.
    """
    items, faults = _items(changes)
    values: dict[str, Any] = {}
    for key, text in items.items():
        if "." not in key:
            try:
                values[key] = _changed(recipe, key, text)
            except (TypeError, ValueError) as error:
                faults.append(f"{key}: {error}")
    for field in LENGTHS:
        if values.get(field) is not None:
            values = {**dict.fromkeys(LENGTHS), **values}
    for key, text in items.items():
        field, dot, option = key.partition(".")
        if dot:
            match values.get(field, getattr(recipe, field)):
                case None:
                    faults.append(
                        f"{key} is an option of {field}, which is none; give {field}=NAME too"
                    )
                case (name, dict(options)):
                    values[field] = (name, {**options, option: _json_or_text(text)})
                case _:
                    pass  # what the record refuses
    try:
        changed = replace(recipe, **values)
    except ValueError as error:
        faults.append(str(error).removeprefix("Recipe: "))
    if faults:
        raise UsageError("the recipe cannot be changed: " + "; ".join(map(printable, faults)))
    return changed


def fields_of(recipe: str | Recipe | None, changes: Changes) -> set[str]:
    """The fields whose whole value a caller gives: of his recipe all, of his changes those."""
    if recipe is not None:
        return {*HINTS}
    keys = changes if isinstance(changes, Mapping) else [c.partition("=")[0] for c in changes]
    return {key.strip().replace("-", "_") for key in keys}


def described(recipe: Recipe) -> list[tuple[str, str]]:
    """Every value as `overridden` reads it, for a table; of the lengths the one that is given.

    Options stand below their name: ("optimizer", "adam"), ("optimizer.eps", "1e-07").
    """
    rows = []
    for name, hint in HINTS.items():
        value = getattr(recipe, name)
        if name in LENGTHS and value is None:
            continue
        rows.append((name, _text(value)))
        if value is not None and _is_named(_given(hint)):
            rows += [(f"{name}.{key}", json.dumps(item)) for key, item in value[1].items()]
    return rows


def to_json(recipe: Recipe) -> dict[str, Json]:
    """The recipe as JSON values; `from_json` reads them back."""
    return asdict(recipe)


def from_json(data: Mapping[str, Json]) -> Recipe:
    """A recipe from JSON values. ConfigError names every field that is unknown or wrong."""
    try:
        return from_dict(Recipe, data)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"this is no recipe: {printable(str(error))}") from None


def loss_of(recipe: Recipe, task_defaults: TaskDefaults, *, num_classes: int) -> Loss:
    """The recipe's loss, else the task's, with what the recipe says for it.

    These are head_weights, class_weights and ignore_index, as far as the recipe sets them.
    UsageError for a loss that does not take one of them, for class weights that are not
    `num_classes` (two for one class, and then of a mean over pixels), and as `losses.build`;
    PluginError when the loss's factory fails.
    """
    name, options = recipe.loss or (task_defaults.loss, {})
    needed = max(2, num_classes)  # of one class: of the background and of it
    own = options.get("class_weights")  # of the loss, and not of the recipe
    weights = own if recipe.class_weights is None else recipe.class_weights
    if isinstance(weights, list | tuple) and len(weights) != needed:
        raise UsageError(
            "class_weights does not fit the network",
            found=count_of(len(weights), "value"),
            expected=f"{needed} for num_classes={num_classes}",
        )
    if num_classes == 1 and weights is not None:
        losses.refuse_weights_of_one(name, options)
    fields = ("head_weights", "class_weights", "ignore_index")
    given = {f: getattr(recipe, f) for f in fields if getattr(recipe, f) is not None}
    return losses.build(name, options, given)


def _items(changes: Changes) -> tuple[dict[str, str], list[str]]:
    """Text by field, for the fields that there are; and what is wrong with the rest."""
    items: dict[str, str] = {}
    faults = []
    pairs = changes.items() if isinstance(changes, Mapping) else map(_split, changes)
    for key, text in pairs:
        key = key.strip().replace("-", "_")
        field, dot, option = key.partition(".")
        if text is None:
            faults.append(f"{key!r} is not field=value")
        elif key in items:
            faults.append(f"{key} is given twice")
        elif field not in HINTS:
            near = difflib.get_close_matches(field, HINTS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(HINTS)}"
            faults.append(f"{field!r} is not a field ({hint})")
        elif dot and not (option and _is_named(_given(HINTS[field]))):
            faults.append(f"{field} has no options, so not {key!r} either")
        else:
            items[key] = text.strip()
    return items, faults


def _split(item: str) -> tuple[str, str | None]:
    key, equals, text = item.partition("=")
    return key, text if equals else None


def _changed(recipe: Recipe, field: str, text: str) -> Any:
    """The value that a text stands for, "+2" as that much more than now."""
    now = getattr(recipe, field)
    if field not in LENGTHS or not re.fullmatch(r"\+[0-9]{1,18}", text):
        return _value(text, HINTS[field])
    if now is None:
        other = next(name for name in LENGTHS if getattr(recipe, name) is not None)
        raise ValueError(f"{text} is more than nothing; the recipe has {other}")
    return now + int(text)


def _value(text: str, hint: Any) -> Any:
    """A text as its field's annotation has it; else the text, which the record then refuses."""
    origin, args = get_origin(hint), get_args(hint)
    if text[:1] in ("[", "{"):
        value = _json_or_text(text)
        if origin is tuple and _is_named(args[0]) and isinstance(value, list):
            value = [[item, {}] if isinstance(item, str) else item for item in value]
        return typed(value, hint)
    nothing = text.lower() in NOTHING
    if origin in (Union, types.UnionType):
        return None if nothing else _value(text, _given(hint))
    if _is_named(hint):
        return text, {}
    if origin is tuple:
        parts = [] if nothing else [part.strip() for part in text.split(",") if part.strip()]
        values = tuple(_value(part, args[0]) for part in parts)
        return values * 2 if len(values) == 1 and args == (int, int) else values
    if hint in (int, float):
        try:
            return hint(text)
        except ValueError:
            return text
    return "" if nothing and hint is str else text


def _json_or_text(text: str) -> Json:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)  # NaN is not JSON

    if text.lower() in NOTHING:
        return None
    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        return text


def _given(hint: Any) -> Any:
    """The annotation of a field where it is not None."""
    if get_origin(hint) in (Union, types.UnionType):
        return next(arg for arg in get_args(hint) if arg is not type(None))
    return hint


def _is_named(hint: Any) -> bool:
    """Whether values are a name and its options."""
    return get_origin(hint) is tuple and get_origin(get_args(hint)[-1]) is Mapping


def _text(value: Any) -> str:
    """The inverse of `_value`; options of a name stand elsewhere."""
    if value is None or value in ((), ""):
        return NOTHING[0]
    if isinstance(value, Record):
        return json.dumps(asdict(value))
    if not isinstance(value, tuple):
        return str(value)
    if isinstance(value[-1], Mapping):
        return str(value[0])
    if any(isinstance(item, tuple) and item[1] for item in value):
        return json.dumps(value)
    return ",".join(map(_text, value))
