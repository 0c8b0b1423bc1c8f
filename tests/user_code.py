"""What a user may write, for the type checker only: an error is found where one is marked, and nowhere else."""

from pathlib import Path

import numpy as np
import sympy  # type: ignore[import-untyped]
import xarray as xr

import hamjl as hj

# -- what there is ---------------------------------------------------------------------------------------------------
w = sympy.Symbol("w")
series = xr.DataArray(np.zeros(3), {"time": np.arange(3.0)}, ("time",))
network: hj.Network = hj.Network.layered([1, 4, 1], bias=True, activation=["tanh"] * 5, velocity=np.ones(5))
other = hj.Network.from_arcs([("a", "b")], activation={"b": "sin(a)"}, velocity={"b": 2})
hj.Network.from_adjacency([[0, 1], [1, 0]], outputs=["x0"], activation=sympy.tanh(w), velocity=3)
layers = hj.Network.layered([2, 4, 1], inputs=["a", "b"], activation=["tanh", "identity"], velocity=[1.0, 2.0])
layers.subgraph(["a->x0", ("x0", "x4")]).prune({"a->x0": True})
graph = layers.to_networkx()
objective = hj.Objective.tracking(q=10, r_w=1, dissipation="exp(t)")
problem: hj.Problem = hj.Problem(network, objective, inputs=series, target={"x4": hj.signals.cosine()}, span=(0, 2))
hj.Problem(other, hj.Objective(k=1), inputs={"a": 0.5}, target=series, span=(0, 1), initial={"w": {"normal": [0, 1]}})
hj.Problem(layers, hj.Objective(), inputs=0.5, span=(0, 1), initial="he").replace(seed=1, initial={"w": np.eye(2)})
system = hj.SymbolicSystem({"x": "v - x"}, ["v"], "x**2 + v**2", span=(0, 1), initial={"x": 1}, signals={"u": series})

trajectory: xr.Dataset = hj.solve(problem, "cauchy", "BDF", times=[0.0, 1.0])
hj.solve(system, hj.SignFlip(frequency=2), hj.Euler(0.1), times={"every": 0.5}, engine="python")
hj.solve(problem, {"name": "sign_flip", "radius": 3}, times=np.linspace(0, 1), progress=False)
hj.run(trajectory.hamjl.recipe, method=hj.Adaptive("Radau", rtol=1e-8), store=Path("run.zarr"), thin={"w": 2})
hj.open("run.zarr").hamjl.cost()
hj.resume("run.zarr")
pruned: hj.Network = layers.prune(abs(trajectory.w[-1]) < 0.1)
learnt, weights = hj.Network.from_torch(object())
state: dict[str, object] = learnt.to_state_dict(weights, ["first", "second"])
hj.adjoint(problem, trajectory).attrs["cost"]
hj.compare(problem, ["cauchy", (hj.SignFlip(every_step=True), hj.Euler(0.1)), trajectory])
hj.compare(problem, {"flip": (hj.SignFlip(every_step=True), hj.Euler(0.1)), "nothing": hj.adjoint(problem)})
hj.sweep(problem, {"q": [10, 100], "seed": range(3)}, hj.CostateReversal(), workers=1)
hj.sweep(lambda q: hj.Problem(network, hj.Objective.tracking(q), inputs=series, span=(0, 1)), {"q": [1.0]})
session = hj.Session(problem, method=hj.Euler(0.1))
session.feed(inputs=series, target={"x4": series})
parts: list[xr.Dataset] = [session.advance(1.0), session.advance(2.0, times=5)]
hj.join(parts).to_netcdf("run.nc")
gains: xr.DataArray = hj.riccati(1, 1, 2.0, 1, [0, 1, 2])

# -- what there is not -----------------------------------------------------------------------------------------------
hj.solve(network)  # error: arg-type
hj.solve(problem, law=3)  # error: arg-type
hj.solve(problem, method=0.1)  # error: arg-type
hj.solve(problem, times=0.5)  # error: arg-type
hj.solve(problem, engine=hj.Euler(0.1))  # error: arg-type
hj.solve(problem, hj.Euler(0.1))  # error: arg-type
hj.run(problem, store=1)  # error: arg-type
hj.Problem(network, objective, span=(0, 1), inputs="data.csv")  # error: arg-type
hj.Problem(network, objective, span=3)  # error: arg-type
hj.Problem(network, objective)  # error: call-arg
hj.Network.layered(3)  # error: arg-type
hj.Network.layered([1, 1], activation=object())  # error: arg-type
hj.Network.layered([1, 1], velocity="fast")  # error: arg-type
hj.Objective(q=3)  # error: call-arg
hj.Euler()  # error: call-arg
hj.Euler(step="0.1")  # error: arg-type
hj.SignFlip(frequency="2")  # error: arg-type
hj.SymbolicSystem({"x": "v"}, ["v"], cost=[1], span=(0, 1))  # error: arg-type
hj.adjoint(problem, 0.0)  # error: arg-type
hj.compare(problem, [1])  # error: list-item
hj.sweep(problem, ["q"])  # error: arg-type
hj.sweep(lambda q: network, {"q": [1.0]})  # error: arg-type, return-value
hj.Session(problem).advance("soon")  # error: arg-type
hj.Session(problem).feed(target=0.5)  # error: arg-type
hj.backprop(problem)  # error: attr-defined
number: float = hj.solve(problem)  # error: assignment
network.velocity = np.ones(5)  # error: misc
