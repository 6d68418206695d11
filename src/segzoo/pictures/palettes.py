"""What the labels of well-known data sets mean: class names, colours, and what does not count.

Each table says where it was read. A number or a name stands here once; readers and the option
`palette=` of the folder reader take it from here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = [
    "ADE20K",
    "CAMVID",
    "CAMVID_32",
    "CITYSCAPES",
    "CITYSCAPES_IDS",
    "COCO",
    "DIGITS",
    "IGNORED",
    "NYUDV2",
    "OXFORD_PET",
    "SUNRGBD",
    "TABLES",
    "VOC",
    "Table",
]

Colour: TypeAlias = tuple[int, int, int]  # red, green, blue in 0..255

IGNORED = 255  # the index of pixels that do not count, in every table that has such


@dataclass(frozen=True, kw_only=True)
class Table:
    """The labels of one data set.

    classes: their names, in the order of their indices. palette: their colours; empty where the
        data set publishes none. ignore_index: of pixels that do not count, or None.
    values: stored value -> index, for all that its files hold; empty where they are the indices.
    colours: other colours that its pictures of labels hold -> index.
    """

    classes: tuple[str, ...]
    palette: tuple[Colour, ...] = ()
    ignore_index: int | None = None
    values: Mapping[int, int] = field(default_factory=dict)
    colours: Mapping[Colour, int] = field(default_factory=dict)


# --- PASCAL VOC -----------------------------------------------------------------------------------

# Everingham et al., VOC2012 development kit: VOCinit.m (names), VOClabelcolormap.m (colours). Along
# the borders of objects lies "void": index 255, nearly white.
_VOC: dict[str, Colour] = {
    "background": (0, 0, 0),
    "aeroplane": (128, 0, 0),
    "bicycle": (0, 128, 0),
    "bird": (128, 128, 0),
    "boat": (0, 0, 128),
    "bottle": (128, 0, 128),
    "bus": (0, 128, 128),
    "car": (128, 128, 128),
    "cat": (64, 0, 0),
    "chair": (192, 0, 0),
    "cow": (64, 128, 0),
    "diningtable": (192, 128, 0),
    "dog": (64, 0, 128),
    "horse": (192, 0, 128),
    "motorbike": (64, 128, 128),
    "person": (192, 128, 128),
    "pottedplant": (0, 64, 0),
    "sheep": (128, 64, 0),
    "sofa": (0, 192, 0),
    "train": (128, 192, 0),
    "tvmonitor": (0, 64, 128),
}
VOC = Table(
    classes=tuple(_VOC),
    palette=tuple(_VOC.values()),
    ignore_index=IGNORED,
    colours={(224, 224, 192): IGNORED},
)

# --- CamVid ---------------------------------------------------------------------------------------

# Brostow, Fauqueur, Cipolla: Semantic object classes in video, 2009; label_colors.txt of the data
# set. Its 32nd label is Void, black.
_CAMVID: dict[str, Colour] = {
    "Animal": (64, 128, 64),
    "Archway": (192, 0, 128),
    "Bicyclist": (0, 128, 192),
    "Bridge": (0, 128, 64),
    "Building": (128, 0, 0),
    "Car": (64, 0, 128),
    "CartLuggagePram": (64, 0, 192),
    "Child": (192, 128, 64),
    "Column_Pole": (192, 192, 128),
    "Fence": (64, 64, 128),
    "LaneMkgsDriv": (128, 0, 192),
    "LaneMkgsNonDriv": (192, 0, 64),
    "Misc_Text": (128, 128, 64),
    "MotorcycleScooter": (192, 0, 192),
    "OtherMoving": (128, 64, 64),
    "ParkingBlock": (64, 192, 128),
    "Pedestrian": (64, 64, 0),
    "Road": (128, 64, 128),
    "RoadShoulder": (128, 128, 192),
    "Sidewalk": (0, 0, 192),
    "SignSymbol": (192, 128, 128),
    "Sky": (128, 128, 128),
    "SUVPickupTruck": (64, 128, 192),
    "TrafficCone": (0, 0, 64),
    "TrafficLight": (0, 64, 64),
    "Train": (192, 64, 128),
    "Tree": (128, 128, 0),
    "Truck_Bus": (192, 128, 192),
    "Tunnel": (64, 0, 64),
    "VegetationMisc": (192, 192, 0),
    "Wall": (64, 192, 0),
}
CAMVID_32 = Table(
    classes=tuple(_CAMVID),
    palette=tuple(_CAMVID.values()),
    ignore_index=IGNORED,
    colours={(0, 0, 0): IGNORED},
)

# The eleven classes of SegNet (Badrinarayanan, Kendall, Cipolla 2017). Its authors publish the
# grouped files; which labels went where is as MathWorks' example "Semantic Segmentation Using Deep
# Learning" (camvidPixelLabelIDs) gives it. The first of each is the one whose colour a class has.
_SEGNET: dict[str, tuple[str, ...]] = {
    "Sky": ("Sky",),
    "Building": ("Building", "Bridge", "Wall", "Tunnel", "Archway"),
    "Pole": ("Column_Pole", "TrafficCone"),
    "Road": ("Road", "LaneMkgsDriv", "LaneMkgsNonDriv"),
    "Pavement": ("Sidewalk", "ParkingBlock", "RoadShoulder"),
    "Tree": ("Tree", "VegetationMisc"),
    "SignSymbol": ("SignSymbol", "Misc_Text", "TrafficLight"),
    "Fence": ("Fence",),
    "Car": ("Car", "SUVPickupTruck", "Truck_Bus", "Train", "OtherMoving"),
    "Pedestrian": ("Pedestrian", "Child", "CartLuggagePram", "Animal"),
    "Bicyclist": ("Bicyclist", "MotorcycleScooter"),
}
# SegNet's own files store 0..10, and 11 for Unlabelled.
CAMVID = Table(
    classes=tuple(_SEGNET),
    palette=tuple(_CAMVID[labels[0]] for labels in _SEGNET.values()),
    ignore_index=IGNORED,
    values={**{index: index for index in range(11)}, 11: IGNORED},
    colours={
        **{_CAMVID[o]: i for i, labels in enumerate(_SEGNET.values()) for o in labels[1:]},
        (0, 0, 0): IGNORED,
    },
)

# --- Cityscapes -----------------------------------------------------------------------------------

# mcordts/cityscapesScripts, cityscapesscripts/helpers/labels.py at 0bcc4a7: id, index in training
# (255 and -1 do not count), name, colour. Several labels share a colour.
_CITYSCAPES: tuple[tuple[int, int, str, Colour], ...] = (
    (0, 255, "unlabeled", (0, 0, 0)),
    (1, 255, "ego vehicle", (0, 0, 0)),
    (2, 255, "rectification border", (0, 0, 0)),
    (3, 255, "out of roi", (0, 0, 0)),
    (4, 255, "static", (0, 0, 0)),
    (5, 255, "dynamic", (111, 74, 0)),
    (6, 255, "ground", (81, 0, 81)),
    (7, 0, "road", (128, 64, 128)),
    (8, 1, "sidewalk", (244, 35, 232)),
    (9, 255, "parking", (250, 170, 160)),
    (10, 255, "rail track", (230, 150, 140)),
    (11, 2, "building", (70, 70, 70)),
    (12, 3, "wall", (102, 102, 156)),
    (13, 4, "fence", (190, 153, 153)),
    (14, 255, "guard rail", (180, 165, 180)),
    (15, 255, "bridge", (150, 100, 100)),
    (16, 255, "tunnel", (150, 120, 90)),
    (17, 5, "pole", (153, 153, 153)),
    (18, 255, "polegroup", (153, 153, 153)),
    (19, 6, "traffic light", (250, 170, 30)),
    (20, 7, "traffic sign", (220, 220, 0)),
    (21, 8, "vegetation", (107, 142, 35)),
    (22, 9, "terrain", (152, 251, 152)),
    (23, 10, "sky", (70, 130, 180)),
    (24, 11, "person", (220, 20, 60)),
    (25, 12, "rider", (255, 0, 0)),
    (26, 13, "car", (0, 0, 142)),
    (27, 14, "truck", (0, 0, 70)),
    (28, 15, "bus", (0, 60, 100)),
    (29, 255, "caravan", (0, 0, 90)),
    (30, 255, "trailer", (0, 0, 110)),
    (31, 16, "train", (0, 80, 100)),
    (32, 17, "motorcycle", (0, 0, 230)),
    (33, 18, "bicycle", (119, 11, 32)),
    (-1, -1, "license plate", (0, 0, 142)),
)
_TRAINED = tuple(label for label in _CITYSCAPES if label[1] not in (IGNORED, -1))
CITYSCAPES = Table(
    classes=tuple(name for _, _, name, _ in _TRAINED),
    palette=tuple(colour for *_, colour in _TRAINED),
    ignore_index=IGNORED,
    values={id: IGNORED if index == -1 else index for id, index, _, _ in _CITYSCAPES},
    colours={
        colour: IGNORED
        for *_, colour in _CITYSCAPES
        if all(colour != trained for *_, trained in _TRAINED)
    },
)
# All 34 labels that its files store, as 0..33; -1 is drawn in none.
CITYSCAPES_IDS = Table(
    classes=tuple(name for id, _, name, _ in _CITYSCAPES if id >= 0),
    palette=tuple(colour for id, *_, colour in _CITYSCAPES if id >= 0),
)

# --- ADE20K ---------------------------------------------------------------------------------------

# The scene parsing benchmark, CSAILVision/sceneparsing at e202229: objectName150.mat and
# visualizationCode/color150.mat. Files store 1..150, and 0 for everything else. Road and skyscraper
# have one colour there.
_ADE20K: dict[str, Colour] = {
    "wall": (120, 120, 120),
    "building": (180, 120, 120),
    "sky": (6, 230, 230),
    "floor": (80, 50, 50),
    "tree": (4, 200, 3),
    "ceiling": (120, 120, 80),
    "road": (140, 140, 140),
    "bed": (204, 5, 255),
    "windowpane": (230, 230, 230),
    "grass": (4, 250, 7),
    "cabinet": (224, 5, 255),
    "sidewalk": (235, 255, 7),
    "person": (150, 5, 61),
    "earth": (120, 120, 70),
    "door": (8, 255, 51),
    "table": (255, 6, 82),
    "mountain": (143, 255, 140),
    "plant": (204, 255, 4),
    "curtain": (255, 51, 7),
    "chair": (204, 70, 3),
    "car": (0, 102, 200),
    "water": (61, 230, 250),
    "painting": (255, 6, 51),
    "sofa": (11, 102, 255),
    "shelf": (255, 7, 71),
    "house": (255, 9, 224),
    "sea": (9, 7, 230),
    "mirror": (220, 220, 220),
    "rug": (255, 9, 92),
    "field": (112, 9, 255),
    "armchair": (8, 255, 214),
    "seat": (7, 255, 224),
    "fence": (255, 184, 6),
    "desk": (10, 255, 71),
    "rock": (255, 41, 10),
    "wardrobe": (7, 255, 255),
    "lamp": (224, 255, 8),
    "bathtub": (102, 8, 255),
    "railing": (255, 61, 6),
    "cushion": (255, 194, 7),
    "base": (255, 122, 8),
    "box": (0, 255, 20),
    "column": (255, 8, 41),
    "signboard": (255, 5, 153),
    "chest of drawers": (6, 51, 255),
    "counter": (235, 12, 255),
    "sand": (160, 150, 20),
    "sink": (0, 163, 255),
    "skyscraper": (140, 140, 140),
    "fireplace": (250, 10, 15),
    "refrigerator": (20, 255, 0),
    "grandstand": (31, 255, 0),
    "path": (255, 31, 0),
    "stairs": (255, 224, 0),
    "runway": (153, 255, 0),
    "case": (0, 0, 255),
    "pool table": (255, 71, 0),
    "pillow": (0, 235, 255),
    "screen door": (0, 173, 255),
    "stairway": (31, 0, 255),
    "river": (11, 200, 200),
    "bridge": (255, 82, 0),
    "bookcase": (0, 255, 245),
    "blind": (0, 61, 255),
    "coffee table": (0, 255, 112),
    "toilet": (0, 255, 133),
    "flower": (255, 0, 0),
    "book": (255, 163, 0),
    "hill": (255, 102, 0),
    "bench": (194, 255, 0),
    "countertop": (0, 143, 255),
    "stove": (51, 255, 0),
    "palm": (0, 82, 255),
    "kitchen island": (0, 255, 41),
    "computer": (0, 255, 173),
    "swivel chair": (10, 0, 255),
    "boat": (173, 255, 0),
    "bar": (0, 255, 153),
    "arcade machine": (255, 92, 0),
    "hovel": (255, 0, 255),
    "bus": (255, 0, 245),
    "towel": (255, 0, 102),
    "light": (255, 173, 0),
    "truck": (255, 0, 20),
    "tower": (255, 184, 184),
    "chandelier": (0, 31, 255),
    "awning": (0, 255, 61),
    "streetlight": (0, 71, 255),
    "booth": (255, 0, 204),
    "television": (0, 255, 194),
    "airplane": (0, 255, 82),
    "dirt track": (0, 10, 255),
    "apparel": (0, 112, 255),
    "pole": (51, 0, 255),
    "land": (0, 194, 255),
    "bannister": (0, 122, 255),
    "escalator": (0, 255, 163),
    "ottoman": (255, 153, 0),
    "bottle": (0, 255, 10),
    "buffet": (255, 112, 0),
    "poster": (143, 255, 0),
    "stage": (82, 0, 255),
    "van": (163, 255, 0),
    "ship": (255, 235, 0),
    "fountain": (8, 184, 170),
    "conveyer belt": (133, 0, 255),
    "canopy": (0, 255, 92),
    "washer": (184, 0, 255),
    "plaything": (255, 0, 31),
    "swimming pool": (0, 184, 255),
    "stool": (0, 214, 255),
    "barrel": (255, 0, 112),
    "basket": (92, 255, 0),
    "waterfall": (0, 224, 255),
    "tent": (112, 224, 255),
    "bag": (70, 184, 160),
    "minibike": (163, 0, 255),
    "cradle": (153, 0, 255),
    "oven": (71, 255, 0),
    "ball": (255, 0, 163),
    "food": (255, 204, 0),
    "step": (255, 0, 143),
    "tank": (0, 255, 235),
    "trade name": (133, 255, 0),
    "microwave": (255, 0, 235),
    "pot": (245, 0, 255),
    "animal": (255, 0, 122),
    "bicycle": (255, 245, 0),
    "lake": (10, 190, 212),
    "dishwasher": (214, 255, 0),
    "screen": (0, 204, 255),
    "blanket": (20, 0, 255),
    "sculpture": (255, 255, 0),
    "hood": (0, 153, 255),
    "sconce": (0, 41, 255),
    "vase": (0, 255, 204),
    "traffic light": (41, 0, 255),
    "tray": (41, 255, 0),
    "ashcan": (173, 0, 255),
    "fan": (0, 245, 255),
    "pier": (71, 0, 255),
    "crt screen": (122, 0, 255),
    "plate": (0, 255, 184),
    "monitor": (0, 92, 255),
    "bulletin board": (184, 255, 0),
    "shower": (0, 133, 255),
    "radiator": (255, 214, 0),
    "glass": (25, 194, 194),
    "clock": (102, 255, 0),
    "flag": (92, 0, 255),
}
ADE20K = Table(
    classes=tuple(_ADE20K),
    palette=tuple(_ADE20K.values()),
    ignore_index=IGNORED,
    values={0: IGNORED, **{value: value - 1 for value in range(1, 151)}},
)

# --- NYU Depth v2 and SUN RGB-D -------------------------------------------------------------------

# Gupta, Arbelaez, Malik: Perceptual Organization and Recognition of Indoor Scenes from RGB-D
# Images, 2013: classMapping40.mat, spelled as there. Files store 1..40, and 0 for unlabelled.
NYUDV2 = Table(
    classes=(
        *("wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window"),
        *("bookshelf", "picture", "counter", "blinds", "desk", "shelves", "curtain", "dresser"),
        *("pillow", "mirror", "floor mat", "clothes", "ceiling", "books", "refridgerator"),
        *("television", "paper", "towel", "shower curtain", "box", "whiteboard", "person"),
        *("night stand", "toilet", "sink", "lamp", "bathtub", "bag", "otherstructure"),
        *("otherfurniture", "otherprop"),
    ),
    ignore_index=IGNORED,
    values={0: IGNORED, **{value: value - 1 for value in range(1, 41)}},
)

# Song, Lichtenberg, Xiao: SUN RGB-D, 2015: seg37list.mat of its toolbox. Files store 1..37, and 0
# for unlabelled.
SUNRGBD = Table(
    classes=(
        *("wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window"),
        *("bookshelf", "picture", "counter", "blinds", "desk", "shelves", "curtain", "dresser"),
        *("pillow", "mirror", "floor_mat", "clothes", "ceiling", "books", "fridge", "tv"),
        *("paper", "towel", "shower_curtain", "box", "whiteboard", "person", "night_stand"),
        *("toilet", "sink", "lamp", "bathtub", "bag"),
    ),
    ignore_index=IGNORED,
    values={0: IGNORED, **{value: value - 1 for value in range(1, 38)}},
)

# --- COCO -----------------------------------------------------------------------------------------

# Lin et al., Microsoft COCO, 2014: the categories of instances_*2017.json; ten of the ids 1 to 90
# are not used. Index 0 is background, for which the data set has no id.
_COCO: dict[int, str] = {
    1: "person",
    2: "bicycle",
    3: "car",
    4: "motorcycle",
    5: "airplane",
    6: "bus",
    7: "train",
    8: "truck",
    9: "boat",
    10: "traffic light",
    11: "fire hydrant",
    13: "stop sign",
    14: "parking meter",
    15: "bench",
    16: "bird",
    17: "cat",
    18: "dog",
    19: "horse",
    20: "sheep",
    21: "cow",
    22: "elephant",
    23: "bear",
    24: "zebra",
    25: "giraffe",
    27: "backpack",
    28: "umbrella",
    31: "handbag",
    32: "tie",
    33: "suitcase",
    34: "frisbee",
    35: "skis",
    36: "snowboard",
    37: "sports ball",
    38: "kite",
    39: "baseball bat",
    40: "baseball glove",
    41: "skateboard",
    42: "surfboard",
    43: "tennis racket",
    44: "bottle",
    46: "wine glass",
    47: "cup",
    48: "fork",
    49: "knife",
    50: "spoon",
    51: "bowl",
    52: "banana",
    53: "apple",
    54: "sandwich",
    55: "orange",
    56: "broccoli",
    57: "carrot",
    58: "hot dog",
    59: "pizza",
    60: "donut",
    61: "cake",
    62: "chair",
    63: "couch",
    64: "potted plant",
    65: "bed",
    67: "dining table",
    70: "toilet",
    72: "tv",
    73: "laptop",
    74: "mouse",
    75: "remote",
    76: "keyboard",
    77: "cell phone",
    78: "microwave",
    79: "oven",
    80: "toaster",
    81: "sink",
    82: "refrigerator",
    84: "book",
    85: "clock",
    86: "vase",
    87: "scissors",
    88: "teddy bear",
    89: "hair drier",
    90: "toothbrush",
}
COCO = Table(
    classes=("background", *_COCO.values()),
    ignore_index=IGNORED,
    values={0: 0, **{id: index for index, id in enumerate(_COCO, 1)}},
)

# --- Oxford-IIIT Pet ------------------------------------------------------------------------------

# Parkhi et al., Cats and Dogs, 2012: annotations/README of the data set. Trimaps store 1
# foreground, 2 background, 3 not classified: the border of the animal.
OXFORD_PET = Table(classes=("foreground", "background", "border"), values={1: 0, 2: 1, 3: 2})

# --- digits ---------------------------------------------------------------------------------------

# Twilight737's article on segmenting M2NIST, blog.csdn.net. OpenCV writes its picture, so the
# colours stand there in the order blue, green, red; here they are red, green, blue.
_DIGITS: dict[str, Colour] = {
    "0": (255, 0, 255),
    "1": (255, 0, 0),
    "2": (0, 255, 0),
    "3": (203, 192, 255),
    "4": (255, 255, 225),
    "5": (155, 155, 155),
    "6": (255, 255, 0),
    "7": (128, 0, 120),
    "8": (0, 0, 255),
    "9": (0, 0, 0),
    "background": (0, 255, 255),
}
DIGITS = Table(classes=tuple(_DIGITS), palette=tuple(_DIGITS.values()))

# What can be asked for by name.
TABLES: Mapping[str, Table] = {
    "ade20k": ADE20K,
    "camvid": CAMVID,
    "camvid_32": CAMVID_32,
    "cityscapes": CITYSCAPES,
    "cityscapes_ids": CITYSCAPES_IDS,
    "coco": COCO,
    "digits": DIGITS,
    "nyudv2": NYUDV2,
    "oxford_pet": OXFORD_PET,
    "sunrgbd": SUNRGBD,
    "voc": VOC,
}
