# The backprop limit (20): x and p_x at equilibrium at every instant.

const REST_STEPS, REST_TOLERANCE = 200, 1e-12  # of Newton's method

"f(x, a) = 0, that is x = σ(a), was not solved."
struct NoFixedPoint <: Exception end

"""
    Limit(network)

Equation (20): x and p_x at the equilibrium of (18) for the present w, so the state is (w, p_w/φ) alone. On a DAG x and
the delta rule (17) follow in one pass each way; on a cycle by pseudo-transient continuation and a linear solve.
"""
struct Limit{S<:Network} <: System
    network::S
    order::Union{Nothing,Vector{Int}}
    full::Vector{Float64}
    out::Vector{Float64}
    total::Vector{Float64}  # Σ_k w_ki σ'_k total_k + c (loss weight) ∂L/∂x_i, by vertex
    matrix::Matrix{Float64}  # w between neurons, for cycles
end

function Limit(network::Network)
    order = topological_order(network.arcs)
    n = order === nothing ? network.arcs.neurons : 0
    size = dimension(network)
    return Limit(network, order, zeros(size), zeros(size), zeros(length(network.v)), zeros(n, n))
end

tables(system::Limit) = system.network.signals
dimension(system::Limit) = 2 * moving(system.network)
full_dimension(system::Limit) = dimension(system.network)
jacobian_prototype(system::Limit) = jacobian_prototype(system.network; limit = true)

"The state (w, p_w/φ) of a full state; x is kept as the guess of the fixed point."
function restrict(system::Limit, y)
    ow, op, oq = offsets(system.network)
    copyto!(system.full, y)
    return [y[ow+1:op]; y[oq+1:end]]
end

"What a system remembers from one evaluation to the next: the fixed point found last."
remembered(system::Limit) = system.full[1:system.network.arcs.neurons]
recall!(system::Limit, guess) = copyto!(system.full, guess)

"Put the full state that belongs to `y` at time `t` into `system.full`."
function settle!(system::Limit, y, t)
    (; network, full, total) = system
    (; arcs, model, slope, decay, velocity, outputs, loss_scale) = network
    ow, op, oq = offsets(network)
    d, n, count = arcs.inputs, arcs.neurons, moving(network)
    copyto!(full, ow + 1, y, 1, count)
    copyto!(full, oq + 1, y, count + 1, count)
    drive!(network, t)
    load!(network, full)
    fill!(total, 0.0)
    w, before = spread!(network.weights, full, ow)
    system.order === nothing ? fixed_point!(system, w, before) : pass_forward!(system, w, before)
    pull!(network, full)
    for i in 1:n  # by what of the neuron's own total p_x moves a: ∂f/∂a, over the leak
        slope[i] /= leak(model, decay, i)
    end
    for (k, i) in enumerate(outputs)
        total[d+i] += loss_scale * network.pull[k]
    end
    if system.order === nothing
        A = system.matrix  # w_ij at [j, i]
        linear = Matrix{Float64}(I, n, n) .- A .* transpose(slope)
        total[d+1:end] .= solve_or_fail(linear, total[d+1:end])
    else
        @inbounds for i in Iterators.reverse(system.order), k in incoming(arcs, i)
            total[arcs.source[k]] += w[before+k] * slope[i] * total[d+i]
        end
    end
    @inbounds for i in 1:n
        full[op+i] = total[d+i] / (velocity[i] * leak(model, decay, i))
    end
    return full
end

function pass_forward!(system::Limit, w, before)
    (; network, full) = system
    for i in system.order
        forward!(network, w, before, i, i)
        full[i] = network.v[network.arcs.inputs+i] = settle!(network.model, network, i)
    end
    return nothing
end

"The state x of neuron i at which f(x, a) = 0; its derivatives there are kept."
function settle!(::Leaky, network, i)
    activate!(network, i, i)
    return network.a[i]
end

function settle!(::General, network, i)
    (; a, v, decay, arcs) = network
    argument, at = a[i], arcs.inputs + i
    v[at] = 0.0
    for _ in 1:REST_STEPS
        a[i] = argument
        activate!(network, i, i)
        abs(a[i]) <= REST_TOLERANCE * (1 + abs(v[at])) && return v[at]
        v[at] -= a[i] / decay[i]
        isfinite(v[at]) || break
    end
    throw(NoFixedPoint())
end

"Implicit steps of (7), longer and longer, so that stable equilibria are found."
function fixed_point!(system::Limit, w, before)
    (; network, full, matrix) = system
    (; arcs, model, a, slope, decay, v) = network
    n, d = arcs.neurons, arcs.inputs
    fill!(matrix, 0.0)
    for i in 1:n, k in incoming(arcs, i)
        arcs.source[k] > d && (matrix[arcs.source[k]-d, i] = w[before+k])
    end
    pace, last = 1.0, Inf
    x = view(full, 1:n)
    for _ in 1:REST_STEPS
        forward!(network, w, before, 1, n)
        activate!(network, 1, n)
        residual = [speed(model, a[i], x[i]) for i in 1:n]
        size = maximum(abs, residual)
        size <= REST_TOLERANCE * (1 + maximum(abs, x)) && return nothing
        isfinite(last) && (pace = min(pace * last / size, 1e12))
        last = size
        newton = Diagonal([leak(model, decay, i) + 1 / pace for i in 1:n]) .- slope .* transpose(matrix)
        x .+= solve_or_fail(newton, residual)
        all(isfinite, x) || throw(NoFixedPoint())
        v[d+1:end] .= x
    end
    throw(NoFixedPoint())
end

function solve_or_fail(matrix, b)
    factor = lu!(matrix; check = false)
    issuccess(factor) || throw(NoFixedPoint())
    return factor \ b
end

function rhs!(out, system::Limit, y, t, s)
    ow, op, oq = offsets(system.network)
    count = moving(system.network)
    rhs!(system.out, system.network, settle!(system, y, t), t, s)
    copyto!(out, 1, system.out, ow + 1, count)
    copyto!(out, count + 1, system.out, oq + 1, count)
    return nothing
end

"One explicit or semi-implicit Euler step, in place."
function euler_step!(y, system::Limit, work, t, step, s)
    rhs!(work, system, y, t, s)
    count = moving(system.network)
    speeds = pace(system.network.inertia, s)
    lead = system.network.law.semi_implicit
    @inbounds @simd ivdep for k in 1:count
        q = y[count+k]
        new = q + step * work[count+k]
        y[k] += each(speeds, k) * step * ifelse(lead, new, q)
        y[count+k] = new
    end
    return nothing
end

full!(out, system::Limit, y, t) = copyto!(out, settle!(system, y, t))
jacobian!(A::ArcMatrix, system::Limit, y, t, s) = jacobian!(A, system.network, settle!(system, y, t), t, s)

"The dense one is the Schur complement of that of (18) after x and p_x are eliminated."
function jacobian!(J::Matrix, system::Limit, y, t, s)
    A = ArcMatrix(system.network)
    jacobian!(A, system, y, t, s)
    ρ, A.rate = A.rate, 0.0  # -ρ p_x vanishes beside c p_x in the limit
    D, n, count = Matrix(A), system.network.arcs.neurons, moving(system.network)
    fast, slow = [1:n; n+count+1:2n+count], [n+1:n+count; 2n+count+1:2n+2count]
    J .= D[slow, slow] .- D[slow, fast] * (D[fast, fast] \ D[fast, slow])
    for k in count+1:2count
        J[k, k] -= ρ
    end
    return nothing
end
