"""The promises of the contract, one function each, and the table that gives their order.

The docstring of a promise is its rule. It raises `Broken` when a model does not keep it, `Skipped`
when the model or machine gives nothing to judge by.
"""

import ast
import contextlib
import copy
import importlib
import importlib.util
import io
import itertools
import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from segzoo.base.counts import count_of
from segzoo.checks.blame import in_one_line
from segzoo.checks.kit import Kit, final_of, some, training
from segzoo.checks.losses import (
    ignored_targets_change_nothing,
    loss_of,
    losses_train_everything,
    weightless_pixels_change_nothing,
)
from segzoo.checks.process import DEEP_STATES, watched
from segzoo.checks.results import Broken, Skipped
from segzoo.errors import SegzooError
from segzoo.model import profile
from segzoo.predict.preprocess import input_size
from segzoo.spec import ModelSpec
from segzoo.weights import safetensors as weights
from segzoo.zoo import installed, registry

if TYPE_CHECKING:
    from segzoo.model.loaded import Model

__all__ = ["PICTURES", "PROMISES", "Promise", "predicts"]

CHANNELS = ((1, 1), (3, 2), (4, 5))  # (in_channels, num_classes) that every builder takes
STEPS = 20
LEARNING_RATE = 1e-3
RELATIVE, ABSOLUTE = 1e-4, 1e-5  # how far another way of computing the same may be off


class Promise(NamedTuple):
    """One row of the contract. fix: what helps when `keep` raises something of its own.

    after: promises without which this one cannot be judged.
    """

    name: str
    keep: Callable[[Kit], None]
    fix: str
    after: tuple[Callable[[Kit], None], ...] = ()
    slow: bool = False
    gpu: bool = False


def spec_is_light(kit: Kit) -> None:
    """Importing the spec does not import torch, so that `segzoo list` stays quick."""
    report = kit.import_report
    if report["torch"]:
        raise Broken(f"the spec imports torch ({report['seconds']:.1f} s)")


def spec_is_quick(kit: Kit) -> None:
    """Importing the spec takes less than a second and prints nothing."""
    report = kit.import_report
    if report["seconds"] > registry.SLOW_SECONDS:
        limit = registry.SLOW_SECONDS
        raise Broken(f"its import took {report['seconds']:.1f} s, more than {limit:g} s")
    if report["printed"]:
        raise Broken(f"its import prints {report['printed'][:80]!r}", "print nothing there")


def paths_resolve(kit: Kit) -> None:
    """Every import path of the spec names something that can be imported."""
    faults, lacks = [], installed.missing(kit.spec.requires)
    with watched(kit.changed, DEEP_STATES):
        for field, path in _import_paths(kit.spec).items():
            try:
                registry.resolve(path)
            except KeyboardInterrupt:
                raise
            except ModuleNotFoundError as error:  # of what is required: another promise
                if not any(f"{name}.".startswith(f"{error.name}.") for name in lacks):
                    faults.append(f"{field} {path!r}: {in_one_line(error)}")
            except BaseException as error:
                faults.append(f"{field} {path!r}: {in_one_line(error)}")
    if faults:
        raise Broken("; ".join(faults))


def requirements_are_met(kit: Kit) -> None:
    """The modules that the spec requires are installed."""
    missing = installed.missing(kit.spec.requires)
    if missing:
        pip = " ".join(f"'{requirement}'" for requirement in missing.values())
        raise Broken(f"not installed: {', '.join(missing)}", f"run: pip install {pip}")


def builder_keeps_channels(kit: Kit) -> None:
    """The builder honours in_channels of 1, 3 and 4, and num_classes of 1, 2 and 5."""
    for in_channels, num_classes in CHANNELS:
        arguments = f"with in_channels={in_channels}, num_classes={num_classes}"
        network = kit.build(in_channels, num_classes)
        try:
            outputs = _run(network, kit.x(channels=in_channels))
        except Exception as error:
            raise Broken(f"{arguments} the network fails: {in_one_line(error)}") from None
        output = final_of(outputs)
        if output.ndim == 4 and output.shape[1] != num_classes:
            shape = tuple(output.shape)
            wanted = (shape[0], num_classes, *shape[2:])
            raise Broken(f"{arguments} the logits have the shape {shape}, expected {wanted}")


