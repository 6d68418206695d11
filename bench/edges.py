"""How near clean edges come to the truth, beside pymatting: 100 composites of known parts.

    python bench/edges.py [--count 80] [--large 20] [--theirs-large]

A composite is alpha * subject + (1 - alpha) * background, of generated shapes (a disc, hair, fur,
thin stems, glass, a dark disc on white) in generated colours and in those of demo/photos. COUNT of
them have up to a megapixel, LARGE have 4 and 12. What a network says is imitated: the opacity seen
at 320x320, blurred, and enlarged again. From the picture and this map:

opacity: `edges.refined` beside closed-form matting (pymatting.estimate_alpha_cf) from the trimap
    that `rembg -a` makes: sure above 240 and below 10 of 255, both eroded by 10 pixels.
colours: `edges.foreground` beside pymatting.estimate_foreground_ml, both given the true opacity.

SAD is the sum of absolute differences over 1000, gradient error as Rhemann et al. 2009 define it
(sigma 1.4) over 1000, colour error the mean absolute difference where 0 < alpha < 1, of 0 to 255. A
step runs in a process of its own, after pymatting has been compiled: seconds are the processor's,
memory is what that process took more than it had. Of the large ones ours runs alone, with
--theirs-large theirs once a size, and what needs more memory than there is is said. Writes
bench/results/edges.json.
"""

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

os.environ["NUMBA_THREADING_LAYER"] = "workqueue"  # OpenMP's ends a process that is forked

import machine
import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from pymatting import estimate_alpha_cf, estimate_foreground_ml
from scipy import ndimage

from segzoo.predict import edges

ROOT = Path(__file__).parents[1]
KINDS = ("disc", "hair", "fur", "stems", "glass", "dark")
SEEN = 320  # pixels a side: what networks see
LARGE = ((2000, 2000), (3000, 4000))
STEPS = ("opacity", "colours")
SPARE = 0.8  # of the free memory: what a step may take


class Composite(NamedTuple):
    """image: (H, W, 3) uint8. opacity, map: (H, W), the true one, and what a network says."""

    kind: str
    image: np.ndarray
    opacity: np.ndarray
    subject: np.ndarray
    map: np.ndarray


class Taken(NamedTuple):
    result: np.ndarray
    seconds: float
    mib: float


# --- composites ----------------------------------------------------------------------------------


