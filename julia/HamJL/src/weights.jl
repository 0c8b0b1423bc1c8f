# Which weights there are, and which of them move: those are in the state, the others are data.

"Each arc has a weight of its own, and all of them move."
struct Own end

"""
    Shared(place, factor, still)

Arc e has the weight `still[e] + factor[e] value[place[e]]`, where value are the weights that move; those of `place` 0 do not.
"""
struct Shared
    place::Vector{Int}
    factor::Vector{Float64}
    still::Vector{Float64}
    moving::Int
    tied::Bool  # do several arcs, or one with a factor, have a weight that moves?
    # work space
    w::Vector{Float64}  # of all arcs
    gradient::Vector{Float64}  # by the weights that move
end

function Shared(place, factor, still)
    moving = maximum(place; init = 0)
    once = count(>(0), place) == moving && all(k -> place[k] == 0 || factor[k] == 1, eachindex(place))
    return Shared(place, factor, still, moving, !once, zeros(length(place)), zeros(moving))
end

moving(::Own, arcs) = length(arcs)
moving(shared::Shared, arcs) = shared.moving
tied(::Own) = false
tied(shared::Shared) = shared.tied

"The weights of all arcs as a vector, and the place in it before the first: in a state they begin after `ow`."
@inline spread!(::Own, y, ow) = y, ow
@inline function spread!(shared::Shared, y, ow)
    (; place, factor, still, w) = shared
    @inbounds for k in eachindex(w)
        w[k] = place[k] == 0 ? still[k] : muladd(factor[k], y[ow+place[k]], still[k])
    end
    return w, 0
end

"Where the weight of an arc is among those that move, 0 for none, and by what factor."
@inline place(::Own, k) = k
@inline place(shared::Shared, k) = @inbounds shared.place[k]
@inline moves(::Own, k) = true  # known to the compiler: no branch is left in the loops over arcs
@inline moves(shared::Shared, k) = place(shared, k) > 0
@inline factor(::Own, k) = 1.0
@inline factor(shared::Shared, k) = @inbounds shared.factor[k]

# One number for all weights, or one each.
@inline each(number::Float64, k) = number
@inline each(numbers::AbstractVector, k) = @inbounds numbers[k]

"What p_w is multiplied by to be w': -s / (m c), a number or one by weight."
@inline pace(inertia::Float64, s) = -s / inertia
@inline pace(inertia::Vector{Float64}, s) = Pace(inertia, s)

struct Pace <: AbstractVector{Float64}
    inertia::Vector{Float64}
    s::Float64
end
Base.size(pace::Pace) = size(pace.inertia)
Base.@propagate_inbounds Base.getindex(pace::Pace, k::Int) = -pace.s / pace.inertia[k]
