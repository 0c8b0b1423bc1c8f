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
    const integrator::I
    const times::Vector{Float64}
    const stops::Vector{Float64}
    const max_steps::Int
    const recorder::Recorder
    const y::Vector{Float64}  # state at `reached`
    const work::Vector{Float64}
    const size::Float64  # of the initial state
    segment::Int
    entered::Float64  # where the integrator was last restarted
    steps::Int
    restarts::Int
    status::String
    reached::Float64
end

function AdaptiveRun(system::System, law, name, rtol, atol, max_steps, initial, span, times; linear_algebra = "structured")
    flow = Flow(system)
    y = restrict(system, initial)
    foreach(table -> locate!(table, span[1]), tables(system))
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
    recorder = Recorder(system, length(times))
    return AdaptiveRun(
        flow, law, integrator, times, stopping_times(system, law, span), max_steps, recorder, y, similar(y),
        maximum(abs, initial; init = 0.0), 0, span[1], 0, 0, "running", span[1],
    )
end

"Times to be hit exactly, the end included."
function stopping_times(system::System, law::Law, span)
    start, stop = span
    stops = [stop; (table.stops for table in tables(system))...]
    if law.flip === :periodic
        half = 1 / (2 * law.frequency)
        append!(stops, ((k + 0.5) * half for k in floor(start / half - 0.5):ceil(stop / half)-1))
    end
    return unique!(sort!(filter(t -> start < t <= stop, stops)))
end

"Integrate for about so many seconds; return whether there is more to do."
function advance!(run::AdaptiveRun, seconds)
    deadline = time_ns() + round(UInt64, 1e9 * seconds)
    while run.status == "running"
        try
            step_once!(run)
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

"One step of the solver, or a restart."
function step_once!(run::AdaptiveRun)
    (; integrator, flow, law) = run
    if run.segment == 0 || run.reached >= run.stops[run.segment]
        run.segment == length(run.stops) && return finish!(run)
        run.segment += 1
        enter!(run)
    end
    if run.steps >= run.max_steps
        run.status = "max_steps"
        return nothing
    end
    stop = run.stops[run.segment]
    code = step!(integrator)
    if !(code in (ReturnCode.Default, ReturnCode.Success))
        blown_up = !(maximum(abs, integrator.u) <= 1e6 * (1 + run.size))
        run.status = blown_up || code == ReturnCode.DtNaN ? "diverged" : "step_too_small"
        return nothing
    end
    if !within_bounds(integrator.u)
        run.status = "diverged"
        return nothing
    end
    run.steps += 1
    flip = law.flip === :track ? flip_within(run) : NaN
    until = isnan(flip) ? integrator.t : flip
    save_before!(run, until) || return nothing
    if isnan(flip)
        copyto!(run.y, integrator.u)
    else
        integrator(run.work, flip)
        copyto!(run.y, run.work)
    end
    run.reached = until
    isnan(flip) && return nothing
    flow.s = -flow.s
    if flip <= run.entered
        run.status = "step_too_small"
    elseif flip < stop
        restart!(run)
    end
    return nothing
end

"Begin the stretch up to the next stop: its pieces of the signals, its sign."
function enter!(run::AdaptiveRun)
    inside = (run.reached + run.stops[run.segment]) / 2
    foreach(table -> locate!(table, inside), tables(run.flow.system))
    run.law.flip === :periodic && (run.flow.s = periodic_sign(inside, run.law.frequency))
    restart!(run)
    return nothing
end

function restart!(run::AdaptiveRun)
    run.entered = run.reached
    run.restarts += 1
    reinit!(run.integrator, run.y; t0 = run.reached, tf = run.stops[run.segment], reset_dt = true, tstops = ())
    return nothing
end

"Save the rows due before `t`; a row at a stop belongs to what follows it."
function save_before!(run::AdaptiveRun, t)
    (; recorder, integrator, times, flow) = run
    while recorder.count < length(times) && times[recorder.count+1] < t
        when = times[recorder.count+1]
        integrator(run.work, when)
        if !save!(recorder, flow.system, run.work, when, flow.s)
            run.status = "diverged"
            return false
        end
    end
    return true
end

function finish!(run::AdaptiveRun)
    (; recorder, times, flow) = run
    foreach(table -> locate!(table, run.reached), tables(flow.system))  # the end belongs to what would follow
    while recorder.count < length(times)
        if !save!(recorder, flow.system, run.y, times[recorder.count+1], flow.s)
            run.status = "diverged"
            return nothing
        end
    end
    run.status = "success"
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
