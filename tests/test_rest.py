"""The network by itself, at rest: against its matrices, its own motion, and a table's labels."""

import numpy as np
import pandas
import pytest
import xarray as xr

import hamjl as hj

DEEP = hj.Network.layered([2, 3, 2], bias=True)
WEIGHTS = np.random.default_rng(0).normal(size=len(DEEP.arcs))
TABLE = np.random.default_rng(1).normal(size=(50, 2))


def by_matrices(table):
    matrix = DEEP.matrix(WEIGHTS)  # (neuron, input and neuron)
    at = {name: k for k, name in enumerate(DEEP.vertices)}
    u = np.ones((len(table), len(DEEP.inputs)))
    free = [name for name in DEEP.inputs if name != "bias"]
    u[:, [at[name] for name in free]] = table
    x = np.zeros((len(table), len(DEEP.neurons)))
    for _ in range(3):
        x = np.tanh(np.concatenate((u, x), axis=1) @ matrix.T)
    return x[:, DEEP.output_index]


def test_layers_are_products_with_their_matrices():
    found = DEEP.at_rest(WEIGHTS, TABLE)
    assert found.dims == ("sample", "output")
    assert list(found.output.values) == list(DEEP.outputs)
    np.testing.assert_allclose(found, by_matrices(TABLE), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(DEEP.at_rest(WEIGHTS, TABLE[0]), found[0], rtol=1e-13)


def test_many_samples_are_taken_in_parts(monkeypatch):
    monkeypatch.setattr("hamjl.rest.ENTRIES", 7 * len(DEEP.arcs))
    np.testing.assert_allclose(DEEP.at_rest(WEIGHTS, TABLE), by_matrices(TABLE), rtol=1e-13, atol=1e-15)


def test_tables_keep_their_labels_and_go_by_name():
    names = [name for name in DEEP.inputs if name != "bias"]
    frame = pandas.DataFrame(TABLE[:, ::-1], columns=names[::-1], index=pandas.Index(range(100, 150), name="row"))
    found = DEEP.at_rest(WEIGHTS, frame)
    np.testing.assert_allclose(found, by_matrices(TABLE), rtol=1e-13, atol=1e-15)
    assert list(found.sample.values[:2]) == [100, 101]
    grid = xr.DataArray(TABLE.reshape(5, 10, 2), {"day": np.arange(5)}, ("day", "hour", "input"))
    found = DEEP.at_rest(WEIGHTS, grid)
    assert (found.dims, list(found.day.values)) == (("day", "hour", "output"), [0, 1, 2, 3, 4])
    np.testing.assert_allclose(found.values.reshape(50, 2), by_matrices(TABLE), rtol=1e-13, atol=1e-15)
    columns = dict(zip(names, TABLE.T, strict=True))
    np.testing.assert_allclose(DEEP.at_rest(WEIGHTS, columns), by_matrices(TABLE), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(
        DEEP.at_rest(WEIGHTS, {names[0]: TABLE[:, 0], names[1]: 0.5}),
        by_matrices(np.stack([TABLE[:, 0], np.full(50, 0.5)], axis=1)),
        rtol=1e-13,
        atol=1e-15,
    )


@pytest.mark.parametrize("network", [DEEP, hj.Network.fully_connected(4, inputs=2, outputs=2, self_loops=True)])
def test_it_is_where_neurons_go_when_weights_stay(network):
    """x' = c (σ(a) - x) with the mass so large that weights do not move."""
    weights = 0.6 * np.random.default_rng(2).normal(size=len(network.arcs))
    objective = hj.Objective(m=1e30)
    problem = hj.Problem(network, objective, inputs=0.7, target=0.0, span=(0, 200), initial={"w": weights})
    run = hj.solve(problem, hj.Cauchy(), hj.Adaptive("LSODA", 1e-11, 1e-13), times=[200.0], engine="python")
    free = [name for name in network.inputs if name != "bias"]
    found = network.at_rest(run.isel(time=-1), dict.fromkeys(free, 0.7))
    np.testing.assert_allclose(found, run.y[-1], rtol=0, atol=1e-8)


def test_what_does_not_fit_is_refused():
    with pytest.raises(hj.ProblemError, match="weights must be one for each"):
        DEEP.at_rest(WEIGHTS[1:], TABLE)
    with pytest.raises(hj.ProblemError, match="inputs must have a column for each"):
        DEEP.at_rest(WEIGHTS, TABLE[:, :1])
    with pytest.raises(hj.ProblemError, match="inputs must be finite"):
        DEEP.at_rest(WEIGHTS, np.full((2, 2), np.nan))
    with pytest.raises(hj.ProblemError, match="weights must be on 'arc' alone"):
        DEEP.at_rest(xr.DataArray(np.zeros((2, len(DEEP.arcs))), dims=("time", "arc")), TABLE)
    with pytest.raises(hj.ProblemError, match="A name of inputs"):
        DEEP.at_rest(WEIGHTS, {"nobody": 1.0})
    names = [name for name in DEEP.inputs if name != "bias"]
    for columns in ({names[0]: [1.0, 2.0], names[1]: [1.0, 2.0, 3.0]}, {names[0]: np.ones((2, 2)), names[1]: 1.0}):
        with pytest.raises(hj.ProblemError, match="all as long"):
            DEEP.at_rest(WEIGHTS, columns)
    for wrong in ([names[0].upper(), names[1]], [names[1], "other"]):
        with pytest.raises(hj.ProblemError, match="exactly or not at all"):
            DEEP.at_rest(WEIGHTS, pandas.DataFrame(TABLE, columns=wrong))
    by_order = DEEP.at_rest(WEIGHTS, pandas.DataFrame(TABLE, columns=["height", "weight"]))
    np.testing.assert_allclose(by_order, by_matrices(TABLE), rtol=1e-13, atol=1e-15)
    with pytest.raises(hj.ProblemError, match="inputs must be"):
        DEEP.at_rest(WEIGHTS, "text")
    growing = hj.Network.fully_connected(2, self_loops=True, activation="softplus")
    with pytest.raises(hj.ProblemError, match="must settle"):
        growing.at_rest(np.full(4, 5.0))
