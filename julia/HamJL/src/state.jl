# The complete state of a solver as bytes: all numbers reachable from its integrator, in the order of the fields. A run
# is taken up by writing them into a new integrator of the same type, whatever the solver.

"The bytes do not belong to this integrator."
struct Mismatch <: Exception end

# What is the same in every integrator of a run, and is neither written nor read.
const Fixed = Union{
    Function,Type,Module,Symbol,AbstractString,AbstractDict,Ptr,System,Table,Arcs,Flow,FlowJacobian,FlowSlope,
    SciMLBase.AbstractSciMLFunction,SciMLBase.AbstractSciMLProblem,SciMLBase.AbstractSciMLSolution,
    SciMLBase.AbstractSciMLAlgorithm,
}

# Fields of the integrator that no step changes.
const CONSTANT = (:sol, :f, :p, :alg, :opts, :callback_cache, :initializealg, :rng)

"All numbers of an integrator."
function snapshot(integrator)
    io = IOBuffer()
    for name in fieldnames(typeof(integrator))
        name in CONSTANT || write_out(io, getfield(integrator, name), 0)
    end
    return take!(io)
end

"Write the numbers of a `snapshot` into an integrator of the same type."
function revive!(integrator, bytes)
    io = IOBuffer(bytes)
    for name in fieldnames(typeof(integrator))
        name in CONSTANT && continue
        value = getfield(integrator, name)
        fresh = fill_in(io, value, 0)
        fresh === value || setfield!(integrator, name, fresh)
    end
    eof(io) || throw(Mismatch())
    return nothing
end

const DEEP = 40  # no solver nests its caches so deep; a cycle would

write_out(io, ::Fixed, depth) = nothing
fill_in(io, x::Fixed, depth) = x

function write_out(io, x::T, depth) where {T}
    depth > DEEP && throw(Mismatch())
    write(io, mark(T))
    if pointed(T)
        return nothing
    elseif isbitstype(T)
        sizeof(T) > 0 && write(io, Ref(x))
    elseif x isa Array && isbitstype(eltype(x))
        write(io, length(x), x)
    elseif x isa Array
        write(io, length(x))
        for k in eachindex(x)
            write(io, isassigned(x, k))
            isassigned(x, k) && write_out(io, x[k], depth + 1)
        end
    else
        for k in 1:fieldcount(T)
            write(io, isdefined(x, k))
            isdefined(x, k) && write_out(io, getfield(x, k), depth + 1)
        end
    end
    return nothing
end

"The value that was written where `x` is now: `x` itself, with its arrays and fields filled, or another number."
function fill_in(io, x::T, depth) where {T}
    depth > DEEP && throw(Mismatch())
    read(io, UInt8) == mark(T) || throw(Mismatch())
    if pointed(T)
        return x
    elseif isbitstype(T)
        return sizeof(T) > 0 ? read!(io, Ref(x))[] : x
    elseif x isa Array && isbitstype(eltype(x))
        count = read(io, Int)
        count == length(x) || (x isa Vector ? resize!(x, count) : throw(Mismatch()))
        return read!(io, x)
    elseif x isa Array
        count = read(io, Int)
        x isa Vector && count > length(x) > 0 && append!(x, (deepcopy(x[1]) for _ in length(x)+1:count))
        x isa Vector && count < length(x) && resize!(x, count)
        count == length(x) || throw(Mismatch())
        for k in eachindex(x)
            read(io, Bool) || continue
            isassigned(x, k) || throw(Mismatch())
            value = x[k]
            fresh = fill_in(io, value, depth + 1)
            fresh === value || (x[k] = fresh)
        end
        return x
    end
    values = Any[]
    for k in 1:fieldcount(T)
        given = read(io, Bool)
        given && !isdefined(x, k) && throw(Mismatch())
        given || continue
        value = getfield(x, k)
        fresh = fill_in(io, value, depth + 1)
        push!(values, fresh)
        fresh !== value && ismutabletype(T) && setfield!(x, k, fresh)
    end
    (ismutabletype(T) || all(k -> values[k] === getfield(x, k), eachindex(values))) && return x
    return ccall(:jl_new_structv, Any, (Any, Ptr{Any}, UInt32), T, values, length(values))  # as Serialization does
end

"Tells a number from nothing where a field may be either."
mark(T) = hash(String(nameof(T))) % UInt8

"Whether values of the type hold addresses, which mean nothing in another process."
pointed(T) = T <: Ptr || (isbitstype(T) && any(pointed, fieldtypes(T)))
