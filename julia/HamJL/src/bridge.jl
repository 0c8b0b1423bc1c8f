# What Python calls: plain numbers, arrays and text in, a run out. Tables and formulas are built by their own constructors.

"""
    start(system; method, step, rtol, atol, max_steps, initial, start, stop, linear_algebra)

A run ready to be moved on by [`advance!`](@ref) to where [`aim!`](@ref) says, within what is known from `start` to `stop`.
`initial` is a full state (x, w, p_x/φ, p_w/φ).
"""
function start(system; method, step, rtol, atol, max_steps, initial, start, stop, linear_algebra = "structured")
    law = system.law
    chosen = law.limit ? Limit(system) : system
    span = (Float64(start), Float64(stop))
    try
        return method == "Euler" ? EulerRun(chosen, law, Float64(step), initial, span) :
               AdaptiveRun(chosen, law, method, rtol, atol, max_steps, initial, span; linear_algebra)
    catch error  # the solvers look at the right-hand side to choose their first step
        error isa NoFixedPoint || rethrow()
        return Unstarted(Recorder(chosen, 0), "no_fixed_point", span[1])
    end
end

"A run that has no state to start from."
struct Unstarted <: Run
    recorder::Recorder
    status::String
    reached::Float64
end

advance!(::Unstarted, seconds) = false
aim!(::Unstarted, until, times, save, memory...) = nothing
feed!(::Unstarted, signals, stop) = nothing
statistics(::Unstarted) = Dict{String,Int}()
restore!(::Unstarted, parts...) = throw(Mismatch("its start is none"))

"Put an exported state into a new run, or say why it is none of this run."
function take_up!(run::Run, parts...)
    try
        restore!(run, parts...)
        return ""
    catch error
        error isa Union{Mismatch,EOFError,ErrorException} || rethrow()  # the last for a constant field
        return error isa Mismatch ? error.reason : FOREIGN.reason
    end
end

"How far a run is: samples finished, status, time reached, counts."
progress(run::Run) = (run.recorder.count, run.status, run.reached, statistics(run))

"Integrate each of several runs for about so many seconds, on all threads; return whether there is more to do."
function advance_together!(runs, seconds)
    more = Vector{Bool}(undef, length(runs))
    Threads.@threads :dynamic for k in eachindex(runs)
        more[k] = advance!(runs[k], seconds)
    end
    return any(more)
end

# Arrays come as addresses of the caller's memory, and are copied.
floats(address, count) = copied(Ptr{Float64}(address), count)
integers(address, count) = copied(Ptr{Int64}(address), count)
bytes(address, count) = copied(Ptr{UInt8}(address), count)
copied(pointer, count) = copy(unsafe_wrap(Array, pointer, count))

"A table of a signal from its parts by name; see [`Table`](@ref)."
table(; start, poly, amplitude, omega, phase, stops, columns) =
    Table(start, poly, amplitude, omega, phase, stops, columns)

"A network from its parts by name; see [`Network`](@ref)."
network(; signals, parts...) = Network(; signals = Table[signals...], parts...)

"A term of the loss, over some columns of the outputs."
separable(formula, columns) = Separable(formula, columns)
softmax(columns) = Softmax(columns)

"The weights that move, by arc; see [`Shared`](@ref)."
shared(; place, factor, still) = Shared(place, factor, still)

"A symbolic system from its parts by name; see [`Symbolic`](@ref)."
symbolic(; signals, parts...) = Symbolic(; signals = Table[signals...], parts...)
