"""Steps and seconds of explicit and implicit methods as the velocity c grows: law (18) on a 2-8-1 network.

Slow inputs, θ = 1, span 20, rtol 1e-4. The last column is the distance of the weights from those of the backprop limit
(20). Explicit steps grow like c, implicit ones do not, and the distance falls like 1/c.

    python benchmarks/stiffness.py
"""

import time

import hamjl as hj

EXPLICIT_UP_TO = 1e3


def problem(velocity: float) -> hj.Problem:
    return hj.Problem(
        hj.Network.layered([2, 8, 1], velocity=velocity),
        hj.Objective(dissipation=1.0, k=0.01),
        inputs={"u0": hj.signals.cosine(1.0, 0.5), "u1": hj.signals.cosine(1.0, 0.3, 1.0)},
        target=hj.signals.cosine(0.5, 0.4),
        span=(0, 20),
        initial={"w": {"normal": [0.0, 0.5]}},
    )


def main() -> None:
    limit = hj.solve(problem(1.0), hj.BackpropLimit(), hj.Adaptive("DOP853", rtol=1e-9, atol=1e-12))
    print(f"{'c':>8} {'method':>8} {'steps':>8} {'seconds':>8} {'|w - limit|':>12}")
    for exponent in range(7):
        c = 10.0**exponent
        for name in ("RK45", "LSODA", "BDF", "Radau"):
            if name == "RK45" and c > EXPLICIT_UP_TO:
                continue
            start = time.perf_counter()
            run = hj.solve(problem(c), hj.CostateReversal(), hj.Adaptive(name, rtol=1e-4, atol=1e-7))
            seconds = time.perf_counter() - start
            off = float(abs(run.w - limit.w).max())
            print(f"{c:8.0e} {name:>8} {run.hamjl.statistics['steps']:8d} {seconds:8.2f} {off:12.1e}")


if __name__ == "__main__":
    main()
