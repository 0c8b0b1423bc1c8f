# The Jacobian of a network as a matrix that knows its structure, and the solve that eliminates the arcs.
#
# In (J - α) δ = b an arc meets the rest only through δx of its source, δa of its target and δp of both. Eliminating
# (δw, δp_w) of every arc by hand leaves a dense system of 2n unknowns (δx, δp). An arc that does not move has δw = 0.
# Where arcs are tied this does not hold, and the matrix is a dense one.

"""
    ArcMatrix

∂(rhs)/∂y - α of a network at one state, as a matrix: with `shift` α = 0 the Jacobian J, else W = J - α I of an implicit
method. With `limit`, the Jacobian of the backprop limit: x and p_x are at equilibrium and only (w, p_w) are unknowns.
`jacobian!` fills it, `eliminate!` factors it. Entries can be read, for checking, at the price of the whole matrix.
"""
mutable struct ArcMatrix <: AbstractMatrix{Float64}
    const arcs::Arcs
    const weights::Union{Own,Shared}
    const outputs::Vector{Int}
    const inertia::Union{Float64,Vector{Float64}}
    const costate_sign::Float64
    const limit::Bool
    const leaky::Bool  # then `mixed` and `double` are 0
    # the linearisation: everything that J is made of
    const v::Vector{Float64}  # (u, x)
    const w::Vector{Float64}  # of all arcs, as `bend`
    const decay::Vector{Float64}  # c ∂f/∂x, which is -c in (7)
    const gain::Vector{Float64}  # c ∂f/∂a
    const second::Vector{Float64}  # c ∂²f/∂a² p
    const mixed::Vector{Float64}  # c ∂²f/∂x∂a p
    const double::Vector{Float64}  # c ∂²f/∂x² p
    const g::Vector{Float64}  # c ∂f/∂a p
    const bend::Vector{Float64}  # c k V''
    const loss::Matrix{Float64}  # c (loss weight) ∂²L/∂y², output by output
    rate::Float64
    s::Float64
    shift::Float64
end

ArcMatrix(system::Network; limit = false) = ArcMatrix(
    system.arcs, system.weights, system.outputs, system.inertia, system.law.costate_sign, limit, system.model isa Leaky,
)

function ArcMatrix(arcs, weights, outputs, inertia, costate_sign, limit, leaky)
    n, count = arcs.neurons, length(arcs)
    by_neuron, by_arc = ntuple(_ -> zeros(n), 6), zeros(count)
    return ArcMatrix(
        arcs, weights, outputs, inertia, costate_sign, limit, leaky, zeros(arcs.inputs + n), by_arc, by_neuron..., zeros(count),
        zeros(length(outputs), length(outputs)), 0.0, 1.0, 0.0,
    )
end

"The matrix of the implicit methods: one that knows its structure, or where arcs are tied or none moves a dense one."
jacobian_prototype(system::Network; limit = false) =
    if tied(system.weights) || moving(system) == 0
        zeros(ntuple(_ -> 2 * moving(system) + (limit ? 0 : 2 * system.arcs.neurons), 2))
    else
        ArcMatrix(system; limit)
    end

Base.size(A::ArcMatrix) = (k = (A.limit ? 0 : 2 * A.arcs.neurons) + 2 * moving(A.weights, A.arcs); (k, k))
Base.similar(A::ArcMatrix) =
    copyto!(ArcMatrix(A.arcs, A.weights, A.outputs, A.inertia, A.costate_sign, A.limit, A.leaky), A)
Base.copy(A::ArcMatrix) = similar(A)
Base.deepcopy_internal(A::ArcMatrix, ::IdDict) = similar(A)
Base.similar(A::ArcMatrix, ::Type{Float64}) = similar(A)
Base.fill!(A::ArcMatrix, value) = A  # asked for by solvers to make a pattern visible; there is none

function Base.copyto!(B::ArcMatrix, A::ArcMatrix)
    for name in (:v, :w, :decay, :gain, :second, :mixed, :double, :g, :bend, :loss)
        copyto!(getfield(B, name), getfield(A, name))
    end
    B.rate, B.s, B.shift = A.rate, A.s, A.shift
    return B
end

