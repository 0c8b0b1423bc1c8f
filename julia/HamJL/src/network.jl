# Hamilton's equations of a network: equations (14), (18), (23) with costates divided by φ.
#
# The state is x (neuron), w (arc), p_x/φ (neuron), p_w/φ (arc), one after the other. Everything an arc needs sits on the
# arc, its source and its target, so one walk over the arcs of each neuron does all the work: it reads every weight once.

"The signs of a law: x' and w' carry s, p' carries `costate_sign` s, where s(t) = ±1 follows `flip`."
struct Law
    costate_sign::Float64
    flip::Symbol  # none, step, periodic or track
    frequency::Float64
    radius::Float64
    hysteresis::Float64
    limit::Bool
    semi_implicit::Bool  # Euler moves w by the p_w of the end of the step
end

Law(;
    costate_sign = 1, flip = "none", frequency = 0.0, radius = 0.0, hysteresis = 0.0, limit = false, semi_implicit = false,
) = Law(costate_sign, Symbol(flip), frequency, radius, hysteresis, limit, semi_implicit)

abstract type System end

"""
    Network

The equations of motion of a network and its costs, with room to work. `velocity`, `inertia` (m c), `loss_scale` (c times
the loss weight) and `regularizer_scale` (c k) are those of equation (8); `activations` give (σ, σ', σ''), `loss`
(∂L/∂y, ∂²L/∂y²), `regularizer` (V', V''), `rate` ρ = φ'/φ. The drive is (inputs u, targets z); a NaN target is no
supervision.
"""
struct Network{S,A<:Tuple,L,V,P} <: System
    style::S
    arcs::Arcs
    outputs::Vector{Int}
    velocity::Vector{Float64}
    activations::A
    kind::Vector{Int}
    inertia::Float64
    loss_scale::Float64
    regularizer_scale::Float64
    softmax::Bool
    loss::L
    regularizer::V
    rate::P
    signals::Vector{Table}
    law::Law
    block::Int
    # work space
    drive::Vector{Float64}
    v::Vector{Float64}  # (u, x)
    a::Vector{Float64}
    slope::Vector{Float64}
    curvature::Vector{Float64}
    back::Vector{Float64}  # by vertex, so that inputs need no branch
    pull::Vector{Float64}  # ∂L/∂y by output
end

const BLOCK_ARCS = 16384  # arcs walked twice in a row: their weights stay in the cache

function Network(;
    inputs, neurons, source, target, outputs, velocity, activations, kind, inertia, loss_scale, regularizer_scale,
    softmax, loss, regularizer, rate, signals, law,
)
    arcs = Arcs(inputs, neurons, source, target)
    block = clamp(BLOCK_ARCS * neurons ÷ max(length(arcs), 1), 1, neurons)
    numbers(count) = zeros(count)
    return Network(
        arcs.full ? Full() : Listed(), arcs, outputs, velocity, Tuple(activations), kind, inertia, loss_scale,
        regularizer_scale, softmax, loss, iszero(regularizer_scale) ? NO_REGULARIZER : regularizer, rate, signals, law, block,
        fill(NaN, inputs + length(outputs)), numbers(inputs + neurons), numbers(neurons), numbers(neurons),
        numbers(neurons), numbers(inputs + neurons), numbers(length(outputs)),
    )
end

tables(system::Network) = system.signals
dimension(system::Network) = 2 * (system.arcs.neurons + length(system.arcs))
full_dimension(system::Network) = dimension(system)
restrict(system::Network, y) = copy(y)
full!(out, system::Network, y, t) = copyto!(out, y)

"Offsets of w, p_x and p_w in the state. In names q is p_w, the costate of a weight, as p is p_x."
@inline function offsets(system::Network)
    n, arcs = system.arcs.neurons, length(system.arcs)
    return n, n + arcs, 2n + arcs
end

"Evaluate all that depends on time, on the pieces in force."
@inline function drive!(system::Network, t)
    @inbounds for table in system.signals
        evaluate!(system.drive, table, t)
    end
    return nothing
end

"The rate ρ = φ'/φ at time `t`."
@inline rate(system::Network, t) = first(system.rate(t))

@inline function load!(system::Network, y)
    d = system.arcs.inputs
    @inbounds for j in 1:d
        system.v[j] = system.drive[j]
    end
    @inbounds @simd for i in 1:system.arcs.neurons
        system.v[d+i] = y[i]
    end
    return nothing
end

# -- σ and its derivatives ---------------------------------------------------------------------------------------------------
@inline activate(activations::Tuple, kind, a) =
    kind == 1 ? first(activations)(a) : activate(Base.tail(activations), kind - 1, a)
@inline activate(::Tuple{}, kind, a) = (NaN, NaN, NaN)

