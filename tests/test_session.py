"""Sessions: fed bit by bit, stopped and taken up again, they give the trajectory of one call."""

import base64
import copy
import hashlib
import json
import os
import pickle
import signal
import threading
import warnings
from dataclasses import replace
from functools import reduce
from itertools import pairwise
from operator import getitem

import numpy as np
import pytest
import xarray as xr
from conftest import posix, random_network, random_problem

import hamjl as hj

EVERY = {"every": 0.05}
STATES = ("x", "w", "p_x", "p_w", "sign")
CUTS = [0, 7, 8, 20, 33, 41]
PYTHON = [hj.Euler(0.01), *(hj.Adaptive(name) for name in ("RK45", "DOP853", "LSODA", "BDF", "Radau", "auto"))]


def data() -> tuple[xr.DataArray, xr.DataArray]:
    """Inputs and a target with gaps, every quarter of a unit of time up to 10."""
    rng = np.random.default_rng(0)
    time = np.arange(41) * 0.25
    u = xr.DataArray(rng.normal(size=(41, 2)), dims=("time", "name"), coords={"time": time, "name": ["u0", "u1"]})
    z = np.where(rng.random(41) < 0.3, np.nan, rng.normal(size=41))
    return u, xr.DataArray(z, dims="time", coords={"time": time})


def problem(u: xr.DataArray, z: xr.DataArray, interpolation: str) -> hj.Problem:
    return hj.Problem(
        random_network(np.random.default_rng(1)),
        hj.Objective(loss_weight=2.0, k=0.1, dissipation=1.0),
        inputs=hj.signals.series(u, interpolation),
        target={"x0": hj.signals.series(z, interpolation)},
        span=(0.0, float(u.time[-1])),
        seed=3,
    )


def joined(parts: list[xr.Dataset]) -> xr.Dataset:
    return hj.join(part[[*STATES]] for part in parts)


def streamed(interpolation: str, method: hj.Method, tmp_path, engine: str = "python") -> tuple[hj.Session, xr.Dataset]:
    """Chunks of several sizes, each taken in two stretches; half-way everything goes through a file."""
    u, z = data()
    session = hj.Session(problem(u[:7], z[:7], interpolation), method=method, engine=engine)
    parts = [session.advance(1.5, EVERY)]
    for first, last in pairwise(CUTS[1:]):
        session.feed(inputs=u[first:last], target={"x0": z[first:last]})
        end = float(u.time[last - 1])
        parts.append(session.advance(end - 0.1, EVERY))
        if first == 20:
            session.checkpoint(tmp_path / "checkpoint.json")
            session = hj.Session.restore(tmp_path / "checkpoint.json")
        parts.append(session.advance(end, EVERY))
    return session, joined(parts)


@pytest.mark.parametrize("interpolation", ["previous", "linear"])
@pytest.mark.parametrize("method", PYTHON, ids=str)
def test_a_stream_gives_the_trajectory_of_one_call(method, interpolation, tmp_path):
    session, got = streamed(interpolation, method, tmp_path)
    whole = hj.solve(problem(*data(), interpolation), method=method, times=EVERY)
    np.testing.assert_allclose(got.time, whole.time, rtol=1e-12)
    for name in STATES:
        if isinstance(method, hj.Euler):
            np.testing.assert_array_equal(got[name], whole[name])
        else:
            np.testing.assert_allclose(got[name], whole[name], rtol=1e-10, atol=1e-12)
    assert session.time == 10.0
    assert session.problem.inputs.spec["data"].sizes["time"] <= 15  # what is over is forgotten
    np.testing.assert_allclose(session.present().w, whole.w[-1], rtol=1e-10)


def test_on_each_engine_a_stream_gives_the_trajectory_of_one_call(engine, tmp_path):
    _, got = streamed("previous", hj.Euler(0.01), tmp_path, engine)
    whole = hj.solve(problem(*data(), "previous"), method=hj.Euler(0.01), times=EVERY, engine=engine)
    for name in STATES:
        np.testing.assert_array_equal(got[name], whole[name])