"Put ∂(rhs)/∂y at time `t` into `A`."
function jacobian!(A::ArcMatrix, system::Network, y, t, s)
    (; arcs, weights, velocity, slope, regularizer, regularizer_scale) = system
    ow, op, _ = offsets(system)
    drive!(system, t)
    load!(system, y)
    w, before = spread!(weights, y, ow)
    forward!(system, w, before, 1, arcs.neurons)
    curve!(system.model, system)
    copyto!(A.v, system.v)
    @inbounds for i in 1:arcs.neurons
        p, c = y[op+i], velocity[i]
        A.decay[i] = c * system.decay[i]
        A.gain[i] = c * slope[i]
        A.second[i] = c * system.curvature[i] * p
        A.mixed[i] = c * system.mixed[i] * p
        A.double[i] = c * system.double[i] * p
        A.g[i] = A.gain[i] * p
    end
    @inbounds for k in 1:length(arcs)
        A.w[k] = w[before+k]
        m = place(weights, k)
        A.bend[k] = moves(weights, k) ? each(regularizer_scale, m) * last(regularizer(y[ow+m])) : 0.0
    end
    hessian!(A.loss, system.losses, system.drive, y)
    A.loss .*= system.loss_scale
    A.rate, A.s, A.shift = rate(system, t), s, 0.0
    return nothing
end

"Replace a by σ(a), or f(x, a), and keep all its derivatives."
function curve!(::Leaky, system)
    (; a, slope, curvature, activations, kind) = system
    @inbounds for i in eachindex(a)
        a[i], slope[i], curvature[i] = activate(activations, kind[i], a[i])
    end
    return nothing
end

function curve!(::General, system)
    (; a, v, slope, decay, curvature, mixed, double, activations, kind, arcs) = system
    for i in eachindex(a)
        a[i], slope[i], decay[i], curvature[i], mixed[i], double[i] =
            activate(activations, kind[i], v[arcs.inputs+i], a[i])
    end
    return nothing
end

# -- the shift: solvers make W from J through the matrix interface only -------------------------------------------------------
# W[k, k] = J[k, k] - α is how they write it. J's entry of a weight's own row is 0, so there α can be read without loss.
Base.setindex!(A::ArcMatrix, value, i::Int, j::Int) =
    i == j ? (i == weight_row(A) && (A.shift = -value); A) : throw(ArgumentError("an ArcMatrix takes only diagonals"))
weight_row(A::ArcMatrix) = A.limit ? 1 : A.arcs.neurons + 1

function Base.getindex(A::ArcMatrix, i::Int, j::Int)
    i == j == weight_row(A) && return -A.shift
    return i == j ? 0.0 : Matrix(A)[i, j]  # solvers read the diagonal to shift it; only the weight's is used
end

"A bound on ‖J - α‖ by rows, O(arcs): switching solvers ask for the norm to judge stiffness."
function LinearAlgebra.opnorm(A::ArcMatrix, p::Real = 2)
    (; arcs, v, w, g, bend, decay, mixed, double, inertia, rate, shift) = A
    n, d = arcs.neurons, arcs.inputs
    pull = zeros(d + n)  # row of p_x, by vertex
    largest = 0.0
    for i in 1:n
        span = incoming(arcs, i)
        reach = sum(k -> abs(v[arcs.source[k]]), span; init = 0.0)
        inner = sum(k -> arcs.source[k] > d ? abs(w[k]) : 0.0, span; init = 0.0)
        gain, second = abs(A.gain[i]), abs(A.second[i])
        through = second * (reach + inner) + gain + abs(mixed[i])
        largest = max(largest, abs(decay[i]) + shift + gain * (reach + inner))
        pull[d+i] += abs(mixed[i]) * (reach + inner) + abs(double[i])
        for k in span
            j = arcs.source[k]
            pull[j] += abs(w[k]) * through + abs(g[i])
            largest = max(largest, abs(v[j]) * through + abs(g[i]) + abs(bend[k]) + abs(rate) + shift)
        end
    end
    for i in 1:n
        largest = max(largest, pull[d+i] + abs(decay[i]) + abs(rate) + shift)
    end
    for (k, i) in enumerate(A.outputs)
        largest = max(largest, pull[d+i] + abs(decay[i]) + abs(rate) + shift + sum(abs, view(A.loss, k, :)))
    end
    return max(largest, 1 / minimum(inertia))
