# The functional G of a network on a mesh as a function of the control, by Gauss collocation in two stages.
#
# Python's `hamjl.control` has the same in NumPy, says what the unknown is, and evaluates the loss, which needs no more than
# x. Here are the sweeps over time: x and w of a control, the costates and the gradient, and products with the Hessian.

const ROOT3 = sqrt(3.0)
const GAUSS = (0.25, 0.25 - ROOT3 / 6, 0.25 + ROOT3 / 6, 0.25)  # Butcher's a11, a12, a21, a22
const NEWTON_STEPS = 30
const NEWTON_TOLERANCE = 1e-12

"""
    Transcription

A network on a mesh of K steps `h`. `drives` (drive, 2, K) hold inputs at the stages, `measure` (2, K) the weights of
∫ … φ dt, `theta` (2, K) the feedback that conditions the control, v = u - θ (w - w(0)); the unknown is √(m c measure) u.
`regularizer` gives (V, V', V''). `unknown`, `direction` and `source` are written by the caller, `result` is read.
"""
struct Transcription{N<:Network,V}
    network::N
    regularizer::V
    h::Vector{Float64}
    measure::Matrix{Float64}
    theta::Matrix{Float64}
    drives::Array{Float64,3}
    x0::Vector{Float64}
    w0::Vector{Float64}
    unknown::Array{Float64,3}  # (arc, 2, K)
    direction::Array{Float64,3}
    result::Array{Float64,3}
    source::Array{Float64,3}  # (neuron, 2, K)
    w::Array{Float64,3}  # at the stages, (arc, 2, K)
    dw::Array{Float64,3}
    x::Array{Float64,3}  # (neuron, 2, K)
    dx::Array{Float64,3}
    nodes::Matrix{Float64}  # x, (neuron, K + 1)
    gain::Array{Float64,3}  # c σ'
    bend::Array{Float64,3}  # c σ''
    costate::Array{Float64,3}  # measure p_x/φ
    factors::Array{Float64,3}  # of the stages' equations, (2n, 2n, K)
    pivots::Matrix{Int}
    costs::Vector{Float64}  # of each step, the loss left out
    # work space
    pair::Vector{Float64}  # two stages of neurons
    ends::Matrix{Float64}  # (vertex, 2): inputs and neurons at the stages
    moved::Matrix{Float64}
    back::Matrix{Float64}  # (vertex, 2)
    near::Matrix{Float64}  # (neuron, 2)
    far::Matrix{Float64}
    chain::Vector{Float64}  # by arc
end

function transcription(network; regularizer, h, measure, theta, drives, x0, w0, guess)
    n, arcs, K, d = network.arcs.neurons, length(network.arcs), length(h), network.arcs.inputs
    x = isempty(guess) ? repeat(x0, 1, 2, K) : reshape(copy(guess), n, 2, K)
    block(rows) = zeros(rows, 2, K)
    return Transcription(
        network, regularizer, h, reshape(measure, 2, K), reshape(theta, 2, K), reshape(drives, :, 2, K), x0, w0, block(arcs),
        block(arcs), block(arcs), block(n), block(arcs), block(arcs), x, block(n), zeros(n, K + 1), block(n), block(n), block(n), zeros(2n, 2n, K), zeros(Int, 2n, K), zeros(K),
        zeros(2n), zeros(d + n, 2), zeros(d + n, 2), zeros(d + n, 2), zeros(n, 2), zeros(n, 2),
        zeros(arcs),
    )
end

"Coefficients of one step: stages δ_i = α_i d + Σ β_ij u_j and the next node γ d + Σ δ_j u_j of w - w(0) = d."
@inline function feedback(h, θ1, θ2)
    a11, a12, a21, a22 = h .* GAUSS
    m11, m12, m21, m22 = 1 + a11 * θ1, a12 * θ2, a21 * θ1, 1 + a22 * θ2
    det = m11 * m22 - m12 * m21
    i11, i12, i21, i22 = m22 / det, -m12 / det, -m21 / det, m11 / det
    α = (i11 + i12, i21 + i22)
    β = (i11 * a11 + i12 * a21, i11 * a12 + i12 * a22, i21 * a11 + i22 * a21, i21 * a12 + i22 * a22)
    γ = 1 - h / 2 * (θ1 * α[1] + θ2 * α[2])
    δ = (h / 2 * (1 - θ1 * β[1] - θ2 * β[3]), h / 2 * (1 - θ1 * β[2] - θ2 * β[4]))
    return α, β, γ, δ