LAWS = [hj.CostateReversal(), hj.SignFlip(frequency=0.7), hj.SignFlip(radius=30.0), hj.BackpropLimit()]
JULIA = [hj.Adaptive(name) for name in ("Tsit5", "Vern9", "Rodas5P", "KenCarp4", "FBDF", "auto")]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
@pytest.mark.parametrize(
    ("engine", "method"),
    [
        *(pytest.param("python", method, id=str(method)) for method in PYTHON),
        *(pytest.param("julia", m, id=f"julia-{m}", marks=pytest.mark.julia) for m in (hj.Euler(0.01), *JULIA)),
    ],
    indirect=["engine"],
)
def test_a_restored_session_takes_the_same_steps(engine, method, law):
    """Not a step more or less than the one that was never stopped: the controller's memory came along."""
    straight = hj.Session(random_problem(3, span=(0.0, 4.0)), law, method, engine)
    stopped = hj.Session(random_problem(3, span=(0.0, 4.0)), law, method, engine)
    for until in (0.37, 1.0, 1.01, 3.0, 4.0):
        expected, got = (session.advance(until, 9) for session in (straight, stopped))
        assert json.loads(got.attrs["statistics"])["steps"] == json.loads(expected.attrs["statistics"])["steps"]
        for name in STATES:
            if engine == "python" and not (method == hj.Adaptive("DOP853") and isinstance(law, hj.BackpropLimit)):
                np.testing.assert_array_equal(got[name], expected[name])
            else:  # where a fixed point is solved again, and in Julia, to rounding
                np.testing.assert_allclose(got[name], expected[name], rtol=1e-8, atol=1e-10)
        stopped = hj.Session.restore(stopped.checkpoint())


def test_restoring_changes_nothing_in_the_session_it_came_from():
    session = hj.Session(random_problem(3), method="BDF")
    session.advance(0.5)
    checkpoint = session.checkpoint()
    first = session.advance(1.5)
    again = hj.Session.restore(checkpoint).advance(1.5)
    xr.testing.assert_identical(first[[*STATES]], again[[*STATES]])


def test_a_session_goes_on_beyond_the_span_where_signals_are_analytic():
    session = hj.Session(random_problem(3, span=(0.0, 1.0)), method=hj.Adaptive("DOP853", rtol=1e-10, atol=1e-12))
    session.advance(0.6)
    got = session.advance(3.0, {"every": 0.5})
    whole = hj.solve(
        random_problem(3, span=(0.0, 3.0)), method=hj.Adaptive("DOP853", rtol=1e-10, atol=1e-12), times=EVERY
    )
    assert got.time.values.tolist() == [1.0, 1.5, 2.0, 2.5, 3.0]
    np.testing.assert_allclose(got.w, whole.w.sel(time=got.time, method="nearest"), atol=1e-7)
    got.hamjl.energy_balance()  # the part is a trajectory of its own


def test_state_is_the_present():
    session = hj.Session(random_problem(3), method=hj.Euler(0.01))
    np.testing.assert_array_equal(session.present().w, random_problem(3).initial_state()["w"])
    part = session.advance(0.5)
    assert "time" not in session.present().dims
    assert float(session.present().time) == session.time == 0.5
    np.testing.assert_array_equal(session.present().w, part.w[-1])
    later = hj.Problem(
        random_problem(3).network, hj.Objective(), inputs={"u0": 0.1, "u1": 0.2}, span=(0, 1), initial=session.present()
    )
    np.testing.assert_array_equal(later.initial_state()["w"], part.w[-1])


def test_former_spellings_are_told_and_work():
    u, z = data()
    begun, later = problem(u[:7], z[:7], "previous"), {"x0": z[7:]}
    old, new = (hj.Session(begun, method=hj.Euler(0.1)) for _ in range(2))
    with pytest.warns(DeprecationWarning, match=r"feed\(targets=…\) is now feed\(target=…\)"):
        old.feed(targets=later)
    new.feed(target=later)
    assert old.problem == new.problem
    with pytest.warns(DeprecationWarning, match=r"Session.state is now Session.present\(\)"):
        xr.testing.assert_identical(old.state, new.present())
    with (
        pytest.warns(DeprecationWarning, match="rename it"),
        pytest.raises(hj.ProblemError, match="got target and targets"),
    ):
        new.feed(target=later, targets=later)


@pytest.mark.parametrize("method", [hj.Euler(0.01), "RK45"], ids=str)
def test_the_start_is_one_sample(method):
    session = hj.Session(random_problem(3, span=(1.0, 2.0)), method=method)
    assert session.advance(1.0).time.values.tolist() == [1.0]
    assert session.advance(1.0).time.values.tolist() == []
    assert session.advance(1.5, 6).time.values.tolist() == pytest.approx([1.1, 1.2, 1.3, 1.4, 1.5])


