"""Arcs eliminated against dense and sparse linear algebra: law (18), c = 1e4, fully connected, by FBDF at rtol 1e-4.

Seconds are processor time of the second of two runs; `ms/solve` is one factorization with its solves, taken as the
whole run divided by the number of factorizations; `MB` is what the solver holds. Where a kind is too large to be run,
`MB` is what its Jacobian and Newton matrix alone would take.

    python benchmarks/structured.py
"""

import contest

import hamjl as hj

C, RTOL, ATOL = 1e4, 1e-4, 1e-7
NEURONS = (10, 30, 100, 300)
LARGEST = {"structured": 300, "dense": 30, "sparse": 30}  # neurons up to which a kind is run

RUN = """
function contend(HamJL, made, rtol, atol, stop, kind)
    function fresh()
        run = HamJL.start(
            made.flow.system; method = "FBDF", step = 0.0, rtol, atol, max_steps = 100_000, initial = made.y,
            start = 0.0, stop, linear_algebra = kind,
        )
        HamJL.aim!(run, stop, [0.0, stop], Int[])
        return run
    end
    clock() = ccall(:clock, Clong, ()) / 1e6
    integrate(run) = (while HamJL.advance!(run, 1e9) end; run)
    integrate(fresh())
    GC.gc()
    run, start = fresh(), clock()
    integrate(run)
    seconds = clock() - start
    counts = HamJL.statistics(run)
    mega = Base.summarysize(run.integrator) / 1e6
    return seconds, counts["steps"], counts["factorizations"], mega, run.status, copy(run.y)
end
"""


def run(kind: str, neurons: int) -> tuple:
    from hamjl.engines.julia import bridge

    main, module = contest.julia()
    problem = contest.full(neurons, C)
    made = bridge.begin(module, contest.prepare(problem, "costate_reversal", hj.Adaptive("FBDF", RTOL, ATOL)))
    return main.seval(f"begin {RUN} end")(module, made, RTOL, ATOL, problem.span[1], kind)


def predicted(kind: str, neurons: int) -> float:
    """MB of the Jacobian and the Newton matrix."""
    unknowns = 2 * (neurons + neurons * (neurons + 2))
    entries = unknowns**2 if kind == "dense" else 2 * 4 * neurons**3
    return 2 * 8 * entries / 1e6


def main() -> None:
    print(contest.versions())
    print(
        f"{'neurons':>8} {'unknowns':>8} {'algebra':>10} {'steps':>6} {'factors':>7} {'seconds':>8} {'ms/solve':>9} "
        f"{'MB':>9} {'off':>8}"
    )
    for neurons in NEURONS:
        unknowns = 2 * (neurons + neurons * (neurons + 2))
        reference = None
        for kind, largest in LARGEST.items():
            head = f"{neurons:8d} {unknowns:8d} {kind:>10}"
            if neurons > largest:
                print(f"{head} {'-':>6} {'-':>7} {'not run':>8} {'-':>9} {predicted(kind, neurons):9.0f} {'-':>8}")
                continue
            seconds, steps, factors, mega, status, y = run(kind, neurons)
            y = y.to_numpy()
            reference = y if reference is None else reference
            off = abs(y - reference).max() / abs(reference).max()
            print(
                f"{head} {steps:6d} {factors:7d} {seconds:8.3f} {1e3 * seconds / factors:9.3f} {mega:9.1f} {off:8.0e}"
                + ("" if status == "success" else f"  {status}"),
                flush=True,
            )


if __name__ == "__main__":
    main()
