# What Python calls: plain numbers, arrays and text in, a run out. Tables and formulas are built by their own constructors.

"""
    start(system, law, method, step, rtol, atol, max_steps, initial, start, stop, times, save, memory...; linear_algebra)

A run ready to be moved on by [`advance!`](@ref), to `stop` first and then to where [`aim!`](@ref) says. With `method`
"Euler", `save` counts the steps to be saved, else `times` are saved, in the caller's memory where a [`Recorder`](@ref) is
given some. `initial` is a full state (x, w, p_x/φ, p_w/φ).
"""
function start(
    system, law::Law, method, step, rtol, atol, max_steps, initial, start, stop, times, save, memory...;
    linear_algebra = "structured",
)
    chosen = law.limit ? Limit(system) : system
    span = (Float64(start), Float64(stop))
    try
        run =
            method == "Euler" ? EulerRun(chosen, law, Float64(step), initial, span) :
            AdaptiveRun(chosen, law, method, rtol, atol, max_steps, initial, span; linear_algebra)
        aim!(run, method == "Euler" ? span[1] : span[2], times, save, memory...)  # Euler goes to its last sample
        return run
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
        error isa Union{Mismatch,EOFError} || rethrow()
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

"A law from its codes."
law(costate_sign, flip, frequency, radius, hysteresis, limit, semi_implicit) =
    Law(; costate_sign, flip, frequency, radius, hysteresis, limit, semi_implicit)

"A network from its parts; see [`Network`](@ref)."
function network(
    inputs, neurons, source, target, outputs, velocity, activations, kind, inertia, loss_scale, regularizer_scale, softmax,
    loss, regularizer, rate, signals, law,
)
    return Network(;
        inputs, neurons, source, target, outputs, velocity, activations = [activations...], kind, inertia, loss_scale,
        regularizer_scale, softmax, loss, regularizer, rate, signals = Table[signals...], law,
    )
end

"A symbolic system from its parts; see [`Symbolic`](@ref)."
symbolic(states, flow, second, rate, signals, law) =
    Symbolic(; states, flow, second, rate, signals = Table[signals...], law)
