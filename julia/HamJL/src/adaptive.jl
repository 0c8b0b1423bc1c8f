# Adaptive integration by OrdinaryDiffEq, restarted at breakpoints of the signals and at sign flips.

"""
    Flow(system)

What the solvers integrate: one type for all systems, so that the solvers are compiled once, with the package. The price
is a dynamic call per evaluation, a tenth of a microsecond.
"""
mutable struct Flow
    const system::System
    s::Float64
    evaluations::Int
    jacobians::Int
end

Flow(system::System) = Flow(system, 1.0, 0, 0)

function (flow::Flow)(out, y, p, t)
    flow.evaluations += 1
    rhs!(out, flow.system, y, t, flow.s)
    return nothing
end

struct FlowJacobian
    flow::Flow
end

function (jacobian::FlowJacobian)(J, y, p, t)
    flow = jacobian.flow
    flow.jacobians += 1
    jacobian!(J, flow.system, y, t, flow.s)
    return nothing
end

"∂(rhs)/∂t on the pieces in force, for Rosenbrock methods: the drives are smooth there, so central differences do."
struct FlowSlope
    flow::Flow
    before::Vector{Float64}
end

function (slope::FlowSlope)(out, y, p, t)
    h = cbrt(eps()) * max(1.0, abs(t))
    slope.flow(slope.before, y, p, t - h)
    slope.flow(out, y, p, t + h)
    @. out = (out - slope.before) / 2h
    return nothing
end

# The dense and sparse matrices exist for checking the elimination of the arcs.
function jacobian!(J::Matrix, system::Network, y, t, s)
    A = ArcMatrix(system)
    jacobian!(A, system, y, t, s)
    fill!(J, 0.0)
    entries((i, j, value) -> J[i, j] += value, A)
    return nothing
end

function jacobian!(J::SparseMatrixCSC, system::Network, y, t, s)
    A = ArcMatrix(system)
    jacobian!(A, system, y, t, s)
    fill!(J.nzval, 0.0)
    entries((i, j, value) -> J[i, j] += value, A)
    return nothing
end

"The matrix and linear solver of the implicit methods: `structured` unless asked for `dense` or `sparse`."
function linear(system::System, kind)
    kind in ("structured", "dense", "sparse") || throw(ArgumentError("unknown linear algebra $kind"))
    prototype = jacobian_prototype(system)
    prototype isa Matrix && return prototype, LinearSolve.LUFactorization()
    (kind == "structured" || system isa Limit) && return prototype, ArcElimination()
    kind == "dense" && return zeros(size(prototype)), LinearSolve.LUFactorization()
    return sparse(prototype), LinearSolve.KLUFactorization()
end

const EXPLICIT = Dict("Tsit5" => Tsit5(), "Vern7" => Vern7(), "Vern9" => Vern9())
const METHODS = ("auto", "Tsit5", "Vern7", "Vern9", "Rodas5P", "FBDF", "KenCarp4")

"The solver of that name; `auto` switches between an explicit and an implicit one by stiffness."
function solver(name, linsolve, rtol)
    haskey(EXPLICIT, name) && return EXPLICIT[name]
    settings = (; linsolve, autodiff = AutoFiniteDiff())
    name == "Rodas5P" && return Rodas5P(; settings...)
    name == "FBDF" && return FBDF(; settings...)
    name == "KenCarp4" && return KenCarp4(; settings...)
    name == "auto" || throw(ArgumentError("unknown solver $name"))
    return rtol > 1e-6 ? AutoTsit5(Rodas5P(; settings...)) : AutoVern7(Rodas5P(; settings...))
end

"Stepping through one solver's integrator; the type of the integrator is known inside."
mutable struct AdaptiveRun{I} <: Run
    const flow::Flow
    const law::Law
    span::Tuple{Float64,Float64}
    const integrator::I
    const max_steps::Int
    const size::Float64  # of the initial state
    const y::Vector{Float64}  # state at `reached`
    const before::Vector{Float64}  # at the start of the step taken last
    const work::Vector{Float64}
    times::Vector{Float64}
    recorder::Recorder
    until::Float64  # the time to go to
    entered::Float64  # where the integrator was last restarted
    stop::Float64  # to be hit exactly
    over::Bool  # the stretch up to the stop, or to a flip: the next step begins another
    flipped::Bool  # the sign changes with the next stretch
    steps::Int
    restarts::Int
    status::String
    reached::Float64