end

@inline scales(t::Transcription, k) =
    (sqrt(t.network.inertia * t.measure[1, k]), sqrt(t.network.inertia * t.measure[2, k]))

"""
    forward!(t)

x and w of the control `t.unknown`. True where x was found; then `t.x`, `t.nodes` and `t.costs` hold it.
"""
function forward!(t::Transcription)
    (; network, h, theta, w, w0, chain, costs, nodes) = t
    u = t.unknown
    fill!(chain, 0.0)
    @inbounds nodes[:, 1] .= t.x0
    @inbounds for k in eachindex(h)
        θ1, θ2 = theta[1, k], theta[2, k]
        α, β, γ, δ = feedback(h[k], θ1, θ2)
        s1, s2 = scales(t, k)
        kinetic1, kinetic2, cost1, cost2 = 0.0, 0.0, 0.0, 0.0
        @simd for e in eachindex(chain)
            u1, u2, d = u[e, 1, k] / s1, u[e, 2, k] / s2, chain[e]
            d1 = α[1] * d + β[1] * u1 + β[2] * u2
            d2 = α[2] * d + β[3] * u1 + β[4] * u2
            kinetic1 += (u1 - θ1 * d1)^2
            kinetic2 += (u2 - θ2 * d2)^2
            w[e, 1, k], w[e, 2, k] = w0[e] + d1, w0[e] + d2
            chain[e] = γ * d + δ[1] * u1 + δ[2] * u2
        end
        if !iszero(network.regularizer_scale)
            for e in eachindex(chain)
                cost1 += t.regularizer(w[e, 1, k])[1]
                cost2 += t.regularizer(w[e, 2, k])[1]
            end
        end
        m1, m2 = t.measure[1, k], t.measure[2, k]
        costs[k] = network.inertia / 2 * (m1 * kinetic1 + m2 * kinetic2) + network.regularizer_scale * (m1 * cost1 + m2 * cost2)
        stages!(t, k) || return false
    end
    return true
end

"x at the stages of step k; its factors and σ', σ'' there are kept. False where it was not found."
function stages!(t::Transcription, k)
    newton!(t, k) && return true
    start = view(t.nodes, :, k)  # the guess led nowhere
    @inbounds t.x[:, 1, k] .= start
    @inbounds t.x[:, 2, k] .= start
    return newton!(t, k)
end

"Newton's method from what `t.x` holds. Old factors are good enough while it converges fast."
function newton!(t::Transcription, k)
    (; x, nodes, pair) = t
    n, before, fresh = length(t.x0), Inf, false
    for _ in 1:NEWTON_STEPS
        activate_stages!(t, k)
        fresh || factor_stages!(t, k) || return false
        residual!(t, k)
        stage_solve!(t, k, false)
        size, top = 0.0, 0.0
        @inbounds for i in 1:n
            x[i, 1, k] += pair[i]
            x[i, 2, k] += pair[n+i]
            size = max(size, abs(pair[i]), abs(pair[n+i]))
            top = max(top, abs(x[i, 1, k]), abs(x[i, 2, k]))
        end
        isfinite(size) || return false
        if size <= NEWTON_TOLERANCE * (1 + top)
            activate_stages!(t, k)
            @inbounds for i in 1:n
                nodes[i, k+1] = nodes[i, k] + ROOT3 * (x[i, 2, k] - x[i, 1, k])
            end
            return factor_stages!(t, k)
        end
        fresh = size <= 0.1 * before
        before = size
    end
    return false
end

function factor_stages!(t::Transcription, k)
    linearize!(t, k)
    return factor!(view(t.factors, :, :, k), view(t.pivots, :, k))
end

