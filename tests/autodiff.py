"""What torch says: gradients by automatic differentiation, convolutions, SGD with momentum. All in double precision.

Torch is imported in these functions only, which run in a process of their own (the fixture `elsewhere`): it and Julia
are not at ease in one.
"""

from typing import Any

import numpy as np


def plain(network: Any) -> dict[str, Any]:
    """What these functions need of a `hamjl.Network`."""
    arrays = {"source": network.source.copy(), "target": network.target.copy(), "outputs": network.output_index}
    return {"neurons": len(network.neurons), **arrays}


def output(w: Any, u: Any, x: Any, network: dict[str, Any], sweeps: int) -> Any:
    """The outputs of a network of tanh neurons after so many sweeps x = σ(a) from `x`."""
    import torch

    target, source = torch.tensor(network["target"]), torch.tensor(network["source"])
    matrix = torch.zeros((len(x), len(u) + len(x)), dtype=torch.float64).index_put((target, source), w)
    for _ in range(sweeps):
        x = torch.tanh(matrix @ torch.cat((u, x)))
    return x[network["outputs"]]


def cost(y: Any, z: Any, kind: str) -> Any:
    """The loss L of one sample."""
    import torch

    return torch.nn.functional.cross_entropy(y, z) if kind == "softmax_cross_entropy" else ((y - z) ** 2).sum() / 2


def gradients(network: dict[str, Any], kind: str, rows: dict[str, np.ndarray], sweeps: int) -> np.ndarray:
    """∂L/∂w (row, arc), differentiated through all the sweeps, for rows of w, u, x and z."""
    import torch

    result = np.empty_like(rows["w"])
    for row, values in zip(result, zip(*(rows[name] for name in "wuxz"), strict=True), strict=True):
        w, u, x, z = map(torch.tensor, values)
        w.requires_grad_()
        cost(output(w, u, x, network, sweeps), z, kind).backward()
        row[:] = w.grad.numpy()
    return result


def convolution(
    u: np.ndarray, z: np.ndarray, kernel: np.ndarray, bias: np.ndarray, stride: int
) -> tuple[np.ndarray, ...]:
    """y = tanh(conv(u)) (channel, place …), and ∂L/∂kernel and ∂L/∂bias of L = |y - z|²/2; kernels (channel, …)."""
    import torch

    convolve = torch.nn.functional.conv1d if u.ndim == 1 else torch.nn.functional.conv2d
    weights = [torch.tensor(values, requires_grad=True) for values in (kernel[:, None], bias)]
    y = torch.tanh(convolve(torch.tensor(u)[None, None], *weights, stride=stride))[0]
    cost(y, torch.tensor(z).reshape(y.shape), "squared_error").backward()
    return y.detach().numpy(), weights[0].grad.numpy()[:, 0], weights[1].grad.numpy()


def sgd(network: dict[str, Any], kind: str, start: np.ndarray, u: np.ndarray, z: np.ndarray, **options: Any) -> Any:
    """The weights (step, arc) of torch's SGD on a stream of samples (step, …), one sample a step."""
    import torch

    stale, sweeps = options.pop("stale", 0), options.pop("sweeps")
    w = torch.tensor(start, requires_grad=True)
    optimizer = torch.optim.SGD([w], **options)
    rows = []
    for k in range(len(u)):
        rows.append(w.detach().numpy().copy())
        late = k - stale
        if late < 0:
            continue
        at = torch.tensor(rows[late], requires_grad=True)
        x = torch.zeros(network["neurons"], dtype=torch.float64)
        cost(output(at, torch.tensor(u[late]), x, network, sweeps), torch.tensor(z[late]), kind).backward()
        w.grad = at.grad
        optimizer.step()
    return np.array(rows)


def sequential(layers: list[tuple[Any, ...]], rows: np.ndarray, prefix: list[str]) -> dict[str, Any]:
    """A model of torch.nn of classes by name with their arguments, through hamjl and back, in double precision.

    Its outputs for `rows`, (row, output), those of hamjl's network at rest, and those of the same model with other
    parameters, and with the state_dict of the network, whose keys are beside the model's.
    """
    import torch

    import hamjl as hj

    def build() -> Any:
        return torch.nn.Sequential(*(getattr(torch.nn, name)(*given) for name, *given in layers)).double().eval()

    torch.manual_seed(0)
    model, other = build(), build()
    network, weights = hj.Network.from_torch(model)
    state = network.to_state_dict(weights, prefix or None)
    given = torch.tensor(rows)
    with torch.no_grad():
        expected, rival = model(given).numpy(), other(given).numpy()
        other.load_state_dict(state)
        back = other(given).numpy()
    found = network.at_rest(weights, rows).values
    keys = list(state), list(model.state_dict())
    return {"expected": expected, "rival": rival, "found": found, "back": back, "keys": keys}
