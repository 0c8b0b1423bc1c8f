# Algorithm 1: explicit Euler with a fixed step, everything updated simultaneously.

const BLOCK = 1024  # steps between two looks at whether the values are still numbers, as in Python

mutable struct EulerRun{S<:System} <: Run
    const system::S
    const law::Law
    const start::Float64
    const step::Float64
    save::Vector{Int}
    recorder::Recorder
    const y::Vector{Float64}
    const work::Vector{Float64}
    last::Int  # the step to go to
    k::Int  # steps taken
    s::Float64  # of the step taken last
    status::String
    reached::Float64
end

function EulerRun(system::System, law, step, initial, span)
    y = restrict(system, initial)
    foreach(confine!, tables(system))
    return EulerRun(system, law, span[1], step, Int[], Recorder(system, 0), y, similar(y), 0, 0, 1.0, "running", span[1])
end

"Set the next goal: the last whole step up to `until`, and the steps to be saved on the way, in a [`Recorder`](@ref)."
function aim!(run::EulerRun, until, times, save, memory...)
    run.recorder = Recorder(run.system, length(save), memory...)
    run.save = save
    run.last = max(whole_steps(until - run.start, run.step), run.k, isempty(save) ? 0 : save[end])
    run.status == "success" && (run.status = "running")
    return nothing
end

"How many whole steps a length of time holds, up to rounding."
whole_steps(length, step) = floor(Int, min(min(length / step, 1e300) * (1 + 1e-12) + 1e-9, 1e18))

"Take steps for about so many seconds; return whether there are more to take."
function advance!(run::EulerRun, seconds)
    deadline = time_ns() + round(UInt64, 1e9 * seconds)
    portion = clamp(2_000_000 ÷ max(length(run.y), 1), 1, BLOCK)
    while run.status == "running"
        try
            euler_steps!(run, portion)
        catch error
            error isa NoFixedPoint || rethrow()
            run.status = "no_fixed_point"
        end
        time_ns() > deadline && break
    end
    run.reached = run.start + run.k * run.step
    return run.status == "running"
end

"Take up to `portion` steps, not beyond the end of the block of `BLOCK`."
function euler_steps!(run::EulerRun, portion)
    (; system, law, recorder, y, work, save, step, start, last) = run
    row = recorder.count
    upcoming = row < length(save) ? save[row+1] : -1
    k = run.k
    stop = min(k + portion, (k ÷ BLOCK + 1) * BLOCK, last + 1)
    while k < stop
        t = start + k * step
        s = sign_at(law, k, t, y, run.s)
        if k == upcoming
            if !save!(recorder, system, y, t, s)
                run.status = "diverged"
                return nothing
            end
            row += 1
            upcoming = row < length(save) ? save[row+1] : -1
        end
        if k < last
            euler_step!(y, system, work, t, step, s)
            run.k, run.s = k + 1, s
        end
        k += 1
    end
    if (k > last || k % BLOCK == 0) && !within_bounds(y)
        run.status = "diverged"
    elseif k > last
        run.status = "success"
    end
    return nothing
end

@inline function sign_at(law::Law, k, t, y, s)
    law.flip === :none && return 1.0
    law.flip === :step && return iseven(k) ? 1.0 : -1.0
    law.flip === :periodic && return periodic_sign(t, law.frequency)
    return track_sign(s, square(y), law)
end

statistics(run::EulerRun) = Dict{String,Int}("steps" => run.k)

"Numbers, state, the state before, what the system remembers, and the bytes of a solver: all that a run is."
export_state(run::EulerRun) = ([Float64(run.k), run.s], copy(run.y), Float64[], remembered(run.system), UInt8[])

function restore!(run::EulerRun, numbers, y, before, guess, bytes)
    require(whole(numbers[1]), "its steps are $(numbers[1])")
    require(abs(numbers[2]) == 1, "its sign is $(numbers[2])")
    run.k, run.s = Int(numbers[1]), numbers[2]
    copyto!(run.y, y)
    recall!(run.system, guess)
    run.reached = run.start + run.k * run.step
    return nothing
end

"The full state after the step taken last."
function present(run::EulerRun, t)
    out = Vector{Float64}(undef, full_dimension(run.system))
    full!(out, run.system, run.y, t)
    return out
end

"Go on with other signals, which are the same up to the present, known until `stop`."
function feed!(run::EulerRun, signals, stop)
    copyto!(tables(run.system), collect(signals))
    foreach(confine!, tables(run.system))
    return nothing
end