@pytest.mark.parametrize("method", PYTHON, ids=str)
def test_a_session_that_has_ended_says_so_and_stays_ended(method, tmp_path):
    network = hj.Network.fully_connected(3, self_loops=True, activation="identity")
    unstable = hj.Problem(network, hj.Objective.tracking(q=1e6), target=1.0, span=(0, 5), initial={"w": 50.0, "x": 1.0})
    session = hj.Session(unstable, hj.Cauchy(), method)
    with pytest.warns(hj.RunWarning):
        status = session.advance(50.0).attrs["status"]
    assert status != "success"
    session.checkpoint(tmp_path / "checkpoint.json")
    for ended in (session, hj.Session.restore(tmp_path / "checkpoint.json")):
        with pytest.raises(hj.ProblemError, match=status):
            ended.advance(60.0)
        with pytest.raises(hj.ProblemError, match=status):
            ended.present()


@pytest.mark.parametrize("method", [hj.Euler(0.01), hj.Adaptive("auto", 1e-9, 1e-12)], ids=str)
def test_the_recipe_of_a_part_gives_that_part(method, engine):
    u, z = data()
    session = hj.Session(problem(u[:20], z[:20], "linear"), method=method, engine=engine)
    session.advance(float(u.time[15]))
    session.feed(inputs=u[20:], target={"x0": z[20:]})
    until = float(u.time[-1])
    part = session.advance(until, EVERY)
    again = hj.run(replace(part.hamjl.recipe, times=EVERY))
    assert part.time[-1] == pytest.approx(until)
    for name in STATES:
        np.testing.assert_allclose(again[name].sel(time=part.time, method="nearest"), part[name], rtol=1e-6, atol=1e-8)


def test_signals_may_be_fed_one_after_another(tmp_path):
    u, z = data()
    session = hj.Session(problem(u[:20], z[:20], "previous"), method=hj.Euler(0.01))
    session.advance(float(u.time[19]))
    session.feed(inputs=u[20:])  # the target still ends at the present
    assert session.present().hamjl.recipe.problem.span[1] == session.time
    session.checkpoint(tmp_path / "session.json")
    restored = hj.Session.restore(tmp_path / "session.json")
    parts = []
    for one in (session, restored):
        one.feed(target={"x0": z[20:]})
        parts.append(one.advance(8.0, EVERY))
        assert parts[-1].hamjl.recipe.problem.span == (float(u.time[19]), float(u.time[-1]))
    xr.testing.assert_identical(parts[0][[*STATES]], parts[1][[*STATES]])


def test_a_stretch_without_samples_is_a_trajectory_without_samples():
    session = hj.Session(problem(*data(), "linear"), method=hj.Euler(0.01))
    session.advance(1.0)
    part = session.advance(1.0)
    assert part.sizes["time"] == 0
    assert part.attrs["status"] == "success"


def test_a_system_of_formulas_is_fed_too():
    time = np.linspace(0.0, 2.0, 21)
    signal = xr.DataArray(np.sin(time), dims="time", coords={"time": time})

    def system(data):
        return hj.SymbolicSystem(
            {"x": "u - x + v"}, ["v"], "(x - u)**2 + v**2", span=(0, float(data.time[-1])), signals={"u": data}
        )

    session = hj.Session(system(signal[:11]), "costate_reversal", hj.Euler(0.01))
    parts = [session.advance(1.0, EVERY)]
    session.feed(inputs={"u": signal[11:]})
    parts.append(session.advance(2.0, EVERY))
    whole = hj.solve(system(signal), method=hj.Euler(0.01), times=EVERY)
    again = hj.run(replace(parts[1].hamjl.recipe, times=EVERY))
    np.testing.assert_allclose(again.p_x[1:], parts[1].p_x, rtol=1e-10)
    np.testing.assert_array_equal(hj.join(parts).x, whole.x)


