# Hamilton's equations of a network: equations (14), (18), (23) with costates divided by φ.
#
# The state is x (neuron), w (weight), p_x/φ (neuron), p_w/φ (weight), one after the other; the weights are those that move,
# mostly one for each arc. Everything an arc needs sits on the arc, its source and its target, so one walk over the arcs of
# each neuron does all the work: it reads every weight once.

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

# Neurons obey x' = c (σ(a) - x), or if any of them does not, x' = c f(x, a) with a formula each.
struct Leaky end
struct General end

"""
    Network

The equations of motion of a network and its costs, with room to work. `velocity`, `inertia` (m c), `loss_scale` (c q) and
`regularizer_scale` (c k) are those of equation (8), the second and the last a number or one for each weight that moves.
`activations` give (σ, σ', σ'') of a, or (f, ∂f/∂a, ∂f/∂x, ∂²f/∂a², ∂²f/∂x∂a, ∂²f/∂x²) of (x, a), `regularizer` (V', V''),
`rate` ρ = φ'/φ. The drive is inputs u, targets z, the weights of the losses if they have any, and the rate if it is
sampled; `formulas` are those of its columns that are formulas in t. A NaN target is no supervision.
"""
struct Network{S,N,K,A<:Tuple,M,R,L<:Losses,V,P,F<:Tuple} <: System
    style::S
    model::N
    weights::K
    arcs::Arcs
    outputs::Vector{Int}
    velocity::Vector{Float64}
    activations::A
    kind::Vector{Int}
    inertia::M
    loss_scale::Float64
    regularizer_scale::R
    losses::L
    regularizer::V
    rate::P
    signals::Vector{Table}
    formulas::F
    law::Law
    block::Int
    # work space
    drive::Vector{Float64}
    v::Vector{Float64}  # (u, x)
    a::Vector{Float64}  # a, then σ(a) or f
    slope::Vector{Float64}  # ∂f/∂a
    decay::Vector{Float64}  # ∂f/∂x
    curvature::Vector{Float64}  # ∂²f/∂a²
    mixed::Vector{Float64}  # ∂²f/∂x∂a
    double::Vector{Float64}  # ∂²f/∂x²
    back::Vector{Float64}  # by vertex, so that inputs need no branch
    pull::Vector{Float64}  # ∂L/∂y by output
end

const BLOCK_ARCS = 16384  # arcs walked twice in a row: their weights stay in the cache

function Network(;
    inputs, neurons, source, target, outputs, velocity, activations, kind, inertia, loss_scale, regularizer_scale,
    losses, regularizer, rate, signals, law, leaky = true, weights = Own(), weighted = false, formulas = (),
)
    arcs = Arcs(inputs, neurons, source, target)
    block = clamp(BLOCK_ARCS * neurons ÷ max(length(arcs), 1), 1, neurons)
    numbers(count) = zeros(count)
    width = inputs + (weighted ? 2 : 1) * length(outputs) + (rate isa Sampled)
    return Network(
        arcs.full ? Full() : Listed(), leaky ? Leaky() : General(), weights, arcs, outputs, velocity, Tuple(activations), kind,
        inertia, loss_scale, regularizer_scale, Losses(losses, outputs, inputs, weighted),
        all(iszero, regularizer_scale) ? NO_REGULARIZER : regularizer, rate, signals, Tuple(formulas), law, block,
        fill(NaN, width), numbers(inputs + neurons), numbers(neurons), numbers(neurons), fill(-1.0, neurons),
        numbers(neurons), numbers(neurons), numbers(neurons), numbers(inputs + neurons), numbers(length(outputs)),
    )
end

tables(system::Network) = system.signals
moving(system::Network) = moving(system.weights, system.arcs)
dimension(system::Network) = 2 * (system.arcs.neurons + moving(system))
full_dimension(system::Network) = dimension(system)
restrict(system::Network, y) = copy(y)
full!(out, system::Network, y, t) = copyto!(out, y)

"Offsets of w, p_x and p_w in the state. In names q is p_w, the costate of a weight, as p is p_x."
@inline function offsets(system::Network)
    n, count = system.arcs.neurons, moving(system)
    return n, n + count, 2n + count
end

"Evaluate all that depends on time, on the pieces in force."
@inline function drive!(system::Network, t)
    @inbounds for table in system.signals
        evaluate!(system.drive, table, t)
    end
    evaluate!(system.drive, system.formulas, t)
    return nothing
end

"Columns of the drive that are formulas in t: pairs of these."
@inline evaluate!(drive, ::Tuple{}, t) = nothing
@inline function evaluate!(drive, formulas::Tuple, t)
    column, formula = first(formulas)
    drive[column] = first(formula(t))
    return evaluate!(drive, Base.tail(formulas), t)
end

"The rate that is a table of the drive: its last column."
struct Sampled end

