"""The contract kit: good models pass, and each bad one fails exactly the promise that it breaks."""

import dataclasses
import os
import re
import sys
import warnings

import fake_plugins
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fake_plugins import BROKEN

from segzoo.checks.kit import Kit
from segzoo.checks.losses import ignored_targets_change_nothing, weightless_pixels_change_nothing
from segzoo.errors import AmbiguousModelError, PluginError, UnknownModelError, UsageError
from segzoo.model.load import find_spec, load
from segzoo.spec import Postprocess, TaskDefaults
from segzoo.testing import (
    PROMISES,
    Result,
    assert_keeps_contract,
    check_folder,
    check_model,
    frames,
)
from segzoo.zoo import registry


@pytest.fixture(autouse=True)
def contract(monkeypatch):
    fake_plugins.install(monkeypatch, BROKEN / "contract", BROKEN / "together")


def spec_of(name):
    import contract_specs

    return getattr(contract_specs, name)


def broken(results):
    return [result for result in results if not result.ok]


def by_name(results):
    return {result.promise: result for result in results}


# --- every model that is installed


INSTALLED = [row.entry for row in registry.rows()]


@pytest.mark.slow  # the tests of our plugins have the quick ones
@pytest.mark.parametrize("entry", INSTALLED, ids=[entry.name for entry in INSTALLED])
def test_every_installed_model_keeps_the_contract(entry):
    assert_keeps_contract(entry.full_name)


def losses():
    """Every loss that an installed model declares for a task, and every one that has a name."""
    found = set()
    for row in registry.rows():
        if row.spec is not None:
            found |= {(task, each.loss) for task, each in row.spec.tasks.items()}
    entries = {entry.value for entry in registry.entries(registry.LOSSES)}
    named = {path for path in entries if path != "segzoo.losses:combined"}  # which needs parts
    assert len(found) > 10 and len(named) >= 5
    return sorted(found | {(task, path) for path in named for task in TASKS})


TASKS = ("binary", "multiclass", "multilabel")


@pytest.mark.parametrize(("task", "path"), losses())
def test_d4_every_loss_counts_what_counts(task, path):
    spec = spec_of("SIDED" if path.startswith(("segzoo.", "segzoo_u2net.")) else "GOOD")
    defaults = TaskDefaults(loss=path, postprocess=Postprocess())
    many = 1 if task in ("binary", "saliency") else 3
    kit = Kit(*find_spec(dataclasses.replace(spec, tasks={task: defaults}, num_classes=many)))
    try:
        weightless_pixels_change_nothing(kit)
    except UsageError as error:
        assert "cannot compare the target" in str(error)  # it is of the other activation
        return
    ignored_targets_change_nothing(kit)


# --- models that keep it


@pytest.mark.parametrize(
    "name", ["GOOD", "RESIZED", "SIDED", "NAMED", "FROZEN", "VALID", "GRAY", "INFRARED"]
)
def test_a_good_model(name):
    results = check_model(spec_of(name))
    assert broken(results) == []
    skipped = {result.promise: result.skipped for result in results if result.skipped}
    expected = {
        "the spec loads without torch": (
            "the spec was given as an object; module:ATTR lets it be imported anew"
        ),
        "the spec loads quickly and silently": "after: the spec loads without torch",
        "torch.compile gives the same logits": "slow; asked for with slow=True or --slow",
        "training lowers the loss": "slow; asked for with slow=True or --slow",
        "bfloat16 is finite": "needs CUDA; asked for with gpu=True or --gpu",
        "the multiply-adds are as declared": "the spec declares no macs",
    }
    if name == "INFRARED":
        expected["a picture gives a mask of its size"] = "no picture has 4 channels"
    assert skipped == expected


def test_the_slow_promises_of_a_good_model():
    results = by_name(check_model("contract_specs:SIDED", slow=True))
    assert broken(results.values()) == []
    left = {name for name, result in results.items() if result.skipped}
    assert left == {"bfloat16 is finite", "the multiply-adds are as declared"}


