# The complete state of a solver as bytes: all numbers reachable from its integrator, in the order of the fields. A run
# is taken up by writing them into a new integrator of the same type, whatever the solver. They may come from a stranger's
# file: none of them may lead a solver outside of its arrays, or let it go on for ever.

"What was exported is no state of this run: the reason."
struct Mismatch <: Exception
    reason::String
end

const FOREIGN = Mismatch("its solver is none of this kind")
require(fine, what) = fine || throw(Mismatch(what))

"Tells the versions whose integrators have the same fields."
const BUILD = hash(
    string(VERSION, map(pkgversion ∘ parentmodule, (FBDF, KenCarp4, Rodas5P, Tsit5, Vern9, LinearSolve.LUFactorization))),
)

# What is the same in every integrator of a run, and is neither written nor read.
const Fixed = Union{
    Function,Type,Module,Symbol,AbstractString,AbstractDict,Ptr,System,Table,Arcs,Flow,FlowJacobian,FlowSlope,
    SciMLBase.AbstractSciMLFunction,SciMLBase.AbstractSciMLProblem,SciMLBase.AbstractSciMLSolution,
    SciMLBase.AbstractSciMLAlgorithm,
}

# Fields that no step changes: of the integrator, and at any depth.
const CONSTANT = (:sol, :f, :p, :alg, :opts, :callback_cache, :initializealg, :rng, :controller, :tdir)

# The whole numbers, flags and choices that steps change, and what they may be. All others are those of a new integrator.
const COUNTS = (
    :iter, :success_iter, :nf, :nf2, :nw, :nsolve, :njacs, :nnonliniter, :nnonlinconvfail, :nfpiter, :nfpconvfail,
    :ncondition, :naccept, :nreject, :nfails, :nconsteps, :consfailcnt, :iters_from_event, :nscon, :nor, :last_naccept,
    :last_step_iter, :last_u_length, :count, :successive_switches, :qwait,
)
const FLAGS = (
    :force_stepfail, :last_stepfail, :just_hit_tstop, :next_step_tstop, :accept_step, :isout, :reeval_fsal, :reinitialize,
    :derivative_discontinuity, :do_error_check, :isfresh, :precsisfresh, :new_W, :firststage, :firstcall, :is_stiffalg,
)
const RANGES = Dict{Symbol,UnitRange{Int}}(
    (name => -10^15:10^15 for name in COUNTS)..., (name => 0:1 for name in FLAGS)..., :order => 1:5, :prev_order => 0:5,
    :last_order => 0:5, :current => 1:2, :kshortsize => 0:20, :status => -128:127,
)
const PIVOTS = (:rows, :ipiv)

"All numbers of an integrator."
function snapshot(integrator)
    io = IOBuffer()
    write(io, BUILD)
    for name in fieldnames(typeof(integrator))
        name in CONSTANT || write_out(io, getfield(integrator, name), 0)
    end
    return take!(io)
end

"Write the numbers of a `snapshot` into an integrator of the same type, or return false where it is of other versions."
function revive!(integrator, bytes)
    io = IOBuffer(bytes)
    bytesavailable(io) >= sizeof(BUILD) || throw(FOREIGN)
    read(io, typeof(BUILD)) == BUILD || return false
    for name in fieldnames(typeof(integrator))
        name in CONSTANT && continue
        value = getfield(integrator, name)
        fresh = fill_in(io, value, name, 0)
        fresh === value || setfield!(integrator, name, fresh)
    end
    eof(io) || throw(FOREIGN)
    return true
end

const DEEP = 40  # no solver nests its caches so deep; a cycle would

write_out(io, ::Fixed, depth) = nothing
fill_in(io, x::Fixed, name, depth) = x

