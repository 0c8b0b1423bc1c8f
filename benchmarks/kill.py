"""Kill stored runs at random moments, resume them, and compare with the run that was never killed. Prints the counts.

Every store must open after every kill, with no sample lost that was committed; the resumed trajectory must be the
uninterrupted one, bitwise with Euler, and with an adaptive solver with the same number of steps and restarts. Then
single bits of a finished store are turned: each in a chunk must be found when it is read, and each elsewhere must be
found or make no difference. It ends with exit code 1 where any of this does not hold.

    python benchmarks/kill.py --kills 60 --flips 300 --engines python julia
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import contest
import numpy as np

import hamjl as hj
from hamjl.store import create

CHILD = """
import sys, hamjl as hj
recipe = hj.open(sys.argv[1]).hamjl.recipe
warm = hj.Session(recipe.problem, recipe.law, recipe.method, engine=recipe.engine)
warm.advance(recipe.problem.span[0] + 0.001)  # imports and compilers first, so that what follows is the run
print("go", flush=True)
hj.resume(sys.argv[1], progress=False)
"""
METHODS = {
    "python": (hj.Euler(1e-4), hj.Adaptive("BDF", 1e-9, 1e-11), hj.Adaptive("LSODA", 1e-9, 1e-11)),
    "julia": (hj.Euler(1e-6), hj.Adaptive("FBDF", 1e-10, 1e-12), hj.Adaptive("Tsit5", 1e-11, 1e-13)),
}
STATES = ("x", "w", "p_x", "p_w")


def killed(recipe: hj.Recipe, folder: Path, kills: int, rng: np.random.Generator) -> dict[str, int]:
    """One row of the table."""
    expected = hj.run(recipe, progress=False)
    counts = dict.fromkeys(("kills", "opened", "lost", "runs", "same"), 0)
    while counts["kills"] < kills:
        store, length, alive = folder / f"{counts['runs']}.zarr", 0, True
        create(recipe, store, chunk=5)
        while alive and counts["kills"] < kills:
            child = subprocess.Popen([sys.executable, "-c", CHILD, str(store)], stdout=subprocess.PIPE)
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(rng.uniform(0.0, 2.0))
            child.kill()
            alive = child.wait() != 0
            child.stdout.close()
            counts["kills"] += alive
            try:
                found = hj.open(store)
            except hj.HamjlError as error:
                print(f"after a kill: {error}", file=sys.stderr)
                return counts  # opened < kills
            counts["opened"] += alive
            same = all(np.array_equal(found[name], expected[name][: found.sizes["time"]]) for name in STATES)
            euler = isinstance(recipe.method, hj.Euler)
            counts["lost"] += found.sizes["time"] < length or (euler and not same)
            length = found.sizes["time"]
        counts["runs"] += 1
        counts["same"] += alike(hj.resume(store, progress=False), expected, recipe)
    return counts


def alike(got, expected, recipe: hj.Recipe) -> bool:
    """Whether a resumed run is the one never killed."""
    if isinstance(recipe.method, hj.Euler):
        return all(np.array_equal(got[name], expected[name]) for name in STATES)
    steps = [[json.loads(ds.attrs["statistics"])[name] for name in ("steps", "restarts")] for ds in (got, expected)]
    return steps[0] == steps[1] and all(
        np.allclose(got[name], expected[name], rtol=1e3 * recipe.method.rtol, atol=1e-6) for name in STATES
    )


def flipped(recipe: hj.Recipe, folder: Path, flips: int, rng: np.random.Generator) -> dict[str, int]:
    """Bits turned one by one in chunks of numbers and anywhere else, how many were found, and how many gave others."""
    store = folder / "flipped.zarr"
    sound = hj.run(recipe, store=store, chunk=40, progress=False).load()
    files = [path for path in store.rglob("*") if path.is_file() and path.stat().st_size]
    chunks = [path for path in files if path.relative_to(store).parts[:2] in {(name, "c") for name in sound.variables}]
    numbers = [path for path in chunks if sound[path.relative_to(store).parts[0]].dtype.kind == "f"]
    others = [path for path in files if path not in numbers]
    counts = dict.fromkeys(("in chunks", "found", "elsewhere", "found ", "wrong"), 0)
    for k in range(flips):
        among, cell = (numbers, "found") if k % 3 else (others, "found ")
        path = among[rng.integers(len(among))]
        content = path.read_bytes()
        damaged = bytearray(content)
        damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(damaged))
        try:
            counts["wrong"] += not hj.open(store).load().identical(sound)
        except hj.ProblemError:
            counts[cell] += 1
        counts["in chunks" if k % 3 else "elsewhere"] += 1
        path.write_bytes(content)
    assert hj.open(store).load().identical(sound)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60, help="for each method")
    parser.add_argument("--flips", type=int, default=300, help="in all, by Euler")
    parser.add_argument("--engines", nargs="+", default=["python", "julia"])
    options = parser.parse_args()
    if "julia" in options.engines:
        print(contest.versions())
    print(f"{'engine':>8} {'method':>8} {'kills':>6} {'opened':>7} {'lost':>5} {'runs':>5} {'same':>5}")
    rng, wrong = np.random.default_rng(0), []
    for engine in options.engines:
        for method in METHODS[engine]:
            problem = contest.layered(10.0)
            recipe = hj.Recipe(problem, "costate_reversal", method, times=401, engine=engine)
            with tempfile.TemporaryDirectory() as folder:
                counts = killed(recipe, Path(folder), options.kills, rng)
            cells = " ".join(f"{n:>{w}}" for n, w in zip(counts.values(), (6, 7, 5, 5, 5), strict=True))
            print(f"{engine:>8} {method.to_dict()['name']:>8} {cells}", flush=True)
            whole = counts["opened"] == counts["kills"] and not counts["lost"] and counts["same"] == counts["runs"]
            wrong += [] if whole else [f"{engine} {method.to_dict()['name']}"]
    recipe = hj.Recipe(contest.layered(10.0), "costate_reversal", hj.Euler(1e-3), times=401, engine=options.engines[0])
    with tempfile.TemporaryDirectory() as folder:
        counts = flipped(recipe, Path(folder), options.flips, rng)
    print("bits turned: " + ", ".join(f"{number} {what.strip()}" for what, number in counts.items()))
    wrong += ["bits"] if counts["found"] < counts["in chunks"] or counts["wrong"] else []
    if wrong:
        sys.exit(f"not whole: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
