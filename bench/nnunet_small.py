"""nnU-Net with a small plan under a budget of minutes, on one thread: what bench/auto.py runs.

    PYTHON bench/nnunet_small.py PLACE OUT MINUTES

It runs in an environment that has nnunetv2, and imports nothing of segzoo. PLACE has train/ and
test/ with images/NAME_0000.png and masks/; OUT gets masks/ and told.json. The plan is nnU-Net's own
for 2-D, with 6 stages of 8 to 256 channels, windows of 128 pixels and batches of 16; its loss, its
augmentation and its optimiser are nnU-Net's. The rate follows the time that is used.
"""

import json
import os
import shutil
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

NAME = "Dataset001_bench"
STAGES = 6


def main() -> None:
    place, out, minutes = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    imported()
    began, worked = time.monotonic(), time.process_time()
    dataset = raw(place, out)
    plans = planned(out)
    prepared = time.monotonic() - began
    trainer = trained(plans, dataset, until=began + 60 * minutes)
    seconds, worked = time.monotonic() - began, time.process_time() - worked
    each = predicted(trainer, place, out)
    told = {
        "seconds": seconds,
        "seconds_before_training": prepared,
        "seconds_of_the_processor": worked,
        "iterations": trainer.counted,
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "versions": {name: metadata.version(name) for name in ("nnunetv2", "torch")},
        "each": each,
    }
    (out / "told.json").write_text(json.dumps(told))


def imported() -> None:
    """What takes a minute where it was never imported: segzoo is imported before its time too."""
    import nnunetv2.experiment_planning.plan_and_preprocess_api
    import nnunetv2.inference.predict_from_raw_data
    import nnunetv2.training.nnUNetTrainer.nnUNetTrainer  # noqa: F401


def raw(place: Path, out: Path) -> dict[str, Any]:
    """The data set in nnU-Net's layout."""
    import numpy as np
    from PIL import Image

    folder = out / "raw" / NAME
    shutil.copytree(place / "train/images", folder / "imagesTr")
    (folder / "labelsTr").mkdir()
    values: set[int] = set()
    files = sorted((place / "train/masks").iterdir())
    for file in files:
        values |= {*np.unique(np.asarray(Image.open(file))).tolist()}
        shutil.copy(file, folder / "labelsTr" / f"{file.stem.removesuffix('_0000')}.png")
    labels = {"background": 0} | {str(v): v for v in sorted(values - {0, 255})}
    described = {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": labels | ({"ignore": 255} if 255 in values else {}),
        "numTraining": len(files),
        "file_ending": ".png",
        "overwrite_image_reader_writer": "NaturalImage2DIO",
    }
    (folder / "dataset.json").write_text(json.dumps(described))
    return described


def planned(out: Path) -> dict[str, Any]:
    """nnU-Net's own plan, with a small one that inherits from it, and the preprocessed pictures."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        plan_experiments,
        preprocess,
    )

    extract_fingerprints([1], num_processes=1, check_dataset_integrity=False)
    os.environ["nnUNet_n_proc_DA"] = "1"  # the planner gives torch so many threads
    plan_experiments([1])
    os.environ["nnUNet_n_proc_DA"] = "0"
    file = out / "preprocessed" / NAME / "nnUNetPlans.json"
    plans: dict[str, Any] = json.loads(file.read_text("utf-8"))
    architecture = json.loads(json.dumps(plans["configurations"]["2d"]["architecture"]))
    arguments = architecture["arch_kwargs"]
    arguments["n_stages"] = STAGES
    arguments["features_per_stage"] = [8 * 2**stage for stage in range(STAGES)]
    arguments["kernel_sizes"] = [[3, 3]] * STAGES
    arguments["strides"] = [[1, 1]] + [[2, 2]] * (STAGES - 1)
    arguments["n_conv_per_stage"] = [2] * STAGES
    arguments["n_conv_per_stage_decoder"] = [2] * (STAGES - 1)
    plans["configurations"]["2d_small"] = {
        "inherits_from": "2d",
        "batch_size": 16,
        "patch_size": [128, 128],
        "architecture": architecture,
    }
    file.write_text(json.dumps(plans))
    preprocess([1], configurations=("2d",), num_processes=(1,))
    return plans


def trained(plans: dict[str, Any], dataset: dict[str, Any], *, until: float) -> Any:
    """A trainer of nnU-Net's whose rate falls with the time that is used, until that time."""
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    torch.set_num_threads(1)
    plans["continue_training"] = False  # as its command says it to its trainer
    trainer = nnUNetTrainer(plans, "2d_small", "all", dataset, device=torch.device("cpu"))
    trainer.on_train_start()
    torch.set_num_threads(1)  # its trainer for CPUs has set another number
    trainer.network.train()
    first, counted = time.monotonic(), 0
    while (now := time.monotonic()) < until:
        share = (now - first) / max(1e-6, until - first)
        for group in trainer.optimizer.param_groups:
            group["lr"] = trainer.initial_lr * (1 - share) ** 0.9
        trainer.train_step(next(trainer.dataloader_train))
        counted += 1
    trainer.counted = counted
    return trainer


def predicted(trainer: Any, place: Path, out: Path) -> list[float]:
    """A mask for each picture, by nnU-Net's windows without mirroring; the seconds of each."""
    import numpy as np
    import torch
    from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), verbose=False)
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        [trainer.network.state_dict()],
        trainer.dataset_json,
        "nnUNetTrainer",
        trainer.inference_allowed_mirroring_axes,
    )
    trainer.set_deep_supervision_enabled(False)
    torch.set_num_threads(1)
    (out / "masks").mkdir()
    reader, each = NaturalImage2DIO(), []
    for file in sorted((place / "test/images").iterdir()):
        began = time.perf_counter()
        image, about = reader.read_images([str(file)])
        mask = predictor.predict_single_npy_array(image, about, None, None, False)
        each.append(time.perf_counter() - began)
        reader.write_seg(np.asarray(mask), str(out / "masks" / file.name), about)
    return each


if __name__ == "__main__":
    main()