end

function AdaptiveRun(system::System, law, name, rtol, atol, max_steps, initial, span; linear_algebra = "structured")
    flow = Flow(system)
    y = restrict(system, initial)
    foreach(confine!, tables(system))
    prototype, linsolve = linear(system, linear_algebra)
    f = ODEFunction{true,SciMLBase.FullSpecialize}(
        flow; jac = FlowJacobian(flow), tgrad = FlowSlope(flow, similar(y)), jac_prototype = prototype, sparsity = nothing,
    )
    problem = ODEProblem(f, copy(y), span)
    integrator = init(
        problem, solver(name, linsolve, rtol); reltol = rtol, abstol = atol, save_everystep = false, save_start = false,
        save_end = false, dense = false, calck = true, maxiters = typemax(Int), verbose = SciMLLogging.None(),
        unstable_check = (dt, u, p, t) -> false,
    )
    law.flip === :track && (flow.s = track_sign(1.0, square(y), law))
    size = maximum(abs, initial; init = 0.0)
    return AdaptiveRun(
        flow, law, span, integrator, max_steps, size, y, copy(y), similar(y), Float64[], Recorder(system, 0), span[2],
        span[1], span[1], true, false, 0, 0, "running", span[1],
    )
end

"Set the next goal: a time, and the times to be saved on the way, in a [`Recorder`](@ref)."
function aim!(run::AdaptiveRun, until, times, save, memory...)
    run.recorder = Recorder(run.flow.system, length(times), memory...)
    run.until, run.times = until, times
    run.status == "success" && (run.status = "running")
    return nothing
end

const ROUNDING = 1e-13  # of the times, relative

"The first time after `t` to be hit exactly, or the end; of several that are equal but for rounding the last."
function next_stop(run::AdaptiveRun, t)
    start, stop = run.span
    found = stop_after(run, t)
    while found < stop
        further = min(stop_after(run, found), stop)
        further - found > ROUNDING * max(abs(start), abs(further)) && return found
        found = further
    end
    return stop
end

function stop_after(run::AdaptiveRun, t)
    next = Inf
    for table in tables(run.flow.system)
        k = searchsortedlast(table.stops, t) + 1
        k <= length(table.stops) && (next = min(next, table.stops[k]))
    end
    if run.law.flip === :periodic
        half = 1 / (2 * run.law.frequency)
        k = floor(t / half - 0.5)
        while (k + 0.5) * half <= t
            k += 1
        end
        next = min(next, (k + 0.5) * half)
    end
    return next
end

"Integrate for about so many seconds; return whether there is more to do."
function advance!(run::AdaptiveRun, seconds)
    deadline = time_ns() + round(UInt64, 1e9 * seconds)
    while run.status == "running"
        try
            move!(run)
        catch error
            run.status = failure(error)
        end
        time_ns() > deadline && break
    end
    return run.status == "running"
end

failure(::NoFixedPoint) = "no_fixed_point"
failure(::Union{SingularException,LAPACKException,DomainError,ArgumentError}) = "diverged"  # a Newton matrix with NaN
failure(error) = throw(error)

"End at the goal, or take a step; between two moves nothing before the present time is due."
function move!(run::AdaptiveRun)
    save_before!(run, run.reached) || return nothing
    run.reached >= run.span[2] && (save_at_end!(run) || return nothing)
    if run.reached >= min(run.until, run.span[2]) && run.recorder.count == length(run.times)
        run.status = "success"
    else
        step_once!(run) && save_before!(run, run.reached)
    end
    return nothing
end

