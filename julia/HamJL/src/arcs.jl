# The arcs of a digraph, sorted by (target, source): the arcs into one neuron are neighbours in memory.

"""
    Arcs(inputs, neurons, source, target)

Arcs between vertices 1..inputs+neurons, the inputs first, and neurons 1..neurons. `source` counts vertices, `target`
neurons, both from 1. The arcs into neuron i are `start[i]:start[i+1]-1`. `full` says that every vertex feeds every
neuron; then the weights are a column-major (inputs + neurons) × neurons matrix.
"""
struct Arcs
    inputs::Int
    neurons::Int
    start::Vector{Int}
    source::Vector{Int32}
    full::Bool
end

function Arcs(inputs, neurons, source::Vector{Int}, target::Vector{Int})
    issorted(target) || throw(ArgumentError("arcs must be sorted by target"))
    start = [searchsortedfirst(target, i) for i in 1:neurons+1]
    return Arcs(inputs, neurons, start, Int32.(source), length(source) == neurons * (inputs + neurons))
end

Base.length(arcs::Arcs) = length(arcs.source)

@inline incoming(arcs::Arcs, i) = @inbounds arcs.start[i]:arcs.start[i+1]-1

# `origin(style, arcs, k, first)` is the source of arc k of a neuron whose arcs begin at `first`. In a full network it is
# plain counting, so loops over arcs run over neighbouring memory on both sides.
struct Full end
struct Listed end
@inline origin(::Full, arcs, k, first) = k - first + 1
@inline origin(::Listed, arcs, k, first) = @inbounds Int(arcs.source[k])

"Neurons in an order in which parents come before children, or nothing if the neurons form a cycle."
function topological_order(arcs::Arcs)
    waiting = [count(k -> arcs.source[k] > arcs.inputs, incoming(arcs, i)) for i in 1:arcs.neurons]
    children = [Int[] for _ in 1:arcs.neurons]
    for i in 1:arcs.neurons, k in incoming(arcs, i)
        arcs.source[k] > arcs.inputs && push!(children[arcs.source[k]-arcs.inputs], i)
    end
    order = findall(iszero, waiting)
    for i in order, child in children[i]  # `order` grows while it is walked
        waiting[child] -= 1
        waiting[child] == 0 && push!(order, child)
    end
    return length(order) == arcs.neurons ? order : nothing
end
