"""The process behind a server that opens pictures and runs networks, so that the server does not.

It is told what to do over its standard input and answers on its standard output, in frames. What a
stranger's picture does to a decoder, and how much memory it takes, is this process's own: it may be
killed at any moment, and another one takes its place.
"""

import contextlib
import dataclasses
import os
import queue
import sys
import threading
import time
import traceback
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from segzoo.base.cores import usable_cores
from segzoo.base.records import Json, from_dict
from segzoo.base.stdout import kept_for_us
from segzoo.base.terminal import to_stderr
from segzoo.errors import PluginError, SegzooError
from segzoo.predict import outputs
from segzoo.predict.preprocess import mask_of
from segzoo.predict.stages import Ran, Read
from segzoo.serve.asked import AskedFor
from segzoo.serve.frames import Frame, read_frame, write_frame
from segzoo.serve.settings import Networks

if TYPE_CHECKING:
    from segzoo.model.served import Served
    from segzoo.predict.outputs import Output
    from segzoo.predict.prediction import Prediction
    from segzoo.predict.stages import Stages

__all__ = ["be_a_worker"]

FORMATS: dict[str, Literal["PNG", "WEBP"]] = {"png": "PNG", "webp": "WEBP"}
MEDIA_TYPES = {"png": "image/png", "webp": "image/webp"}


@dataclass(eq=False)
class Chore:
    """A picture on its way. seconds: what each step took. pixels: held of it, once it is open."""

    id: int
    asked: AskedFor
    content: bytes
    arrived: float = field(default_factory=time.monotonic)
    seconds: dict[str, float] = field(default_factory=dict)
    pixels: int = 0
    together: int = 1


def be_a_worker() -> None:
    """Run until standard input ends."""
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of damaged pictures; their notes tell
    with kept_for_us():
        worker = Worker(sys.stdout.buffer)
        first = read_frame(sys.stdin.buffer)
        if first is None:
            return
        try:
            worker.begin(from_dict(Networks, first.record["networks"]), fetch=first.record["fetch"])
        except SegzooError as error:
            worker.send({"kind": "failed", "message": str(error), "code": error.exit_code})
            return
        except Exception as error:
            to_stderr(*traceback.format_exc().splitlines())
            what = f"{type(error).__name__}: {error}"
            worker.send({"kind": "failed", "message": what, "code": 70})
            return
        worker.work(iter(lambda: read_frame(sys.stdin.buffer), None))
        os._exit(0)  # what still runs has nobody to answer to


