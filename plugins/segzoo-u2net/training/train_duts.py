"""Train U²-Netp on DUTS-TR on a CPU, small pictures first: the weights that the wheel carries.

    python train_duts.py DUTS_TR_FOLDER RUN_FOLDER [--steps 3000]

DUTS_TR_FOLDER holds tar shards of KEY.webp (picture) and KEY.png (mask). A run that was stopped
goes on from its last checkpoint when the same command is typed again. After the last step
`RUN_FOLDER/u2netp.safetensors` holds the moving average of the weights. What a step draws depends
on the seed and the step alone.

The network sees pictures stretched to 112, then 144, then 192 pixels a side, divided by 255 and
normalised by ImageNet's mean and std. The loss is the article's sum of seven cross-entropies plus,
for each map, 1 - soft IoU, which the F-measure rewards (as BASNet does, Qin et al. 2019).
Convolutions run in bfloat16; parameters, loss and optimiser are float32.
"""

import argparse
import io
import json
import tarfile
import time
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from segzoo_u2net.loss import deep_bce
from segzoo_u2net.model import u2netp
from torch import Tensor

CACHE_SIZE = 224  # pixels a side, kept decoded
PHASES = ((0.4, 112), (0.75, 144), (1.0, 192))  # until this share of the steps: pixels a side
BATCH, PEAK_LR, WARMUP, WEIGHT_DECAY, EMA = 16, 2e-3, 150, 1e-2, 0.995
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
SAVE_EVERY = 100  # steps