"Vertices at the stages of step k, and σ, σ', σ'' of the neurons; σ goes to `near`."
function activate_stages!(t::Transcription, k)
    (; network, ends, x, w, near, gain, bend, drives) = t
    (; arcs, style, velocity, activations, kind) = network
    d = arcs.inputs
    for s in 1:2
        @inbounds for j in 1:d
            ends[j, s] = drives[j, s, k]
        end
        @inbounds for i in 1:arcs.neurons
            ends[d+i, s] = x[i, s, k]
        end
        @inbounds for i in 1:arcs.neurons
            span, a = incoming(arcs, i), 0.0
            @simd for e in span
                a += w[e, s, k] * ends[origin(style, arcs, e, first(span)), s]
            end
            σ, slope, curvature = activate(activations, kind[i], a)
            near[i, s] = σ
            gain[i, s, k] = velocity[i] * slope
            bend[i, s, k] = velocity[i] * curvature
        end
    end
    return nothing
end

"I - h (A ⊗ J) of step k, into its place."
function linearize!(t::Transcription, k)
    (; network, w, gain, factors) = t
    (; arcs, style, velocity) = network
    n, d = arcs.neurons, arcs.inputs
    a11, a12, a21, a22 = t.h[k] .* GAUSS
    A = view(factors, :, :, k)
    fill!(A, 0.0)
    @inbounds for s in 1:2
        up, down = s == 1 ? (a11, a21) : (a12, a22)
        column = (s - 1) * n
        for i in 1:n
            span = incoming(arcs, i)
            for e in span
                j = origin(style, arcs, e, first(span)) - d
                j < 1 && continue
                slope = gain[i, s, k] * w[e, s, k]
                A[i, column+j] -= up * slope
                A[n+i, column+j] -= down * slope
            end
            A[i, column+i] += up * velocity[i]
            A[n+i, column+i] += down * velocity[i]
        end
    end
    @inbounds for i in 1:2n
        A[i, i] += 1
    end
    return nothing
end

"x_k + h Σ a_ij f_j - X_i into `pair`."
function residual!(t::Transcription, k)
    (; network, near, x, nodes, pair) = t
    n = network.arcs.neurons
    a11, a12, a21, a22 = t.h[k] .* GAUSS
    @inbounds for i in 1:n
        f1 = network.velocity[i] * (near[i, 1] - x[i, 1, k])
        f2 = network.velocity[i] * (near[i, 2] - x[i, 2, k])
        pair[i] = nodes[i, k] + a11 * f1 + a12 * f2 - x[i, 1, k]
        pair[n+i] = nodes[i, k] + a21 * f1 + a22 * f2 - x[i, 2, k]
    end
    return nothing
end

"Solve the stages' equations of step k for `pair`, or their transpose."
@inline function stage_solve!(t::Transcription, k, transposed)
    A, p = view(t.factors, :, :, k), view(t.pivots, :, k)
    transposed ? solve_transposed!(A, p, t.pair) : solve!(A, p, t.pair)
    return nothing
end

"""
    gradient!(t, states)

The gradient of G by the unknown into `t.result`, after `forward!`; `t.source` is measure ∂cℓ/∂x. If `states`
(state, K + 1) is not empty, x, w and the costates times φ at the nodes are written to it.
"""
function gradient!(t::Transcription, states = zeros(0, 0))
    (; network, h, source, costate) = t
    n = network.arcs.neurons
    λ, D, total = zeros(n), fill!(t.chain, 0.0), zeros(isempty(states) ? 0 : length(t.chain))
    note!(states, t, length(h) + 1, λ, total)
    for k in length(h):-1:1
        step_back!(view(costate, :, :, k), t, k, λ, view(source, :, :, k))
        load_ends!(t, k)
        @inbounds for i in 1:n
            t.near[i, 1] = t.gain[i, 1, k] * costate[i, 1, k]
            t.near[i, 2] = t.gain[i, 2, k] * costate[i, 2, k]
        end
        weights_back!(t, t.unknown, k, D, total, Val(false))
        note!(states, t, k, λ, total)
    end
    isempty(states) || walk_weights!(states, t)
    return nothing
end

"States, and costates times φ, at the nodes, (state, K + 1)."
function node_states(t::Transcription)
    states = zeros(2 * (length(t.x0) + length(t.w0)), length(t.h) + 1)
    gradient!(t, states)
    return states
end