def test_what_a_session_refuses(tmp_path):
    u, z = data()
    session = hj.Session(problem(u[:9], z[:9], "previous"), method=hj.Euler(0.01))
    with pytest.raises(hj.ProblemError, match=r"within its data, got until = 5 where they end at 2: feed"):
        session.advance(5.0)
    session.advance(1.0)
    with pytest.raises(hj.ProblemError, match="forward only"):
        session.advance(0.5)
    with pytest.raises(hj.ProblemError, match="must be later"):
        session.feed(target={"x0": z[5:12]})
    with pytest.raises(hj.ProblemError, match="mapping"):
        session.feed(inputs={"u0": u[9:, 0]})
    with pytest.raises(hj.ProblemError, match="channel"):
        session.feed(inputs=u[9:, :1])
    with pytest.raises(hj.ProblemError, match="cubic"):
        hj.Session(problem(u[:9], z[:9], "cubic"), method=hj.Euler(0.01)).feed(inputs=u[9:])
    with pytest.raises(hj.ProblemError, match="only a sampled signal"):
        hj.Session(random_problem(3)).feed(inputs={"u0": z})
    with pytest.raises(hj.ProblemError, match="forward in time"):
        hj.Session(random_problem(3), hj.BoundaryValue())
    (tmp_path / "no.json").write_text("{}")
    with pytest.raises(hj.ProblemError, match="checkpoint"):
        hj.Session.restore(tmp_path / "no.json")
    with pytest.raises(hj.ProblemError, match="checkpoint"):
        hj.Session.restore(tmp_path / "none.json")
    kept = session.checkpoint()
    for change in ({"state": None}, {"state": {}}, {"recipe": "x"}, {"start": "now"}, {"engine": 3}):
        with pytest.raises(hj.ProblemError):
            hj.Session.restore({**kept, **change})
    assert hj.Session.restore(kept).time == session.time


def channels(start: float, names: list[str] | None, count: int = 2) -> xr.DataArray:
    """Three samples; the k-th channel is k."""
    time = start + np.arange(3.0)
    values = np.tile(np.arange(float(count)), (3, 1))
    return xr.DataArray(values, dims=("time", "c"), coords={"time": time} | ({} if names is None else {"c": names}))


def fed(before: xr.DataArray, after: xr.DataArray) -> xr.DataArray:
    """The targets of a session on six samples."""
    network = hj.Network.fully_connected(3, outputs=2)
    session = hj.Session(hj.Problem(network, hj.Objective(), target=before, span=(0, 2)), method=hj.Euler(0.5))
    session.feed(target=after)
    return session.advance(5.0).z


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (channels(0, ["x0", "x1"]), channels(3, None), r"\(\['x0', 'x1'\]\), got 2 without names: "),
        (channels(0, None), channels(3, ["x0", "x1"]), r"\(2 without names\), got \['x0', 'x1'\]: "),
        (channels(0, None), channels(3, None)[:, 0], r"\(2 without names\), got time alone: "),
        (channels(0, ["now", "next"]), channels(3, ["x0", "x1"]), r"got \['x0', 'x1'\]: "),
        (channels(0, ["a", "b"]), channels(3, ["a", "a"]), r"got \['a', 'a'\]: "),
        (channels(0, ["a", "a"]), channels(3, ["a", "b"]), r"got \['a', 'b'\]: "),
        (channels(0, ["x0", "x1"]), channels(3, ["x0", "x1", "x2"], 3), r"got \['x0', 'x1', 'x2'\]: "),
    ],
)
def test_more_data_have_the_channels_of_those_before(before, after, words):
    with pytest.raises(hj.ProblemError, match=words):
        fed(before, after)


@pytest.mark.parametrize("names", [["x1", "x0"], ["now", "next"], ["a", "a"], None])
def test_more_data_go_by_the_names_of_those_before(names):
    z = fed(channels(0, names), channels(3, names))
    assert (z.sel(output="x0") == (names == ["x1", "x0"])).all()
    np.testing.assert_array_equal(z.sel(output="x1"), 1 - z.sel(output="x0"))


@posix
def test_ctrl_c_stops_a_stretch_and_the_session_goes_on():
    session = hj.Session(random_problem(3), method=hj.Euler(1e-4))
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.warns(hj.RunWarning, match="interrupted"):
        part = session.advance(1000.0, {"every": 0.1})
    assert part.attrs["status"] == "interrupted"
    stop = session.time
    assert 0.0 < stop < 1000.0
    rest = session.advance(round(stop + 1.0, 1), {"every": 0.1})
    whole = hj.Session(random_problem(3), method=hj.Euler(1e-4)).advance(round(stop + 1.0, 1), {"every": 0.1})
    for name in STATES:
        np.testing.assert_array_equal(joined([part, rest])[name], whole[name])


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda session: pickle.loads(pickle.dumps(session))])
@pytest.mark.parametrize("method", PYTHON, ids=str)
def test_a_session_is_copied_and_pickled(method, how):
    """Point 20: what comes out goes on by itself, from here."""
    session = hj.Session(random_problem(3), method=method)
    session.advance(0.5)
    other = how(session)
    parts = [one.advance(1.0, EVERY) for one in (session, other)]
    xr.testing.assert_identical(parts[0][[*STATES]], parts[1][[*STATES]])
    session.advance(1.5)
    assert other.time == 1.0


