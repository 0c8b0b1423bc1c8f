# The Jacobian of a network as a matrix that knows its structure, and the solve that eliminates the arcs.
#
# In (J - α) δ = b an arc meets the rest only through δx of its source, δa of its target and δp of both. Eliminating
# (δw, δp_w) of every arc by hand leaves a dense system of 2n unknowns (δx, δp).

"""
    ArcMatrix

∂(rhs)/∂y - α of a network at one state, as a matrix: with `shift` α = 0 the Jacobian J, else W = J - α I of an implicit
method. With `limit`, the Jacobian of the backprop limit: x and p_x are at equilibrium and only (w, p_w) are unknowns.
`jacobian!` fills it, `eliminate!` factors it. Entries can be read, for checking, at the price of the whole matrix.
"""
mutable struct ArcMatrix <: AbstractMatrix{Float64}
    const arcs::Arcs
    const velocity::Vector{Float64}
    const outputs::Vector{Int}
    const inertia::Float64
    const costate_sign::Float64
    const limit::Bool
    # the linearisation: everything that J is made of
    const v::Vector{Float64}  # (u, x)
    const w::Vector{Float64}
    const gain::Vector{Float64}  # c σ'
    const second::Vector{Float64}  # c σ'' p
    const g::Vector{Float64}  # c σ' p
    const bend::Vector{Float64}  # c k V''
    const loss::Matrix{Float64}  # c (loss weight) ∂²L/∂y², output by output
    rate::Float64
    s::Float64
    shift::Float64
end

function ArcMatrix(system::Network; limit = false)
    (; arcs, velocity, outputs, inertia, law) = system
    n, count = arcs.neurons, length(arcs)
    return ArcMatrix(
        arcs, velocity, outputs, inertia, law.costate_sign, limit, zeros(arcs.inputs + n), zeros(count), zeros(n),
        zeros(n), zeros(n), zeros(count), zeros(length(outputs), length(outputs)), 0.0, 1.0, 0.0,
    )
end

jacobian_prototype(system::Network) = ArcMatrix(system)

Base.size(A::ArcMatrix) = (k = (A.limit ? 0 : 2 * A.arcs.neurons) + 2 * length(A.arcs); (k, k))
Base.similar(A::ArcMatrix) = copyto!(
    ArcMatrix(
        A.arcs, A.velocity, A.outputs, A.inertia, A.costate_sign, A.limit, similar(A.v), similar(A.w), similar(A.gain),
        similar(A.second), similar(A.g), similar(A.bend), similar(A.loss), 0.0, 1.0, 0.0,
    ),
    A,
)
Base.copy(A::ArcMatrix) = similar(A)
Base.deepcopy_internal(A::ArcMatrix, ::IdDict) = similar(A)
Base.similar(A::ArcMatrix, ::Type{Float64}) = similar(A)
Base.fill!(A::ArcMatrix, value) = A  # asked for by solvers to make a pattern visible; there is none

function Base.copyto!(B::ArcMatrix, A::ArcMatrix)
    for name in (:v, :w, :gain, :second, :g, :bend, :loss)
        copyto!(getfield(B, name), getfield(A, name))
    end
    B.rate, B.s, B.shift = A.rate, A.s, A.shift
    return B
end

"Put ∂(rhs)/∂y at time `t` into `A`."
function jacobian!(A::ArcMatrix, system::Network, y, t, s)
    (; arcs, velocity, a, slope, regularizer, regularizer_scale) = system
    ow, op, _ = offsets(system)
    drive!(system, t)
    load!(system, y)
    forward!(system, y, ow, 1, arcs.neurons)
    curve!(system)
    copyto!(A.v, system.v)
    @inbounds for i in 1:arcs.neurons
        p = y[op+i]
        A.gain[i] = velocity[i] * slope[i]
        A.second[i] = velocity[i] * system.curvature[i] * p
        A.g[i] = A.gain[i] * p
    end
    @inbounds for k in 1:length(arcs)
        A.w[k] = y[ow+k]
        A.bend[k] = regularizer_scale * last(regularizer(A.w[k]))
    end
    loss_hessian!(A.loss, system, y)
    A.rate, A.s, A.shift = rate(system, t), s, 0.0
    return nothing
end

"Replace a by σ(a), and keep σ' and σ''."
function curve!(system::Network)
    (; a, slope, curvature, activations, kind) = system
    @inbounds for i in eachindex(a)
        a[i], slope[i], curvature[i] = activate(activations, kind[i], a[i])
    end
    return nothing
end