def test_a_network_of_probabilities_may_say_so():
    task = TaskDefaults(
        loss="contract_networks:pixel_loss", postprocess=Postprocess(activation="none")
    )
    spec = dataclasses.replace(spec_of("PROBABILITIES"), tasks={"binary": task})
    result = by_name(check_model(spec))["outputs are logits"]
    assert result.skipped == "postprocess.activation is 'none': the network gives probabilities"


# --- models that break it, each in one way

BUILDER = "the builder honours in_channels and num_classes"
BUILDER_FIX = (
    "build(in_channels, num_classes, **options) must pass them to the first and last layers"
)
SHAPES = "logits have the declared shape"
SIZES_FIX = "declare preprocess.multiple_of, or take any size"
FIRST = "the final prediction comes first"
FIRST_FIX = "give (final, *sides) in training mode and with all_heads=True, else final alone"
LOSS = "losses are finite and train every parameter"
LOSS_FIX = "correct the loss: a factory of (outputs, batch) -> scalar or {'loss': scalar}"
WEIGHT = "pixels of weight 0 do not count"
WEIGHT_FIX = "let each pixel count as often as batch['weight'] says, where there is one"
IGNORED = "ignored targets do not count"
IGNORED_FIX = "take ignore_index in the loss's factory, and let no pixel count whose target is that"
COPIES = "a Model can be copied, pickled and nested"
COPIES_FIX = "keep no lambdas, locks, files or generators in modules"

