"""Streams of samples: their signals, the answers and their score, and the objective that is SGD with momentum."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import assert_learns

import hamjl as hj

STEP, MOMENTUM, RATE = 0.125, 0.8, 0.02


def layered() -> hj.Network:
    """3-5-2, tanh and linear outputs; with c τ = 1."""
    return hj.Network.layered([3, 5, 2], activation=["tanh", "identity"], velocity=1 / STEP)


def table(samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (sample, 3) and truths (sample, 2)."""
    rng = np.random.default_rng(3)
    return rng.normal(size=(samples, 3)), rng.normal(size=(samples, 2))


def by_hand(u: np.ndarray, z: np.ndarray, objective: hj.Objective, steps: int, taught: int) -> hj.Problem:
    """Each sample for so many steps, told for `taught` of them from the middle on."""
    start = np.arange(len(u)) * steps
    when = np.stack((start, start + steps // 2, start + steps // 2 + taught), axis=1).ravel()
    values = np.full((len(when), z.shape[1]), np.nan)
    values[1::3] = z
    kept = np.append(np.diff(when) > 0, True)
    target = xr.DataArray(values[kept], {"time": when[kept] * STEP}, ("time", "channel"))
    last = len(u) * steps * STEP
    if when[-1] * STEP < last:
        target = xr.concat((target, target[-1:].assign_coords(time=[last])), "time")
    shown = xr.DataArray(u[[*range(len(u)), -1]], {"time": np.append(start * STEP, last)}, ("time", "channel"))
    inputs, target = (hj.signals.series(one, "previous") for one in (shown, target))
    return hj.Problem(
        layered(), objective, inputs=inputs, target=target, span=(0, last), initial={"w": {"normal": [0, 0.5]}}
    )


def gradient(hidden: np.ndarray, output: np.ndarray, u: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of |y - z|²/2, by backpropagation."""
    h = np.tanh(hidden @ u)
    error = output @ h - z
    return np.outer((1 - h**2) * (error @ output), u), np.outer(error, h)


def sgd(w: np.ndarray, u: np.ndarray, z: np.ndarray, decay: float = 0.0) -> np.ndarray:
    """Weights (sample, arc) before each sample, by SGD with momentum as textbooks have it."""
    net = layered()
    matrix = net.matrix(w)
    pair = [matrix[:5, :3].copy(), matrix[5:, 3:8].copy()]
    speed, rows = [np.zeros_like(part) for part in pair], []
    for one, truth in zip(u, z, strict=True):
        matrix[:5, :3], matrix[5:, 3:8] = pair
        rows.append(net.arc_values(matrix))
        for part, v, slope in zip(pair, speed, gradient(*pair, one, truth), strict=True):
            v[:] = MOMENTUM * v + slope + decay * part
            part -= RATE * v
    return np.array(rows)


@pytest.mark.parametrize(("steps", "decay"), [(1, 0.05), (4, 0.0)])
@pytest.mark.parametrize("scaled", [True, False])
def test_sgd_is_exact_with_neurons_at_rest_and_truth_of_one_step(steps, decay, scaled):
    """THEORY: μ = (1 - θτ)^{D/τ}, rate = S τ (1-μ)/(θ m), at the steps at which truth is told, whatever c."""
    u, z = table(60)
    told = {"dwell": steps * STEP, "taught": STEP, "step": STEP, "weight_decay": decay}
    runs = []
    for rate in (RATE, 1.1 * RATE):
        objective = hj.Objective.sgd(rate, MOMENTUM, **told)
        if not scaled:
            objective = hj.Objective(
                m=objective.m, k=objective.k, dissipation=objective.dissipation, scaled_by_velocity=False
            )
        problem = by_hand(u, z, objective, steps, 1)
        times = (np.arange(60) * steps + steps // 2) * STEP
        law = hj.HamiltonianLearning(instantaneous=True)
        runs.append(hj.solve(problem, law, hj.Euler(STEP), times=times).w.values)
    run, other = runs
    expected = sgd(run[0], u, z, decay)
    assert_learns(run - run[0], expected - expected[0], other - other[0], rtol=1e-10, atol=1e-10)


def test_a_sample_moves_the_weights_by_the_rate_over_one_minus_momentum():
    """As the rate falls: costate reversal with cτ = 1 moves w by rate/(1-μ) ∇L (1+θτ)^{-L} in all, L from the output.

    The truth is told for two steps, and the sample stays; p_w then decays to nothing.
    """
    u, z = (part[:1] for part in table(1))
    rate, dwell, taught, long = 1e-6, 8 * STEP, 2 * STEP, 1600
    objective = hj.Objective.sgd(rate, MOMENTUM, dwell=dwell, taught=taught, step=STEP)
    run = hj.solve(by_hand(u, z, objective, long, 2), method=hj.Euler(STEP), times=[0, long * STEP])
    matrix = layered().matrix(run.w.values[0])
    hidden, output = gradient(matrix[:5, :3], matrix[5:, 3:8], u[0], z[0])
    shrink = 2 - MOMENTUM ** (STEP / dwell)  # 1 + θτ
    moved = layered().matrix(run.w.values[-1] - run.w.values[0]) * (1 - MOMENTUM) / -rate
    np.testing.assert_allclose(moved[:5, :3], hidden / shrink**2, rtol=1e-4)
    np.testing.assert_allclose(moved[5:, 3:8], output / shrink, rtol=1e-4)
    assert abs(hidden).max() > 0.1


def test_costate_reversal_nears_sgd_as_the_rate_falls():
    """On a stream of 60 samples, from the first to the last: within a tenth of the way that the weights go."""
    u, z = table(60)
    objective = hj.Objective.sgd(RATE, MOMENTUM, dwell=8 * STEP, taught=2 * STEP, step=STEP)
    other = hj.Objective.sgd(RATE, MOMENTUM, dwell=8 * STEP, taught=STEP, step=STEP)
    times = (np.arange(60) * 8 + 4) * STEP
    run, rival = (
        hj.solve(by_hand(u, z, one, 8, 2), method=hj.Euler(STEP), times=times).w.values for one in (objective, other)
    )
    expected = sgd(run[0], u, z)
    way = abs(expected[-1] - expected[0]).max()
    assert way > 0.3
    assert abs(run - expected).max() < 0.1 * way < abs(rival - expected).max()


def test_sgd_without_a_step_is_the_limit_of_small_steps():
    limit = hj.Objective.sgd(0.01, 0.9, dwell=2.0, taught=0.5)
    small = hj.Objective.sgd(0.01, 0.9, dwell=2.0, taught=0.5, step=1e-7)
    assert limit.dissipation == pytest.approx(-np.log(0.9) / 2, rel=1e-12)
    assert limit.dissipation == pytest.approx(small.dissipation, rel=1e-6)
    assert limit.m == pytest.approx(small.m, rel=1e-6)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "either a stream or dwell"),
        ({"dwell": 1.0, "stream": hj.Stream([[0.0]], [1.0])}, "either a stream or dwell"),
        ({"dwell": 1.0}, "taught must be a positive number, got None"),
        ({"dwell": -1.0, "taught": 1.0}, "dwell must be a positive number"),
        ({"dwell": 1.0, "taught": 2.0}, "at most while it stays"),
        ({"dwell": 1.0, "taught": 0.1, "step": 0.2}, "for a step or more"),
        ({"dwell": 1.0, "taught": 0.5, "momentum": 1.0}, "momentum must be more than 0"),
        ({"dwell": 1.0, "taught": 0.5, "momentum": 0.0}, "more than 0 without a step"),
        ({"dwell": 1.0, "taught": 0.5, "learning_rate": 0.0}, "learning_rate must be a positive number"),
    ],
)
def test_wrong_numbers_of_sgd(given, words):
    with pytest.raises(hj.ProblemError, match=words):
        hj.Objective.sgd(**{"learning_rate": 0.1} | given)


# -- signals -----------------------------------------------------------------------------------------------------------
def test_defaults_are_those_of_the_theory():
    """A sample stays for 1, is answered in the middle, and told for a quarter; with a step all are whole steps."""
    stream = hj.Stream([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [0.1, 0.2, 0.3])
    assert (stream.dwell, stream.answer, stream.taught, stream.step) == (1.0, 0.5, 0.25, None)
    np.testing.assert_array_equal(stream.sample_times, [0, 1, 2])
    np.testing.assert_array_equal(stream.answer_times, [0.5, 1.5, 2.5])
    assert stream.span == (0.0, 3.0)
    assert len(stream) == 3
    odd = hj.Stream([[1.0]], [0.1], dwell=0.7, step=0.1)  # seven steps
    assert (odd.answer, odd.taught) == (pytest.approx(0.3), pytest.approx(0.1))
    one = hj.Stream([[1.0]], [0.1], dwell=0.1, step=0.1)  # told as soon as it comes: for neurons at rest
    assert (one.answer, one.taught) == (0.0, pytest.approx(0.1))


def test_signals_at_given_times():
    """u_k on [k, k + 1), z_k on [k + 1/2, k + 3/4), and NaN else."""
    x, y = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([0.1, 0.2])
    stream = hj.Stream(x, y, start=10.0)
    np.testing.assert_array_equal(stream.inputs([10, 10.99, 11, 11.5, 12]), x[[0, 0, 1, 1, 1]])
    when = [10, 10.49, 10.5, 10.74, 10.75, 11, 11.5, 11.75, 12]
    told = [np.nan, np.nan, 0.1, 0.1, np.nan, np.nan, 0.2, np.nan, np.nan]
    np.testing.assert_array_equal(stream.target(when)[:, 0], told)
    np.testing.assert_array_equal(stream.target.table.stops, [10.5, 10.75, 11.5, 11.75])


def test_truth_told_all_the_time_has_no_gaps():
    stream = hj.Stream([[0.0]] * 3, [1.0, 2.0, np.nan], answer=0.0, taught=1.0)
    np.testing.assert_array_equal(stream.target([0, 0.9, 1, 1.9, 2, 3])[:, 0], [1, 1, 2, 2, np.nan, np.nan])


@pytest.mark.parametrize("dwell", [0.3, 0.7, 1.1])
@pytest.mark.parametrize("start", [0.0, 1e6])
def test_rounding_makes_no_gaps(dwell, start):
    """Where dwell, answer and taught are no binary fractions."""
    y = np.arange(500.0)
    stream = hj.Stream(
        y[:, None], y, dwell=dwell, answer=dwell / 3, taught=dwell - dwell / 3, start=start, delay=dwell / 3
    )
    assert len(stream.target.table.stops) == 2 * 500  # on and off, the last off being the end
    whole = hj.Stream(y[:, None], y, dwell=dwell, answer=0, taught=dwell, start=start)
    np.testing.assert_array_equal(whole.target(whole.answer_times + dwell / 2)[:, 0], y)
    assert len(whole.target.table.stops) == 500


@pytest.mark.parametrize("delay", [0.125, 0.5, 2.0, 7.25])
@pytest.mark.parametrize("told", [{"taught": 0.25}, {"answer": 0.25, "taught": 0.75}], ids=["apart", "touching"])
def test_delay_shifts_the_target(delay, told):
    x, y = np.zeros((6, 1)), np.arange(1.0, 7.0)
    plain, late = (hj.Stream(x, y, delay=one, **told) for one in (0.0, delay))
    when = np.arange(0, 6, 1 / 16)
    before = np.where(when < delay, np.nan, plain.target(np.maximum(when - delay, 0))[:, 0])
    np.testing.assert_array_equal(late.target(when)[:, 0], before)
    assert np.isfinite(before).any() == (delay < 5.5)


@pytest.mark.parametrize("delay", [0.0, 1.5])
@pytest.mark.parametrize("step", [None, 0.1])
def test_a_stretch_has_the_signals_of_the_whole(delay, step):
    """Where they are defined, that is, the last instant but."""
    x, y = table(7)
    whole = hj.Stream(x, y, order="shuffle", passes=2, dwell=0.8, step=step, delay=delay, start=3.0)
    for first, last in pairwise((0, 3, 4, 14)):
        part = whole[first:last]
        assert len(part) == last - first
        assert part.span == pytest.approx((3 + 0.8 * first, 3 + 0.8 * last))
        when = np.linspace(*part.span, 801)[:-1] + 1e-6
        np.testing.assert_array_equal(part.inputs(when), whole.inputs(when))
        np.testing.assert_array_equal(part.target(when), whole.target(when))
    assert len(whole[3:][1:-2]) == 8
    np.testing.assert_array_equal(whole[3:][1:-2].truth, whole.truth[4:12])


def test_every_pass_is_shuffled_anew():
    x, y = np.arange(5.0)[:, None], np.arange(5.0)
    shown = hj.Stream(x, y, passes=3, order="shuffle", seed=4)
    rng = np.random.default_rng(4)
    order = np.concatenate([rng.permutation(5) for _ in range(3)])
    np.testing.assert_array_equal(shown.inputs(shown.sample_times)[:, 0], order)
    np.testing.assert_array_equal(shown.truth[:, 0], order)
    plain = hj.Stream(x, y, passes=2)
    np.testing.assert_array_equal(plain.truth[:, 0], [0, 1, 2, 3, 4, 0, 1, 2, 3, 4])


HOT = [[1, 0], [0, 1], [np.nan, np.nan], [1, 0]]


@pytest.mark.parametrize(
    ("y", "classes", "expected"),
    [
        (["cat", "dog", None, "cat"], None, ("cat", "dog")),
        (np.array(["cat", "dog", np.nan, "cat"], dtype=object), None, ("cat", "dog")),
        (pd.Series(["cat", "dog", None, "cat"]), None, ("cat", "dog")),
        (pd.Series(["cat", "dog", None, "cat"], dtype=pd.CategoricalDtype(["cat", "dog"])), None, ("cat", "dog")),
        (["dog", "cat", None, "dog"], ["dog", "cat"], ("dog", "cat")),
        ([False, True, None, False], None, (False, True)),
        ([3.0, 7.0, np.nan, 3.0], True, (3, 7)),
        (pd.Series([3, 7, None, 3], dtype="Int64"), True, (3, 7)),
        (xr.DataArray([3.0, 7.0, np.nan, 3.0], dims="sample"), [3, 7], (3, 7)),
        ([[3], [7], [None], [3]], True, (3, 7)),
    ],
)
def test_classes_become_one_output_each(y, classes, expected):
    stream = hj.Stream(np.zeros((4, 1)), y, classes=classes)
    assert stream.classes == expected
    assert [type(label) for label in stream.classes] == [type(label) for label in expected]
    np.testing.assert_array_equal(stream.truth, HOT)
    np.testing.assert_array_equal(stream.target(stream.answer_times), HOT)
    assert stream.target.channels == tuple(map(str, expected))


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        ([1, 2, None], None),
        ([1.0, 2.0, np.nan], None),
        (pd.Series([1, 2, None], dtype="Int64"), None),
        ([True, 2.0, None], False),
    ],
)
def test_numbers_stay_numbers(y, classes):
    stream = hj.Stream(np.zeros((3, 1)), y, classes=classes)
    assert stream.classes is None
    np.testing.assert_array_equal(stream.truth[:, 0], [1, 2, np.nan])


def test_tables_of_all_kinds_are_one_stream():
    x, y = table(4)
    frame = pd.DataFrame(x, columns=["a", "b", "c"], index=[5, 6, 7, 8])
    pairs = [(dict(zip("abc", row, strict=True)), list(truth)) for row, truth in zip(x, y, strict=True)]
    pairs[2] = (dict(reversed(pairs[2][0].items())), pairs[2][1])
    given = [
        hj.Stream(x, y, inputs=["a", "b", "c"]),
        hj.Stream(frame, pd.DataFrame(y, index=frame.index)),
        hj.Stream(xr.DataArray(x, {"f": ["a", "b", "c"]}, ("n", "f")), xr.DataArray(y, dims=("n", "o"))),
        hj.Stream(pair for pair in pairs),
        hj.Stream([(list(row), list(truth)) for row, truth in zip(x, y, strict=True)], inputs=["a", "b", "c"]),
    ]
    for stream in given:
        np.testing.assert_array_equal(stream.inputs(stream.sample_times), x)
        np.testing.assert_array_equal(stream.truth, y)
        assert stream.inputs.channels == ("a", "b", "c")


# -- runs --------------------------------------------------------------------------------------------------------------
def problem(stream: hj.Stream, **options: object) -> hj.Problem:
    """What a 3-5-2 network learns from it."""
    objective = options.pop("objective", hj.Objective.sgd(RATE, MOMENTUM, stream=stream))
    signals = {"inputs": stream.inputs, "target": stream.target, "span": stream.span}
    return hj.Problem(layered(), objective, **signals, **{"initial": {"w": {"normal": [0, 0.5]}}} | options)


def test_a_stream_is_the_problem_made_by_hand():
    """Bitwise by Euler; `Objective.sgd` takes its numbers."""
    u, z = table(6)
    stream = hj.Stream(u, z, step=STEP)
    objective = hj.Objective.sgd(RATE, MOMENTUM, dwell=1.0, taught=0.25, step=STEP)
    ours, hands = (
        hj.solve(one, method=hj.Euler(STEP)) for one in (problem(stream), by_hand(u, z, objective, steps=8, taught=2))
    )
    for name in ("u", "x", "z", "w", "p_x", "p_w"):
        np.testing.assert_array_equal(ours[name], hands[name])
    assert float(abs(ours.w[-1] - ours.w[0]).max()) > 0.01


def test_stretches_are_the_whole():
    """Run one after the other, each from where the last one ended: bitwise, the step being a power of two."""
    stream = hj.Stream(*table(6), step=STEP, delay=0.75)
    whole = hj.solve(problem(stream), method=hj.Euler(STEP), times=stream.answer_times)
    parts, state = [], {"w": {"normal": [0, 0.5]}}
    for one in (stream[:4], stream[4:]):
        times = np.append(one.answer_times, one.span[1])
        run = hj.solve(problem(one, initial=state), method=hj.Euler(STEP), times=times)
        parts.append(run.hamjl.answers(one))
        state = run.isel(time=-1)
    answers = whole.hamjl.answers(stream)
    xr.testing.assert_identical(xr.concat(parts, "sample", data_vars="minimal"), answers)
    assert float(abs(answers.y.diff("sample")).min()) > 0


def test_digits_are_the_stream_of_their_example(monkeypatch):
    """The problem that examples/digits.py builds by hand, on a few digits: bitwise."""
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "examples")
    import digits

    pixels, labels, *_ = digits.data(8)
    net = digits.network()
    state = {"w": digits.initial_weights(net)}
    stream = hj.Stream(pixels, labels, classes=range(10), step=digits.STEP)
    objective = hj.Objective.sgd(digits.RATE, digits.MOMENTUM, stream=stream, loss="softmax_cross_entropy")
    assert objective.m == pytest.approx(digits.MASS, rel=1e-12)
    assert objective.dissipation == pytest.approx(digits.THETA, rel=1e-12)
    hands = digits.stretch(net, 0, pixels, labels, state)
    ours = hands.replace(inputs=stream.inputs, target=stream.target)
    runs = [hj.solve(one, method=hj.Euler(digits.STEP), times=stream.answer_times) for one in (hands, ours)]
    for name in ("u", "x", "z", "w", "p_x", "p_w"):
        np.testing.assert_array_equal(*(run[name] for run in runs))
    answers = runs[1].hamjl.answers(stream)
    np.testing.assert_array_equal(answers.predicted, runs[0].y.argmax("output"))
    np.testing.assert_array_equal(answers.actual, labels)


@pytest.mark.parametrize("step", [0.1, 1 / 3, 0.125])
def test_answers_are_the_outputs_at_their_times_before_the_truth(step):
    """Layers with cτ = 1 are exact after two steps, so an answer is that of the network at rest under its weights.

    The weights do not move: the first answer's. And the truth of a sample has no effect on its own answer.
    """
    u, z = table(5)
    net = hj.Network.layered([3, 5, 2], activation=["tanh", "identity"], velocity=1 / step)
    runs = []
    for told in (z, np.where(np.arange(5)[:, None] < 3, z, -z)):
        stream = hj.Stream(u, told, dwell=8 * step, step=step, start=7.0)
        signals = {"inputs": stream.inputs, "target": stream.target, "span": stream.span}
        whole = hj.Problem(net, hj.Objective.sgd(0.1, 0.5, stream=stream), initial={"w": 0.3}, **signals)
        still = hj.solve(whole, method=hj.Euler(step), times=stream.answer_times, frozen=True)
        rest = net.at_rest(np.full(len(net.arcs), 0.3), u)
        np.testing.assert_allclose(still.hamjl.answers(stream).y, rest, rtol=1e-10)
        run = hj.solve(whole, method=hj.Euler(step))  # every step
        answers = run.hamjl.answers(stream)
        np.testing.assert_array_equal(answers.y, run.y.sel(time=stream.answer_times, method="nearest"))
        np.testing.assert_array_equal(answers.truth, told)
        runs.append(answers)
    np.testing.assert_array_equal(runs[0].y[:4], runs[1].y[:4])
    assert float(abs(runs[0].y[4] - runs[1].y[4]).max()) > 1e-4


def replies(y: list[list[float]], stream: hj.Stream) -> xr.Dataset:
    """A run that gave these outputs."""
    labels = {"time": stream.answer_times, "output": [f"x{k}" for k in range(len(y[0]))]}
    return xr.Dataset({"y": (("time", "output"), np.array(y))}, labels)


def test_scores_of_classes():
    stream = hj.Stream(np.zeros((5, 1)), ["a", "b", "b", None, "a"])
    run = replies([[2.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [3.0, 0.0]], stream)
    answers = run.hamjl.answers(stream)
    assert answers.predicted.values.tolist() == ["a", "b", "a", "a", "a"]
    assert answers.actual.dropna("sample").values.tolist() == ["a", "b", "b", "a"]
    assert answers.actual.isnull().values.tolist() == [False, False, False, True, False]
    assert answers["class"].values.tolist() == ["a", "b"]
    np.testing.assert_array_equal(answers.time, stream.answer_times)
    assert float(run.hamjl.score(stream)) == 0.75  # right, right, wrong, -, right
    rolling = run.hamjl.score(stream, rolling=2)
    np.testing.assert_array_equal(rolling, [np.nan, 1.0, 0.5, 0.5])
    assert rolling.sample.values.tolist() == [0, 1, 2, 4]
    odds = np.array([np.exp(1) / (1 + np.exp(1))] * 2 + [1 / (1 + np.exp(1)), 1 / (1 + np.exp(-3))])
    assert float(run.hamjl.score(stream, "log_loss")) == pytest.approx(-np.log(odds).mean(), rel=1e-12)

    def share_of_a(actual, predicted):
        return np.mean((predicted == "a") & (actual == "a"))

    assert float(run.hamjl.score(stream, share_of_a)) == 0.5
    np.testing.assert_array_equal(run.hamjl.score(stream, share_of_a, rolling=3), [np.nan, np.nan, 1 / 3, 1 / 3])


def test_scores_of_numbers():
    stream = hj.Stream(np.zeros((4, 1)), [1.0, 2.0, None, 4.0])
    run = replies([[1.0], [5.0], [9.0], [0.0]], stream)
    assert float(run.hamjl.score(stream, "rmse")) == pytest.approx(np.sqrt((0 + 9 + 16) / 3), rel=1e-14)
    assert float(run.hamjl.score(stream, "mae")) == pytest.approx(7 / 3, rel=1e-14)
    np.testing.assert_allclose(run.hamjl.score(stream, "rmse", rolling=2), [np.nan, *np.sqrt([4.5, 12.5])])
    both = xr.concat([run, run + 1], "seed")
    np.testing.assert_allclose(both.hamjl.score(stream, "mae"), [7 / 3, (1 + 4 + 3) / 3])


def test_rows_keep_their_index():
    days = pd.date_range("2020-01-01", periods=3)
    stream = hj.Stream(pd.DataFrame({"u": [1.0, 2.0, 3.0]}, index=days), [1.0, 2.0, 3.0], order="shuffle", seed=1)
    answers = replies([[1.0], [2.0], [3.0]], stream).hamjl.answers(stream)
    order = np.random.default_rng(1).permutation(3)
    np.testing.assert_array_equal(answers.row, days[order])
    np.testing.assert_array_equal(answers.truth[:, 0], order + 1.0)


def test_the_example_of_the_readme_runs():
    """And answers better than the most frequent class, from the first sample on."""
    datasets = pytest.importorskip("sklearn.datasets", reason="the wines come with scikit-learn")
    import sklearn

    blocks = (Path(__file__).parent.parent / "README.md").read_text("utf-8").split("```python\n")
    (code,) = (block.partition("```")[0] for block in blocks if "hj.Stream(" in block)
    names = {"hj": hj, "sklearn": sklearn}
    exec(code, names)
    most = np.bincount(datasets.load_wine().target).max() / 178
    assert float(names["run"].hamjl.score(names["stream"])) > most + 0.4


def test_names_of_outputs_order_the_answers():
    stream = hj.Stream(np.zeros((2, 3)), [[1.0, 2.0], [3.0, 4.0]], outputs=["x6", "x5"], step=STEP)
    run = hj.solve(problem(stream), method=hj.Euler(STEP), times=stream.answer_times)
    np.testing.assert_array_equal(run.z.sel(output="x6"), [1, 3])
    answers = run.hamjl.answers(stream)
    np.testing.assert_array_equal(answers.y, run.y.sel(output=["x6", "x5"]))
    np.testing.assert_array_equal(answers.truth, run.z.sel(output=["x6", "x5"]))


# -- wrong input -------------------------------------------------------------------------------------------------------
PAIR = [({"a": 1.0}, 1.0), ({"b": 1.0}, 2.0)]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (([[1.0], [2.0]], [1.0]), "as many samples, one or more, got 2 and 1"),
        (([], []), "X must be an array"),
        (([["a"]], [1.0]), "X must be an array .* of real numbers"),
        ((pd.DataFrame({"a": ["b"]}), [1.0]), "X must be an array .* of real numbers"),
        (([[np.nan]], [1.0]), "X must be finite, got 1 NaN"),
        ((np.zeros((2, 2, 2)), [1.0, 2.0]), "X must be an array"),
        (([[1.0], [2.0, 3.0]], [1.0, 2.0]), "X must be an array"),
        (([[1.0, 2.0], [3.0, 4.0]],), "give the truths too"),
        ((np.zeros((3, 2)),), "give the truths too"),
        ((pd.DataFrame({"a": [1.0]}),), "give the truths too"),
        ((3,), "give the truths too"),
        ((PAIR,), "the inputs of the first, a, got"),
        (([[1.0]], [np.inf]), "y must be finite or NaN"),
        (([[1.0]], ["a"]), r"two or more different ones, got \['a'\]"),
        ((pd.DataFrame({"a": [1.0]}), pd.Series([1.0], index=[3])), "the same index"),
    ],
)
def test_wrong_tables(given, words):
    with pytest.raises(hj.ProblemError, match=words):
        hj.Stream(*given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"dwell": 0.0}, "dwell must be a positive number"),
        ({"dwell": 0.95, "step": 0.1}, "dwell must be whole steps of 0.1, got 0.95"),
        ({"answer": 0.55, "step": 0.1}, "answer must be whole steps"),
        ({"taught": 0.01, "step": 0.1}, "taught must be whole steps of 0.1, got 0.01: the nearest is 0.1"),
        ({"answer": 0.5, "taught": 0.6}, "must stay until it was answered and taught"),
        ({"answer": 1.0}, "must stay until"),
        ({"taught": 0.0}, "must stay until"),
        ({"answer": -0.1}, "answer must be a non-negative"),
        ({"delay": -0.1}, "delay must be a non-negative"),
        ({"order": "random"}, "order must be a known name"),
        ({"passes": 0}, "passes must be a whole number"),
        ({"seed": -1, "order": "shuffle"}, "seed must be a whole number"),
        ({"inputs": ["a", "b"]}, "inputs must be 1 different name"),
        ({"outputs": ["a", "a"]}, "outputs must be 1 different name"),
        ({"classes": ["a", "b"]}, "y must hold the classes 'a', 'b', got 1"),
        ({"classes": ["a", "a"]}, "two or more different ones"),
        ({"classes": 3}, "True, False or a list"),
    ],
)
def test_wrong_options(given, words):
    with pytest.raises(hj.ProblemError, match=words):
        hj.Stream([[0.0], [0.0]], [1.0, 2.0], **given)


def test_text_is_no_number():
    with pytest.raises(hj.ProblemError, match="y must be numbers or classes"):
        hj.Stream([[0.0], [0.0]], ["1.5", "2.5"], classes=False)


def test_wrong_stretches():
    stream = hj.Stream([[0.0], [0.0]], [1.0, 2.0])
    for part in (0, slice(2, None), slice(None, None, 2)):
        with pytest.raises(hj.ProblemError, match="part of a stream"):
            stream[part]


def test_wrong_questions():
    stream = hj.Stream(*table(3), step=STEP)
    run = hj.solve(problem(stream), method=hj.Euler(STEP), times=stream.answer_times)
    with pytest.raises(hj.ProblemError, match=r"none at t = 2.5: run with times=stream.answer_times, or"):
        run.isel(time=slice(2)).hamjl.answers(stream)
    assert run.isel(time=slice(2)).hamjl.answers(stream[:2]).sizes["sample"] == 2
    with pytest.raises(hj.ProblemError, match="a run of other targets"):
        run.hamjl.answers(hj.Stream(*(-part for part in table(3)), step=STEP))
    with pytest.raises(hj.ProblemError, match=r"hamjl\.Stream, got 3"):
        run.hamjl.answers(3)
    with pytest.raises(hj.ProblemError, match="accuracy is of classes"):
        run.hamjl.score(stream)
    with pytest.raises(hj.ProblemError, match="metric must be a known name"):
        run.hamjl.score(stream, "acuracy")
    with pytest.raises(hj.ProblemError, match="needs 4 sample"):
        run.hamjl.score(stream, "rmse", rolling=4)
    with pytest.raises(hj.ProblemError, match="keep them all"):
        run.isel(output=[0]).hamjl.score(stream, "rmse")
    with pytest.raises(hj.ProblemError, match="answers must be numbers, got NaN"):
        run.where(run.time < 2).hamjl.score(stream, "rmse")
    silent = hj.Stream([[0.0]], [None])
    with pytest.raises(hj.ProblemError, match="needs 1 sample"):
        replies([[1.0]], silent).hamjl.score(silent, "rmse")
