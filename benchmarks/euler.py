"""Nanoseconds per step of Algorithm 1: Figure 2's run (n = 5, sign flipped at every step), and larger networks.

The Julia engine, a loop compiled by Numba, a loop compiled by JAX and the embedded engine side by side, each on one
thread, in processor time; compilation is not counted. `off` is the largest difference from the embedded engine after
1,000 steps. Peers come with the extra `bench`; what is not installed is left out.

    python benchmarks/euler.py
"""

import math
from collections.abc import Callable
from typing import Any

import contest
import numpy as np

import hamjl as hj

STEP, Q, R_W, R = 0.02, 1000.0, 1.0, 0.1
AMPLITUDE, OMEGA = 0.5, 0.01
STEPS = {5: 1_000_000, 20: 200_000, 100: 20_000}  # by neurons; the embedded engine takes fewer
EMBEDDED_STEPS = {5: 20_000, 20: 10_000, 100: 2_000}
CHECKED = 1000  # steps

Loop = Callable[[int], np.ndarray]  # steps -> final state x, w, p_x, p_w


def problem(neurons: int, steps: int) -> hj.Problem:
    return hj.Problem(
        hj.Network.fully_connected(neurons, self_loops=True),
        hj.Objective.tracking(q=Q, r_w=R_W, r=R),
        target=hj.signals.cosine(AMPLITUDE, OMEGA),
        span=(0, STEP * steps),
        initial={"x": {"uniform": [0, 1]}, "w": {"uniform": [0, 1 / neurons]}},
    )


def record(neurons: int, steps: int) -> Any:
    law = hj.SignFlip(every_step=True)
    return contest.prepare(problem(neurons, steps), law, hj.Euler(STEP), [0.0, STEP * steps])


def engine_loop(engine: str, neurons: int) -> Loop:
    return lambda steps: contest.integrate(engine, record(neurons, steps)).states[-1]


def parts(neurons: int) -> tuple[np.ndarray, ...]:
    """Initial x, w, p_x, p_w, with w and p_w as (target, source) matrices."""
    state = problem(neurons, 1).initial_state()
    square = (neurons, neurons)
    return state["x"], state["w"].reshape(square), state["p_x"], state["p_w"].reshape(square)


def numba_loop(neurons: int, fast: bool) -> Loop:
    import numba

    @numba.njit(fastmath=fast)
    def run(x, w, p, pw, steps):
        n = len(x)
        sigma, back = np.empty(n), np.empty(n)
        s = 1.0
        for k in range(steps):
            z = AMPLITUDE * math.cos(OMEGA * (k * STEP))
            back[:] = 0.0
            for i in range(n):
                a = 0.0
                for j in range(n):
                    a += w[i, j] * x[j]
                sigma[i] = math.tanh(a)
                g = (1.0 - sigma[i] * sigma[i]) * p[i]
                for j in range(n):
                    wij = w[i, j]
                    back[j] += wij * g
                    w[i, j] = wij - STEP * s / R * pw[i, j]
                    pw[i, j] -= STEP * s * (g * x[j] + 2 * R_W * wij)
            back[0] += Q * (x[0] - z)
            for i in range(n):
                p[i] += STEP * s * (p[i] - back[i])
                x[i] += STEP * s * (sigma[i] - x[i])
            s = -s

    def loop(steps: int) -> np.ndarray:
        state = [part.copy() for part in parts(neurons)]
        run(*state, steps)
        return np.concatenate([part.ravel() for part in state])

    return loop


def jax_loop(neurons: int) -> Loop:
    import jax
    import jax.numpy as jnp

    def step(k, state):
        x, w, p, pw = state
        h = STEP * (1.0 - 2.0 * (k % 2))
        z = AMPLITUDE * jnp.cos(OMEGA * (k * STEP))
        sigma = jnp.tanh(w @ x)
        g = (1.0 - sigma**2) * p
        back = g @ w
        back = back.at[0].add(Q * (x[0] - z))
        return x + h * (sigma - x), w - h / R * pw, p + h * (p - back), pw - h * (jnp.outer(g, x) + 2 * R_W * w)

    compiled = jax.jit(lambda state, steps: jax.lax.fori_loop(0, steps, step, state))

    def loop(steps: int) -> np.ndarray:
        state = compiled(tuple(map(jnp.asarray, parts(neurons))), steps)
        return np.concatenate([np.asarray(part).ravel() for part in state])

    return loop


def contestants(neurons: int, peers: list[str]) -> dict[str, Loop]:
    loops = {"julia": engine_loop("julia", neurons)}
    if "numba" in peers:
        loops["numba"] = numba_loop(neurons, fast=False)
        loops["numba fast"] = numba_loop(neurons, fast=True)  # may reorder sums, and takes no NaN
    if "jax" in peers:
        loops["jax"] = jax_loop(neurons)
    return loops | {"embedded": engine_loop("python", neurons)}


def main() -> None:
    print(contest.versions())
    peers = [name for name in ("numba", "jax") if contest.installed(name)]
    print(f"{'neurons':>8} {'arcs':>6} {'contestant':>10} {'steps':>8} {'ns/step':>10} {'times julia':>11} {'off':>8}")
    for neurons, steps in STEPS.items():
        loops = contestants(neurons, peers)
        taken = {name: EMBEDDED_STEPS[neurons] if name == "embedded" else steps for name in loops}
        reference = loops["embedded"](CHECKED)
        off = {name: np.abs(loop(CHECKED) - reference).max() for name, loop in loops.items()}
        times = contest.fastest({name: lambda f=f, k=taken[name]: f(k) for name, f in loops.items()}, repeats=5)
        each = {name: 1e9 * seconds / taken[name] for name, seconds in times.items()}
        for name, ns in each.items():
            ratio = ns / each["julia"]
            print(
                f"{neurons:8d} {neurons**2:6d} {name:>10} {taken[name]:8d} {ns:10.0f} {ratio:11.1f} {off[name]:8.0e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
