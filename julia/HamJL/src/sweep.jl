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
    form::Matrix{Float64}  # (z, z), its lower triangle
    inverse::Matrix{Float64}  # of the stages' equations, (2n, 2n)
    x::Matrix{Float64}  # δx at the stages by z, (2n, z)
    left::Matrix{Float64}  # rows whose products leftᵀ right + rightᵀ left make the form, (5n, z)
    right::Matrix{Float64}
end

function Sweep(t::Transcription)
    n, m, K = length(t.x0), length(t.w0), length(t.h)
    s, z = n + m, n + 3m
    return Sweep(
        zeros(n, z, K), zeros(3, K), zeros(2m, 2m, K), zeros(2m, s, K), zeros(2m, K), zeros(s, s), zeros(z, z),
        zeros(2n, 2n), zeros(2n, z), zeros(5n, z), zeros(5n, z),
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
            root[i, j] = form[s+i, s+j]
        end
        _, info = LAPACK.potrf!('L', root)
        info == 0 || return false
        @inbounds for j in 1:s, i in 1:2m
            feed[i, j] = form[s+i, j]
        end
        BLAS.trsm!('L', 'L', 'N', 'N', 1.0, root, feed)
        @inbounds for j in 1:s, i in j:s
            value[i, j] = form[i, j]
        end
        BLAS.syrk!('L', 'T', -1.0, feed, 1.0, value)
        @inbounds for j in 2:s, i in 1:j-1
            value[i, j] = value[j, i]
        end
    end
    return all(isfinite, value)
end

"The form of interval k and what comes after it, into the lower triangle of `form`; `weight` is that of the costates."
function interval!(sweep::Sweep, t::Transcription, k, outputs, curvature, shift, weight)
    (; forward, value, form, inverse, x, left, right) = sweep
    (; network, gain, bend, costate, w, ends, measure) = t
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
    invert_stages!(inverse, t, k)
    load_ends!(t, k)
    a11, a12, a21, a22 = t.h[k] .* GAUSS
    F = view(forward, :, :, k)
    fill!(left, 0.0)
    fill!(right, 0.0)
    @inbounds for j in 1:n, i in 1:2n
        x[i, j] = inverse[i, j] + inverse[i, n+j]
    end
    @inbounds for a in 1:3, i in 1:n
        span = incoming(arcs, i)
        for e in span
            j = origin(style, arcs, e, first(span))
            column = n + (a - 1) * m + e
            g1 = gain[i, 1, k] * ends[j, 1] * stages[1][a]
            g2 = gain[i, 2, k] * ends[j, 2] * stages[2][a]
            up, down = a11 * g1 + a12 * g2, a21 * g1 + a22 * g2
            @simd ivdep for row in 1:2n
                x[row, column] = inverse[row, i] * up + inverse[row, n+i] * down
            end
            # δa_i, and what meets δx_j where the arc leaves it
            left[2n+i, column] = ends[j, 1] * stages[1][a]
            left[3n+i, column] = ends[j, 2] * stages[2][a]
            if j > d
                right[j-d, column] = weight * gain[i, 1, k] * costate[i, 1, k] * stages[1][a]
                right[n+j-d, column] = weight * gain[i, 2, k] * costate[i, 2, k] * stages[2][a]
            end
        end
    end
    @inbounds for column in axes(x, 2)
        for i in 1:2n
            left[i, column] = x[i, column]
        end
        for s in 1:2, i in 1:n
            span, da = incoming(arcs, i), 0.0
            for e in span
                j = origin(style, arcs, e, first(span)) - d
                j < 1 && continue
                da += w[e, s, k] * x[(s-1)*n+j, column]
            end
            row = (s + 1) * n + i
            left[row, column] += da
            right[row, column] = 0.5 * weight * bend[i, s, k] * costate[i, s, k] * left[row, column]
        end
        for s in 1:2, (b, i) in enumerate(outputs), (a, j) in enumerate(outputs)
            right[(s-1)*n+j, column] += 0.5 * curvature[a, b, s, k] * x[(s-1)*n+i, column]
        end
        for i in 1:n
            F[i, column] = ROOT3 * (x[n+i, column] - x[i, column])
        end
    end
    @inbounds for i in 1:n
        F[i, i] += 1.0
    end
    # what comes after: δx' S_xx δx/2 + δx' S_xw δw as products of rows, and S_ww
    @inbounds for column in axes(x, 2)
        arc, factor = column <= n ? (0, 0.0) : (n + (column - n - 1) % m + 1, across[div(column - n - 1, m)+1])
        for i in 1:n
            pull = 0.0
            for j in 1:n
                pull += value[j, i] * F[j, column]
            end
            left[4n+i, column] = F[i, column]
            right[4n+i, column] = 0.5 * pull + (arc == 0 ? 0.0 : factor * value[arc, i])
        end
    end
    BLAS.syr2k!('L', 'T', 1.0, left, right, 0.0, form)
    @inbounds for a in 1:3, b in 1:a
        factor = across[a] * across[b]
        effort = efforts[1][a] * efforts[1][b] + efforts[2][a] * efforts[2][b] + (a == b > 1 ? shift : 0.0)
        r1 = network.regularizer_scale * measure[1, k] * stages[1][a] * stages[1][b]
        r2 = network.regularizer_scale * measure[2, k] * stages[2][a] * stages[2][b]
        rows, columns = n + (a - 1) * m, n + (b - 1) * m
        for e in 1:m
            @simd ivdep for i in (a == b ? e : 1):m
                form[rows+i, columns+e] += factor * value[n+i, n+e]
            end
            form[rows+e, columns+e] += effort
            iszero(network.regularizer_scale) ||
                (form[rows+e, columns+e] += r1 * t.regularizer(w[e, 1, k])[3] + r2 * t.regularizer(w[e, 2, k])[3])
        end
    end
    return nothing
end

"The inverse of the stages' equations of step k, column by column."
function invert_stages!(inverse, t::Transcription, k)
    (; pair) = t
    @inbounds for j in axes(inverse, 2)
        fill!(pair, 0.0)
        pair[j] = 1.0
        stage_solve!(t, k, false)
        inverse[:, j] .= pair
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