end

# -- elimination -------------------------------------------------------------------------------------------------------------
"What is left of W = J - α after the arcs are eliminated, factored; with room to work."
struct Elimination
    inverse::Vector{Float64}  # 1 / D by arc, D = (ρ + α) α m c / s - s κ c k V''
    across::Matrix{Float64}  # [j, i]: how δx_j moves a_i
    pivot::Vector{Float64}  # 1 / (1 - s κ P S)
    spread::Vector{Float64}  # P_i = Σ_j v_j² / D
    scaled::Matrix{Float64}
    matrix::Matrix{Float64}
    rows::Vector{Int}  # that were swapped when `matrix` was factored
    reduced::Vector{Float64}
    da::Vector{Float64}
    h::Vector{Float64}
    dx::Vector{Float64}  # by vertex: 0 at inputs
end

function Elimination(A::ArcMatrix)
    n, d = A.arcs.neurons, A.arcs.inputs
    return Elimination(
        zeros(length(A.arcs)), zeros(n, n), zeros(n), zeros(n), zeros(n, n), zeros(2n, 2n), collect(1:2n), zeros(2n), zeros(n),
        zeros(n), zeros(d + n),
    )
end

"Form and factor what is left of `A` after the arcs are eliminated: O(arcs) + O(n³)."
function eliminate!(E::Elimination, A::ArcMatrix)
    style = A.arcs.full ? Full() : Listed()
    gather!(E, A, style, A.weights, A.inertia)
    (; across, pivot, spread, scaled, matrix) = E
    (; s, rate, shift, decay, gain, second, mixed) = A
    n, sp = A.arcs.neurons, s * A.costate_sign
    slow = A.limit ? 0.0 : 1.0  # x and p_x have no inertia in the limit
    @inbounds for i in 1:n
        e = pivot[i]
        for j in 1:n
            scaled[j, i] = across[j, i] * (e * second[i])
            matrix[i, j] = s * gain[i] * e * across[j, i]
            matrix[n+j, n+i] = -sp * across[j, i] * e * gain[i]
            matrix[i, n+j] = 0.0
        end
    end
    outer!(view(matrix, n+1:2n, 1:n), scaled, across, -sp)
    @inbounds for i in 1:n
        matrix[i, i] += s * decay[i] - slow * shift
        matrix[i, n+i] = s * sp * pivot[i] * spread[i] * gain[i]^2
        matrix[n+i, n+i] -= sp * decay[i] + slow * (rate + shift)
        matrix[n+i, i] -= E.reduced[i]
    end
    A.leaky || add_mixed!(E, A, sp)
    for (k, i) in enumerate(A.outputs), (l, j) in enumerate(A.outputs)
        matrix[n+i, j] -= sp * A.loss[k, l]
    end
    factor!(matrix, E.rows) || fill!(matrix, NaN)
    return E
end

"What ∂²f/∂x∂a and ∂²f/∂x² add to the matrix: δx_i meets δa_i in the neuron itself."
function add_mixed!(E::Elimination, A::ArcMatrix, sp)
    (; across, pivot, spread, matrix) = E
    (; s, gain, mixed, double) = A
    n = A.arcs.neurons
    @inbounds for i in 1:n
        own = pivot[i] * mixed[i]
        for j in 1:n
            matrix[n+j, i] -= sp * across[j, i] * own
            matrix[n+i, j] -= sp * across[j, i] * own
        end
        matrix[i, i] += s * sp * gain[i] * own * spread[i]
        matrix[n+i, n+i] -= spread[i] * own * gain[i]  # (s κ)² = 1
        matrix[n+i, i] -= spread[i] * own * mixed[i] + sp * double[i]
    end
    return nothing
end

