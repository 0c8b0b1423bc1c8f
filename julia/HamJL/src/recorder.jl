# Rows saved at the requested times, and the way a run ends.

const BOUND = 1e100  # a larger |value| counts as divergence, as in Python

"Full states at the requested times, one per column, and the signs; `count` of them are finished."
mutable struct Recorder
    const states::Matrix{Float64}
    const signs::Vector{Float64}
    count::Int
end

Recorder(system::System, rows) = Recorder(Matrix{Float64}(undef, full_dimension(system), rows), zeros(rows), 0)

"A recorder into memory of the caller, given by its addresses: it must live until the run has another recorder."
function Recorder(system::System, rows, states::Int, signs::Int)
    shape = (full_dimension(system), rows)
    return Recorder(unsafe_wrap(Array, Ptr{Float64}(states), shape), unsafe_wrap(Array, Ptr{Float64}(signs), rows), 0)
end

remembered(::System) = Float64[]
recall!(::System, guess) = nothing

"Whether all values are numbers within the bound."
function within_bounds(y)
    fine = true
    @inbounds @simd for k in eachindex(y)
        fine &= abs(y[k]) <= BOUND
    end
    return fine
end

"Store the next row and return true, or return false if the state is not finite."
function save!(recorder::Recorder, system::System, y, t, s)
    within_bounds(y) || return false
    row = recorder.count + 1
    full!(view(recorder.states, :, row), system, y, t)
    recorder.signs[row] = s
    recorder.count = row
    return true
end

"Whether a number counts something."
whole(number) = 0 <= number <= 1e18 && isinteger(number)

"The sign of Hamiltonian track (24) after `s`, where `size` is |x|² + |w|² + |p_x|² + |p_w|²."
track_sign(s, size, law::Law) = size > law.radius ? -1.0 : size <= (1 - law.hysteresis) * law.radius ? 1.0 : s

"sign(cos 2πft); at the odd quarter periods the new sign holds."
periodic_sign(t, frequency) = iseven(floor(Int, 2 * frequency * t + 0.5 + 1e-9)) ? 1.0 : -1.0

square(y) = (total = 0.0; @inbounds(@simd(for k in eachindex(y); total += abs2(y[k]); end)); total)

"""
    Run

A run under way: `advance!` moves it on for some time, so that the caller stays in charge between two calls. It has the
fields `recorder`, `status` ("running" until it ends, then a key of Python's `STATUS`) and `reached`, a time.
"""
abstract type Run end