"One step of the solver, after a restart where one is due; whether it was taken."
function step_once!(run::AdaptiveRun)
    (; integrator, flow, law) = run
    run.over && enter!(run)
    if run.steps >= run.max_steps
        run.status = "max_steps"
        return false
    end
    code = step!(integrator)
    if !(code in (ReturnCode.Default, ReturnCode.Success))
        run.status = code == ReturnCode.DtNaN || blown_up(run) ? "diverged" : "step_too_small"
        return false
    end
    if !within_bounds(integrator.u)
        run.status = "diverged"
        return false
    end
    run.steps += 1
    flip = law.flip === :track ? flip_within(run) : NaN
    run.flipped = !isnan(flip)
    copyto!(run.before, run.y)
    if run.flipped
        integrator(run.work, flip)
        copyto!(run.y, run.work)
    else
        copyto!(run.y, integrator.u)
    end
    run.reached = run.flipped ? flip : integrator.t
    run.over = run.flipped || run.reached >= run.stop
    run.flipped && run.reached <= run.entered && (run.status = "step_too_small")
    return true
end

# As in Python: growth of the state that means divergence, growth that means it where it is sudden, and what is sudden.
const BLOW_UP, STEEP, SUDDEN = 1e6, 1e3, 1e-6

"Whether the solver gave up because the solution runs off to infinity within no time, rather than at a hard problem."
function blown_up(run::AdaptiveRun)
    largest = maximum(abs, run.y; init = 0.0)
    growth = largest / (1 + run.size)
    rhs!(run.work, run.flow.system, run.y, run.reached, run.flow.s)
    sudden = largest < SUDDEN * (run.reached - run.span[1]) * maximum(abs, run.work; init = 0.0)
    return growth > BLOW_UP || (growth > STEEP && sudden)
end

"Begin the stretch up to the next stop: its pieces of the signals, its sign."
function enter!(run::AdaptiveRun)
    (; flow, law) = run
    if run.flipped
        flow.s, run.flipped = -flow.s, false
    end
    run.entered = run.reached
    run.reached >= run.stop && (run.stop = next_stop(run, run.reached))
    confine_stretch!(run)
    law.flip === :periodic && (flow.s = periodic_sign((run.entered + run.stop) / 2, law.frequency))
    run.restarts += 1
    run.over = false
    reinit!(run.integrator, run.y; t0 = run.reached, tf = run.stop, reset_dt = true, tstops = ())
    return nothing
end

"Use the pieces of the signals that are in force before the stop."
function confine_stretch!(run::AdaptiveRun)
    last = max((run.entered + run.stop) / 2, run.stop - 10 * ROUNDING * max(abs(run.entered), abs(run.stop)))
    foreach(table -> confine!(table, run.entered, last), tables(run.flow.system))
    return nothing
end

"Save the rows due before `t`; a row at a stop belongs to what follows it."
function save_before!(run::AdaptiveRun, t)
    (; recorder, times, flow, work) = run
    while recorder.count < length(times) && times[recorder.count+1] < t
        when = times[recorder.count+1]
        look!(work, run, when)
        if !save!(recorder, flow.system, work, when, flow.s)
            run.status = "diverged"
            return false
        end
    end
    return true
end

"Write the solver's state at a time within the step taken last."
look!(out, run::AdaptiveRun, t) = t == run.integrator.tprev ? copyto!(out, run.before) : run.integrator(out, t)

"The full state at a time within the step taken last, or at its end."
function present(run::AdaptiveRun, t)
    out = Vector{Float64}(undef, full_dimension(run.flow.system))
    t < run.reached ? look!(run.work, run, t) : copyto!(run.work, run.y)
    full!(out, run.flow.system, run.work, t)
    return out
end

"Save the rows due at the end, which belong to what would follow."
function save_at_end!(run::AdaptiveRun)
    (; recorder, times, flow, law) = run
    recorder.count == length(times) && return true
    foreach(confine!, tables(flow.system))
    while recorder.count < length(times)
        t = times[recorder.count+1]
        s = law.flip === :periodic ? periodic_sign(t, law.frequency) : flow.s
        if !save!(recorder, flow.system, run.y, t, s)
            run.status = "diverged"
            return false
        end
    end
    confine_stretch!(run)
    return true
end