"The walk over the arcs: 1/D, how δx moves a, and the sums over arcs; s κ Σ_i g_i²/D goes to `reduced` for a moment."
function gather!(E::Elimination, A::ArcMatrix, style, weights, inertia)
    (; inverse, across, pivot, spread, reduced) = E
    (; arcs, v, w, g, bend, second) = A
    n, d, sp = arcs.neurons, arcs.inputs, A.s * A.costate_sign
    inert = (A.rate + A.shift) * A.shift / A.s
    fill!(across, 0.0)
    fill!(reduced, 0.0)
    @inbounds for i in 1:n
        span, total = incoming(arcs, i), 0.0
        for k in span
            j, m = origin(style, arcs, k, first(span)), place(weights, k)
            inverse[k] = moves(weights, k) ? 1 / (inert * each(inertia, m) - sp * bend[k]) : 0.0
            total += v[j]^2 * inverse[k]
            j > d || continue
            across[j-d, i] = w[k] + sp * g[i] * v[j] * inverse[k]
            reduced[j-d] += g[i]^2 * inverse[k]  # (s κ)² = 1
        end
        spread[i] = total
        pivot[i] = 1 / (1 - sp * total * second[i])
    end
    return nothing
end

"Solve `A δ = b` with the arcs eliminated by `E`."
LinearAlgebra.ldiv!(δ::AbstractVector, E::Elimination, A::ArcMatrix, b::AbstractVector) =
    back!(δ, E, A, b, A.arcs.full ? Full() : Listed(), A.weights, A.inertia)

function back!(δ, E::Elimination, A::ArcMatrix, b, style, weights, inertia)
    (; inverse, across, pivot, spread, reduced, da, h, dx) = E
    (; arcs, v, g, gain, second, mixed, bend, s, rate, shift, limit) = A
    n, d, count, sp = arcs.neurons, arcs.inputs, moving(weights, arcs), s * A.costate_sign
    ow = limit ? 0 : n
    op, oq = ow + count, limit ? count : 2n + count
    lag = (rate + shift) / s
    fill!(dx, 0.0)  # holds Σ_i g_i r / D until δx is known
    @inbounds for i in 1:n
        span, total = incoming(arcs, i), 0.0
        @simd ivdep for k in span
            j, m = origin(style, arcs, k, first(span)), place(weights, k)
            r = moves(weights, k) ? (b[oq+m] - lag * each(inertia, m) * b[ow+m]) * inverse[k] : 0.0
            total += v[j] * r
            dx[j] += g[i] * r
        end
        da[i] = total
        h[i] = pivot[i] * second[i] * total
    end
    @inbounds for i in 1:n
        reduced[i] = (limit ? 0.0 : b[i]) - s * gain[i] * pivot[i] * da[i]
        reduced[n+i] = (limit ? 0.0 : b[op+i]) + sp * (dx[d+i] + mixed[i] * pivot[i] * da[i])
    end
    mul!(view(reduced, n+1:2n), across, h, sp, 1.0)
    solve!(E.matrix, E.rows, reduced)
    @inbounds for j in 1:d
        dx[j] = 0.0
    end
    @inbounds for i in 1:n
        dx[d+i] = reduced[i]
    end
    mul!(h, transpose(across), view(reduced, 1:n))
    @inbounds for i in 1:n
        push = gain[i] * reduced[n+i] + mixed[i] * reduced[i]
        da[i] = pivot[i] * (h[i] + da[i] + sp * spread[i] * push)
        h[i] = second[i] * da[i] + push
    end
    # δp_w comes from the row that loses less: that of p_w when steps are short, that of w when they are long
    short = shift >= 1 && rate + shift > 0
    @inbounds for i in 1:n
        span, hi, gi = incoming(arcs, i), h[i], g[i]
        @simd ivdep for k in span
            j, m = origin(style, arcs, k, first(span)), place(weights, k)
            if moves(weights, k)
                bw, bq, mass = b[ow+m], b[oq+m], each(inertia, m)
                push = sp * (v[j] * hi + gi * dx[j])
                step = (bq - lag * mass * bw + push) * inverse[k]
                δ[oq+m] = short ? -(push + sp * bend[k] * step + bq) / (rate + shift) : -(mass / s) * (bw + shift * step)
                δ[ow+m] = step
            end
        end
    end
    limit && return δ
    @inbounds for i in 1:n
        δ[i], δ[op+i] = reduced[i], reduced[n+i]
    end
    return δ
end

# -- as a linear solver of the implicit methods --------------------------------------------------------------------------------
"The linear solver that eliminates the arcs, for `linsolve` of the implicit methods."
struct ArcElimination <: LinearSolve.SciMLLinearSolveAlgorithm end

