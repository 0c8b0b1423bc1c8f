# Functions of time as tables: on each piece a cubic polynomial plus a sum of cosines.

"""
    Table(start, poly, amplitude, omega, phase, stops, columns)

A function of time with several channels, as `hamjl.piecewise.Piecewise`; `columns` says where the channels go in the
drive. Arrays are (channel, piece, degree or cosine). `piece` is the piece in force, moved by [`locate!`](@ref): an
integrator forces it, so that a step that ends at a stop sees the limit from the left there.
"""
mutable struct Table
    const start::Vector{Float64}
    const poly::Array{Float64,3}
    const amplitude::Array{Float64,3}
    const omega::Array{Float64,3}
    const phase::Array{Float64,3}
    const stops::Vector{Float64}
    const columns::Vector{Int}
    piece::Int
    next::Float64  # where the next piece begins
end

function Table(start, poly, amplitude, omega, phase, stops, columns)
    shape(values) = reshape(values, length(columns), length(start), :)
    cosines = map(shape, (amplitude, omega, phase))
    table = Table(start, shape(poly), cosines..., stops, columns, 1, -Inf)
    locate!(table, -Inf)
    return table
end

"Put the piece that holds at time `t` in force; at a start, the piece that begins there."
function locate!(table::Table, t)
    table.piece = max(searchsortedlast(table.start, t), 1)
    table.next = table.piece < length(table.start) ? table.start[table.piece+1] : Inf
    return nothing
end

"Move on to the piece in force at `t`, for times that never decrease."
@inline follow!(table::Table, t) = t >= table.next ? locate!(table, t) : nothing

"Write the channels at time `t` on the piece in force to their columns of `drive`."
@inline function evaluate!(drive, table::Table, t)
    (; poly, amplitude, omega, phase, columns, piece) = table
    degree, cosines = size(poly, 3), size(amplitude, 3)
    @inbounds begin
        s = t - table.start[piece]
        for channel in eachindex(columns)
            value = poly[channel, piece, degree]
            for d in degree-1:-1:1
                value = muladd(value, s, poly[channel, piece, d])
            end
            for m in 1:cosines
                value += amplitude[channel, piece, m] * cos(omega[channel, piece, m] * t + phase[channel, piece, m])
            end
            drive[columns[channel]] = value
        end
    end
    return nothing
end