class Worker:
    """Opens and finishes pictures in a few threads, and runs networks in one.

    out: where answers go.
    """

    def __init__(self, out: Any) -> None:
        self.out, self.writing = out, threading.Lock()
        self.networks = Networks(models={})
        self.loaded: OrderedDict[str, tuple[Served, Stages]] = OrderedDict()
        self.loading = threading.Lock()
        self.cancelled: set[int] = set()
        self.opened: queue.SimpleQueue[tuple[Chore, Stages, Read]] = queue.SimpleQueue()
        self.held, self.room = 0, threading.Condition()

    def begin(self, networks: Networks, *, fetch: bool) -> None:
        """Load what is to be there from the beginning. fetch: weights that are not here too."""
        self.networks = networks
        for name in networks.models if networks.at_once else ():
            self._load(name, local=not fetch)
        self.send({"kind": "ready"})

    def work(self, frames: Iterator[Frame | None]) -> None:
        """Answer frame by frame until there are no more."""
        threads = max(2, min(4, usable_cores()))
        threading.Thread(target=self._run_networks, daemon=True).start()
        with ThreadPoolExecutor(threads, "segzoo-open") as self.openers:
            with ThreadPoolExecutor(threads, "segzoo-finish") as self.finishers:
                for frame in frames:
                    if frame is None:
                        return
                    if frame.record["kind"] == "cancel":
                        self.cancelled.add(frame.record["id"])
                        continue
                    asked = from_dict(AskedFor, frame.record["asked"])
                    task = Chore(frame.record["id"], asked, frame.content)
                    self.openers.submit(self._guarded, task, self._open)

    def send(self, record: dict[str, Json], contents: tuple[bytes, ...] = ()) -> None:
        with self.writing, contextlib.suppress(OSError):
            write_frame(self.out.write, record, contents)
            self.out.flush()

    # --- a picture's way ---

    def _open(self, task: Chore) -> None:
        began = time.monotonic()
        try:
            _, stages = self._load(task.asked.model, local=True)
        except SegzooError as error:
            to_stderr(f"segzoo: {task.asked.model}: {error}")
            message = f"the model '{task.asked.model}' cannot be loaded: {error.stated}"
            self._fail(task, "Unloadable", message)
            return
        task.seconds["load"] = time.monotonic() - began
        # Before it is open nobody knows how large it is: it waits until the others are small.
        with self.room:
            self.room.wait_for(lambda: self.held < self.networks.max_pixels)
        began = time.monotonic()
        read = stages.read(task.content)
        task.content = b""
        task.seconds["decode"] = time.monotonic() - began
        if isinstance(read, SegzooError):
            raise read
        height, width = read.picture.image.shape[:2]
        with self.room:
            task.pixels = height * width
            self.held += task.pixels
        self.opened.put((task, stages, read))

    def _run_networks(self) -> None:
        """Take what is open, with what can run together with it and is open by now."""
        waiting: list[tuple[Chore, Stages, Read]] = []
        while True:
            if not waiting:
                waiting.append(self.opened.get())
            with contextlib.suppress(queue.Empty):
                while True:
                    waiting.append(self.opened.get_nowait())
            batch, waiting = self._batch(waiting)
            self._run(batch)

    def _batch(self, waiting: list[Any]) -> tuple[list[Any], list[Any]]:
        """The first picture with those that run together with it, and the others."""
        _, stages, read = waiting[0]
        key = stages.together(read)
        batch: list[Any] = [waiting[0]]
        others: list[Any] = []
        for item in waiting[1:]:
            alike = key is not None and item[1] is stages and stages.together(item[2]) == key
            (batch if alike and len(batch) < stages.batch_size else others).append(item)
        return batch, others

    def _run(self, batch: list[tuple[Chore, "Stages", Read]]) -> None:
        alive = [item for item in batch if not self._is_cancelled(item[0])]
        if not alive:
            return
        began = time.monotonic()
        stages = alive[0][1]
        try:
            answers: list[Any] = list(stages.run([read for _, _, read in alive]))
        except Exception as error:  # of a plugin that the stages do not know
            answers = [error] * len(alive)
        seconds = time.monotonic() - began
        for (task, _, _), ran in zip(alive, answers, strict=True):
            task.seconds |= {"wait": began - task.arrived - sum(task.seconds.values())}
            task.seconds |= {"network": seconds}
            task.together = len(alive)
            self.finishers.submit(self._guarded, task, self._finish, stages, ran)

    def _finish(self, task: Chore, stages: "Stages", ran: Ran | Exception) -> None:
        if isinstance(ran, Exception):
            raise ran
        began = time.monotonic()
        prediction = stages.finish(ran)
        if isinstance(prediction, SegzooError):
            raise prediction
        served, _ = self._load(task.asked.model, local=True)
        made, notes = self._rendered(prediction, served, task.asked)
        contents = tuple(outputs.encode(o, FORMATS[task.asked.format]) for o in made)
        task.seconds["finish"] = time.monotonic() - began
        self._release(task)
        kinds = zip(task.asked.output, contents, strict=True)
        self.send(
            {
                "kind": "answer",
                "id": task.id,
                "pictures": [[kind, MEDIA_TYPES[task.asked.format], len(c)] for kind, c in kinds],
                "size": [*prediction.mask.shape],
                "num_classes": prediction.num_classes,
                "found": prediction.present,
                "notes": [*notes],
                "seconds": task.seconds,
                "together": task.together,
            },
            contents,
        )

    def _rendered(
        self, prediction: "Prediction", served: "Served", asked: AskedFor
    ) -> tuple[list["Output"], tuple[str, ...]]:
        predictor, notes = served.predictor, prediction.picture.notes
        if asked.threshold is not None:
            likely = prediction.probability
            likely = likely[None] if likely.ndim == 2 else likely
            post = dataclasses.replace(predictor.postprocess, threshold=asked.threshold)
            prediction = dataclasses.replace(prediction, mask=mask_of(likely, post))
        box = outputs.subject_box(prediction) if asked.crop else None
        if asked.crop and box is None:
            notes = (*notes, "nothing was found, so it is not cropped")
        edges: Literal["clean", "raw"] = "raw" if asked.edges == "raw" else "clean"
        made = [
            # What a camera noted, where above all, is not the server's to hand on.
            outputs.render(
                kind,
                prediction,
                palette=predictor.palette,
                background=asked.background,
                edges=edges,
                box=box,
            )._replace(exif=None)
            for kind in asked.output
        ]
        return made, notes

    # --- what goes with it ---

    def _guarded(self, task: Chore, step: Any, *more: Any) -> None:
        """A step of a picture's way. Whatever goes wrong is the picture's answer."""
        if self._is_cancelled(task):
            return
        try:
            step(task, *more)
        except SegzooError as error:
            self._fail(task, type(error).__name__, error.stated)
            if isinstance(error, PluginError):
                cause = traceback.format_exception(error.__cause__ or error)
                to_stderr(*"".join(cause).splitlines())
        except MemoryError:
            self._fail(task, "PictureTooLargeError", "memory ran out; make the picture smaller")
        except Exception as error:
            to_stderr(*traceback.format_exc().splitlines())
            self._fail(task, "Exception", f"a defect of segzoo: {type(error).__name__}")

    def _fail(self, task: Chore, error: str, message: str) -> None:
        self._release(task)
        self.send({"kind": "error", "id": task.id, "error": error, "message": message})

    def _is_cancelled(self, task: Chore) -> bool:
        """Whether nobody waits for it any more; then what is held of it goes."""
        if task.id not in self.cancelled:
            return False
        self.cancelled.discard(task.id)
        self._release(task)
        return True

    def _release(self, task: Chore) -> None:
        with self.room:
            self.held -= task.pixels
            task.pixels = 0
            self.room.notify_all()

    def _load(self, name: str, *, local: bool) -> tuple["Served", "Stages"]:
        """A model by its name in requests; one of those in memory, or loaded now."""
        from segzoo.model.served import Request, serve

        networks = self.networks
        with self.loading:
            if name in self.loaded:
                self.loaded.move_to_end(name)
                return self.loaded[name]
            request = Request(
                ref=networks.models[name],
                pretrained=True,
                local_files_only=local,
                device=networks.device,
                runtime=networks.runtime,
                precision=networks.precision,
                tell=lambda line: to_stderr(f"segzoo: {line}"),
            )
            served = serve(request)
            predictor = dataclasses.replace(
                served.predictor,
                batch_size=networks.batch_size or served.worth_together,
                max_pixels=networks.max_pixels,
            )
            served = served._replace(predictor=predictor)
            if not networks.at_once and len(self.loaded) >= networks.kept:
                self.loaded.popitem(last=False)
            self.loaded[name] = served, predictor.stages()
            self.send({"kind": "model", "name": name, "facts": _facts(served)})
            return self.loaded[name]


def _facts(served: "Served") -> dict[str, Json]:
    """What `/models` says of a model, once it is loaded."""
    config = served.config
    return {
        "runtime": served.runtime,
        "precision": served.precision,
        "device": served.device,
        "classes": [*config.classes],
        "num_classes": config.num_classes,
        "summary": served.spec.summary,
        "license": served.weights.license if served.weights else "",
    }