# spec, the promise that it breaks, what the kit finds (a pattern: file lines vary), how to mend it
BAD = [
    (
        "PATHS",
        "every import path resolves",
        r"blocks\['stem'\] 'contract_networks:Stem': AttributeError: module 'contract_networks' "
        r"has no attribute 'Stem'; blocks\['conv'\] 'no_such_module:Conv': ModuleNotFoundError: "
        r"No module named 'no_such_module'; tasks\['binary'\]\.loss 'contract_networks:dice': "
        r"AttributeError: module 'contract_networks' has no attribute 'dice'",
        "correct the spec, or the module",
    ),
    (
        "REQUIRES",
        "what it requires is installed",
        r"not installed: no_such_library",
        "run: pip install 'contract[library]'",
    ),
    (
        "NUM_CLASSES",
        BUILDER,
        r"with in_channels=3, num_classes=2 the logits have the shape \(2, 1, 64, 64\), "
        r"expected \(2, 2, 64, 64\)",
        BUILDER_FIX,
    ),
    (
        "IN_CHANNELS",
        BUILDER,
        r"with in_channels=1, num_classes=1 the network fails: RuntimeError: .* to have 3 channels"
        r", but got 1 channels instead \(contract_networks\.py:\d+\)",
        BUILDER_FIX,
    ),
    (
        "NO_TENSOR",
        BUILDER,
        r"forward gives a dict without logits",
        "give a tensor, a tuple of them with the final one first, or {'logits': tensor}",
    ),
    (
        "HEAD",
        "head and stem name what depends on them",
        r"num_classes changes 'head\.bias', 'head\.weight', which head does not name; "
        r"stem names 'stam\.', with which no parameter begins",
        "declare head=('head.',); correct stem in the spec",
    ),
    (
        "ODD_SIZES",
        SHAPES,
        r"for x \(1, 3, 69, 83\) the output is \(1, 1, 68, 82\), expected \(1, 1, 69, 83\)",
        SIZES_FIX,
    ),
    (
        "JOINED_SIZES",
        SHAPES,
        r"for x \(1, 3, 69, 83\) the network fails: RuntimeError: The size of tensor a \(83\) must "
        r"match .* \(contract_networks\.py:\d+\)",
        SIZES_FIX,
    ),
    (
        "INFINITE",
        SHAPES,
        r"for x \(1, 3, 64, 64\) the output holds NaN or infinity",
        "scale the values",
    ),
    (
        "SIDE_FIRST",
        FIRST,
        r"the first output is not the final prediction, which eval mode gives: off by up to [\d.]+",
        FIRST_FIX,
    ),
    (
        "NO_ALL_HEADS",
        FIRST,
        r"TypeError: NoAllHeads\.forward\(\) got an unexpected keyword argument 'all_heads'",
        FIRST_FIX,
    ),
    ("ALWAYS_BOTH", FIRST, r"eval mode gives a tuple", "give the final logits alone"),
    (
        "PROBABILITIES",
        "outputs are logits",
        r"outputs stay in \[0, 1\] with the head's weights times 1000, expected some far outside "
        r"\[0, 1\]",
        "leave sigmoid and softmax to the loss and to Postprocess",
    ),
    (
        "RANDOM",
        "eval is deterministic",
        r"two runs differ by up to [\d.]+, expected equal bits",
        "use no random numbers and keep no memory in eval mode (dropout: training=self.training)",
    ),
    ("NAN_LOSS", LOSS, r"for binary the loss is nan", LOSS_FIX),
    (
        "PIXEL_LOSS",
        LOSS,
        r"for binary the loss is \(2, 1, 64, 64\), not a scalar tensor",
        LOSS_FIX,
    ),
    ("NUMBER_LOSS", LOSS, r"for binary the loss is float, not a scalar tensor", LOSS_FIX),
    (
        "WILD_GRADIENT",
        LOSS,
        r"for binary the gradient of 'stem\.0\.weight', 'stem\.0\.bias', 'stem\.1\.weight' and 3 "
        r"more is not finite",
        LOSS_FIX,
    ),
    (
        "WEIGHT_UNSEEN",
        WEIGHT,
        r"for binary, where the weight is 0, other logits move the loss from 0\.\d+ to \d\.\d+, "
        r"expected no change",
        WEIGHT_FIX,
    ),
    (
        "WEIGHT_SLOPE",
        WEIGHT,
        r"for binary, where the weight is 0, other logits move the gradient of the rest by [\d.]+ "
        r"of it, expected 0",
        WEIGHT_FIX,
    ),
    (
        "IGNORED_COUNTS",
        IGNORED,
        r"for binary, where the target is 255, other logits move the loss from \d\.\d+ to \d\.\d+"
        r", expected no change",
        IGNORED_FIX,
    ),
    (
        "ALWAYS_255",
        IGNORED,
        r"for binary, where the target is 200, other logits move the loss from .*",
        IGNORED_FIX,
    ),
    (
        "IGNORED_SLOPE",
        IGNORED,
        r"for binary, where the target is 255, the gradient is up to [\d.e-]+, expected 0",
        IGNORED_FIX,
    ),
    (
        "NO_IGNORE_INDEX",
        IGNORED,
        r"TypeError: no_ignore_index\(\) got an unexpected keyword argument 'ignore_index'.*",
        IGNORED_FIX,
    ),
    (
        "IDLE",
        LOSS,
        r"for binary no gradient reaches 'spare\.weight', 'spare\.bias'",
        "use it in forward and in the loss, or declare frozen=(...)",
    ),
    (
        "FROZEN_NAME",
        LOSS,
        r"frozen names 'sparse\.', with which no parameter begins",
        "correct frozen in the spec",
    ),
    (
        "FORGETFUL",
        "weights survive safetensors",
        r"a network built anew gives other logits with the same weights: off by up to [\d.]+",
        "keep all that forward uses in parameters and persistent buffers",
    ),
    (
        "COUNT",
        "the parameter count is as declared",
        r"it has 125 parameters, declared are 124",
        "write num_parameters=125 in the spec",
    ),
    (
        "MACS",
        "the multiply-adds are as declared",
        r"for x \(1, 3, 256, 256\) it has 7,340,032 multiply-adds, declared are 1",
        "write macs=7_340_032 in the spec",
    ),
    (
        "MACS_RESIZED",
        "the multiply-adds are as declared",
        r"for x \(1, 3, 320, 320\) it has 11,468,800 multiply-adds, declared are 1",
        "write macs=11_468_800 in the spec",
    ),
    (
        "MEDDLING",
        "building changes no global state",
        r"it changes torch's default dtype, the working folder, the environment, "
        r"warnings\.filters, torch\.nn\.functional\.relu6, the seed of torch's random numbers",
        "leave the state of the process to its owner",
    ),
    (
        "PICTURES",
        "a picture gives a mask of its size",
        r"a photo fails: .*ValueError: only pictures of cats \(contract_networks\.py:\d+\)",
        "correct preprocess and postprocess in the spec",
    ),
    (
        "WIDE_PICTURE",
        "a picture gives a mask of its size",
        r"a photo fails: the preprocess function contract_networks:wide_picture gave something "
        r"else; found float64 of shape \(3, 37, 53\), expected float32 of shape \(3, 37, 53\)",
        "correct preprocess and postprocess in the spec",
    ),
    (
        "LAMBDA",
        COPIES,
        r"pickle fails: \w+: Can't (pickle|get) local object 'Lambda\.__init__.*",
        COPIES_FIX,
    ),
    (
        "GENERATOR",
        COPIES,
        r"copy\.deepcopy fails: TypeError: cannot pickle 'generator' object",
        COPIES_FIX,
    ),
    (
        "CHOOSING",
        "torch.export gives the same logits",
        r".* \(contract_networks\.py:\d+\)",
        "keep Python decisions that look at values out of forward",
    ),
]


