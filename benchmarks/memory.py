"""Peak memory and throughput of stored runs: over T and over 100 T, and with and without a store.

Each run is a fresh process that prints its peak resident set; the samples of a chunk are the same in all.

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
import json, sys, time
import resource
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
go(10 * every)  # imports, Julia, compilation
began = time.perf_counter()
go(steps, **({} if store == "-" else {"store": store, "chunk": 2000, "thin": {"w": 10, "p_w": 10}}))
seconds = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
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
        "--steps", type=int, default=20_000, help="steps of the embedded engine over T; Julia does 100 times as many"
    )
    options = parser.parse_args()
    if "julia" in options.engines:
        print(contest.versions())
    print(f"{'engine':>8} {'steps':>12} {'samples':>8} {'store':>6} {'peak MB':>8} {'seconds':>8} {'steps/s':>10}")
    for engine in options.engines:
        steps, every = (options.steps, 10) if engine == "python" else (100 * options.steps, 500)
        for factor, stored in ((1, True), (100, True), (100, False)):
            peak, seconds = child(engine, factor * steps, every, stored)
            row = f"{engine:>8} {factor * steps:12d} {factor * steps // every:8d} {'yes' if stored else 'no':>6}"
            print(f"{row} {peak:8.1f} {seconds:8.2f} {factor * steps / seconds:10.3g}", flush=True)


if __name__ == "__main__":
    main()
