# The first run of a process should not wait for the compiler: the solvers are compiled here, once, for every system, and
# the equations of motion for the formulas used most. Formulas are spelled as hamjl prints them, else they would not be
# found again.

"A call by keywords as it comes from Python, where their types are known only when it is made."
named(f, given...; parts...) = f(given...; Dict{Symbol,Any}(parts)...)

"Runs of every solver on small networks: what is to be compiled ahead."
function workload()
    sent(copy, values) = GC.@preserve values copy(Int(pointer(values)), length(values))  # as Python does it
    sent(floats, [0.0]), sent(integers, [1]), sent(bytes, UInt8[0])
    σ = formula("a; r_0 = a tanh(); r_1 = 1 r_0 2 ** -; r_0, r_1, -2 r_0 * r_1 *")
    tracking = formula("y z; r_0 = y z -; r_0, 1")
    quadratic = formula("w; w, 1")
    steady = Constant(0.0)
    cosine(column) = named(
        table; start = [0.0], poly = [0.1], amplitude = [0.5], omega = [0.3], phase = [0.0], stops = Float64[],
        columns = [column],
    )
    for full in (true, false), (limit, strength) in ((false, 1.0), (true, 1.0), (false, 0.0))
        chosen = named(
            Law; costate_sign = -1, flip = "none", frequency = 0.0, radius = 0.0, hysteresis = 0.0, limit,
            semi_implicit = false,
        )
        source, target = full ? ([1, 2, 1, 2], [1, 1, 2, 2]) : ([1, 2], [1, 2])
        signals = full ? (cosine(1),) : (cosine(1), cosine(2))
        system = named(
            network; inputs = full ? 0 : 1, neurons = 2, source, target, outputs = [1], velocity = [1.0, 1.0],
            activations = (σ,), kind = [1, 1], inertia = 1.0, loss_scale = 1.0, regularizer_scale = strength,
            losses = (Separable(tracking, [1]),), regularizer = quadratic, rate = steady, signals, law = chosen,
        )
        if !limit && strength > 0
            functional = named(
                transcription, system; regularizer = formula("w; w 2 ** 2 /, w, 1"), h = [0.1, 0.1], measure = ones(4),
                theta = zeros(4), drives = zeros(full ? 0 : 4), x0 = [0.1, 0.1], w0 = fill(0.1, length(source)),
                guess = Float64[],
            )
            forward!(functional)
            gradient!(functional)
            tangent!(functional)
            curvature!(functional)
            node_states(functional)
            sweep = Sweep(functional)
            factor!(sweep, functional, [1], [0.1, 0.1, 0.1, 0.1], 1.0, false)
            solve!(sweep, functional)
        end
        # `auto` is another solver at loose and at tight tolerances
        choices = limit || !full || strength == 0 ? ("FBDF" => 1e-4,) : ((METHODS .=> 1e-4)..., "auto" => 1e-8)
        for (method, rtol) in ("Euler" => 1e-4, choices...)
            times, save = [0.0, 0.5, 1.0], [0, 5, 10]
            states, signs = zeros(full_dimension(system), length(times)), zeros(length(times))
            begun() = named(
                start, system; method, step = 0.1, rtol, atol = 1e-6, max_steps = 1000,
                initial = fill(0.1, dimension(system)), start = 0.0, stop = 1.0,
            )
            GC.@preserve states signs begin
                run = begun()
                aim!(run, 1.0, times, save, Int(pointer(states)), Int(pointer(signs)))
                while advance!(run, 0.05)
                end
                take_up!(begun(), export_state(run)...)
                progress(run)
                present(run, 1.0)
            end
        end
    end
    return nothing
end

@compile_workload workload()