def judged(results, promise, detail, fix):
    """Exactly one promise is broken, and it says what and how."""
    (result,) = broken(results)
    assert (result.promise, result.fix) == (promise, fix)
    assert re.fullmatch(detail, result.detail)
    assert result.detail.isprintable()


@pytest.mark.parametrize(("name", "promise", "detail", "fix"), BAD, ids=[row[0] for row in BAD])
def test_a_bad_model_breaks_one_promise(name, promise, detail, fix):
    judged(check_model(spec_of(name)), promise, detail, fix)


def test_a_loss_that_climbs():
    judged(
        check_model(spec_of("CLIMBING"), slow=True),
        "training lowers the loss",
        r"in 20 steps it went from 0\.\d+ to 0\.\d+, expected less",
        "see that the loss falls as the logits approach the target",
    )


def test_model_code_that_needs_segzoo():
    judged(
        check_model("contract_plugin.spec:SPEC"),
        "model code does not import segzoo",
        r"contract_plugin\.blocks, line \d, imports segzoo\.errors",
        "import torch and your own modules alone; spec.py names the code by strings",
    )


def test_a_spec_that_imports_torch():
    results = check_model("contract_torch:SPEC")
    judged(
        results,
        "the spec loads without torch",
        r"the spec imports torch \(\d+\.\d s\)",
        "move the import out of spec.py and __init__.py",
    )
    assert by_name(results)["the spec loads quickly and silently"].skipped == (
        "after: the spec loads without torch"
    )


def test_a_spec_that_talks():
    judged(
        check_model("contract_loud:SPEC"),
        "the spec loads quickly and silently",
        r"its import prints 'thank you for installing contract-loud'",
        "print nothing there",
    )


def test_a_spec_that_sleeps(capsys):
    result = by_name(check_model("broken_slow"))["the spec loads quickly and silently"]
    assert re.fullmatch(r"its import took \d+\.\d s, more than 1 s", result.detail)
    assert result.fix == "do no work in spec.py and __init__.py"
    assert capsys.readouterr().out == ""


def test_what_cannot_be_judged_is_left_out():
    results = by_name(check_model(spec_of("NUM_CLASSES")))
    assert results[SHAPES] == Result(SHAPES, True, skipped=f"after: {BUILDER}")
    assert results[FIRST] == Result(FIRST, True, skipped=f"after: {SHAPES}")
    assert results["model code does not import segzoo"].skipped == ""


# --- plugins that do not even load, or whose builder is none: rows P1 to P5


@pytest.mark.parametrize(
    ("name", "detail"),
    [
        (
            "broken_runtime",
            "RuntimeError: the licence server does not answer (broken_runtime.py:1)",
        ),
        ("broken_syntax", "SyntaxError: '(' was never closed (broken_syntax.py, line 1)"),
        ("broken_exit", "it called sys.exit(3) (broken_exit.py:3)"),
        ("broken_base", "Quit: not even an Exception (broken_base.py:5)"),
        ("broken_module", "ModuleNotFoundError: No module named 'broken_module'"),
        ("broken_type", "TypeError: broken_type:SPEC is a dict, not a ModelSpec"),
    ],
)
def test_a_plugin_that_does_not_load(name, detail):
    first, *rest = check_model(name)
    assert first == Result(
        "the spec loads without torch", False, detail, "see that the spec can be imported"
    )
    assert {result.skipped for result in rest} == {"after: the spec loads without torch"}
    assert len(rest) == len(PROMISES) - 1