"The rate ρ = φ'/φ at time `t`, once the drive is that of `t`."
@inline rate(system::System, t) = rate(system.rate, system, t)
@inline rate(rate, system, t) = first(rate(t))
@inline rate(::Sampled, system, t) = @inbounds system.drive[end]

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
@inline activate(activations::Tuple, kind, at...) =
    kind == 1 ? first(activations)(at...) : activate(Base.tail(activations), kind - 1, at...)
@inline activate(::Tuple{}, kind, a) = (NaN, NaN, NaN)
@inline activate(::Tuple{}, kind, x, a) = (NaN, NaN, NaN, NaN, NaN, NaN)

"Replace a by σ(a), or f(x, a), for neurons lo..hi, and keep its derivatives by a, and by x."
@inline activate!(system::Network, lo, hi) = activate!(system.model, system, lo, hi)

@inline function activate!(::Leaky, system, lo, hi)
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

function activate!(::General, system, lo, hi)
    (; a, v, slope, decay, activations, kind, arcs) = system
    for i in lo:hi
        a[i], slope[i], decay[i], _... = activate(activations, kind[i], v[arcs.inputs+i], a[i])
    end
    return nothing
end

"x'/c of a neuron with the state x, of what `activate!` left of it, and minus its derivative by x."
@inline speed(::Leaky, value, x) = value - x
@inline speed(::General, value, x) = value
@inline leak(::Leaky, decay, i) = 1.0
@inline leak(::General, decay, i) = @inbounds -decay[i]

"Write ∂L/∂y to `pull`, 0 where there is no target."
@inline pull!(system::Network, y) = gradient!(system.pull, system.losses, system.drive, y)

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
weight k with its costate, and `neuron(i, x, p, x', p')` for each neuron. `y` may be overwritten by them: a weight is not
looked at again, and the neurons come last.
"""
@inline function walk!(arc::A, neuron::N, system::Network, y, t, s) where {A,N}
    (; arcs, style, model, weights, velocity, inertia, regularizer_scale, regularizer, a, slope, decay, v, back) = system
    ow, op, oq = offsets(system)
    drive!(system, t)
    ρ = rate(system, t)
    load!(system, y)
    fill!(back, 0.0)
    sp = s * system.law.costate_sign
    speeds = pace(inertia, s)
    n, d = arcs.neurons, arcs.inputs
    weights isa Shared && walk_shared!(arc, weights, system, y, ρ, s, sp)
    lo = weights isa Shared ? n + 1 : 1  # in blocks of neurons, whose weights stay in the cache
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
                push = muladd(g, v[j], each(regularizer_scale, k) * bend)
                arc(k, w, q, each(speeds, k) * q, muladd(-sp, push, -ρ * q))
            end
        end
        lo = hi + 1
    end
    pull!(system, y)
    @inbounds for (k, i) in enumerate(system.outputs)
        back[d+i] += system.loss_scale * system.pull[k]
    end
    @inbounds @simd ivdep for i in 1:n
        x, p, c = y[i], y[op+i], velocity[i]
        push = muladd(c * leak(model, decay, i), p, -back[d+i])
        neuron(i, x, p, s * c * speed(model, a[i], x), muladd(sp, push, -ρ * p))
    end
    return nothing
end

"The walk where weights are tied or do not move: what moves each is summed over its arcs first."
function walk_shared!(arc::A, shared::Shared, system, y, ρ, s, sp) where {A}
    (; arcs, style, velocity, inertia, regularizer_scale, regularizer, slope, v, back) = system
    ow, op, oq = offsets(system)
    speeds, gradient = pace(inertia, s), fill!(shared.gradient, 0.0)
    w, _ = spread!(shared, y, ow)
    forward!(system, w, 0, 1, arcs.neurons)
    activate!(system, 1, arcs.neurons)
    @inbounds for i in 1:arcs.neurons
        span = incoming(arcs, i)
        g = velocity[i] * slope[i] * y[op+i]
        for k in span
            j = origin(style, arcs, k, first(span))
            back[j] = muladd(w[k], g, back[j])
            m = place(shared, k)
            m == 0 || (gradient[m] += factor(shared, k) * g * v[j])
        end
    end
    @inbounds for m in eachindex(gradient)
        value, q = y[ow+m], y[oq+m]
        bend, _ = regularizer(value)
        push = muladd(each(regularizer_scale, m), bend, gradient[m])
        arc(m, value, q, each(speeds, m) * q, muladd(-sp, push, -ρ * q))
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
    lead, speeds = system.law.semi_implicit, pace(system.inertia, s)
    function arc(k, w, q, _, dq)
        new = muladd(step, dq, q)
        @inbounds y[oq+k] = new
        @inbounds y[ow+k] = muladd(each(speeds, k) * step, ifelse(lead, new, q), w)
    end
    neuron(i, x, p, dx, dp) = @inbounds (y[i] = muladd(step, dx, x); y[op+i] = muladd(step, dp, p))
    return walk!(arc, neuron, system, y, t, s)
end