def forged(folder, checkpoint: dict, path: list, value) -> str:
    """A checkpoint's file, changed by somebody who knows hamjl: with its checksum."""
    session = hj.Session.restore(checkpoint)
    session.checkpoint(folder / "night.json")
    table = json.loads((folder / "night.json").read_text())
    del table["sha256"]
    *above, last = path
    reduce(getitem, above, table)[last] = value
    table["sha256"] = hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()
    (folder / "night.json").write_text(json.dumps(table))
    return folder / "night.json"


def numbers(*values, dtype="<f8", shape=None) -> dict:
    values = np.array(values, dtype=dtype)
    text = base64.b64encode(values.tobytes()).decode()
    return {"$array": text, "dtype": dtype, "shape": list(values.shape if shape is None else shape)}


WIDTH = 2 * (4 + 16)  # x and p_x of the neurons, w and p_w of the arcs, of the problem below
FORGED = {
    "no state": (["state"], None),
    "text for an array": (["state", "y"], "x"),
    "another shape": (["state", "y"], numbers(1.0, 2.0)),
    "an array of objects": (["state", "y"], {"$array": "AAAA", "dtype": "O", "shape": [1]}),
    "an array too short for its shape": (["state", "y"], numbers(1.0, shape=[10**9])),
    "a number for a table": (["state", "solver"], 3),
    "something more": (["state", "more"], 3),
    "a time of text": (["time"], "now"),
    "a time of 400 digits": (["time"], 10**400),
    "a time before the start": (["time"], -1.0),
    "a time ahead of the solver": (["time"], 1e9),
    "no such status": (["status"], "fine"),
    "a recipe of another kind": (["recipe"], "[]"),
    "no such engine": (["engine"], "x"),
    "steps of another sign": (["state", "counts"], {"steps": -1}),
    "another solver": (["state", "name"], "RK45"),
    "a stop before the present": (["state", "stop"], 0.1),
    "orders beyond its arrays": (["state", "solver", "order"], 40),
    "a step of no length": (["state", "solver", "h_abs"], 0.0),
    "columns outside of a matrix": (
        ["state", "solver", "J"],
        {
            **{"shape": [WIDTH, WIDTH], "data": numbers(1.0), "indices": numbers(10**6, dtype="<i4")},
            "indptr": numbers(*[0] * WIDTH, 1, dtype="<i4"),
        },
    ),
    "pointers outside of a matrix": (
        ["state", "solver", "J"],
        {
            **{"shape": [WIDTH, WIDTH], "data": numbers(1.0), "indices": numbers(1, dtype="<i4")},
            "indptr": numbers(*[0] * (WIDTH - 8), *[10**6] * 9, dtype="<i4"),
        },
    ),
}


def test_a_forged_checkpoint_of_euler_is_refused(tmp_path):
    """Steps ahead of the time: a sample before them would be waited for without end."""
    session = hj.Session(random_problem(3), method=hj.Euler(0.01))
    session.advance(0.5)
    for steps in (51, 49, 10**6):
        path = forged(tmp_path, session.checkpoint(), ["state", "steps"], steps)
        with pytest.raises(hj.ProblemError, match=r"in another order|not that of its steps"):
            hj.Session.restore(path)
    assert hj.Session.restore(session.checkpoint()).present().time == session.time


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_checkpoint_is_refused(kind, tmp_path):
    """Point 7: with a checksum that is right; `fuzz.py` forges more of them."""
    session = hj.Session(random_problem(3), method="BDF")
    session.advance(0.5)
    kept = session.checkpoint()
    assert kept["state"]["solver"]["J"]["shape"] == [WIDTH, WIDTH]
    path = forged(tmp_path, kept, ["time"], kept["time"])
    assert hj.Session.restore(path).time == 0.5
    with pytest.raises(hj.ProblemError) as caught:
        hj.Session.restore(forged(tmp_path, kept, *FORGED[kind]))
    assert "\n" not in str(caught.value)