def prefixes_are_declared(kit: Kit) -> None:
    """`head` and `stem` name the parameters that depend on num_classes and on in_channels."""
    base = _shapes(kit.build(3, 1))
    cases = (
        ("head", kit.spec.head, "num_classes", _shapes(kit.build(3, 2))),
        ("stem", kit.spec.stem, "in_channels", _shapes(kit.build(1, 1))),
    )
    faults, fixes = [], []
    for field, prefixes, argument, other in cases:
        names = sorted(base.keys() | other.keys())
        left = [n for n in names if base.get(n) != other.get(n) and not n.startswith(prefixes)]
        if left:
            faults.append(f"{argument} changes {some(left)}, which {field} does not name")
            modules = sorted({f"{name.rpartition('.')[0]}." for name in left})
            fixes.append(f"declare {field}={(*prefixes, *modules)!r}")
        idle = [p for p in prefixes if not any(n.startswith(p) for n in names)]
        if idle:
            faults.append(f"{field} names {some(idle)}, with which no parameter begins")
            fixes.append(f"correct {field}")
    if faults:
        raise Broken("; ".join(faults), "; ".join(fixes) + " in the spec")


def shapes_are_declared(kit: Kit) -> None:
    """In eval mode x (N, C, H, W) gives logits of the declared size, for any size allowed.

    Sizes are multiple_of * m + remainder; of the output, scale * (H - 2 * margin); all finite.
    """
    for size, n in itertools.product(kit.sizes, (1, 2)):
        x = kit.x(n, size=size)
        shape = tuple(x.shape)
        fix = "" if size == kit.sizes[0] else "declare preprocess.multiple_of, or take any size"
        try:
            outputs = _run(kit.network, x)
        except Exception as error:
            raise Broken(f"for x {shape} the network fails: {in_one_line(error)}", fix) from None
        output = final_of(outputs)
        if output.shape != kit.expected(x):
            found, wanted = tuple(output.shape), kit.expected(x)
            raise Broken(f"for x {shape} the output is {found}, expected {wanted}", fix)
        if not output.isfinite().all():
            raise Broken(f"for x {shape} the output holds NaN or infinity", "scale the values")


def final_comes_first(kit: Kit) -> None:
    """Training mode gives the final prediction first (alone, in a tuple, or as "logits").

    Eval mode gives it alone, and everything that training gives when asked with all_heads=True.
    """
    x = kit.x()
    final = _run(kit.network, x)
    if not isinstance(final, Tensor):
        raise Broken(f"eval mode gives a {type(final).__name__}", "give the final logits alone")
    with training(kit.network):
        outputs = kit.network(x)
    if final_of(outputs).shape != kit.expected(x):
        found = tuple(final_of(outputs).shape)
        raise Broken(f"training mode gives {found} first, expected {kit.expected(x)}")
    if isinstance(outputs, Tensor) or len(outputs) == 1:
        return
    with torch.no_grad():
        heads = kit.network(x, all_heads=True)
    if isinstance(heads, Tensor) or len(heads) != len(outputs):
        many = 1 if isinstance(heads, Tensor) else len(heads)
        raise Broken(
            f"all_heads=True gives {count_of(many, 'output')}, "
            f"expected {len(outputs)} as in training"
        )
    if not _alike(final_of(heads), final):
        apart = _apart(final_of(heads), final)
        raise Broken(
            f"the first output is not the final prediction, which eval mode gives: {apart}"
        )


def outputs_are_logits(kit: Kit) -> None:
    """Large weights of the head take the outputs outside [0, 1]: no sigmoid or softmax follows."""
    if all(t.postprocess.activation == "none" for t in kit.spec.tasks.values()):
        raise Skipped("postprocess.activation is 'none': the network gives probabilities")
    head = [p for n, p in kit.network.named_parameters() if n.startswith(kit.spec.head)]
    kept = [p.detach().clone() for p in head]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        try:
            for parameter in head:
                parameter.copy_(1000 * torch.randn(parameter.shape, generator=generator))
            output = final_of(kit.network(kit.x()))
        finally:
            for parameter, value in zip(head, kept, strict=True):
                parameter.copy_(value)
    low, high = output.min().item(), output.max().item()
    if 0 <= low and high <= 1:
        raise Broken(
            f"outputs stay in [{low:.2g}, {high:.2g}] with the head's weights times 1000, expected "
            "some far outside [0, 1]"
        )


def eval_is_deterministic(kit: Kit) -> None:
    """In eval mode the same x gives the same logits."""
    first, second = (final_of(_run(kit.network, kit.x())) for _ in range(2))
    if not torch.equal(first, second):
        apart = (first - second).abs().max().item()
        raise Broken(f"two runs differ by up to {apart:.2g}, expected equal bits")


