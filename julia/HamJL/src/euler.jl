# Algorithm 1: explicit Euler with a fixed step, everything updated simultaneously.

const BLOCK_STEPS = 1024  # steps between two looks at whether the values are still numbers, as in Python

mutable struct EulerRun{S<:System} <: Run
    const system::S
    const law::Law
    const start::Float64
    const step::Float64
    const save::Vector{Int}
    const recorder::Recorder
    const y::Vector{Float64}
    const work::Vector{Float64}
    k::Int  # steps taken
    s::Float64
    status::String
    reached::Float64
end

function EulerRun(system::System, law, step, initial, span, save)
    y = restrict(system, initial)
    foreach(confine!, tables(system))
    recorder = Recorder(system, length(save))
    return EulerRun(system, law, span[1], step, save, recorder, y, similar(y), 0, 1.0, "running", span[1])
end

"Take steps for about so many seconds; return whether there are more to take."
function advance!(run::EulerRun, seconds)
    deadline = time_ns() + round(UInt64, 1e9 * seconds)
    portion = clamp(2_000_000 ÷ length(run.y), 1, BLOCK_STEPS)
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

"Take up to `portion` steps, not beyond the end of the block of `BLOCK_STEPS`."
function euler_steps!(run::EulerRun, portion)
    (; system, law, recorder, y, work, save, step, start) = run
    last = save[end]
    row = recorder.count
    upcoming = row < length(save) ? save[row+1] : -1
    s = run.s
    k = run.k
    stop = min(k + portion, (k ÷ BLOCK_STEPS + 1) * BLOCK_STEPS, last + 1)
    while k < stop
        t = start + k * step
        s = sign_at(law, k, t, y, s)
        if k == upcoming
            run.k, run.s = k, s
            if !save!(recorder, system, y, t, s)
                run.status = "diverged"
                return nothing
            end
            row += 1
            upcoming = row < length(save) ? save[row+1] : -1
        end
        run.k = k
        k < last && euler_step!(y, system, work, t, step, s)
        k += 1
    end
    run.s = s
    if k > last
        run.status = "success"
    elseif k % BLOCK_STEPS == 0 && !within_bounds(y)
        run.status = "diverged"
        return nothing
    end
    run.k = min(k, last)
    return nothing
end

@inline function sign_at(law::Law, k, t, y, s)
    law.flip === :none && return 1.0
    law.flip === :step && return iseven(k) ? 1.0 : -1.0
    law.flip === :periodic && return periodic_sign(t, law.frequency)
    return track_sign(s, square(y), law)
end

statistics(run::EulerRun) = Dict{String,Int}("steps" => run.k)
