"""Work against precision: what an error costs, by solver and velocity c, for law (18), easy (c = 1) to stiff (1e8).

Two networks (`contest.stiff`): 2-8-1, and 50 neurons fully connected (5,200 unknowns). The Julia engine's solvers;
SciPy's through the embedded engine, with its analytic sparse Jacobian (LSODA's is dense); CVODE's BDF of scikit-
sundae with right-hand side and analytic dense Jacobian compiled by Numba; Kvaerno5 of diffrax, compiled by JAX, its
Jacobian by automatic differentiation. Seconds are processor time on one thread without compilation, the least of some
runs. The error is the largest over 21 times and over the four parts x, w, p_x, p_w, each in units of its own largest
value, against Rodas5P at rtol 1e-11. The summary interpolates, log-log, the seconds at which each solver reaches the
error 1e-4; `>` marks a solver that was given up after its budget, so its ratio is a lower bound.

    python benchmarks/work_precision.py            # both networks
    python benchmarks/work_precision.py layered    # or full
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import contest
import numpy as np

import hamjl as hj

JULIA, SCIPY = ("FBDF", "Rodas5P", "KenCarp4", "auto"), ("BDF", "Radau", "LSODA")
TARGET, REFERENCE = 1e-4, 1e-11
TIMES = np.linspace(0, 20, 21)

Solve = Callable[[float, float], tuple[np.ndarray | None, int]]  # c, rtol -> states or None, steps


@dataclass
class Setting:
    """A network, the velocities and tolerances it is tried with, and how long a peer may take for one run."""

    make: Callable[[float], hj.Problem]
    velocities: tuple[float, ...]
    tolerances: tuple[float, ...]
    budget: float


SETTINGS = {
    "layered": Setting(contest.layered, (1, 1e2, 1e3, 1e4, 1e6, 1e8), (1e-3, 1e-4, 1e-5, 1e-6, 1e-7), 20.0),
    "full": Setting(lambda c: contest.full(50, c), (1, 1e2, 1e3, 1e4, 1e6, 1e8), (1e-3, 1e-4, 1e-5, 1e-6), 20.0),
}


def atol(rtol: float) -> float:
    return 1e-3 * rtol


def record(setting: Setting, c: float, name: str, rtol: float) -> Any:
    return contest.prepare(setting.make(c), "costate_reversal", hj.Adaptive(name, rtol, atol(rtol)), TIMES)


def engine(setting: Setting, which: str, name: str) -> Solve:
    def solve(c: float, rtol: float) -> tuple[np.ndarray | None, int]:
        made, deadline = record(setting, c, name, rtol), time.process_time() + setting.budget

        def watch(t: float) -> None:
            if time.process_time() > deadline:
                raise KeyboardInterrupt

        result = contest.integrate(which, made, watch)
        return result.states if result.status == "success" else None, int(result.statistics["steps"])

    return solve


# -- peers -------------------------------------------------------------------------------------------------------------
def compiled_equations(field: Any) -> tuple[Callable, Callable]:
    """(18) for tanh, squared error, V = w²/2, and its dense Jacobian, by Numba."""
    import numba

    d, n, source, target, outputs = field.inputs, field.neurons, field.source, field.target, field.outputs
    arcs = len(source)
    start = np.searchsorted(target, np.arange(n + 1))

    @numba.njit(fastmath=True)
    def activate(y, u):
        v, a = np.empty(d + n), np.zeros(n)
        v[:d], v[d:] = u, y[:n]
        for i in range(n):
            for k in range(start[i], start[i + 1]):
                a[i] += y[n + k] * v[source[k]]
        return v, np.tanh(a)

    @numba.njit(fastmath=True)
    def rhs(y, u, z, c, k_scale, rate, out):
        v, sigma = activate(y, u)
        back = np.zeros(d + n)
        op, oq = n + arcs, 2 * n + arcs
        for i in range(n):
            g = c * (1 - sigma[i] ** 2) * y[op + i]
            for k in range(start[i], start[i + 1]):
                back[source[k]] += y[n + k] * g
                out[n + k] = -y[oq + k] / c
                out[oq + k] = g * v[source[k]] + k_scale * y[n + k] - rate * y[oq + k]
        for o in range(len(outputs)):
            back[d + outputs[o]] += c * (y[outputs[o]] - z[o])
        for i in range(n):
            out[i] = c * (sigma[i] - y[i])
            out[op + i] = back[d + i] - (c + rate) * y[op + i]

    @numba.njit(fastmath=True)
    def jacobian(y, u, c, k_scale, rate, out):
        v, sigma = activate(y, u)
        op, oq = n + arcs, 2 * n + arcs
        out[:] = 0.0
        for i in range(n):
            first = c * (1 - sigma[i] ** 2)
            second, g = -2 * sigma[i] * first * y[op + i], first * y[op + i]
            out[i, i] -= c
            out[op + i, op + i] -= c + rate
            for k in range(start[i], start[i + 1]):
                j, vk, wk = source[k] - d, v[source[k]], y[n + k]
                out[i, n + k] += first * vk
                out[n + k, oq + k] -= 1 / c
                out[oq + k, n + k] += k_scale
                out[oq + k, oq + k] -= rate
                out[oq + k, op + i] += vk * first
                if j >= 0:
                    out[i, j] += first * wk
                    out[op + j, n + k] += g
                    out[oq + k, j] += g
                    out[op + j, op + i] += wk * first
                for m in range(start[i], start[i + 1]):
                    jm = source[m] - d
                    out[oq + k, n + m] += vk * second * v[source[m]]
                    if jm >= 0:
                        out[oq + k, jm] += vk * second * y[n + m]
                    if j >= 0:
                        out[op + j, n + m] += wk * second * v[source[m]]
                        if jm >= 0:
                            out[op + j, jm] += wk * second * y[n + m]
        for o in range(len(outputs)):
            out[op + outputs[o], outputs[o]] += c

    return rhs, jacobian


def signals(t: float, cos: Callable[[Any], Any]) -> tuple[Any, Any, Any]:
    """u and z of `contest.stiff`."""
    return cos(0.5 * t), cos(0.3 * t + 1.0), 0.5 * cos(0.4 * t)


def cvode(setting: Setting) -> Solve:
    from sksundae.cvode import CVODE

    first = record(setting, 1.0, "BDF", 1e-3)
    rhs, jacobian = compiled_equations(first.field)
    small = len(first.initial) < 500

    def solve(c: float, rtol: float) -> tuple[np.ndarray | None, int]:
        initial, bend = setting.make(c).initial_vector(), 0.01 * c
        deadline = time.process_time() + setting.budget
        counted, u, z = [0], np.empty(2), np.empty(1)

        def at(t: float) -> None:
            u[0], u[1], z[0] = signals(t, np.cos)

        def rhsfn(t: float, y: np.ndarray, yp: np.ndarray) -> None:
            if time.process_time() > deadline:
                raise TimeoutError
            at(t)
            rhs(y, u, z, c, bend, 1.0, yp)

        def jacfn(t: float, y: np.ndarray, yp: np.ndarray, out: np.ndarray) -> None:
            at(t)
            jacobian(y, u, c, bend, 1.0, out)

        solver = CVODE(
            rhsfn,
            jacfn=jacfn,
            rtol=rtol,
            atol=atol(rtol),
            linsolver="dense" if small else "lapackdense",
            max_num_steps=100_000,
        )
        try:
            found = solver.solve(TIMES, initial)
        except TimeoutError:
            return None, counted[0]
        return (found.y if found.success and len(found.y) == len(TIMES) else None), 0

    return solve


def kvaerno5(setting: Setting) -> Solve:
    import diffrax
    import jax
    import jax.numpy as jnp

    field = record(setting, 1.0, "BDF", 1e-3).field
    d, n, arcs = field.inputs, field.neurons, len(field.source)

    def rhs(t, y, c):
        u0, u1, z = signals(t, jnp.cos)
        x, w, p, pw = jnp.split(y, (n, n + arcs, 2 * n + arcs))
        v = jnp.concatenate((jnp.stack((u0, u1)), x))
        matrix = jnp.zeros((n, d + n)).at[field.target, field.source].set(w)
        sigma = jnp.tanh(matrix @ v)
        g = c * (1 - sigma**2) * p
        back = (g @ matrix)[d:].at[field.outputs].add(c * (x[field.outputs] - z))
        dpw = g[field.target] * v[field.source] + 0.01 * c * w - pw
        return jnp.concatenate((c * (sigma - x), -pw / c, back - (c + 1.0) * p, dpw))

    @jax.jit
    def integrate(initial, c, rtol):
        return diffrax.diffeqsolve(
            diffrax.ODETerm(rhs),
            diffrax.Kvaerno5(),
            0.0,
            20.0,
            None,
            initial,
            c,
            saveat=diffrax.SaveAt(ts=jnp.asarray(TIMES)),
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=1e-3 * rtol),
            max_steps=20_000,
            throw=False,
        )

    def solve(c: float, rtol: float) -> tuple[np.ndarray | None, int]:
        found = integrate(jnp.asarray(setting.make(c).initial_vector()), c, rtol)
        states = np.asarray(found.ys)
        return states if np.isfinite(states).all() else None, int(found.stats["num_steps"])

    return solve


# -- the tables --------------------------------------------------------------------------------------------------------
def contestants(setting: Setting) -> dict[str, Solve]:
    solves = {f"julia {name}": engine(setting, "julia", name) for name in JULIA}
    solves |= {f"scipy {name}": engine(setting, "python", name) for name in SCIPY}
    small = len(setting.make(1.0).initial_vector()) < 500
    if contest.installed("sksundae") and contest.installed("numba"):
        solves["sundae CVODE"] = cvode(setting)
    if contest.installed("diffrax"):
        if small:
            solves["diffrax Kvaerno5"] = kvaerno5(setting)
        else:
            print("diffrax: factors a dense Newton matrix of this size at every step: not run")
    return solves


def error(states: np.ndarray, reference: np.ndarray, field: Any) -> float:
    n, arcs = field.neurons, len(field.source)
    worst = 0.0
    for part in (slice(0, n), slice(n, n + arcs), slice(n + arcs, 2 * n + arcs), slice(2 * n + arcs, None)):
        size = np.abs(reference[:, part]).max()
        worst = max(worst, float(np.abs(states[:, part] - reference[:, part]).max() / size))
    return worst


def measure(solve: Solve, c: float, rtol: float) -> tuple[np.ndarray | None, int, float]:
    """States, steps and least processor time; quick runs are repeated."""
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        states, steps = solve(c, rtol)
        best = min(best, time.process_time() - start)
        if best > 0.5:
            break
    return states, steps, best


def at_target(points: list[tuple[float, float]]) -> float:
    """Seconds at the error `TARGET`, interpolated log-log between (error, seconds); inf where it was not reached."""
    reached = [seconds for error, seconds in points if error <= TARGET]
    if not reached:
        return float("inf")
    best = min(reached)
    for (e0, s0), (e1, s1) in pairwise(points):
        if e1 <= TARGET < e0 < np.inf:
            share = np.log(TARGET / e0) / np.log(e1 / e0)
            best = min(best, float(s0 * (s1 / s0) ** share))
    return best


def sweep(setting: Setting, c: float, solves: dict[str, Solve]) -> dict[str, tuple[float, bool]]:
    """Print the rows of one velocity; return by contestant the seconds at the target and whether it was given up."""
    made = record(setting, c, "Rodas5P", REFERENCE)
    reference = contest.integrate("julia", made).states
    check = contest.integrate("julia", record(setting, c, "FBDF", 10 * REFERENCE)).states
    print(f"{c:8.0e} {'reference: FBDF off by':>23} {error(check, reference, made.field):18.1e}", flush=True)
    found: dict[str, tuple[float, bool]] = {}
    for name, solve in solves.items():
        points, spent = [], None
        for rtol in setting.tolerances:
            states, steps, seconds = measure(solve, c, rtol)
            if states is None:
                spent = seconds
                print(f"{c:8.0e} {name:>16} {rtol:6.0e} {'given up':>9} {seconds:8.3f} {steps or '':>7}", flush=True)
                break
            off = error(states, reference, made.field)
            points.append((off, seconds))
            print(f"{c:8.0e} {name:>16} {rtol:6.0e} {off:9.1e} {seconds:8.4f} {steps or '':>7}", flush=True)
        found[name] = at_target(points), False
        if spent is not None and found[name][0] == np.inf:
            found[name] = spent, True
    return found


def summary(results: dict[float, dict[str, tuple[float, bool]]]) -> None:
    names = list(next(iter(results.values())))
    print(f"seconds to the error {TARGET:g}, and as a multiple of Julia's best")
    print(f"{'':>16} " + " ".join(f"{f'c = {c:.0e}':>18}" for c in results))
    for name in names:
        cells = []
        for found in results.values():
            best = min(seconds for other, (seconds, _) in found.items() if other.startswith("julia"))
            seconds, given_up = found[name]
            cell = f"{'>' if given_up else ''}{seconds:.4f} ({seconds / best:.3g}x)"
            cells.append(cell if seconds < np.inf else "not reached")
        print(f"{name:>16} " + " ".join(f"{cell:>18}" for cell in cells))


def main() -> None:
    print(contest.versions())
    for which in sys.argv[1:] or SETTINGS:
        setting = SETTINGS[which]
        solves = contestants(setting)
        for name, solve in solves.items():
            if name.startswith("julia") or setting is SETTINGS["layered"]:  # compile
                solve(setting.velocities[0], setting.tolerances[0])
                solve(setting.velocities[0], setting.tolerances[-1])
        print(f"\n{which}: {len(setting.make(1.0).initial_vector())} unknowns")
        print(f"{'c':>8} {'method':>16} {'rtol':>6} {'error':>9} {'seconds':>8} {'steps':>7}")
        results = {c: sweep(setting, c, solves) for c in setting.velocities}
        print()
        summary(results)


if __name__ == "__main__":
    main()
