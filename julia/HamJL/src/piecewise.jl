# Functions of time as tables: on each piece a cubic polynomial plus a sum of cosines.

"""
    Table(start, poly, amplitude, omega, phase, stops, columns)

A function of time with several channels, as `hamjl.piecewise.Piecewise`; `columns` says where the channels go in the
drive. Arrays are (channel, piece, degree or cosine). Pieces outside `low:high` are not looked at, see [`confine!`](@ref).
"""
mutable struct Table
    const start::Vector{Float64}
    const poly::Array{Float64,3}
    const amplitude::Array{Float64,3}
    const omega::Array{Float64,3}
    const phase::Array{Float64,3}
    const stops::Vector{Float64}
    const columns::Vector{Int}
    low::Int
    high::Int
    piece::Int  # the one used last, which holds on [from, until)
    from::Float64
    until::Float64
end

function Table(start, poly, amplitude, omega, phase, stops, columns)
    shape(values) = reshape(values, length(columns), length(start), :)
    cosines = map(shape, (amplitude, omega, phase))
    table = Table(start, shape(poly), cosines..., stops, columns, 1, 1, 1, -Inf, Inf)
    confine!(table)
    return table
end

"Number of the piece in force at `t`; at a start, the piece that begins there."
piece_at(table::Table, t) = max(searchsortedlast(table.start, t), 1)

"""
    confine!(table, first = -Inf, last = Inf)

Use only the pieces in force between two times, so that an integrator that looks at a stop, or beyond it, sees the limit
from the inside.
"""
function confine!(table::Table, first = -Inf, last = Inf)
    table.low, table.high = piece_at(table, first), piece_at(table, last)
    relocate!(table, first)
    return nothing
end

function relocate!(table::Table, t)
    piece = table.piece = clamp(piece_at(table, t), table.low, table.high)
    table.from = piece == table.low ? -Inf : table.start[piece]
    table.until = piece == table.high ? Inf : table.start[piece+1]
    return nothing
end

"Write the channels at time `t` to their columns of `drive`."
@inline function evaluate!(drive, table::Table, t)
    (t < table.from || t >= table.until) && relocate!(table, t)
    (; poly, amplitude, omega, phase, columns, piece) = table
    channels = length(columns)
    first, stride = channels * (piece - 1), channels * length(table.start)  # a piece's numbers lie `stride` apart
    @inbounds begin
        s = t - table.start[piece]
        for channel in 1:channels
            k = length(poly) - stride + first + channel
            value = poly[k]
            while (k -= stride) > 0
                value = muladd(value, s, poly[k])
            end
            k = first + channel
            while k <= length(amplitude)
                value += amplitude[k] * cos(omega[k] * t + phase[k])
                k += stride
            end
            drive[columns[channel]] = value
        end
    end
    return nothing
end