"One step back of p_x: λ at the node, and h Aᵀ y at the stages into `out`."
function step_back!(out, t::Transcription, k, λ, source)
    (; pair) = t
    n = length(λ)
    a11, a12, a21, a22 = t.h[k] .* GAUSS
    @inbounds for i in 1:n
        pair[i] = source[i, 1] - ROOT3 * λ[i]
        pair[n+i] = source[i, 2] + ROOT3 * λ[i]
    end
    stage_solve!(t, k, true)
    @inbounds for i in 1:n
        y1, y2 = pair[i], pair[n+i]
        λ[i] += y1 + y2
        out[i, 1] = a11 * y1 + a21 * y2
        out[i, 2] = a12 * y1 + a22 * y2
    end
    return nothing
end

function load_ends!(t::Transcription, k)
    d = t.network.arcs.inputs
    @inbounds for s in 1:2
        for j in 1:d
            t.ends[j, s] = t.drives[j, s, k]
        end
        for i in 1:t.network.arcs.neurons
            t.ends[d+i, s] = t.x[i, s, k]
        end
    end
    return nothing
end

# ∂/∂w at the stages of step k, pulled back to the unknown. `near` holds the factor of the source's x, and for products
# with the Hessian `far` that of its change.
function weights_back!(t::Transcription, u, k, D, total, ::Val{product}) where {product}
    (; network, result, w, dw, ends, moved, near, far, theta, measure, regularizer) = t
    (; arcs, style) = network
    θ1, θ2 = theta[1, k], theta[2, k]
    α, β, γ, δ = feedback(t.h[k], θ1, θ2)
    s1, s2 = scales(t, k)
    m1, m2 = measure[1, k], measure[2, k]
    i1, i2 = network.inertia * m1, network.inertia * m2
    r1, r2 = network.regularizer_scale * m1, network.regularizer_scale * m2
    summed = !isempty(total)
    @inbounds for i in 1:arcs.neurons
        span = incoming(arcs, i)
        g1, g2, c1, c2 = near[i, 1], near[i, 2], far[i, 1], far[i, 2]
        @simd ivdep for e in span
            j = origin(style, arcs, e, first(span))
            b1, b2 = g1 * ends[j, 1], g2 * ends[j, 2]
            if product
                b1 += c1 * moved[j, 1] + r1 * regularizer(w[e, 1, k])[3] * dw[e, 1, k]
                b2 += c2 * moved[j, 2] + r2 * regularizer(w[e, 2, k])[3] * dw[e, 2, k]
                v1, v2 = u[e, 1, k] / s1 - θ1 * dw[e, 1, k], u[e, 2, k] / s2 - θ2 * dw[e, 2, k]
            else
                b1 += r1 * regularizer(w[e, 1, k])[2]
                b2 += r2 * regularizer(w[e, 2, k])[2]
                v1, v2 = u[e, 1, k] / s1 - θ1 * (w[e, 1, k] - t.w0[e]), u[e, 2, k] / s2 - θ2 * (w[e, 2, k] - t.w0[e])
            end
            summed && (total[e] += b1 + b2)
            b1 -= θ1 * i1 * v1
            b2 -= θ2 * i2 * v2
            later = D[e]
            result[e, 1, k] = (i1 * v1 + β[1] * b1 + β[3] * b2 + δ[1] * later) / s1
            result[e, 2, k] = (i2 * v2 + β[2] * b1 + β[4] * b2 + δ[2] * later) / s2
            D[e] = γ * later + α[1] * b1 + α[2] * b2
        end
    end
    return nothing
end

"Costates at a node, where they are wanted."
function note!(states, t::Transcription, k, λ, total)
    isempty(states) && return nothing
    n, arcs = length(λ), length(t.chain)
    @inbounds states[n+arcs+1:2n+arcs, k] .= λ
    @inbounds states[2n+arcs+1:end, k] .= total
    return nothing
end