def decoded(shards: Path, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (n, S, S, 3) and masks (n, S, S) as memory maps; every 20th key is left out.

    The keys left out (crc32 modulo 20 equal to 0) are the validation split that DUTS-TR lacks.
    """
    images, masks = cache / "images.npy", cache / "masks.npy"
    if not masks.exists():
        cache.mkdir(parents=True, exist_ok=True)
        pairs: dict[str, dict[str, bytes]] = {}
        for shard in sorted(shards.glob("*.tar")):
            with tarfile.open(shard) as tar:
                for member in tar:
                    key, _, kind = member.name.rpartition(".")
                    if zlib.crc32(key.encode()) % 20:
                        content = tar.extractfile(member)
                        assert content is not None
                        pairs.setdefault(key, {})[kind] = content.read()
        size = (CACHE_SIZE, CACHE_SIZE)
        shape = (len(pairs), *size)
        x = np.lib.format.open_memmap(images, "w+", np.uint8, (*shape, 3))
        y = np.empty(shape, np.uint8)
        for i, key in enumerate(sorted(pairs)):
            picture = Image.open(io.BytesIO(pairs[key]["webp"])).convert("RGB")
            mask = Image.open(io.BytesIO(pairs[key]["png"])).convert("L")
            x[i] = np.asarray(picture.resize(size, Image.Resampling.BILINEAR))
            y[i] = np.asarray(mask.resize(size, Image.Resampling.BILINEAR))
        x.flush()
        np.save(masks, y)  # written last: its presence says that the cache is whole
    return np.load(images, mmap_mode="r"), np.load(masks, mmap_mode="r")


def batch_at(step: int, size: int, images: np.ndarray, masks: np.ndarray) -> tuple[Tensor, Tensor]:
    """The batch of a step: random crop, mirror, brightness, contrast; the mask moves along."""
    epoch, start = divmod(step * BATCH, len(images))
    order = np.random.default_rng((0, epoch)).permutation(len(images))
    draw = np.random.default_rng((1, step))
    xs, ys = [], []
    for index in np.take(order, range(start, start + BATCH), mode="wrap"):
        side = CACHE_SIZE * draw.uniform(0.75, 1.0, size=2)
        left, top = draw.uniform(0, CACHE_SIZE - side)
        box = (left, top, left + side[0], top + side[1])
        picture, mask = (
            Image.fromarray(a[index]).resize((size, size), Image.Resampling.BILINEAR, box=box)
            for a in (images, masks)
        )
        x, y = np.asarray(picture, np.float32) / 255, np.asarray(mask, np.float32) / 255
        if draw.random() < 0.5:
            x, y = x[:, ::-1], y[:, ::-1]
        contrast, brightness = draw.uniform(0.75, 1.25), draw.uniform(-0.15, 0.15)
        x = np.clip((x - x.mean()) * contrast + x.mean() + brightness, 0, 1)
        if draw.random() < 0.1:
            x = np.repeat(x.mean(-1, keepdims=True), 3, -1)
        xs.append(x.transpose(2, 0, 1))
        ys.append(y[None])
    x_batch = (torch.from_numpy(np.stack(xs)) - MEAN) / STD
    return x_batch.to(memory_format=torch.channels_last), torch.from_numpy(np.stack(ys))


def soft_iou(logits: Tensor, target: Tensor) -> Tensor:
    p = logits.sigmoid()
    shared = (p * target).sum((1, 2, 3))
    return (1 - (shared + 1) / ((p + target).sum((1, 2, 3)) - shared + 1)).mean()


def learning_rate(step: int, steps: int) -> float:
    if step < WARMUP:
        return PEAK_LR * (step + 1) / WARMUP
    return PEAK_LR * 0.5 * float(1 + np.cos(np.pi * (step - WARMUP) / (steps - WARMUP)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=3000)
    args = parser.parse_args()
    args.run.mkdir(parents=True, exist_ok=True)
    images, masks = decoded(args.data, args.run / "cache")

    torch.manual_seed(0)
    network = u2netp().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=PEAK_LR, weight_decay=WEIGHT_DECAY)
    average = {k: v.clone() for k, v in network.state_dict().items()}
    names = [name for name, _ in network.named_parameters()]
    state, start, minutes = args.run / "state.safetensors", 0, 0.0

    if state.exists():
        saved = load_file(state)
        network.load_state_dict({k: saved[f"model/{k}"] for k in average})
        average = {k: saved[f"average/{k}"] for k in average}
        start, minutes = int(saved["step"]), float(saved["minutes"])
        for name, parameter in network.named_parameters():
            optimizer.state[parameter] = {
                key: saved[f"{key}/{name}"] for key in ("exp_avg", "exp_avg_sq", "step")
            }

    loss_of, clock = deep_bce(), time.monotonic()
    for step in range(start, args.steps):
        size = next(size for until, size in PHASES if step < until * args.steps)
        x, y = batch_at(step, size, images, masks)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, args.steps)
        with torch.autocast("cpu", torch.bfloat16):
            outputs = network(x)
        outputs = tuple(o.float() for o in outputs)
        loss = loss_of(outputs, {"target": y})["loss"] + sum(soft_iou(o, y) for o in outputs)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()

        keep = min(EMA, (step + 1) / (step + 10))
        for key, value in network.state_dict().items():
            if value.is_floating_point():
                average[key].lerp_(value, 1 - keep)
            else:
                average[key].copy_(value)

        if (step + 1) % SAVE_EVERY == 0 or step + 1 == args.steps:
            minutes += (time.monotonic() - clock) / 60
            clock = time.monotonic()
            whole = {f"model/{k}": v for k, v in network.state_dict().items()}
            whole |= {f"average/{k}": v for k, v in average.items()}
            for name, parameter in zip(names, network.parameters(), strict=True):
                whole |= {f"{k}/{name}": v for k, v in optimizer.state[parameter].items()}
            whole |= {"step": torch.tensor(step + 1), "minutes": torch.tensor(minutes)}
            for path, tensors in ((args.run / "u2netp.safetensors", average), (state, whole)):
                partial = path.with_suffix(".partial")
                save_file({k: v.clone().contiguous() for k, v in tensors.items()}, partial)
                partial.replace(path)
            line = {"step": step + 1, "size": size, "minutes": minutes, "loss": loss.item()}
            with (args.run / "log.jsonl").open("a") as log:
                log.write(json.dumps({k: round(v, 4) for k, v in line.items()}) + "\n")


if __name__ == "__main__":
    main()