"Replace a by σ(a) for neurons lo..hi, and keep σ'."
@inline function activate!(system::Network, lo, hi)
    (; a, slope, activations, kind) = system
    if length(activations) == 1
        f = first(activations)
        @inbounds @simd ivdep for i in lo:hi
            a[i], slope[i], _ = f(a[i])
        end
    else
        @inbounds for i in lo:hi
            a[i], slope[i], _ = activate(activations, kind[i], a[i])
        end
    end
    return nothing
end

"Write ∂L/∂y to `pull`, 0 where there is no target."
@inline function pull!(system::Network, y)
    (; pull, outputs, drive, arcs) = system
    if system.softmax
        softmax_gradient!(pull, outputs, view(drive, arcs.inputs+1:length(drive)), y)
        return nothing
    end
    @inbounds for (k, i) in enumerate(outputs)
        z = drive[arcs.inputs+k]
        gradient, _ = system.loss(y[i], z)
        pull[k] = isnan(z) ? 0.0 : gradient
    end
    return nothing
end

function softmax_gradient!(pull, outputs, z, y)
    if any(isnan, z)
        fill!(pull, 0.0)
        return nothing
    end
    top = maximum(i -> y[i], outputs; init = -Inf)
    norm, total = 0.0, 0.0
    for (k, i) in enumerate(outputs)
        pull[k] = exp(y[i] - top)
        norm += pull[k]
        total += z[k]
    end
    for k in eachindex(pull)
        pull[k] = total * pull[k] / norm - z[k]
    end
    return nothing
end

# -- the walk over the arcs --------------------------------------------------------------------------------------------------
"a_i = Σ_j w_ij v_j for neurons lo..hi."
@inline function forward!(system::Network, y, ow, lo, hi)
    (; arcs, style, a, v) = system
    @inbounds for i in lo:hi
        span = incoming(arcs, i)
        total = 0.0
        @simd for k in span
            total += y[ow+k] * v[origin(style, arcs, k, first(span))]
        end
        a[i] = total
    end
    return nothing
end

"""
    walk!(arc, neuron, system, y, t, s)

The equations of motion of `y` at time `t` and sign `s`, in one walk over the arcs: calls `arc(k, w, q, w', q')` for each
arc k with its weight w and that weight's costate q, and `neuron(i, x, p, x', p')` for each neuron. `y` may be overwritten by
them: an arc is not looked at again, and the neurons come last.
"""
@inline function walk!(arc::A, neuron::N, system::Network, y, t, s) where {A,N}
    (; arcs, style, velocity, inertia, regularizer_scale, regularizer, a, slope, v, back) = system
    ow, op, oq = offsets(system)
    drive!(system, t)
    ρ = rate(system, t)
    load!(system, y)
    fill!(back, 0.0)
    sp = s * system.law.costate_sign
    speed = -s / inertia
    n, d = arcs.neurons, arcs.inputs
    lo = 1
    @inbounds while lo <= n
        hi = min(lo + system.block - 1, n)
        forward!(system, y, ow, lo, hi)
        activate!(system, lo, hi)
        for i in lo:hi
            span = incoming(arcs, i)
            g = velocity[i] * slope[i] * y[op+i]
            @simd ivdep for k in span
                j = origin(style, arcs, k, first(span))
                w, q = y[ow+k], y[oq+k]
                bend, _ = regularizer(w)
                back[j] = muladd(w, g, back[j])
                arc(k, w, q, speed * q, muladd(-sp, muladd(g, v[j], regularizer_scale * bend), -ρ * q))
            end
        end
        lo = hi + 1
    end
    pull!(system, y)
    @inbounds for (k, i) in enumerate(system.outputs)
        back[d+i] += system.loss_scale * system.pull[k]
    end
    @inbounds @simd ivdep for i in 1:n
        x, p = y[i], y[op+i]
        neuron(i, x, p, s * velocity[i] * (a[i] - x), muladd(sp, muladd(velocity[i], p, -back[d+i]), -ρ * p))
    end
    return nothing
end

"Write the time derivative of `y` at time `t` to `out`; `s` is the sign s(t)."
function rhs!(out, system::Network, y, t, s)
    ow, op, oq = offsets(system)
    arc(k, w, q, dw, dq) = @inbounds (out[ow+k] = dw; out[oq+k] = dq)
    neuron(i, x, p, dx, dp) = @inbounds (out[i] = dx; out[op+i] = dp)
    return walk!(arc, neuron, system, y, t, s)
end

"One explicit Euler step, in place."
function euler_step!(y, system::Network, work, t, step, s)
    ow, op, oq = offsets(system)
    lead, speed = system.law.semi_implicit, -s / system.inertia * step
    function arc(k, w, q, _, dq)
        new = muladd(step, dq, q)
        @inbounds y[oq+k] = new
        @inbounds y[ow+k] = muladd(speed, ifelse(lead, new, q), w)
    end
    neuron(i, x, p, dx, dp) = @inbounds (y[i] = muladd(step, dx, x); y[op+i] = muladd(step, dp, p))
    return walk!(arc, neuron, system, y, t, s)
end
