# Small systems of formulas: x' = s ∂h/∂p, p' = -s κ ∂h/∂x - ρ p with h = H/φ and p = p_x/φ.

"""
    Symbolic

The equations of motion of a symbolic system of `N` numbers (x, p). `flow` gives (∂h/∂p, ∂h/∂x), `second` the rows of the
derivative of (∂h/∂p, -∂h/∂x), both from (x, p, signals, t).
"""
struct Symbolic{N,M,F,J,P} <: System
    flow::F
    second::J
    rate::P
    signals::Vector{Table}
    law::Law
    drive::Vector{Float64}
end

function Symbolic(; states, flow, second, rate, signals, law)
    channels = length(signals) - (rate isa Sampled)
    return Symbolic{2states,2states + channels + 1,typeof(flow),typeof(second),typeof(rate)}(
        flow, second, rate, signals, law, zeros(length(signals)),
    )
end

tables(system::Symbolic) = system.signals
dimension(::Symbolic{N}) where {N} = N
full_dimension(::Symbolic{N}) where {N} = N
restrict(::Symbolic, y) = copy(y)
full!(out, ::Symbolic, y, t) = copyto!(out, y)

@inline function arguments(system::Symbolic{N,M}, y, t) where {N,M}
    for table in system.signals
        evaluate!(system.drive, table, t)
    end
    return ntuple(k -> k <= N ? @inbounds(y[k]) : k < M ? @inbounds(system.drive[k-N]) : t, Val(M))
end

function rhs!(out, system::Symbolic{N}, y, t, s) where {N}
    values = system.flow(arguments(system, y, t)...)
    half, ρ, sp = N ÷ 2, rate(system, t), s * system.law.costate_sign
    @inbounds for k in 1:half
        out[k] = s * values[k]
        out[half+k] = -sp * values[half+k] - ρ * y[half+k]
    end
    return nothing
end

"One explicit Euler step, in place."
function euler_step!(y, system::System, work, t, step, s)
    rhs!(work, system, y, t, s)
    @inbounds @simd for k in eachindex(y)
        y[k] += step * work[k]
    end
    return nothing
end

jacobian_prototype(::Symbolic{N}) where {N} = zeros(N, N)

"Write ∂(rhs)/∂y to the matrix `out`."
function jacobian!(out::Matrix, system::Symbolic{N}, y, t, s) where {N}
    values = system.second(arguments(system, y, t)...)
    half, ρ, sp = N ÷ 2, rate(system, t), s * system.law.costate_sign
    for i in 1:N, j in 1:N
        out[i, j] = (i <= half ? s : sp) * values[(i-1)*N+j]
    end
    for k in half+1:N
        out[k, k] -= ρ
    end
    return nothing
end