function loss_hessian!(out, system::Network, y)
    (; outputs, drive, arcs, loss_scale) = system
    z = view(drive, arcs.inputs+1:length(drive))
    fill!(out, 0.0)
    if !system.softmax
        for (k, i) in enumerate(outputs)
            out[k, k] = isnan(z[k]) ? 0.0 : loss_scale * last(system.loss(y[i], z[k]))
        end
    elseif !any(isnan, z)
        share = exp.(y[outputs] .- maximum(y[outputs]))
        share ./= sum(share)
        out .= (loss_scale * sum(z)) .* (Diagonal(share) .- share .* share')
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
    (; arcs, v, w, g, bend, velocity, inertia, rate, shift) = A
    n, d = arcs.neurons, arcs.inputs
    pull = zeros(d + n)  # row of p_x, by vertex
    largest = 0.0
    for i in 1:n
        span = incoming(arcs, i)
        reach = sum(k -> abs(v[arcs.source[k]]), span; init = 0.0)
        inner = sum(k -> arcs.source[k] > d ? abs(w[k]) : 0.0, span; init = 0.0)
        gain, second = abs(A.gain[i]), abs(A.second[i])
        largest = max(largest, velocity[i] + shift + gain * (reach + inner))
        for k in span
            j = arcs.source[k]
            pull[j] += abs(w[k]) * (second * (reach + inner) + gain) + abs(g[i])
            row = abs(v[j]) * (second * (reach + inner) + gain) + abs(g[i]) + abs(bend[k]) + abs(rate) + shift
            largest = max(largest, row)
        end
    end
    for i in 1:n
        largest = max(largest, pull[d+i] + velocity[i] + abs(rate) + shift)
    end
    for (k, i) in enumerate(A.outputs)
        largest = max(largest, pull[d+i] + velocity[i] + abs(rate) + shift + sum(abs, view(A.loss, k, :)))
    end
    return max(largest, 1 / inertia)
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
    A.arcs.full ? gather!(E, A, Full()) : gather!(E, A, Listed())
    (; across, pivot, spread, scaled, matrix) = E
    (; s, rate, shift, velocity, gain, second) = A
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
        matrix[i, i] -= s * velocity[i] + slow * shift
        matrix[i, n+i] = s * sp * pivot[i] * spread[i] * gain[i]^2
        matrix[n+i, n+i] += sp * velocity[i] - slow * (rate + shift)
        matrix[n+i, i] -= E.reduced[i]
    end
    for (k, i) in enumerate(A.outputs), (l, j) in enumerate(A.outputs)
        matrix[n+i, j] -= sp * A.loss[k, l]
    end
    factor!(matrix, E.rows) || fill!(matrix, NaN)
    return E
end

"The walk over the arcs: 1/D, how δx moves a, and the sums over arcs; s κ Σ_i g_i²/D goes to `reduced` for a moment."
function gather!(E::Elimination, A::ArcMatrix, style)
    (; inverse, across, pivot, spread, reduced) = E
    (; arcs, v, w, g, bend, second) = A
    n, d, sp = arcs.neurons, arcs.inputs, A.s * A.costate_sign
    inert = (A.rate + A.shift) * A.shift * A.inertia / A.s
    fill!(across, 0.0)
    fill!(reduced, 0.0)
    @inbounds for i in 1:n
        span, total = incoming(arcs, i), 0.0
        for k in span
            j = origin(style, arcs, k, first(span))
            inverse[k] = 1 / (inert - sp * bend[k])
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
    A.arcs.full ? back!(δ, E, A, b, Full()) : back!(δ, E, A, b, Listed())

function back!(δ, E::Elimination, A::ArcMatrix, b, style)
    (; inverse, across, pivot, spread, reduced, da, h, dx) = E
    (; arcs, v, g, gain, second, bend, s, rate, shift, inertia, limit) = A
    n, d, count, sp = arcs.neurons, arcs.inputs, length(arcs), s * A.costate_sign
    ow = limit ? 0 : n
    op, oq = ow + count, limit ? count : 2n + count
    lag = (rate + shift) * inertia / s
    fill!(dx, 0.0)  # holds Σ_i g_i r / D until δx is known
    @inbounds for i in 1:n
        span, total = incoming(arcs, i), 0.0
        @simd ivdep for k in span
            j = origin(style, arcs, k, first(span))
            r = (b[oq+k] - lag * b[ow+k]) * inverse[k]
            total += v[j] * r
            dx[j] += g[i] * r
        end
        da[i] = total
        h[i] = pivot[i] * second[i] * total
    end
    @inbounds for i in 1:n
        reduced[i] = (limit ? 0.0 : b[i]) - s * gain[i] * pivot[i] * da[i]
        reduced[n+i] = (limit ? 0.0 : b[op+i]) + sp * dx[d+i]
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
        da[i] = pivot[i] * (h[i] + da[i] + sp * spread[i] * gain[i] * reduced[n+i])
        h[i] = second[i] * da[i] + gain[i] * reduced[n+i]
    end
    # δp_w comes from the row that loses less: that of p_w when steps are short, that of w when they are long
    short = shift >= 1 && rate + shift > 0
    @inbounds for i in 1:n
        span, hi, gi = incoming(arcs, i), h[i], g[i]
        @simd ivdep for k in span
            j = origin(style, arcs, k, first(span))
            bw, bq = b[ow+k], b[oq+k]
            push = sp * (v[j] * hi + gi * dx[j])
            step = (bq - lag * bw + push) * inverse[k]
            δ[oq+k] = short ? -(push + sp * bend[k] * step + bq) / (rate + shift) : -(inertia / s) * (bw + shift * step)
            δ[ow+k] = step
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
    (; arcs, v, w, gain, second, g, bend, velocity, s, rate, inertia) = A
    n, d, count, sp = arcs.neurons, arcs.inputs, length(arcs), s * A.costate_sign
    ow, op, oq = n, n + count, 2n + count
    for i in 1:n
        span = incoming(arcs, i)
        put(i, i, -s * velocity[i])
        put(op + i, op + i, sp * velocity[i] - rate)
        for k in span
            j = Int(arcs.source[k])
            put(i, ow + k, s * gain[i] * v[j])
            put(ow + k, oq + k, -s / inertia)
            put(oq + k, ow + k, -sp * bend[k])
            put(oq + k, oq + k, -rate)
            put(oq + k, op + i, -sp * v[j] * gain[i])
            for l in span
                m = Int(arcs.source[l])
                put(oq + k, ow + l, -sp * v[j] * second[i] * v[m])
                m > d && put(oq + k, m - d, -sp * v[j] * second[i] * w[l])
            end
            j > d || continue
            put(i, j - d, s * gain[i] * w[k])
            put(op + j - d, ow + k, -sp * g[i])
            put(oq + k, j - d, -sp * g[i])
            put(op + j - d, op + i, -sp * w[k] * gain[i])
            for l in span
                m = Int(arcs.source[l])
                put(op + j - d, ow + l, -sp * w[k] * second[i] * v[m])
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