def composite(number: int, size: tuple[int, int]) -> Composite:
    rng = np.random.default_rng(number)
    kind = KINDS[number % len(KINDS)]
    opacity = drawn(kind, size, rng)
    subject, behind = (colours(size, rng, photo=n == number // len(KINDS) % 3) for n in range(2))
    if kind == "dark":
        subject, behind = subject * 0.15, 0.9 + behind * 0.1
    mixed = opacity[..., None] * subject + (1 - opacity[..., None]) * behind
    image = np.rint(mixed * 255).astype(np.uint8)
    return Composite(kind, image, opacity, subject, seen(opacity))


def drawn(kind: str, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """The opacity (H, W) of a shape, antialiased."""
    height, width = size
    scale = 4 if height * width <= 1 << 20 else 2
    image = Image.new("L", (width * scale, height * scale))
    draw, side = ImageDraw.Draw(image), min(size) * scale
    x, y = (n * scale * rng.uniform(0.42, 0.58) for n in (width, height))
    radius = side * rng.uniform(0.2, 0.3)
    box = [x - radius, y - radius, x + radius, y + radius]
    draw.ellipse(box, fill=round(255 * rng.uniform(0.35, 0.65)) if kind == "glass" else 255)
    if kind == "glass":
        draw.ellipse(box, outline=255, width=max(1, side // 80))
    number, longest, thick = {"hair": (150, 1.4, 0.7), "fur": (1500, 1.12, 0.8)}.get(
        kind, (6 if kind == "stems" else 0, 1.8, 0)
    )
    for angle in rng.uniform(0, 2 * np.pi, number):
        reach = radius * rng.uniform(1.02, longest)
        bent = angle + rng.uniform(-0.1, 0.1)
        end = (x + reach * np.cos(bent), y + reach * np.sin(bent))
        start = (x + 0.9 * radius * np.cos(angle), y + 0.9 * radius * np.sin(angle))
        draw.line([start, end], fill=255, width=max(1, round(thick * scale or side / 160)))
    blurred = image.filter(ImageFilter.GaussianBlur(scale * rng.uniform(0.4, 1.2)))
    return np.asarray(blurred.resize((width, height), Image.Resampling.BOX), np.float32) / 255


def colours(size: tuple[int, int], rng: np.random.Generator, *, photo: bool) -> np.ndarray:
    """(H, W, 3) from 0 to 1: a ramp between two colours with grain, or a part of a photo."""
    if photo:
        files = sorted((ROOT / "demo" / "photos").glob("*.jpg"))
        with Image.open(files[rng.integers(len(files))]) as im:
            left, top = (int(rng.integers(0, side // 2)) for side in im.size)
            part = im.convert("RGB").crop((left, top, left + im.width // 2, top + im.height // 2))
        resized = part.resize(size[::-1], Image.Resampling.BICUBIC)
        return np.asarray(resized, np.float32) / 255
    ends = rng.uniform(0, 1, (2, 3))
    slopes = (rng.uniform(-1, 1) * np.linspace(0, 1, side) for side in size)
    ramp = np.add.outer(*slopes)
    ramp = (ramp - ramp.min()) / max(np.ptp(ramp), 1e-6)
    surface = ends[0] + (ends[1] - ends[0]) * 0.3 * ramp[..., None]
    return np.clip(surface + rng.normal(0, 0.012, (*size, 3)), 0, 1).astype(np.float32)


def seen(opacity: np.ndarray) -> np.ndarray:
    small = Image.fromarray(opacity).resize((SEEN, SEEN), Image.Resampling.BOX)
    blurred = ndimage.gaussian_filter(np.asarray(small), 1.5).astype(np.float32)
    whole = Image.fromarray(blurred).resize(opacity.shape[::-1], Image.Resampling.BILINEAR)
    return np.clip(np.asarray(whole), 0, 1)


# --- the steps -----------------------------------------------------------------------------------


def our_opacity(c: Composite) -> np.ndarray:
    return edges.refined(c.image, c.map)


def our_colours(c: Composite) -> np.ndarray:
    return edges.foreground(c.image, c.opacity)


def their_opacity(c: Composite) -> np.ndarray:
    """Closed-form matting from the trimap that rembg's alpha_matting_cutout makes."""
    mask, structure = np.rint(c.map * 255), np.ones((10, 10), bool)
    subject = ndimage.binary_erosion(mask > 240, structure=structure)
    behind = ndimage.binary_erosion(mask < 10, structure=structure, border_value=1)
    trimap = np.full(mask.shape, 0.5)
    trimap[subject], trimap[behind] = 1, 0
    try:
        return estimate_alpha_cf(c.image / 255.0, trimap)
    except ValueError:  # nothing is sure: rembg takes the mask then
        return c.map


def their_colours(c: Composite) -> np.ndarray:
    found = estimate_foreground_ml(c.image / 255.0, c.opacity.astype(np.float64))
    return np.rint(np.clip(found, 0, 1) * 255).astype(np.uint8)


OURS = {"opacity": our_opacity, "colours": our_colours}
THEIRS = {"opacity": their_opacity, "colours": their_colours}


def taken(step: Callable[[Composite], np.ndarray], c: Composite, folder: Path) -> Taken | str:
    """What a step gives in a process of its own, or why it gives nothing."""
    tiny = composite(0, (64, 64))
    file = folder / "result.npy"
    file.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        try:
            most = int(SPARE * _available())
            used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
            resource.setrlimit(resource.RLIMIT_DATA, (most + used, most + used))
            step(tiny)  # compiled, and its libraries started: not here but there, before a fork
            before = _resident()
            start = time.process_time()
            result = step(c)
            seconds = time.process_time() - start
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            with open(file, "wb") as out:
                np.save(out, np.array([seconds, max(0.0, peak - before)]))
                np.save(out, result)
            os._exit(0)
        except MemoryError:
            os._exit(1)
        except BaseException as error:
            print(f"{step.__name__}: {type(error).__name__}: {error}", file=sys.stderr)
            os._exit(2)
    _, status = os.waitpid(child, 0)
    if status:
        return "it does not fit the memory" if os.waitstatus_to_exitcode(status) == 1 else "failed"
    with open(file, "rb") as found:
        seconds, mib = np.load(found)
        return Taken(np.load(found), float(seconds), float(mib))


def _available() -> int:
    """Bytes that can be had: what is free, and what the system would give back of its cache."""
    lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))


def _resident() -> float:
    """MiB that this process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


# --- judging -------------------------------------------------------------------------------------


def judged(step: str, result: np.ndarray, c: Composite) -> dict[str, float]:
    if step == "opacity":
        sad = float(np.abs(result - c.opacity).sum()) / 1000
        return {"sad": sad, "gradient": gradient_error(result, c.opacity)}
    soft = (c.opacity > 0) & (c.opacity < 1)
    return {"colour": float(np.abs(result[soft] - c.subject[soft] * 255).mean())}


def gradient_error(found: np.ndarray, true: np.ndarray) -> float:
    one, other = (
        ndimage.gaussian_gradient_magnitude(np.asarray(values, np.float64), 1.4)
        for values in (found, true)
    )
    return float(((one - other) ** 2).sum()) / 1000


def measured(c: Composite, ways: dict, folder: Path) -> dict:
    """Errors, seconds and memory of both steps of a way; or why it has none."""
    row: dict = {"seconds": 0.0, "mib": 0.0}
    for step in STEPS:
        found = taken(ways[step], c, folder)
        if isinstance(found, str):
            row[step] = found
            continue
        row |= judged(step, found.result, c)
        row["seconds"] += found.seconds
        row["mib"] = max(row["mib"], found.mib)
    return {name: _short(value) for name, value in row.items()}


def _short(value: object) -> object:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def summary(rows: list[dict]) -> dict:
    """On how many ours is at least as good, and medians of both."""
    both = [row for row in rows if "sad" in row["theirs"] and "colour" in row["theirs"]]
    found: dict = {"composites": len(rows), "theirs_gives_both": len(both)}
    if not both:
        return found
    for name in ("sad", "gradient", "colour"):
        found[f"{name}_at_most_theirs"] = sum(
            row["ours"][name] <= row["theirs"][name] for row in both
        )
    for who in ("ours", "theirs"):
        found[who] = {
            f"median_{name}": _short(float(statistics.median(row[who][name] for row in both)))
            for name in ("sad", "gradient", "colour", "seconds", "mib")
        }
    ratio = statistics.median(row["ours"]["seconds"] / row["theirs"]["seconds"] for row in both)
    return found | {"median_share_of_their_time": _short(float(ratio))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=80)
    parser.add_argument("--large", type=int, default=20)
    parser.add_argument("--theirs-large", action="store_true")
    args = parser.parse_args()
    here = machine.describe()
    rows, large, tried = [], [], set()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(args.count):
            rng = np.random.default_rng(1000 + number)
            width, height = (int(side) for side in rng.integers(300, 1000, 2))
            size = width, height
            c = composite(number, size)
            row = {"number": number, "kind": c.kind, "size": size}
            row["ours"], row["theirs"] = measured(c, OURS, folder), measured(c, THEIRS, folder)
            rows.append(row)
            print(number, c.kind, size, row["ours"], row["theirs"], flush=True)
        for number in range(args.large):
            size = LARGE[number % len(LARGE)]
            c = composite(args.count + number, size)
            row = {"number": args.count + number, "kind": c.kind, "size": size}
            row["ours"] = measured(c, OURS, folder)
            if args.theirs_large and size not in tried:
                tried.add(size)
                row["theirs"] = measured(c, THEIRS, folder)
            large.append(row)
            print(row["number"], c.kind, size, row["ours"], row.get("theirs", ""), flush=True)
    result: dict = {"up_to_a_megapixel": summary(rows)} if rows else {}
    result["load_average_afterwards"] = round(os.getloadavg()[0], 2)
    result |= {"rows": rows, "large": large}
    print(result.get("up_to_a_megapixel"))
    print(f"\nwritten to {machine.save('edges', result, machine=here)}")


if __name__ == "__main__":
    main()