@pytest.mark.parametrize(
    ("name", "promise", "detail"),
    [
        (
            "builder_number",
            BUILDER,
            r"broken_builders:number\(.*\) cannot be called: its type is int",
        ),
        (
            "builder_module",
            BUILDER,
            r"torch\.nn:functional\(.*\) cannot be called: its type is module",
        ),
        (
            "builder_signature",
            BUILDER,
            r"broken_builders:signature\(.*\) failed: TypeError: signature\(\) takes 1 positional "
            r"argument but 2 were given",
        ),
        (
            "builder_returns",
            BUILDER,
            r"broken_builders:returns\(.*\) returned a dict, not an nn\.Module",
        ),
        (
            "builder_raises",
            BUILDER,
            r"broken_builders:raises\(.*\) failed: RuntimeError: the weights server does not "
            r"answer \(broken_builders\.py:\d+\)",
        ),
        ("builder_exits", BUILDER, r".*sys\.exit\(3\) \(broken_builders\.py:\d+\)"),
        (
            "builder_shape",
            SHAPES,
            r"for x \(1, 3, 64, 64\) the output is \(1, 1, 32, 32\), expected \(1, 1, 64, 64\)",
        ),
    ],
)
def test_a_builder_that_is_none(name, promise, detail):
    (result,) = broken(check_model(name))
    assert result.promise == promise
    assert re.fullmatch(detail, result.detail)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "number",
            "(in_channels=3, num_classes=1) cannot be called: its type is int",
        ),
        ("module", "torch.nn:functional(in_channels=3, num_classes=1) cannot be called"),
        (
            "signature",
            "failed: TypeError: signature() takes 1 positional argument but 2 w",
        ),
        ("returns", "returned a dict, not an nn.Module"),
        ("raises", "failed: RuntimeError: the weights server does not answer"),
        ("exits", "failed: it called sys.exit(3)"),
        ("shape", "found (1, 1, 4, 4), expected (1, 1, 8, 8)"),
    ],
)
def test_using_such_a_model_is_a_plugin_error(name, says):
    """Row P5: at the first build, or at the first picture."""
    with pytest.raises(PluginError) as caught:
        load(f"builder_{name}").predict(np.zeros((8, 8, 3), np.uint8))
    assert says in str(caught.value)
    assert "segzoo check" in caught.value.next_step
    assert caught.value.exit_code == 2


# --- the kit itself


def process():
    return (
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.get_rng_state().tolist(),
        torch.is_grad_enabled(),
        F.relu6,
        os.getcwd(),
        dict(os.environ),
        list(warnings.filters),
        sys.stdout,
    )


@pytest.mark.parametrize("name", ["GOOD", "MEDDLING", "LAMBDA"])
def test_it_leaves_the_process_as_it_was(name):
    """Row P8."""
    before = process()
    check_model(spec_of(name))
    assert process() == before


def test_what_a_network_prints_is_not_our_output(monkeypatch, tmp_path, capsys):
    """Row P6."""
    code = "from contract_networks import Good\nclass Talking(Good):\n    def forward(self, x):\n"
    code += "        print('thinking')\n        return super().forward(x)\n"
    (tmp_path / "talking.py").write_text(code)
    fake_plugins.install(monkeypatch, tmp_path)
    results = check_model(dataclasses.replace(spec_of("GOOD"), builder="talking:Talking"))
    captured = capsys.readouterr()
    assert broken(results) == []
    assert captured.out == ""
    assert "thinking" in captured.err


