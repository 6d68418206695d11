"""How long one picture of 320x320 takes in each runtime, beside plain torch and the raw session.

    python bench/runtime.py [--models u2netp lite0] [--rounds 15] [--threads 2] [--bf16] [--int8]

Each way runs once in every round, in turn, so that a busy moment meets all of them; ratios are
medians over the rounds. "eager" is the network called as its authors do, in inference mode;
"torch" is segzoo's runtime. "raw" is onnxruntime's session on the same graph, and "raw openvino"
OpenVINO's, without segzoo around them. Networks have random values: time does not depend on them.
int8 is that of the default weights, which come with it or were measured by `segzoo warm`; where
there is none, or it sees other sizes, it is left out.
Writes bench/results/runtime.json.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial

import machine


def ways_of(name: str, threads: int, *, bf16: bool, int8: bool) -> dict[str, Callable[[], object]]:
    """What is timed, by its name."""
    import numpy as np
    import onnxruntime
    import torch

    import segzoo
    from segzoo.model.served import Request, serve
    from segzoo.predict.artefacts.export import to_onnx
    from segzoo.predict.runtimes.libraries import import_library

    torch.set_num_threads(threads)
    model = segzoo.load(name, seed=0)
    x = np.random.default_rng(0).random((1, model.in_channels, 320, 320), np.float32)
    pre = model.preprocess
    if pre.size not in (None, (320, 320)):
        raise SystemExit(f"{name} sees pictures at {pre.size}, not at 320x320")
    runtimes = [("torch", "fp32"), ("onnxruntime", "fp32"), ("openvino", "fp32")]
    runtimes += [("torch", "bf16"), ("openvino", "bf16")] if bf16 else []
    ways: dict[str, Callable[[], object]] = {}
    tensor = torch.from_numpy(x)

    def eager() -> object:
        with torch.inference_mode():
            return model.network(tensor)

    ways["eager"] = eager
    for runtime, precision in runtimes:
        run = model.predictor(runtime=runtime, precision=precision).runtime
        ways[f"{runtime} {precision}"] = partial(run, x)
    for runtime in ("onnxruntime", "openvino") if int8 else ():
        try:
            asked = Request(ref=name, pretrained=True, runtime=runtime, precision="int8")
            predictor = serve(asked).predictor
        except segzoo.SegzooError as error:
            print(f"{name} in int8 by {runtime} is left out: {error.problem}")
            continue
        if predictor.preprocess.size in (None, (320, 320)):
            ways[f"{runtime} int8"] = partial(predictor.runtime, x)
        else:
            print(f"{name} in int8 is left out: its weights see {predictor.preprocess.size}")
    graph = to_onnx(model.network, np.concatenate([x, x]), any_size=pre.size is None)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    ways["raw onnxruntime"] = lambda: session.run(None, {"x": x})
    core = import_library("openvino").Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    settings["PERFORMANCE_HINT"] = "LATENCY"
    compiled = core.compile_model(core.read_model(graph), "CPU", settings)
    request = compiled.create_infer_request()
    ways["raw openvino"] = lambda: request.infer({0: x})
    return ways


def measure(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            taken[name].append(time.perf_counter() - start)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=["u2netp", "lite0"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--int8", action="store_true")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # before torch is imported
    here = machine.describe()
    print(f"{args.rounds} rounds, {args.threads} threads, load average {here['load_average']}\n")
    rows = []
    for name in args.models:
        taken = measure(ways_of(name, args.threads, bf16=args.bf16, int8=args.int8), args.rounds)
        eager, plain = taken["eager"], taken["onnxruntime fp32"]
        raw = min((taken["raw onnxruntime"], taken["raw openvino"]), key=statistics.median)
        for way, seconds in taken.items():
            row = {
                "model": name,
                "way": way,
                "median_seconds": round(statistics.median(seconds), 5),
                "of_eager": _ratio(seconds, eager),
                "of_faster_raw": _ratio(seconds, raw),
                "of_onnxruntime_fp32": _ratio(seconds, plain),
            }
            rows.append(row)
            print(
                f"{name:8} {way:18} {row['median_seconds'] * 1000:8.1f} ms  "
                f"{row['of_eager']:5.2f} of eager  {row['of_faster_raw']:5.2f} of the faster raw  "
                f"{row['of_onnxruntime_fp32']:5.2f} of onnxruntime fp32"
            )
    result = {
        "rounds": args.rounds,
        "threads": args.threads,
        "load_average_afterwards": round(os.getloadavg()[0], 2),
        "rows": rows,
    }
    print(f"\nwritten to {machine.save('runtime', result, machine=here)}")


def _ratio(seconds: list[float], other: list[float]) -> float:
    """The median of the ratios of each round."""
    return round(statistics.median(a / b for a, b in zip(seconds, other, strict=True)), 3)


if __name__ == "__main__":
    main()
