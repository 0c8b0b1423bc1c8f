# The first run of a process should not wait for the compiler: the solvers are compiled here, once, for every system, and
# the equations of motion for the formulas used most. Formulas are spelled as hamjl prints them, else they would not be
# found again.

"Runs of every solver on small networks: what is to be compiled ahead."
function workload()
    sent(copy, values) = GC.@preserve values copy(Int(pointer(values)), length(values))  # as Python does it
    sent(floats, [0.0]), sent(integers, [1]), sent(bytes, UInt8[0])
    σ = formula("a; r_0 = a tanh(); r_1 = 1 r_0 2 ** -; r_0, r_1, -2 r_0 * r_1 *")
    tracking = formula("y z; r_0 = y z -; r_0, 1")
    quadratic = formula("w; w, 1")
    steady = Constant(0.0)
    cosine(column) = Table([0.0], [0.1], [0.5], [0.3], [0.0], Float64[], [column])
    for full in (true, false), (limit, strength) in ((false, 1.0), (true, 1.0), (false, 0.0))
        chosen = law(-1, "none", 0.0, 0.0, 0.0, limit, false)
        source, target = full ? ([1, 2, 1, 2], [1, 1, 2, 2]) : ([1, 2], [1, 2])
        signals = full ? (cosine(1),) : (cosine(1), cosine(2))
        system = network(
            full ? 0 : 1, 2, source, target, [1], [1.0, 1.0], (σ,), [1, 1], 1.0, 1.0, strength, false, tracking, quadratic, steady,
            signals, chosen,
        )
        if !limit && strength > 0
            functional = transcription(
                system, formula("w; w 2 ** 2 /, w, 1"), [0.1, 0.1], ones(4), zeros(4), zeros(full ? 0 : 4), [0.1, 0.1],
                fill(0.1, length(source)), Float64[],
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
            begun() = start(
                system, chosen, method, 0.1, rtol, 1e-6, 1000, fill(0.1, dimension(system)), 0.0, 1.0, times, save,
                Int(pointer(states)), Int(pointer(signs)),
            )
            GC.@preserve states signs begin
                run = begun()
                while advance!(run, 0.05)
                end
                restore!(begun(), export_state(run)...)
                progress(run)
                present(run, 1.0)
            end
        end
    end
    return nothing
end

@compile_workload workload()