def test_meddling_at_import_is_seen_too(monkeypatch, tmp_path):
    """Row P8."""
    code = "import torch\ntorch.set_default_dtype(torch.float64)\n"
    code += "from contract_networks import Good as build\n"
    (tmp_path / "meddling_import.py").write_text(code)
    fake_plugins.install(monkeypatch, tmp_path)
    before = process()
    judged(
        check_model(dataclasses.replace(spec_of("GOOD"), builder="meddling_import:build")),
        "building changes no global state",
        r"it changes torch's default dtype",
        "leave the state of the process to its owner",
    )
    assert process() == before


def test_for_the_tests_of_a_plugin():
    assert_keeps_contract("contract_specs:GOOD")
    with pytest.raises(AssertionError) as caught:
        assert_keeps_contract(spec_of("COUNT"))
    assert str(caught.value).splitlines() == [
        "the contract is broken",
        "the parameter count is as declared: it has 125 parameters, declared are 124: "
        "write num_parameters=125 in the spec",
    ]


def test_a_name_that_is_no_model():
    with pytest.raises(UnknownModelError, match="no model 'contract'"):
        check_model("contract")
    with pytest.raises(AmbiguousModelError, match="'broken_twin' is provided by"):
        check_model("broken_twin")


def test_the_user_can_interrupt_it(monkeypatch, tmp_path):
    code = (
        "import os, signal\n"
        "def build(in_channels, num_classes):\n    os.kill(os.getpid(), signal.SIGINT)\n"
    )
    (tmp_path / "interrupting.py").write_text(code)
    fake_plugins.install(monkeypatch, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        check_model(dataclasses.replace(spec_of("GOOD"), builder="interrupting:build"))


def test_the_table_of_promises():
    names = [promise.name for promise in PROMISES]
    assert len(set(names)) == len(names)
    before = set()
    for promise in PROMISES:
        assert promise.keep.__doc__, promise.name
        assert promise.fix, promise.name
        assert set(promise.after) <= before, promise.name
        before.add(promise.keep)


def test_bfloat16_is_left_out_without_a_device():
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    result = by_name(check_model(spec_of("GOOD"), gpu=True))["bfloat16 is finite"]
    assert (result.ok, result.skipped) == (True, "this machine has no CUDA device")


@pytest.mark.gpu
def test_bfloat16_on_a_device():
    result = by_name(check_model(spec_of("GOOD"), gpu=True))["bfloat16 is finite"]
    assert (result.ok, result.skipped) == (True, "")


# --- a saved model


@pytest.fixture
def saved(monkeypatch, tmp_path):
    monkeypatch.setenv("SEGZOO_MODELS", "good=contract_specs:GOOD")
    return load("good", seed=0).save_pretrained(tmp_path / "saved")


def test_the_folder_of_a_saved_model(saved):
    assert check_folder(saved) == (
        Result("the saved model loads", True),
        Result("a picture gives a mask of its size", True),
    )


def test_a_damaged_folder(saved):
    file = saved / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    loads, predicts = check_folder(saved)
    assert not loads.ok
    assert loads.detail.startswith(f"{file}: ")
    assert loads.fix
    assert predicts.skipped == "after: the saved model loads"


def test_a_folder_whose_plugin_is_gone(saved, monkeypatch):
    monkeypatch.delenv("SEGZOO_MODELS")
    loads, _ = check_folder(saved)
    assert "does not offer 'good' here" in loads.detail


# --- where an error came from


def test_the_steps_through_a_plugin():
    with pytest.raises(PluginError) as caught:
        registry.find("broken_runtime").load()
    (step,) = frames(caught.value)
    file = BROKEN / "together" / "broken_runtime.py"
    assert step == (
        f"{file}:1 in <module>: " + 'raise RuntimeError("the licence server does not answer")'
    )


def test_a_syntax_error_has_its_own_place():
    with pytest.raises(PluginError) as caught:
        registry.find("broken_syntax").load()
    assert frames(caught.value) == [
        f"{BROKEN / 'together' / 'broken_syntax.py'}:1 SPEC = ModelSpec("
    ]


def test_there_are_no_steps_without_a_plugin():
    with pytest.raises(PluginError) as caught:
        registry.find("broken_module").load()
    assert frames(caught.value) == []
