"""What Hamiltonian sign flip really does: the tracking table, the linear-quadratic facts, and integrators."""

import numpy as np
import pytest
from conftest import tight

import hamjl as hj
from hamjl.paper.experiments import problem as tracking

A, S, OMEGA = 0.5, 1.0, 0.5


@pytest.mark.parametrize(
    ("q", "omega", "expected"),
    [
        (10, 0.01, (0.348, 0.350)),
        (100, 0.01, (0.069, 0.069)),
        (1000, 0.01, (0.006, 0.006)),
        (10, 0.03, (0.359, 0.365)),
        (100, 0.03, (0.156, 0.131)),
        (1000, 0.03, (0.016, 0.013)),
    ],
)
def test_tracking_errors(q, omega, expected, engine):
    """RMS error on the second half, seeds 0 and 1, from an independent implementation of Algorithm 1; 0 scores .354."""
    end = min(1200.0, 4 * np.pi / omega)
    for seed, value in enumerate(expected):
        base = tracking(q, hj.signals.cosine(0.5, omega), seed)
        problem = hj.Problem(base.network, base.objective, target=base.target, span=(0, end), seed=seed)
        run = hj.solve(problem, hj.SignFlip(every_step=True), hj.Euler(0.02), times=10**6, engine=engine)
        assert run.attrs["status"] == "success"
        assert float(run.hamjl.tracking_error()[0]) == pytest.approx(value, abs=0.005)


def test_euler_is_algorithm_1_to_the_last_bit_of_meaning(engine):
    """A loop written from the paper's Algorithm 1, simultaneous updates, all derivatives times s^t."""
    run = hj.solve(
        tracking(100.0, hj.signals.cosine(0.5, 0.01), 3), hj.SignFlip(every_step=True), hj.Euler(0.02), times=10**6,
        engine=engine,
    )  # fmt: skip
    rng = np.random.default_rng(3)
    x, w = rng.uniform(size=5), rng.uniform(size=(5, 5))
    p, pw = np.zeros(5), np.zeros((5, 5))
    e = np.eye(5)[0]
    for step in range(1000):
        s, z = (-1.0) ** step, 0.5 * np.cos(0.01 * 0.02 * step)
        sigma = np.tanh(w @ x)
        g = (1 - sigma**2) * p
        dx, dw = sigma - x, -pw / 0.1
        dp, dpw = p - w.T @ g - 100 * (x[0] - z) * e, -np.outer(g, x) - 2 * w
        x, w, p, pw = (a + 0.02 * s * b for a, b in ((x, dx), (w, dw), (p, dp), (pw, dpw)))
    row = run.isel(time=1000)
    for name, values in (("x", x), ("w", w.ravel()), ("p_x", p), ("p_w", pw.ravel())):
        np.testing.assert_allclose(row[name], values, rtol=1e-10, atol=1e-13)


def linear_quadratic(end: float, omega: float = OMEGA, q: float = 100.0, x0: float = 0.0) -> hj.SymbolicSystem:
    """Scalar LQ tracking of z = cos ωt: x' = a x + b v, cost q (x - z)²/2 + r v²/2."""
    return hj.SymbolicSystem(
        {"x": "a*x + b*v"},
        ["v"],
        "q*(x - z)**2/2 + r*v**2/2",
        span=(0, end),
        parameters={"a": A, "b": 1.0, "q": q, "r": 1.0},
        signals={"z": hj.signals.cosine(1.0, omega)},
        initial={"x": x0},
    )


def response(run, omega: float = OMEGA) -> tuple[float, float]:
    """Gain and lag of x against cos ωt over the last two periods."""
    late = run.sel(time=slice(float(run.time[-1]) - 4 * np.pi / omega, None))
    basis = np.stack((np.cos(omega * late.time), np.sin(omega * late.time)), axis=1)
    c, s = np.linalg.lstsq(basis, late.x.values[:, 0], rcond=None)[0]
    return float(np.hypot(c, s)), float(np.arctan2(s, c))


@pytest.mark.parametrize(("step", "measured"), [(0.02, 0.896), (0.01, 0.708), (0.005, 0.447)])
def test_linear_quadratic_gain_and_lag(step, measured, engine):
    """Gain κ/√(1 + (2ω/(τμ²))²) and lag atan(2ω/(τμ²)) to first order in τ; gains as measured elsewhere."""
    end = 40 + 8 * np.pi / OMEGA
    run = hj.solve(linear_quadratic(end), hj.SignFlip(every_step=True), hj.Euler(step), times=20000, engine=engine)
    gain, lag = response(run)
    mu2 = A**2 + S * 100.0
    ratio = 2 * OMEGA / (step * mu2)
    assert gain == pytest.approx(measured, abs=0.0006)
    assert gain == pytest.approx(S * 100.0 / mu2 / np.sqrt(1 + ratio**2), rel=0.01)
    assert lag == pytest.approx(np.arctan(ratio), abs=0.01)