"x and w at the nodes."
function walk_weights!(states, t::Transcription)
    n, arcs, u = t.network.arcs.neurons, length(t.chain), t.unknown
    @inbounds states[1:n, :] .= t.nodes
    @inbounds states[n+1:n+arcs, 1] .= t.w0
    @inbounds for k in eachindex(t.h)
        s1, s2 = scales(t, k)
        θ1, θ2 = t.theta[1, k], t.theta[2, k]
        for e in 1:arcs
            v1 = u[e, 1, k] / s1 - θ1 * (t.w[e, 1, k] - t.w0[e])
            v2 = u[e, 2, k] / s2 - θ2 * (t.w[e, 2, k] - t.w0[e])
            states[n+e, k+1] = states[n+e, k] + t.h[k] / 2 * (v1 + v2)
        end
    end
    return nothing
end

"""
    tangent!(t)

Changes `t.dw` and `t.dx` of w and x at the stages when the unknown moves along `t.direction`, after `gradient!`.
"""
function tangent!(t::Transcription)
    (; network, h, theta, dw, dx, w, pair, ends, near, gain, chain) = t
    (; arcs, style) = network
    n = arcs.neurons
    u, node = t.direction, zeros(n)
    fill!(chain, 0.0)
    @inbounds for k in eachindex(h)
        α, β, γ, δ = feedback(h[k], theta[1, k], theta[2, k])
        s1, s2 = scales(t, k)
        load_ends!(t, k)
        for i in 1:n
            span, r1, r2 = incoming(arcs, i), 0.0, 0.0
            @simd for e in span
                j = origin(style, arcs, e, first(span))
                u1, u2, d = u[e, 1, k] / s1, u[e, 2, k] / s2, chain[e]
                d1 = α[1] * d + β[1] * u1 + β[2] * u2
                d2 = α[2] * d + β[3] * u1 + β[4] * u2
                dw[e, 1, k], dw[e, 2, k] = d1, d2
                r1 += d1 * ends[j, 1]
                r2 += d2 * ends[j, 2]
                chain[e] = γ * d + δ[1] * u1 + δ[2] * u2
            end
            near[i, 1], near[i, 2] = gain[i, 1, k] * r1, gain[i, 2, k] * r2
        end
        a11, a12, a21, a22 = h[k] .* GAUSS
        for i in 1:n
            pair[i] = node[i] + a11 * near[i, 1] + a12 * near[i, 2]
            pair[n+i] = node[i] + a21 * near[i, 1] + a22 * near[i, 2]
        end
        stage_solve!(t, k, false)
        for i in 1:n
            dx[i, 1, k], dx[i, 2, k] = pair[i], pair[n+i]
            node[i] += ROOT3 * (pair[n+i] - pair[i])
        end
    end
    return nothing
end

"""
    curvature!(t)

The Hessian of G times the direction into `t.result`, after `tangent!`; `t.source` is measure ∂²cℓ/∂x² δx.
"""
function curvature!(t::Transcription)
    (; network, h, w, dw, dx, ends, moved, back, near, far, gain, bend, costate) = t
    (; arcs, style) = network
    n, d = arcs.neurons, arcs.inputs
    λ, D, load, change = zeros(n), fill!(t.chain, 0.0), zeros(n, 2), zeros(n, 2)
    none = Float64[]
    fill!(moved, 0.0)
    @inbounds for k in length(h):-1:1
        load_ends!(t, k)
        for s in 1:2, i in 1:n
            moved[d+i, s] = dx[i, s, k]
        end
        fill!(back, 0.0)
        for s in 1:2, i in 1:n
            span, da = incoming(arcs, i), 0.0
            @simd for e in span
                j = origin(style, arcs, e, first(span))
                da += w[e, s, k] * moved[j, s] + dw[e, s, k] * ends[j, s]
            end
            g, dg = gain[i, s, k] * costate[i, s, k], bend[i, s, k] * costate[i, s, k] * da
            far[i, s], near[i, s] = g, dg
            @simd ivdep for e in span
                back[origin(style, arcs, e, first(span)), s] += w[e, s, k] * dg + dw[e, s, k] * g
            end
        end
        for s in 1:2, i in 1:n
            load[i, s] = t.source[i, s, k] + back[d+i, s]
        end
        step_back!(change, t, k, λ, load)
        for s in 1:2, i in 1:n
            near[i, s] += gain[i, s, k] * change[i, s]
        end
        weights_back!(t, t.direction, k, D, none, Val(true))
    end
    return nothing
end