@pytest.mark.julia
@pytest.mark.parametrize("method", [hj.Euler(0.01), *map(hj.Adaptive, ("Tsit5", "Rodas5P", "FBDF", "auto"))], ids=str)
def test_a_forged_checkpoint_of_julia_is_refused(method, julia, tmp_path):
    """Point 7: shapes, times and counts, and the bytes of its solver."""
    session = hj.Session(random_problem(3), method=method, engine=julia)
    session.advance(0.5)
    kept = session.checkpoint()
    state = kept["state"]
    tables = [state | {name: value} for name in state for value in (None, "x", [], {}, np.zeros(3), np.zeros(3, "u1"))]
    tables += [{name: part for name, part in state.items() if name != left_out} for left_out in state]
    tables += [state | {"more": 1}, state | {"y": state["y"].astype(complex)}, state | {"y": state["y"][:, None]}]
    for k in range(len(state["numbers"])):
        for value in (np.nan, np.inf, -7.0):
            tables.append(state | {"numbers": np.where(np.arange(len(state["numbers"])) == k, value, state["numbers"])})
    if (size := len(solver := state["solver"])) > 0:
        tables += [state | {"solver": np.append(solver, np.uint8(0))}]
        tables += [state | {"solver": solver[:kept_bytes]} for kept_bytes in (0, 4, 8, 9, size // 2, size - 1)]
        tables += [state | {"solver": np.r_[solver[:8], np.full(size - 8, 255, np.uint8)]}]
    for table in tables:
        if table.keys() == state.keys() and all(np.array_equal(table[name], state[name]) for name in state):
            continue  # as no bytes for no bytes
        with pytest.raises(hj.ProblemError, match="must be what Session") as caught:
            hj.Session.restore(kept | {"state": table})
        assert "\n" not in str(caught.value)
    with pytest.raises(hj.ProblemError, match="must be what Session"):
        hj.Session.restore(forged(tmp_path, kept, ["state", "y"], numbers(1.0, 2.0)))
    assert hj.Session.restore(kept).advance(1.0).status == "success"


@pytest.mark.julia
@pytest.mark.parametrize("solver", ["Tsit5", "Vern7", "Rodas5P", "FBDF", "KenCarp4", "auto"])
def test_whatever_the_bytes_of_a_julia_solver_are_a_session_ends(solver, julia):
    """Point 7: it is refused, or goes on to an end: nothing leads a solver outside of its arrays."""
    session = hj.Session(random_problem(3), method=hj.Adaptive(solver, max_steps=3000), engine=julia)
    session.advance(0.5)
    kept, rng = session.checkpoint(), np.random.default_rng(0)
    odd = [*np.array([np.nan, np.inf, -1.0, 1e300, 1e-300, 0.0]).tobytes(), *np.array([1, 7, 40, 10**12, -9]).tobytes()]
    odd, ends = np.array(odd, np.uint8).reshape(-1, 8), set()
    for _ in range(60):
        numbers = kept["state"]["solver"].copy()
        at = rng.integers(8, len(numbers) - 8)
        if rng.random() < 0.5:
            numbers[at] ^= 1 << rng.integers(8)
        else:
            numbers[at : at + 8] = rng.choice(odd)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", hj.RunWarning)
                forged = hj.Session.restore(kept | {"state": kept["state"] | {"solver": numbers}})
                ends.add(forged.advance(1.0, 3).status)
        except hj.HamjlError as error:
            ends.add("refused" if "\n" not in str(error) else "traceback")
    assert {"success", "refused"} <= ends
    assert "traceback" not in ends


@pytest.mark.parametrize("at", range(48))
def test_lsoda_is_not_led_outside_of_its_arrays(at):
    """Point 7: its integers are places in memory of a compiled program; those that are none only count something."""
    session = hj.Session(random_problem(3), method="LSODA")
    session.advance(0.5)
    kept = session.checkpoint()
    kept["state"]["solver"]["state_ints"][at] = 10**6
    counts = (8, 9, 10, 11, 12, 15, 19, 30, 31, 32, 35, 36, 37, 39, 40, 41, 42)
    if at not in counts:
        with pytest.raises(hj.ProblemError, match="state_ints"):
            hj.Session.restore(kept)
