# Newton's step by one Riccati sweep over the intervals of a mesh, as in Python's `hamjl.control.sweep`.

"""
    Sweep

The Hessian of G by the unknown, plus a shift, factored by [`factor!`](@ref). Its columns are z = (δx, δw, y_1, y_2): the
state at the beginning of an interval and the unknown in it.
"""
struct Sweep
    forward::Array{Float64,3}  # δx at the next node by z, (neuron, z, K)
    across::Matrix{Float64}  # and δw, for each arc alike, (3, K)
    root::Array{Float64,3}  # L of the form of y, L Lᵀ, (y, y, K)
    feed::Array{Float64,3}  # L⁻¹ times its part (y, s), (y, s, K)
    half::Matrix{Float64}  # (y, K)
    # work space
    value::Matrix{Float64}  # Riccati's matrix (s, s)
    form::Matrix{Float64}  # that and its transpose add up to the form of z, (z, z)
    pull::Matrix{Float64}  # of z by ζ, (z, ζ)
    inverse::Matrix{Float64}  # of the stages' equations, (2n, 2n)
    moved::Matrix{Float64}  # δx and δa at the stages and δx at the next node by ζ, (5n, ζ)
    pulled::Matrix{Float64}  # half of what each of them pulls with
    core::Matrix{Float64}  # half the form of ζ
    load::Matrix{Float64}  # S_wx δx at the next node by ζ, (arc, ζ)
end

function Sweep(t::Transcription)
    n, m, K = length(t.x0), length(t.w0), length(t.h)
    s, z = n + m, n + 3m
    return Sweep(
        zeros(n, z, K), zeros(3, K), zeros(2m, 2m, K), zeros(2m, s, K), zeros(2m, K), zeros(s, s), zeros(z, z),
        zeros(z, 3n), zeros(2n, 2n), zeros(5n, 3n), zeros(5n, 3n), zeros(3n, 3n), zeros(m, 3n),
    )
end

"""
    factor!(sweep, t, outputs, curvature, shift, gauss_newton)

Riccati's recursion from the last interval to the first, after `gradient!`; `curvature` (output, output, 2, K) is
measure ∂²cℓ/∂y². Gauss and Newton's Hessian leaves out what the costates weigh. False where the shifted Hessian is not
positive definite.
"""
function factor!(sweep::Sweep, t::Transcription, outputs, curvature, shift, gauss_newton)
    threads = BLAS.get_num_threads()
    BLAS.set_num_threads(1)  # blocks are small
    try
        weight = gauss_newton ? 0.0 : 1.0
        return riccati!(sweep, t, outputs, reshape(curvature, length(outputs), length(outputs), 2, :), shift, weight)
    finally
        BLAS.set_num_threads(threads)
    end
end

function riccati!(sweep::Sweep, t::Transcription, outputs, curvature, shift, weight)
    (; value, form) = sweep
    n, m = length(t.x0), length(t.w0)
    s, z = n + m, n + 3m
    fill!(value, 0.0)
    for k in length(t.h):-1:1
        interval!(sweep, t, k, outputs, curvature, shift, weight)
        root, feed = view(sweep.root, :, :, k), view(sweep.feed, :, :, k)
        @inbounds for j in 1:2m, i in j:2m
            root[i, j] = form[s+i, s+j] + form[s+j, s+i]
        end
        _, info = LAPACK.potrf!('L', root)
        info == 0 || return false
        @inbounds for j in 1:s, i in 1:2m
            feed[i, j] = form[s+i, j] + form[j, s+i]
        end
        BLAS.trsm!('L', 'L', 'N', 'N', 1.0, root, feed)
        @inbounds for j in 1:s, i in j:s
            value[i, j] = form[i, j] + form[j, i]
        end
        BLAS.syrk!('L', 'T', -1.0, feed, 1.0, value)
        @inbounds for j in 2:s, i in 1:j-1
            value[i, j] = value[j, i]
        end
    end
    return all(isfinite, value)
end