"""
    feed!(run, signals, stop)

Go on with other signals, which are the same up to the present, known until `stop`. A stretch that ended where they did goes
on, unless there is a jump.
"""
function feed!(run::AdaptiveRun, signals, stop)
    (; integrator, flow) = run
    before = run.span[2]
    run.span = (run.span[1], stop)
    copyto!(tables(flow.system), collect(signals))
    integrator.opts.dtmax = max(integrator.opts.dtmax, stop - run.span[1])
    began = run.restarts > 0
    if began && run.stop == before && !(run.over && (run.flipped || stop_after(run, prevfloat(run.reached)) == run.reached))
        run.over = false
        run.stop = next_stop(run, run.reached)
        SciMLBase.add_tstop!(integrator, run.stop)
    end
    began ? confine_stretch!(run) : foreach(confine!, tables(flow.system))
    return nothing
end

"Numbers, state, the state before, what the system remembers, and the bytes of the solver: all that a run is."
function export_state(run::AdaptiveRun)
    (; flow) = run
    numbers = Float64[
        run.reached, run.entered, run.stop, flow.s, run.over, run.flipped, run.steps, run.restarts, flow.evaluations,
        flow.jacobians,
    ]
    bytes = run.restarts > 0 ? snapshot(run.integrator) : UInt8[]
    return numbers, copy(run.y), copy(run.before), remembered(flow.system), bytes
end

"Put an exported state into a new run. A solver of other versions is restarted, and `restarts` tells."
function restore!(run::AdaptiveRun, numbers, y, before, guess, bytes)
    (; flow, integrator) = run
    require(run.span[1] <= numbers[2] <= numbers[1] <= numbers[3] < Inf, "its times are in another order")
    require(abs(numbers[4]) == 1, "its sign is $(numbers[4])")
    require(all(in((0, 1)), numbers[5:6]) && all(whole, numbers[7:10]), "its counts are no whole numbers")
    require(numbers[8] > 0 || (numbers[5] == 1 && isempty(bytes)), "it has no solver")
    copyto!(run.y, y)
    copyto!(run.before, before)
    run.reached, run.entered, run.stop = numbers[1:3]
    flow.s, run.over, run.flipped = numbers[4], numbers[5] == 1, numbers[6] == 1
    run.steps, run.restarts = Int(numbers[7]), Int(numbers[8])
    if run.restarts > 0
        confine_stretch!(run)
        reinit!(integrator, run.y; t0 = run.entered, tf = run.stop, reset_dt = true, tstops = ())
        if revive!(integrator, bytes)
            (; tprev, t, dt) = integrator
            require(tprev <= run.reached <= t <= run.stop && 0 <= dt < Inf, "its times are in another order")
        else
            run.over = true
        end
    end
    flow.evaluations, flow.jacobians = Int(numbers[9]), Int(numbers[10])
    recall!(flow.system, guess)
    return nothing
end

const LOOKS = 8  # per step for the track policy: a long step may leave the band and come back

"First time in the step just taken at which |state|² leaves the band of the present sign, or NaN."
function flip_within(run::AdaptiveRun)
    (; integrator, law, flow, work) = run
    level = flow.s > 0 ? law.radius : (1 - law.hysteresis) * law.radius
    function excess(t)
        integrator(work, t)
        return flow.s * (square(work) - level)
    end
    low, stop = integrator.tprev, integrator.t
    excess(low) >= 0 && return flow.s * (square(integrator.u) - level) > 0 ? stop : NaN
    for look in 1:LOOKS
        high = look == LOOKS ? stop : integrator.tprev + (stop - integrator.tprev) * look / LOOKS
        if excess(high) > 0
            for _ in 1:200  # bisection
                middle = (low + high) / 2
                low < middle < high || break
                excess(middle) > 0 ? (high = middle) : (low = middle)
            end
            return high
        end
        low = high
    end
    return NaN
end

function statistics(run::AdaptiveRun)
    stats = run.integrator.stats
    return Dict{String,Int}(
        "steps" => run.steps, "rhs" => run.flow.evaluations, "jacobians" => run.flow.jacobians,
        "factorizations" => stats.nw, "restarts" => run.restarts,
    )
end