def weights_round_trip(kit: Kit) -> None:
    """Weights come back from safetensors bit for bit, and they are all that the output needs."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        weights.save(kit.network, file)
        stored = weights.read(file)
    state = kit.network.state_dict()
    names = sorted(state.keys() | stored.keys())
    wrong = [name for name in names if not _same_bits(state.get(name), stored.get(name))]
    if wrong:
        raise Broken(f"{some(wrong)} come back changed")
    twin = kit.build()
    twin.load_state_dict(stored)
    there, here = final_of(_run(twin, kit.x())), final_of(_run(kit.network, kit.x()))
    if not torch.equal(there, here):
        apart = _apart(there, here)
        raise Broken(f"a network built anew gives other logits with the same weights: {apart}")


def parameters_are_counted(kit: Kit) -> None:
    """The network has as many parameters as the spec declares."""
    found = sum(p.numel() for p in kit.network.parameters())
    if found != kit.declared.num_parameters:
        raise Broken(
            f"it has {found:,} parameters, declared are {kit.declared.num_parameters:,}",
            f"write num_parameters={found:_} in the spec",
        )


def macs_are_counted(kit: Kit) -> None:
    """The network has as many multiply-adds as the spec declares, if it declares them."""
    if kit.declared.macs is None:
        raise Skipped("the spec declares no macs")
    shape = (1, kit.spec.in_channels, *input_size(kit.preprocess))
    # torch imports its compiler for the first random values on "meta", and that changes the
    # environment: it is not to look like the builder's doing.
    torch.empty(1, device="meta").normal_()
    found = profile.stages(kit.build, shape)[-1].macs
    if found != kit.declared.macs:
        raise Broken(
            f"for x {shape} it has {found:,} multiply-adds, declared are {kit.declared.macs:,}",
            f"write macs={found:_} in the spec",
        )


def process_is_left_alone(kit: Kit) -> None:
    """Importing and building the network changes nothing for the rest of the process."""
    if kit.changed:
        raise Broken(f"it changes {', '.join(dict.fromkeys(kit.changed))}")


def pictures_give_masks(kit: Kit) -> None:
    """A picture gives a mask of its own size: a photo, a black picture and a single pixel."""
    predicts(kit.model)


def model_is_a_module(kit: Kit) -> None:
    """A `Model` can be copied, pickled and put into another module."""
    import pickle  # of our own object, in memory; a file is never unpickled

    x = kit.x(1)
    ways: dict[str, Callable[[Model], nn.Module]] = {
        "copy.deepcopy": copy.deepcopy,
        "pickle": lambda model: pickle.loads(pickle.dumps(model)),
        "another module": nn.Sequential,
    }
    expected = final_of(_run(kit.model, x))
    for name, way in ways.items():
        try:
            outputs = _run(way(kit.model), x)
        except Exception as error:
            raise Broken(f"{name} fails: {in_one_line(error)}") from None
        if not torch.equal(final_of(outputs), expected):
            raise Broken(
                f"after {name} it gives other logits: {_apart(final_of(outputs), expected)}"
            )


def exports(kit: Kit) -> None:
    """torch.export takes the network in eval mode, and gives the same logits."""
    x = kit.x()
    with torch.no_grad(), _quiet():
        exported = torch.export.export(kit.network, (x,)).module()
        there, here = final_of(exported(x)), final_of(kit.network(x))
        if not _alike(there, here):
            raise Broken(f"the exported network gives other logits: {_apart(there, here)}")


def code_stands_alone(kit: Kit) -> None:
    """Model code does not import segzoo: it can be used, and read, without it."""
    losses = [defaults.loss for defaults in kit.spec.tasks.values()]
    paths = [kit.spec.builder, *kit.spec.blocks.values(), *losses]
    home = _root(kit.entry.value or kit.spec.builder)
    queue = [path.partition(":")[0] for path in paths if _root(path) != "segzoo"]
    seen: set[str] = set()
    while queue:
        module = queue.pop()
        if module in seen:
            continue
        seen.add(module)
        for line, imported in _imports(module):
            if _root(imported) == "segzoo":
                raise Broken(f"{module}, line {line}, imports {imported}")
            if _root(imported) == home:
                queue.append(imported)


def compiles(kit: Kit) -> None:
    """torch.compile traces the network in one piece, and it gives the same logits."""
    x = kit.x()
    compiled = torch.compile(kit.network, backend="aot_eager", fullgraph=True)
    try:
        with _quiet():
            there, here = final_of(_run(compiled, x)), final_of(_run(kit.network, x))
    finally:
        torch._dynamo.reset()
    if not _alike(there, here):
        raise Broken(f"the compiled network gives other logits: {_apart(there, here)}")


def training_lowers_the_loss(kit: Kit) -> None:
    """20 steps of Adam on one batch lower the loss: means of a quarter, as dropout scatters it."""
    task, network = next(iter(kit.spec.tasks)), kit.build().train()
    trained = [p for n, p in network.named_parameters() if not n.startswith(kit.spec.frozen)]
    optimizer = torch.optim.Adam(trained, lr=LEARNING_RATE)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(kit, task, network)
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    first, last = fmean(losses[: STEPS // 4]), fmean(losses[-(STEPS // 4) :])
    if not last < first:
        raise Broken(f"in {STEPS} steps it went from {first:.4g} to {last:.4g}, expected less")


def bfloat16_is_finite(kit: Kit) -> None:
    """In bfloat16 autocast on a CUDA device, logits, loss and gradients are finite."""
    if not torch.cuda.is_available():
        raise Skipped("this machine has no CUDA device")
    task, network = next(kit.by_task())
    network = copy.deepcopy(network).cuda()
    with torch.autocast("cuda", torch.bfloat16):
        output = final_of(_run(network, kit.x().cuda()))
        loss = loss_of(kit, task, network.train())
    torch.autograd.backward(loss)
    values = {"logits": output} | {n: p.grad for n, p in network.named_parameters()}
    wild = [n for n, value in values.items() if value is not None and not value.isfinite().all()]
    if wild:
        raise Broken(f"{some(wild)} {'is' if len(wild) == 1 else 'are'} not finite")


PICTURES = "a picture gives a mask of its size"

PROMISES: tuple[Promise, ...] = (
    Promise(
        "the spec loads without torch",
        spec_is_light,
        "move the import out of spec.py and __init__.py",
    ),
    Promise(
        "the spec loads quickly and silently",
        spec_is_quick,
        "do no work in spec.py and __init__.py",
        after=(spec_is_light,),
    ),
    Promise("every import path resolves", paths_resolve, "correct the spec, or the module"),
    Promise("what it requires is installed", requirements_are_met, "correct requires in the spec"),
    Promise(
        "the builder honours in_channels and num_classes",
        builder_keeps_channels,
        "build(in_channels, num_classes, **options) must pass them to the first and last layers",
        after=(paths_resolve, requirements_are_met),
    ),
    Promise(
        "head and stem name what depends on them",
        prefixes_are_declared,
        "declare head and stem in the spec",
        after=(builder_keeps_channels,),
    ),
    Promise(
        "logits have the declared shape",
        shapes_are_declared,
        "correct forward, or preprocess and scale in the spec",
        after=(builder_keeps_channels,),
    ),
    Promise(
        "the final prediction comes first",
        final_comes_first,
        "give (final, *sides) in training mode and with all_heads=True, else final alone",
        after=(shapes_are_declared,),
    ),
    Promise(
        "outputs are logits",
        outputs_are_logits,
        "leave sigmoid and softmax to the loss and to Postprocess",
        after=(prefixes_are_declared, shapes_are_declared),
    ),
    Promise(
        "eval is deterministic",
        eval_is_deterministic,
        "use no random numbers and keep no memory in eval mode (dropout: training=self.training)",
        after=(shapes_are_declared,),
    ),
    Promise(
        "losses are finite and train every parameter",
        losses_train_everything,
        "correct the loss: a factory of (outputs, batch) -> scalar or {'loss': scalar}",
        after=(final_comes_first,),
    ),
    Promise(
        "pixels of weight 0 do not count",
        weightless_pixels_change_nothing,
        "let each pixel count as often as batch['weight'] says, where there is one",
        after=(losses_train_everything,),
    ),
    Promise(
        "ignored targets do not count",
        ignored_targets_change_nothing,
        "take ignore_index in the loss's factory, and let no pixel count whose target is that",
        after=(losses_train_everything,),
    ),
    Promise(
        "weights survive safetensors",
        weights_round_trip,
        "keep all that forward uses in parameters and persistent buffers",
        after=(eval_is_deterministic,),
    ),
    Promise(
        "the parameter count is as declared",
        parameters_are_counted,
        "correct num_parameters in the spec",
        after=(builder_keeps_channels,),
    ),
    Promise(
        "the multiply-adds are as declared",
        macs_are_counted,
        "correct macs in the spec, or leave it out",
        after=(shapes_are_declared,),
    ),
    Promise(
        "building changes no global state",
        process_is_left_alone,
        "leave the state of the process to its owner",
        after=(builder_keeps_channels,),
    ),
    Promise(
        PICTURES,
        pictures_give_masks,
        "correct preprocess and postprocess in the spec",
        after=(final_comes_first, process_is_left_alone),
    ),
    Promise(
        "a Model can be copied, pickled and nested",
        model_is_a_module,
        "keep no lambdas, locks, files or generators in modules",
        after=(eval_is_deterministic, process_is_left_alone),
    ),
    Promise(
        "torch.export gives the same logits",
        exports,
        "keep Python decisions that look at values out of forward",
        after=(eval_is_deterministic, final_comes_first),
    ),
    Promise(
        "model code does not import segzoo",
        code_stands_alone,
        "import torch and your own modules alone; spec.py names the code by strings",
        after=(paths_resolve,),
    ),
    Promise(
        "torch.compile gives the same logits",
        compiles,
        "keep Python decisions that look at values out of forward",
        after=(exports,),
        slow=True,
    ),
    Promise(
        "training lowers the loss",
        training_lowers_the_loss,
        "see that the loss falls as the logits approach the target",
        after=(losses_train_everything,),
        slow=True,
    ),
    Promise(
        "bfloat16 is finite",
        bfloat16_is_finite,
        "compute sums and norms in float32",
        after=(losses_train_everything,),
        gpu=True,
    ),
)


# --- what the promises use ------------------------------------------------------------------------


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's tracers print and log of a network that they cannot take."""
    disabled = logging.root.manager.disable
    logging.disable()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            yield
        finally:
            logging.disable(disabled)