"Half the form of interval k and what comes after it, into `form`; `weight` is that of the costates."
function interval!(sweep::Sweep, t::Transcription, k, outputs, curvature, shift, weight)
    (; forward, value, form, pull, moved, core, load) = sweep
    (; network, gain, costate, w, ends, measure) = t
    (; arcs, style) = network
    n, m, d = arcs.neurons, length(arcs), arcs.inputs
    θ1, θ2 = t.theta[1, k], t.theta[2, k]
    α, β, γ, δ = feedback(t.h[k], θ1, θ2)
    s1, s2 = scales(t, k)
    # stages of δw, and of the effort's root, by (δw, y_1, y_2) of the same arc
    stages = ((α[1], β[1] / s1, β[2] / s2), (α[2], β[3] / s1, β[4] / s2))
    across = (γ, δ[1] / s1, δ[2] / s2)
    efforts = (
        (-s1 * θ1 * stages[1][1], 1 - s1 * θ1 * stages[1][2], -s1 * θ1 * stages[1][3]),
        (-s2 * θ2 * stages[2][1], -s2 * θ2 * stages[2][2], 1 - s2 * θ2 * stages[2][3]),
    )
    sweep.across[:, k] .= across
    load_ends!(t, k)
    neurons!(sweep, t, k, outputs, curvature, weight)
    F = view(forward, :, :, k)
    @inbounds for column in 1:3n
        for i in 1:n
            pull[i, column] = core[i, column]
            span = incoming(arcs, i)
            g1, g2 = weight * gain[i, 1, k] * costate[i, 1, k], weight * gain[i, 2, k] * costate[i, 2, k]
            for e in span
                j = origin(style, arcs, e, first(span))
                early, late = ends[j, 1] * core[n+i, column], ends[j, 2] * core[2n+i, column]
                if j > d  # δw meets δx_j where the arc leaves it
                    early += g1 * moved[j-d, column]
                    late += g2 * moved[n+j-d, column]
                end
                for a in 1:3
                    pull[n+(a-1)*m+e, column] = stages[1][a] * early + stages[2][a] * late + across[a] * load[e, column]
                end
            end
        end
    end
    @inbounds for i in 1:n
        F[:, i] .= view(moved, 4n+1:5n, i)
        form[:, i] .= view(pull, :, i)
        span = incoming(arcs, i)
        for a in 1:3, e in span
            j, column = origin(style, arcs, e, first(span)), n + (a - 1) * m + e
            u1, u2 = ends[j, 1] * stages[1][a], ends[j, 2] * stages[2][a]
            @simd ivdep for row in 1:n
                F[row, column] = u1 * moved[4n+row, n+i] + u2 * moved[4n+row, 2n+i]
            end
            @simd ivdep for row in axes(form, 1)
                form[row, column] = u1 * pull[row, n+i] + u2 * pull[row, 2n+i]
            end
        end
    end
    regularized = !iszero(network.regularizer_scale)
    @inbounds for a in 1:3, b in 1:a
        half = a == b ? 0.5 : 1.0
        factor = half * across[a] * across[b]
        effort = half * (efforts[1][a] * efforts[1][b] + efforts[2][a] * efforts[2][b] + (a == b > 1 ? shift : 0.0))
        r1 = half * network.regularizer_scale * measure[1, k] * stages[1][a] * stages[1][b]
        r2 = half * network.regularizer_scale * measure[2, k] * stages[2][a] * stages[2][b]
        rows, columns = n + (a - 1) * m, n + (b - 1) * m
        for e in 1:m
            @simd ivdep for i in 1:m
                form[rows+i, columns+e] += factor * value[n+i, n+e]
            end
            form[rows+e, columns+e] += effort
            regularized &&
                (form[rows+e, columns+e] += r1 * t.regularizer(w[e, 1, k])[3] + r2 * t.regularizer(w[e, 2, k])[3])
        end
    end
    return nothing
end

