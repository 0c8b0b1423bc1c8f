"""Seconds a user waits, each in fresh processes: import, starting Julia, the first and the second run.

The run is law (18) on 2-8-1, c = 1e3. Processor time on one thread, the least of some processes: what is waited for on
a machine that is not busy. Julia's packages are compiled ahead, as `hamjl setup-julia` does.

    python benchmarks/latency.py
"""

import json
import subprocess
import sys

import contest

PROCESSES = 2
METHODS = (("julia", "FBDF"), ("julia", "auto"), ("python", "BDF"))
STAGES = ("import hamjl", "start Julia", "first run", "second run")

CHILD = """
import json, sys, time
marks = [time.process_time()]
import hamjl as hj
marks.append(time.process_time())
import contest
engine, name = sys.argv[1:]
record = contest.prepare(contest.layered(1e3), "costate_reversal", hj.Adaptive(name, 1e-6, 1e-9))
before = time.process_time()
if engine == "julia":
    contest.julia()
started = time.process_time()
contest.integrate(engine, record)
first = time.process_time()
contest.integrate(engine, record)
second = time.process_time()
print(json.dumps([marks[1] - marks[0], started - before, first - started, second - first]))
"""


def one(engine: str, name: str) -> list[float]:
    """Seconds of the stages in a fresh process."""
    command = [sys.executable, "-c", CHILD, engine, name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=contest.FOLDER)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    print(f"{'engine':>8} {'method':>8} " + " ".join(f"{stage:>12}" for stage in STAGES))
    for engine, name in METHODS:
        runs = [one(engine, name) for _ in range(PROCESSES)]
        cells = " ".join(f"{min(stage):12.4f}" for stage in zip(*runs, strict=True))
        print(f"{engine:>8} {name:>8} {cells}", flush=True)
    print(contest.versions())


if __name__ == "__main__":
    main()