def _import_paths(spec: ModelSpec) -> dict[str, str]:
    """Every import path of a spec, by the field that holds it."""
    paths = {"builder": spec.builder, "variant": spec.variant}
    paths |= {f"blocks[{name!r}]": path for name, path in spec.blocks.items()}
    paths |= {f"tasks[{task!r}].loss": defaults.loss for task, defaults in spec.tasks.items()}
    paths["preprocess.custom"] = spec.preprocess.custom
    for tag, record in spec.weights.items():
        if record.preprocess is not None:
            paths[f"weights[{tag!r}].preprocess.custom"] = record.preprocess.custom
    return {field: path for field, path in paths.items() if path is not None}


def _run(network: Callable[[Tensor], Any], x: Tensor) -> Any:
    with torch.no_grad():
        return network(x)


def predicts(model: "Model") -> None:
    """Predict three pictures and judge their masks."""
    if model.in_channels not in (1, 3):
        raise Skipped(f"no picture has {count_of(model.in_channels, 'channel')}")
    noise = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    pictures = {
        "a photo": noise,
        "a black picture": np.zeros_like(noise),
        "a single pixel": noise[:1, :1],
    }
    for name, picture in pictures.items():
        try:
            prediction = model.predict(picture)
        except SegzooError as error:
            raise Broken(f"{name} fails: {in_one_line(error)}") from None
        found, wanted = prediction.mask.shape, picture.shape[:2]
        if found != wanted:
            raise Broken(f"{name} gives a mask of {found}, expected {wanted}")
        low, high = prediction.probability.min(), prediction.probability.max()
        if not (0 <= low and high <= 1):  # NaN too
            raise Broken(
                f"{name} gives probabilities from {low:.3g} to {high:.3g}, expected 0 to 1"
            )


def _same_bits(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None or a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8))


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, RELATIVE, ABSOLUTE)


def _apart(one: Tensor, other: Tensor) -> str:
    """How two outputs that should be alike differ."""
    if one.shape != other.shape:
        return f"found the shape {tuple(one.shape)}, expected {tuple(other.shape)}"
    return f"off by up to {(one - other).abs().max().item():.2g}"


def _shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in network.state_dict().items()}


def _root(path: str) -> str:
    """The package that a module, or an import path, is of."""
    return path.partition(":")[0].partition(".")[0]


def _imports(module: str) -> Iterator[tuple[int, str]]:
    """The lines and names of what a module's source imports; none when it has no source.

    `from a import b` is a and a.b, which may be a module too.
    """
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # an attribute of a module
        return
    if found is None or not found.origin or not found.origin.endswith(".py"):
        return
    package = module if found.submodule_search_locations else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(Path(found.origin).read_bytes())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(name, package) if node.level else name
            yield node.lineno, base
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
