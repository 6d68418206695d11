"""Specs that keep the contract, and others that break one promise each."""

from dataclasses import replace

from segzoo.spec import ModelSpec, Postprocess, Preprocess, TaskDefaults

SIGMOID = Postprocess()
SOFTMAX = Postprocess(activation="softmax", threshold=None)


def loss(name, postprocess=SIGMOID):
    return TaskDefaults(loss=f"contract_networks:{name}", postprocess=postprocess)


GOOD = ModelSpec(
    summary="keeps the contract",
    builder="contract_networks:Good",
    blocks={"head": "torch.nn:Conv2d"},
    tasks={
        "binary": loss("bce"),
        "multiclass": loss("cross_entropy", SOFTMAX),
        "multilabel": loss("named_bce"),
    },
    preprocess=Preprocess(),
    num_classes=1,
    num_parameters=(3 * 9 + 1) * 4 + 8 + 5,
    head=("head",),
    stem=("stem.",),
)
RESIZED = replace(GOOD, preprocess=Preprocess(size=(320, 320), resize="stretch"))
SIDED = replace(
    GOOD,
    builder="contract_networks:Sided",
    tasks={"binary": loss("bce")},
    num_parameters=GOOD.num_parameters + 5,
)
NAMED = replace(SIDED, builder="contract_networks:Named")
FROZEN = replace(GOOD, builder="contract_networks:Idle", num_parameters=145, frozen=("spare.",))
VALID = replace(
    GOOD,
    builder="contract_networks:Valid",
    tasks={"binary": loss("bce", Postprocess(scale=2))},
    preprocess=Preprocess(multiple_of=4, remainder=2, margin=2),
    num_parameters=(3 * 9 + 1) * 4 + 4 * 9 + 1,
)

GRAY = replace(GOOD, in_channels=1, num_parameters=GOOD.num_parameters - 72)
INFRARED = replace(GOOD, in_channels=4, num_parameters=GOOD.num_parameters + 36)


def broken(builder, **fields):
    return replace(GOOD, builder=f"contract_networks:{builder}", **fields)


PATHS = replace(
    GOOD,
    blocks={"stem": "contract_networks:Stem", "conv": "no_such_module:Conv"},
    tasks={"binary": loss("dice")},
)
REQUIRES = replace(
    GOOD, builder="no_such_library:Net", requires={"no_such_library": "contract[library]"}
)
NUM_CLASSES = broken("one_class")
IN_CHANNELS = broken("rgb_only")
HEAD = replace(GOOD, head=(), stem=("stem.", "stam."))
ODD_SIZES = broken("Halving")
JOINED_SIZES = broken("Joining")
INFINITE = broken("Infinite")
NO_TENSOR = broken("NoTensor")
SIDE_FIRST = replace(SIDED, builder="contract_networks:SideFirst")
NO_ALL_HEADS = replace(SIDED, builder="contract_networks:NoAllHeads")
ALWAYS_BOTH = replace(SIDED, builder="contract_networks:AlwaysBoth")
PROBABILITIES = broken("Sigmoid")
RANDOM = broken("Dropping")
NAN_LOSS = replace(GOOD, tasks={"binary": loss("nan_loss")})
PIXEL_LOSS = replace(GOOD, tasks={"binary": loss("pixel_loss")})
NUMBER_LOSS = replace(GOOD, tasks={"binary": loss("number_loss")})
WEIGHT_UNSEEN = replace(GOOD, tasks={"binary": loss("weight_unseen")})
WEIGHT_SLOPE = replace(GOOD, tasks={"binary": loss("weight_unseen_by_the_slope")})
IGNORED_COUNTS = replace(GOOD, tasks={"binary": loss("ignored_as_foreground")})
ALWAYS_255 = replace(GOOD, tasks={"binary": loss("always_255")})
IGNORED_SLOPE = replace(GOOD, tasks={"binary": loss("ignored_in_the_value_alone")})
NO_IGNORE_INDEX = replace(GOOD, tasks={"binary": loss("no_ignore_index")})
WILD_GRADIENT = replace(GOOD, tasks={"binary": loss("wild_gradient")})
IDLE = broken("Idle", num_parameters=145)
FROZEN_NAME = replace(FROZEN, frozen=("spare.", "sparse."))
FORGETFUL = broken("Forgetful")
COUNT = replace(GOOD, num_parameters=124)
MACS = replace(GOOD, macs=1)
MACS_RESIZED = replace(RESIZED, macs=1)
MEDDLING = broken("meddling")
PICTURES = replace(GOOD, preprocess=Preprocess(custom="contract_networks:no_picture"))
WIDE_PICTURE = replace(GOOD, preprocess=Preprocess(custom="contract_networks:wide_picture"))
LAMBDA = broken("Lambda")
GENERATOR = broken("Thread")
CHOOSING = broken("Choosing")
CLIMBING = replace(GOOD, tasks={"binary": loss("climbing")})