"""
What is of neurons alone. Arcs move x by Σ_j x_j δw_ij at the stages only: with δx before, these are ζ, and δx and δa at the
stages and δx after are `moved` ζ.
"""
function neurons!(sweep::Sweep, t::Transcription, k, outputs, curvature, weight)
    (; value, inverse, moved, pulled, core, load) = sweep
    (; network, gain, bend, costate, w) = t
    (; arcs, style) = network
    n, d = arcs.neurons, arcs.inputs
    a11, a12, a21, a22 = t.h[k] .* GAUSS
    invert_stages!(inverse, t, k)
    @inbounds for i in 1:n
        g1, g2 = gain[i, 1, k], gain[i, 2, k]
        @simd ivdep for row in 1:2n
            early, late = inverse[row, i], inverse[row, n+i]
            moved[row, i] = early + late
            moved[row, n+i] = g1 * (a11 * early + a21 * late)
            moved[row, 2n+i] = g2 * (a12 * early + a22 * late)
        end
    end
    fill!(pulled, 0.0)
    @inbounds for column in 1:3n
        for s in 1:2, i in 1:n
            span, da = incoming(arcs, i), column == s * n + i ? 1.0 : 0.0
            for e in span
                j = origin(style, arcs, e, first(span)) - d
                j < 1 || (da += w[e, s, k] * moved[(s-1)*n+j, column])
            end
            row = (s + 1) * n + i
            moved[row, column] = da
            pulled[row, column] = 0.5 * weight * bend[i, s, k] * costate[i, s, k] * da
        end
        for s in 1:2, (b, i) in enumerate(outputs), (a, j) in enumerate(outputs)
            pulled[(s-1)*n+j, column] += 0.5 * curvature[a, b, s, k] * moved[(s-1)*n+i, column]
        end
        for i in 1:n
            moved[4n+i, column] = (column == i ? 1.0 : 0.0) + ROOT3 * (moved[n+i, column] - moved[i, column])
        end
    end
    next = view(moved, 4n+1:5n, :)
    BLAS.gemm!('N', 'N', 0.5, view(value, 1:n, 1:n), next, 0.0, view(pulled, 4n+1:5n, :))
    BLAS.gemm!('T', 'N', 1.0, moved, pulled, 0.0, core)
    BLAS.gemm!('N', 'N', 1.0, view(value, n+1:size(value, 1), 1:n), next, 0.0, load)
    return nothing
end

"The inverse of the stages' equations of step k, column by column."
function invert_stages!(inverse, t::Transcription, k)
    factors, pivots = view(t.factors, :, :, k), view(t.pivots, :, k)
    fill!(inverse, 0.0)
    @inbounds for j in axes(inverse, 2)
        inverse[j, j] = 1.0
        solve!(factors, pivots, view(inverse, :, j))
    end
    return nothing
end

"""
    solve!(sweep, t)

The inverse of the shifted Hessian times `t.direction`, into `t.result`.
"""
function solve!(sweep::Sweep, t::Transcription)
    (; forward, across, root, feed, half) = sweep
    n, m, K = length(t.x0), length(t.w0), length(t.h)
    s = n + m
    given, result = reshape(t.direction, 2m, K), reshape(t.result, 2m, K)
    pull, state = zeros(s), zeros(s)
    @inbounds @views for k in K:-1:1
        F, y = forward[:, :, k], half[:, k]
        y .= given[:, k]
        mul!(y, transpose(F[:, s+1:end]), pull[1:n], 1.0, 1.0)
        for a in 1:2, e in 1:m
            y[(a-1)*m+e] += across[a+1, k] * pull[n+e]
        end
        BLAS.trsv!('L', 'N', 'N', root[:, :, k], y)
        before = pull[1:n]
        pull[n+1:end] .*= across[1, k]
        mul!(pull[n+1:end], transpose(F[:, n+1:s]), before, 1.0, 1.0)
        mul!(pull[1:n], transpose(F[:, 1:n]), copy(before))
        mul!(pull, transpose(feed[:, :, k]), y, -1.0, 1.0)
    end
    @inbounds @views for k in 1:K
        F, y = forward[:, :, k], result[:, k]
        y .= half[:, k]
        mul!(y, feed[:, :, k], state, -1.0, 1.0)
        BLAS.trsv!('L', 'T', 'N', root[:, :, k], y)
        x = F[:, 1:s] * state + F[:, s+1:end] * y
        for e in 1:m
            state[n+e] = across[1, k] * state[n+e] + across[2, k] * y[e] + across[3, k] * y[m+e]
        end
        state[1:n] .= x
    end
    return nothing
end
