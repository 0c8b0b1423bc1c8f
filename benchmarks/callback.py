"""What is won by keeping Python out of the integration: law (18) on 2-8-1 by FBDF and Tsit5, rtol 1e-6.

The Julia engine, against the same solver calling back into Python for the right-hand side (and finite differences of
it for the Jacobian), as users of diffeqpy write it: `f(u, p, t)` returning a new array, and `f(du, u, p, t)` filling
one. The Python side is the embedded engine's NumPy code. Processor time on one thread, the least of some runs.

    python benchmarks/callback.py
"""

from collections.abc import Callable
from typing import Any

import contest
import numpy as np

import hamjl as hj
from hamjl.dynamics import dynamics_of

RTOL, ATOL = 1e-6, 1e-9
CASES = (("Tsit5", 1.0), ("Tsit5", 100.0), ("FBDF", 1e4))

CALLED_BACK = """
const ALGORITHMS = Dict(
    "Tsit5" => Tsit5(),
    "FBDF" => FBDF(; autodiff = AutoFiniteDiff()),
)

function called_back(f, inplace, name, y, stop, rtol, atol)
    fill!(du, u, p, t) = (f(du, u, p, t); nothing)
    fresh(u, p, t) = pyconvert(Vector{Float64}, f(u, p, t))
    equations = inplace ? ODEFunction{true,SciMLBase.FullSpecialize}(fill!) :
        ODEFunction{false,SciMLBase.FullSpecialize}(fresh)
    solution = SciMLBase.solve(
        ODEProblem(equations, y, (0.0, stop)), ALGORITHMS[name]; reltol = rtol, abstol = atol, save_everystep = false,
    )
    return solution.u[end]
end
"""


def called_back(record: Any, inplace: bool) -> Callable[[], tuple[np.ndarray, int]]:
    """Integrate by Julia's solver with Python's right-hand side; returns the final state and the number of calls."""
    main, _ = contest.julia()
    space = main.seval(
        "module CalledBack using PythonCall: pyconvert; using HamJL: ODEFunction, ODEProblem, SciMLBase, Tsit5, FBDF, "
        f"AutoFiniteDiff\n{CALLED_BACK}\nend"
    )
    dynamics, calls = dynamics_of(record.field, record.law), [0]

    def rhs(u: Any, p: Any, t: float) -> np.ndarray:
        calls[0] += 1
        y = np.asarray(u)
        return dynamics.rhs(y, dynamics.drive(t), 1.0, np.empty_like(y))

    def rhs_in_place(du: Any, u: Any, p: Any, t: float) -> None:
        calls[0] += 1
        dynamics.rhs(np.asarray(u), dynamics.drive(t), 1.0, np.asarray(du))

    y = main.seval("x -> collect(Float64, x)")(record.initial)
    method = record.method
    f = rhs_in_place if inplace else rhs

    def run() -> tuple[np.ndarray, int]:
        calls[0] = 0
        end = space.called_back(f, inplace, method.name, y, record.span[1], method.rtol, method.atol)
        return np.asarray(end), calls[0]

    return run


def engine(record: Any) -> Callable[[], tuple[np.ndarray, int]]:
    def run() -> tuple[np.ndarray, int]:
        result = contest.integrate("julia", record)
        return result.states[-1], int(result.statistics["rhs"])

    return run


def main() -> None:
    print(contest.versions())
    print(f"{'method':>8} {'c':>6} {'right-hand side':>24} {'calls':>7} {'seconds':>9} {'times engine':>12} {'off':>8}")
    for name, c in CASES:
        record = contest.prepare(contest.layered(c), "costate_reversal", hj.Adaptive(name, RTOL, ATOL))
        runs = {
            "Julia engine": engine(record),
            "Python, f(u, p, t)": called_back(record, inplace=False),
            "Python, f(du, u, p, t)": called_back(record, inplace=True),
        }
        ends = {kind: run() for kind, run in runs.items()}
        times = contest.fastest(runs)
        reference, _ = ends["Julia engine"]
        for kind, seconds in times.items():
            end, calls = ends[kind]
            off = np.abs(end - reference).max() / np.abs(reference).max()
            ratio = seconds / times["Julia engine"]
            print(f"{name:>8} {c:6.0e} {kind:>24} {calls:7d} {seconds:9.4f} {ratio:12.1f} {off:8.0e}", flush=True)


if __name__ == "__main__":
    main()
