"""Peak memory and throughput of stored runs: over T and over 100 T, and with and without a store.

Each run is a fresh process that prints its peak resident set (Linux's VmHWM); the samples of a chunk are the same in
all. Runs over 100 T with and without a store take turns, and the fastest of each counts.

    python benchmarks/memory.py --engines python julia
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import contest

CHILD = """
import json, pathlib, sys, time
import hamjl as hj
engine, steps, store, every = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
step = 0.01
def problem(steps):
    network = hj.Network.fully_connected(5, self_loops=True)
    target = hj.signals.cosine(amplitude=0.5, omega=0.01)
    return hj.Problem(network, hj.Objective.tracking(q=100, r_w=1, r=0.1), target=target, span=(0, steps * step))
def go(steps, **options):
    return hj.run(problem(steps), hj.SignFlip(every_step=True), hj.Euler(step), engine=engine, progress=False,
                  save_every=every * step, **options)
def options(name):
    return {} if store == "-" else {"store": store + name, "chunk": 4000, "thin": {"w": 10, "p_w": 10}}
go(10 * every, **options(".first"))  # imports, Julia, compilation
began = time.perf_counter()
go(steps, **options(""))
seconds = time.perf_counter() - began
status = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
peak = int(status["VmHWM"].split()[0]) / 1024
print(json.dumps([peak, seconds]))
"""


def child(engine: str, steps: int, every: int, stored: bool) -> tuple[float, float]:
    """Peak resident megabytes and seconds of one run."""
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "run.zarr") if stored else "-"
        command = [sys.executable, "-c", CHILD, engine, str(steps), store, str(every)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    peak, seconds = json.loads(done.stdout.splitlines()[-1])
    return peak, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", nargs="+", default=["python", "julia"])
    parser.add_argument(
        "--steps", type=int, default=40_000, help="steps of the embedded engine over T; Julia does 100 times as many"
    )
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if "julia" in options.engines:
        print(contest.versions())
    print(f"{'engine':>8} {'steps':>12} {'samples':>8} {'store':>6} {'peak MB':>8} {'seconds':>8} {'steps/s':>10}")
    for engine in options.engines:
        steps, every = (options.steps, 10) if engine == "python" else (100 * options.steps, 500)
        found: dict[tuple[int, bool], list[tuple[float, float]]] = {}
        for kind in ((1, True), *((100, True), (100, False)) * options.repeats):
            found.setdefault(kind, []).append(child(engine, kind[0] * steps, every, kind[1]))
        for (factor, stored), runs in found.items():
            peak, seconds = max(run[0] for run in runs), min(run[1] for run in runs)
            row = f"{engine:>8} {factor * steps:12d} {factor * steps // every:8d} {'yes' if stored else 'no':>6}"
            print(f"{row} {peak:8.1f} {seconds:8.2f} {factor * steps / seconds:10.3g}", flush=True)


if __name__ == "__main__":
    main()