function write_out(io, x::T, depth) where {T}
    depth > DEEP && throw(FOREIGN)
    write(io, mark(T))
    if pointed(T)
        return nothing
    elseif isbitstype(T)
        sizeof(T) > 0 && write(io, Ref(x))
    elseif x isa Array && isbitstype(eltype(x))
        write(io, size(x)..., x)
    elseif x isa Array
        write(io, size(x)...)
        for k in eachindex(x)
            write(io, isassigned(x, k))
            isassigned(x, k) && write_out(io, x[k], depth + 1)
        end
    else
        for k in 1:fieldcount(T)
            fieldname(T, k) in CONSTANT && continue
            write(io, isdefined(x, k))
            isdefined(x, k) && write_out(io, getfield(x, k), depth + 1)
        end
    end
    return nothing
end

"The value that was written where `x` is now: `x` itself, with its arrays and fields filled, or another number."
function fill_in(io, x::T, name, depth) where {T}
    depth > DEEP && throw(FOREIGN)
    read(io, UInt8) == mark(T) || throw(FOREIGN)
    if pointed(T)
        return x
    elseif isbitstype(T)
        return number(read(io, sizeof(T)), x, name)
    elseif x isa Array && isbitstype(eltype(x))
        return numbers(io, x, name)
    elseif x isa Array
        return elements(io, x, name, depth)
    end
    values = Any[]
    for k in 1:fieldcount(T)
        if fieldname(T, k) in CONSTANT
            push!(values, getfield(x, k))
            continue
        end
        given = flag(io)
        given == isdefined(x, k) || throw(FOREIGN)
        given || continue
        value = getfield(x, k)
        fresh = fill_in(io, value, fieldname(T, k), depth + 1)
        push!(values, fresh)
        fresh !== value && ismutabletype(T) && setfield!(x, k, fresh)
    end
    (ismutabletype(T) || all(k -> values[k] === getfield(x, k), eachindex(values))) && return x
    return ccall(:jl_new_structv, Any, (Any, Ptr{Any}, UInt32), T, values, length(values))  # as Serialization does
end

"A number from its bytes, where it is one that steps change."
function number(bytes, x::T, name) where {T}
    length(bytes) == sizeof(T) || throw(FOREIGN)
    T === Float64 && return only(reinterpret(Float64, bytes))
    known = T === Int || T === Bool || T <: Enum
    (known && haskey(RANGES, name)) || return x
    found = Int(only(reinterpret(T === Bool ? UInt8 : T <: Enum ? Base.Enums.basetype(T) : Int, bytes)))
    require(found in RANGES[name] && !(T <: Enum && found ∉ Integer.(instances(T))), "its solver's $name is $found")
    return T(found)
end

"Fill an array of numbers; one that is empty in a new integrator may have got its size since."
function numbers(io, x::Array{E,N}, name) where {E,N}
    shape, taken = ntuple(_ -> read(io, Int), N), E === Float64 || name in PIVOTS
    if shape != size(x)
        room = bytesavailable(io) ÷ max(sizeof(E), 1)
        (taken && isempty(x) && all(in(0:room), shape) && prod(Int128.(shape)) <= room) || throw(FOREIGN)
        x = Array{E,N}(undef, shape)
    end
    found = read!(io, similar(x))
    name in PIVOTS && require(all(in(eachindex(found)), found), "its solver's $name are no rows")
    taken && copyto!(x, found)
    return x
end

"Fill an array of arrays; it never gets shorter, since a solver that is switched to has fewer."
function elements(io, x::Array, name, depth)
    shape = ntuple(_ -> read(io, Int), ndims(x))
    (x isa Vector || shape == size(x)) || throw(FOREIGN)
    for k in 1:prod(shape)
        given = flag(io)
        k > length(x) && (given && x isa Vector && !isempty(x) ? push!(x, deepcopy(x[1])) : throw(FOREIGN))
        given || continue
        isassigned(x, k) || throw(FOREIGN)
        value = x[k]
        fresh = fill_in(io, value, name, depth + 1)
        fresh === value || (x[k] = fresh)
    end
    return x
end

function flag(io)
    found = read(io, UInt8)
    found <= 1 || throw(FOREIGN)
    return found == 1
end

"Tells a number from nothing where a field may be either."
mark(T) = hash(String(nameof(T))) % UInt8

"Whether values of the type hold addresses, which mean nothing in another process."
pointed(T) = T <: Ptr || (isbitstype(T) && any(pointed, fieldtypes(T)))