LinearSolve.needs_concrete_A(::ArcElimination) = true
LinearSolve.init_cacheval(
    ::ArcElimination, A::ArcMatrix, b, u, Pl, Pr, maxiters::Int, abstol, reltol, verbose, assumptions,
) = Elimination(A)

function SciMLBase.solve!(cache::LinearSolve.LinearCache, algorithm::ArcElimination; kwargs...)
    if cache.isfresh
        eliminate!(cache.cacheval, cache.A)
        cache.isfresh = false
    end
    ldiv!(cache.u, cache.cacheval, cache.A, cache.b)
    return SciMLBase.build_linear_solution(algorithm, cache.u, nothing, cache; retcode = ReturnCode.Success)
end

# -- the same matrix entry by entry, for checking and for the dense and sparse solvers ------------------------------------------
"Call `put(i, j, value)` for the entries of the Jacobian `A` (several calls for one entry add up)."
function entries(put, A::ArcMatrix)
    A.limit && throw(ArgumentError("entries are those of the full system"))
    (; arcs, weights, v, w, decay, gain, second, mixed, double, g, bend, s, rate, inertia) = A
    n, d, count, sp = arcs.neurons, arcs.inputs, moving(weights, arcs), s * A.costate_sign
    ow, op, oq = n, n + count, 2n + count
    seen = falses(count)
    for i in 1:n
        span = incoming(arcs, i)
        put(i, i, s * decay[i])
        put(op + i, op + i, -sp * decay[i] - rate)
        put(op + i, i, -sp * double[i])
        for k in span
            j, e = Int(arcs.source[k]), place(weights, k)
            own(l) = (place(weights, l), factor(weights, l) * v[arcs.source[l]])
            if e > 0
                put(i, ow + e, s * gain[i] * last(own(k)))
                if !seen[e]
                    seen[e] = true
                    put(ow + e, oq + e, -s / each(inertia, e))
                    put(oq + e, ow + e, -sp * bend[k])
                    put(oq + e, oq + e, -rate)
                end
                put(oq + e, op + i, -sp * last(own(k)) * gain[i])
                put(oq + e, i, -sp * last(own(k)) * mixed[i])
                put(op + i, ow + e, -sp * mixed[i] * last(own(k)))
                for l in span
                    m, (f, by_weight) = Int(arcs.source[l]), own(l)
                    f > 0 && put(oq + e, ow + f, -sp * last(own(k)) * second[i] * by_weight)
                    m > d && put(oq + e, m - d, -sp * last(own(k)) * second[i] * w[l])
                end
            end
            j > d || continue
            put(i, j - d, s * gain[i] * w[k])
            if e > 0
                put(op + j - d, ow + e, -sp * g[i] * factor(weights, k))
                put(oq + e, j - d, -sp * g[i] * factor(weights, k))
            end
            put(op + j - d, op + i, -sp * w[k] * gain[i])
            put(op + j - d, i, -sp * w[k] * mixed[i])
            put(op + i, j - d, -sp * mixed[i] * w[k])
            for l in span
                m, (f, by_weight) = Int(arcs.source[l]), own(l)
                f > 0 && put(op + j - d, ow + f, -sp * w[k] * second[i] * by_weight)
                m > d && put(op + j - d, m - d, -sp * w[k] * second[i] * w[l])
            end
        end
    end
    for (k, i) in enumerate(A.outputs), (l, j) in enumerate(A.outputs)
        put(op + i, j, -sp * A.loss[k, l])
    end
    return nothing
end

function Base.Matrix(A::ArcMatrix)
    D = zeros(size(A))
    entries((i, j, value) -> D[i, j] += value, A)
    for k in axes(D, 1)
        D[k, k] -= A.shift
    end
    return D
end

"The Jacobian `A` as a sparse matrix; structural zeros are kept, so the pattern does not depend on the state."
function SparseArrays.sparse(A::ArcMatrix)
    rows, columns, values = Int[], Int[], Float64[]
    entries(A) do i, j, value
        push!(rows, i)
        push!(columns, j)
        push!(values, value)
    end
    for k in axes(A, 1)
        push!(rows, k)
        push!(columns, k)
        push!(values, -A.shift)
    end
    return sparse(rows, columns, values, size(A)...)
end