def test_rate_does_not_depend_on_the_frequency_of_flips(engine):
    """k steps per half period give (I - τ²M²)^k per period of 2k steps, the same as flipping at every step."""
    every = hj.solve(linear_quadratic(80.0), hj.SignFlip(every_step=True), hj.Euler(0.01), engine=engine)
    slower = hj.solve(
        linear_quadratic(80.0), hj.SignFlip(frequency=1 / 0.08), hj.Euler(0.01), times=8001, engine=engine
    )
    assert int((np.diff(slower.sign) != 0).sum()) == pytest.approx(2000, abs=2)
    assert response(slower)[0] == pytest.approx(response(every)[0], rel=0.02)


@pytest.mark.parametrize(("factor", "stable"), [(0.98, True), (1.02, False)])
def test_stability_threshold(factor, stable, engine):
    """Without a target: stable if and only if τ²μ² < 2, here with eigenvalue 1 - τ²μ² of two steps."""
    step = factor * np.sqrt(2.0 / (A**2 + S * 100.0))
    system = linear_quadratic(400 * step, omega=0.0, x0=0.01)
    quiet = hj.SymbolicSystem.from_dict({**system.to_dict(), "signals": {"z": 0.0}})
    run = hj.solve(quiet, hj.SignFlip(every_step=True), hj.Euler(step), times=401, engine=engine)
    two_steps = 1 - step**2 * (A**2 + S * 100.0)
    size = np.hypot(run.x.values[::2, 0], run.p_x.values[::2, 0])
    np.testing.assert_allclose(size[1:] / size[:-1], abs(two_steps), rtol=1e-9)
    assert (size[-1] < size[0]) == stable


def test_accurate_integration_does_not_track(engine):
    """The exact flow only goes back and forth along one orbit: no gain but a small one of the wrong sign."""
    run = hj.solve(
        linear_quadratic(40 + 8 * np.pi / OMEGA),
        hj.SignFlip(frequency=1 / 0.08),
        tight(engine),
        times=5001,
        engine=engine,
    )
    gain, lag = response(run)
    assert gain < 0.05
    assert np.cos(lag) < 0


def test_autonomous_flow_retraces_its_orbit(engine):
    """φ = 1, constant target: after a whole period of s the exact state is back where it was."""
    network = hj.Network.fully_connected(3)
    problem = hj.Problem(network, hj.Objective.tracking(q=5.0, r_w=0.5), target=0.3, span=(0, 8.25), seed=2)
    run = hj.solve(
        problem, hj.SignFlip(frequency=0.5), tight(engine), times=[0.5, 1.5, 2.5, 6.5],
        engine=engine,
    )  # fmt: skip
    for name in ("x", "w", "p_x", "p_w"):
        np.testing.assert_allclose(run[name][2], run[name][0], atol=1e-8)
        np.testing.assert_allclose(run[name][3], run[name][0], atol=1e-8)
        assert float(abs(run[name][1] - run[name][0]).max()) > 1e-3


@pytest.mark.parametrize("method", [hj.Euler(0.001), "exact"], ids=["euler", "exact"])
def test_track_keeps_the_state_in_the_ball(method, engine):
    """(24): s = -1 outside |x|² + |w|² + |p|² ≤ R: the unstable Cauchy flow is held in a band below R."""
    network = hj.Network.fully_connected(3)
    problem = hj.Problem(network, hj.Objective.tracking(q=5.0, r_w=0.5), target=0.3, span=(0, 20), seed=2)
    method = tight(engine) if method == "exact" else method
    run = hj.solve(problem, hj.SignFlip(radius=40.0, hysteresis=0.2), method, times=4001, engine=engine)
    size = sum((run[name] ** 2).sum([d for d in run[name].dims if d != "time"]) for name in ("x", "w", "p_x", "p_w"))
    assert run.attrs["status"] == "success"
    assert float(size.max()) < 40.0 * (1.02 if isinstance(method, hj.Euler) else 1 + 1e-6)
    assert int((np.diff(run.sign) != 0).sum()) > 10
    late = size.sel(time=slice(10, None))
    assert float(late.min()) > 0.8 * 40.0 * 0.98
