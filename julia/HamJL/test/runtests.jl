# Laid out for Pkg.test(); run directly in any environment that has the packages, it finds HamJL by itself:
#     julia --project=SOME_ENVIRONMENT julia/HamJL/test/runtests.jl
using Test, LinearAlgebra, Random, SparseArrays
Base.identify_package("HamJL") === nothing && push!(LOAD_PATH, dirname(@__DIR__))
using HamJL

# formulas as one writes them
postfix(x) = string(x)
postfix(text::String) = postfix(Meta.parse(replace(text, "**" => "^")))
function postfix(x::Expr)
    f, given = x.args[1], postfix.(x.args[2:end])
    f === :- && length(given) == 1 && return "$(given[1]) negative"
    f in (:+, :-, :*, :/, :^) || return "$(given[1]) $f()"
    return foldl((a, b) -> "$a $b $(f === :^ ? "**" : f)", given)
end
function f(arguments, results...; names = (), values = ())
    lines = ("$name = $(postfix(value))" for (name, value) in zip(names, values))
    return HamJL.formula(join((join(arguments, " "), lines..., join(map(postfix, results), ", ")), "; "))
end
const TANH = f(("a",), "r_0", "1 - r_1", "-r_0*(2 - 2*r_1)"; names = ("r_0", "r_1"), values = ("tanh(a)", "r_0**2"))
const SINE = f(("a",), "sin(a)", "cos(a)", "-sin(a)")
const WELL = f(("w",), "w**3 - w", "3*w**2 - 1")
const QUARTIC = f(("y", "z"), "(y - z)**3", "3*(y - z)**2")
cosine(column) = HamJL.Table([0.0], [0.1], [0.5], [0.3], [0.0], Float64[], [column])

"The loss that a network of these outputs has in the tests."
terms(outputs, softmax) = (softmax ? HamJL.Softmax(collect(eachindex(outputs))) : HamJL.Separable(QUARTIC, collect(eachindex(outputs))),)

"A random network of d inputs and n neurons, with two kinds of neurons and the last two as outputs."
function random_network(rng, d, n, density; law = HamJL.Law(costate_sign = -1), dag = false, softmax = false)
    arcs = [(j, i) for i in 1:n for j in 1:d+n if rand(rng) < density && !(dag && j - d >= i)]
    return HamJL.network(;
        inputs = d, neurons = n, source = first.(arcs), target = last.(arcs), outputs = [n - 1, n],
        velocity = 1 .+ 3rand(rng, n), activations = (TANH, SINE), kind = rand(rng, 1:2, n), inertia = 0.7,
        loss_scale = 2.0, regularizer_scale = 0.3, losses = terms([n - 1, n], softmax), regularizer = WELL, rate = f(("t",), "0.3"),
        signals = [cosine(k) for k in 1:d+2], law,
    )
end

# f(x, a) of x' = c f, and its derivatives by a, x, aa, xa, xx: an integrator, and a leaky neuron with a twist
const SUM = f(("x", "a"), "a", "1", "0", "0", "0", "0")
const TWIST = f(("x", "a"), "sin(a)*x - x**3", "cos(a)*x", "sin(a) - 3*x**2", "-sin(a)*x", "cos(a)", "-6*x")
const REST = f(("x", "a"), "sin(a) - x - x**3", "cos(a)", "-1 - 3*x**2", "-sin(a)", "0", "-6*x")

"`random_network` in a wider vocabulary: other neurons, masses, some weights frozen or tied, weights of the losses."
function mixed_network(rng, d, n, density; ties, law = HamJL.Law(costate_sign = -1), dag = false, rest = false)
    arcs = [(j, i) for i in 1:n for j in 1:d+n if rand(rng) < density && !(dag && j - d >= i)]
    count = length(arcs)
    place = ties === :tied ? rand(rng, 0:count÷2, count) : cumsum(rand(rng, 0:1, count))
    ties === :tied || (place .*= [true; diff(place) .> 0] .& (place .> 0))
    present = sort(unique(filter(>(0), place)))
    place = [p == 0 ? 0 : searchsortedfirst(present, p) for p in place]
    factor = ties === :tied ? randn(rng, count) : ones(count)
    weights = ties === :own ? HamJL.Own() : HamJL.Shared(place, factor, (place .== 0) .* randn(rng, count))
    moving = HamJL.moving(weights, arcs)
    return HamJL.network(;
        inputs = d, neurons = n, source = first.(arcs), target = last.(arcs), outputs = [n - 1, n],
        velocity = 1 .+ 3rand(rng, n), activations = rest ? (REST,) : (SUM, TWIST, REST), leaky = false,
        kind = rand(rng, 1:(rest ? 1 : 3), n), inertia = 0.5 .+ rand(rng, moving), loss_scale = 2.0,
        regularizer_scale = rand(rng, moving), losses = terms([n - 1, n], false), regularizer = WELL,
        rate = HamJL.Sampled(), weighted = true, formulas = ((d + 3, f(("t",), "1 + t**2")),), weights, law,
        signals = [cosine.(1:d+2); cosine(d + 4); cosine(d + 5)],
    )
end

"Two neurons in a chain behind a third that hears the input and the first; or what is given in their place."
small_network(; parts...) = HamJL.network(;
    inputs = 1, neurons = 3, source = [1, 4, 2, 3], target = [1, 1, 2, 3], outputs = [3], velocity = [1.0, 2.0, 5.0],
    activations = (TANH,), kind = ones(Int, 3), inertia = 1.0, loss_scale = 2.0, regularizer_scale = 0.1,
    losses = terms([3], false), regularizer = WELL, rate = HamJL.Constant(0.3), signals = [cosine(1), cosine(2)],
    law = HamJL.Law(costate_sign = -1), parts...,
)

"h = p² / 2 - cos x."
pendulum(law) = HamJL.symbolic(;
    states = 1, flow = f(("x", "p", "t"), "p", "sin(x)"), second = f(("x", "p", "t"), "0", "1", "-cos(x)", "0"),
    rate = HamJL.Constant(0.1), signals = (), law,
)

started(system, method, initial) = HamJL.start(
    system; method, step = 1e-3, rtol = 1e-8, atol = 1e-10, max_steps = 100_000, initial, start = 0.0, stop = 4.0,
)

rhs(system, y, t, s) = (out = similar(y); HamJL.rhs!(out, system, y, t, s); out)
numerical(F, y; h = 1e-6) = hcat(((F(y + h * e) - F(y - h * e)) / 2h for e in eachcol(Matrix(1.0I, length(y), length(y))))...)

function integrated(system, method, initial; rtol = 1e-9, step = 0.0, stop = 5.0, save = Int[], kind = "structured")
    times = collect(range(0.0, stop, 26))
    run = HamJL.start(
        system; method, step, rtol, atol = 1e-12, max_steps = 100_000, initial, start = 0.0, stop, linear_algebra = kind,
    )
    HamJL.aim!(run, method == "Euler" ? 0.0 : stop, times, save)  # Euler goes to its last sample
    while HamJL.advance!(run, 0.05)
    end
    return run.recorder.states, run.recorder.signs, HamJL.progress(run)...
end

@testset "HamJL" begin
    @testset "formulas" begin
        @test f(("a",), "-a**2", "2**-1", "sqrt(a)")(3.0) == (-9.0, 0.5, sqrt(3.0))
        @test isnan(first(f(("a",), "sqrt(a) + log(a) + a**(1/2)")(-1.0)))
        @test first(f(("a",), "logistic(a) + softplus(a)")(-800.0)) == 0.0
        @test first(f(("a",), "softplus(a)")(800.0)) == 800.0
        @test first(f(("a",), "erf(a)")(0.5)) ≈ 0.5204998778130465
        @test_throws ArgumentError f(("a",), "run(a)")
        for text in ("a; exit()", "a +", "a a", "exit()", "", "a b", "eval")
            @test_throws ArgumentError HamJL.formula("a; $text")
        end
        @test_throws ArgumentError f(("a",), "b")
        for x in (-30.0, -1.3, -1e-9, -0.0, 1e-300, 0.2, 19.9, Inf)
            @test HamJL.fast_tanh(x) ≈ tanh(x) rtol = 4eps()
        end
        @test isnan(HamJL.fast_tanh(NaN))
    end

    @testset "right-hand sides do not allocate" begin
        rng = Xoshiro(1)
        for (d, n, density) in ((0, 5, 1.1), (2, 6, 0.5)), softmax in (false, true)
            system = random_network(rng, d, n, density; softmax)
            y = randn(rng, HamJL.dimension(system))
            out = similar(y)
            allocated(system, out, y) = @allocated HamJL.rhs!(out, system, y, 0.3, 1.0)
            stepped(system, out, y) = @allocated HamJL.euler_step!(y, system, out, 0.3, 1e-3, 1.0)
            allocated(system, out, y), stepped(system, out, y)
            @test allocated(system, out, y) == 0
            @test stepped(system, out, y) == 0
            @inferred HamJL.rhs!(out, system, y, 0.3, 1.0)
        end
    end

    @testset "an Euler step in place is y + τ rhs" begin
        rng = Xoshiro(2)
        for (d, n, density) in ((0, 5, 1.1), (2, 6, 0.5), (1, 40, 1.1))
            system = random_network(rng, d, n, density)
            y = randn(rng, HamJL.dimension(system))
            expected = y + 0.01 * rhs(system, y, 0.3, -1.0)
            HamJL.euler_step!(y, system, similar(y), 0.3, 0.01, -1.0)
            @test y ≈ expected rtol = 1e-13
        end
    end

    @testset "a semi-implicit Euler step moves w by the new p_w" begin
        for limit in (false, true)
            law = HamJL.Law(; costate_sign = -1, limit, semi_implicit = true)
            network = random_network(Xoshiro(2), 2, 6, 0.5; law, dag = limit)
            plain = random_network(Xoshiro(2), 2, 6, 0.5; law = HamJL.Law(; costate_sign = -1, limit), dag = limit)
            system, explicit = limit ? (HamJL.Limit(network), HamJL.Limit(plain)) : (network, plain)
            y = randn(Xoshiro(3), HamJL.dimension(system))
            before, expected = copy(y), copy(y)
            HamJL.euler_step!(expected, explicit, similar(y), 0.3, 0.01, 1.0)
            HamJL.euler_step!(y, system, similar(y), 0.3, 0.01, 1.0)
            count = length(network.arcs)
            ow, oq = limit ? (0, count) : (HamJL.offsets(network)[1], HamJL.offsets(network)[3])
            w, q = ow+1:ow+count, oq+1:oq+count
            expected[w] = before[w] - 0.01 / network.inertia * expected[q]
            @test y ≈ expected rtol = 1e-13
            @test !(y[w] ≈ before[w] - 0.01 / network.inertia * before[q])
        end
    end

    @testset "the Jacobian, and its solve with the arcs eliminated" begin
        rng = Xoshiro(3)
        for (d, n, density) in ((0, 4, 1.1), (2, 5, 1.1), (2, 6, 0.5)), s in (1.0, -1.0), sign in (1, -1), softmax in (false, true)
            system = random_network(rng, d, n, density; law = HamJL.Law(costate_sign = sign), softmax)
            y = randn(rng, HamJL.dimension(system))
            A = HamJL.ArcMatrix(system)
            HamJL.jacobian!(A, system, y, 0.4, s)
            J = Matrix(A)
            @test J ≈ numerical(y -> rhs(system, y, 0.4, s), y) rtol = 1e-7
            @test Matrix(sparse(A)) ≈ J
            @test opnorm(A, Inf) >= opnorm(J, Inf) * (1 - 1e-12)
            for shift in (0.3, 2.0, 1e3)
                W = copy(A)
                for k in axes(W, 1)
                    W[k, k] = A[k, k] - shift  # as the solvers write it
                end
                @test W.shift == shift
                b = randn(rng, length(y))
                δ = ldiv!(similar(b), HamJL.eliminate!(HamJL.Elimination(W), W), W, b)
                @test (J - shift * I) * δ ≈ b rtol = 1e-9
            end
        end
    end

    @testset "the Jacobian in the wider vocabulary" begin
        rng = Xoshiro(13)
        for (d, n, density) in ((0, 4, 1.1), (2, 6, 0.6)), s in (1.0, -1.0), sign in (1, -1), ties in (:own, :frozen, :tied)
            system = mixed_network(rng, d, n, density; ties, law = HamJL.Law(costate_sign = sign))
            y = randn(rng, HamJL.dimension(system))
            J = numerical(y -> rhs(system, y, 0.4, s), y)
            A = HamJL.jacobian_prototype(system)
            HamJL.jacobian!(A, system, y, 0.4, s)
            @test (A isa Matrix) == (ties === :tied)
            @test Matrix(A) ≈ J rtol = 1e-7
            A isa Matrix && continue
            @test opnorm(A, Inf) >= opnorm(J, Inf) * (1 - 1e-12)
            for shift in (0.3, 2.0, 1e3)
                A.shift = shift
                b = randn(rng, length(y))
                δ = ldiv!(similar(b), HamJL.eliminate!(HamJL.Elimination(A), A), A, b)
                @test Matrix(A) * δ ≈ b rtol = 1e-9  # with the shift
            end
        end
        for dag in (true, false), ties in (:own, :frozen, :tied)
            network = mixed_network(rng, 2, 5, 0.6; ties, dag, rest = true, law = HamJL.Law(costate_sign = -1, limit = true))
            system = HamJL.Limit(network)
            y = HamJL.restrict(system, 0.3 * randn(rng, HamJL.full_dimension(system)))
            J = numerical(y -> rhs(system, y, 0.4, 1.0), y; h = 1e-5)
            A = HamJL.jacobian_prototype(system)
            HamJL.jacobian!(A, system, y, 0.4, 1.0)
            if A isa Matrix
                @test A ≈ J rtol = 1e-5
            else
                A.shift = 0.7
                b = randn(rng, length(y))
                δ = ldiv!(similar(b), HamJL.eliminate!(HamJL.Elimination(A), A), A, b)
                @test (J - 0.7I) * δ ≈ b rtol = 1e-5
            end
        end
    end

    @testset "the Jacobian of the backprop limit" begin
        rng = Xoshiro(4)
        for dag in (true, false)
            network = random_network(rng, 2, 5, 0.6; dag, law = HamJL.Law(costate_sign = -1, limit = true))
            system = HamJL.Limit(network)
            @test (system.order === nothing) == !dag
            y = HamJL.restrict(system, 0.3 * randn(rng, HamJL.full_dimension(system)))
            J = numerical(y -> rhs(system, y, 0.4, 1.0), y; h = 1e-5)
            A = HamJL.jacobian_prototype(system)
            HamJL.jacobian!(A, system, y, 0.4, 1.0)
            A.shift = 0.7
            b = randn(rng, length(y))
            δ = ldiv!(similar(b), HamJL.eliminate!(HamJL.Elimination(A), A), A, b)
            @test (J - 0.7I) * δ ≈ b rtol = 1e-5
        end
    end

    @testset "elimination in loops and by LAPACK" begin
        rng = Xoshiro(11)
        for n in (1, 7, 48, 60)
            matrix, b = randn(rng, n, n), randn(rng, n)
            factors, rows = copy(matrix), zeros(Int, n)
            @test HamJL.factor!(factors, rows)
            @test matrix * HamJL.solve!(factors, rows, copy(b)) ≈ b
            @test matrix' * HamJL.solve_transposed!(factors, rows, copy(b)) ≈ b
            @test HamJL.outer!(similar(matrix), matrix, factors, -2.0) ≈ -2matrix * factors'
            @test !HamJL.factor!(zeros(n, n), rows)
        end
    end

    @testset "the functional G on a mesh: gradient and Hessian" begin
        rng = Xoshiro(12)
        huber = f(("w",), "sqrt(1 + w**2)", "w/sqrt(1 + w**2)", "(1 + w**2)**(-3/2)")
        for (d, n, density) in ((0, 4, 1.1), (2, 5, 0.6), (1, 30, 1.1))
            network = random_network(rng, d, n, density)
            steps, arcs = 6, length(network.arcs)
            h = rand(rng, steps) ./ 3
            measure, theta, drives = rand(rng, 2steps) .+ 0.1, rand(rng, 2steps), randn(rng, 2d * steps)
            t = HamJL.transcription(
                network; regularizer = huber, h, measure, theta, drives, x0 = randn(rng, n), w0 = randn(rng, arcs) / n,
                guess = Float64[],
            )
            pull = randn(rng, n, 2, steps)  # a loss linear in x
            function cost(unknown)
                t.unknown .= unknown
                @test HamJL.forward!(t)
                return sum(t.costs) + dot(pull, t.x)
            end
            function gradient(unknown)
                cost(unknown)
                t.source .= pull
                HamJL.gradient!(t)
                return copy(t.result)
            end
            unknown, direction, e = randn(rng, arcs, 2, steps), randn(rng, arcs, 2, steps), 1e-5
            numerical = (cost(unknown + e * direction) - cost(unknown - e * direction)) / 2e
            @test dot(gradient(unknown), direction) ≈ numerical rtol = 1e-6
            change = (gradient(unknown + e * direction) - gradient(unknown - e * direction)) / 2e
            gradient(unknown)
            t.direction .= direction
            HamJL.tangent!(t)
            t.source .= 0
            HamJL.curvature!(t)
            @test t.result ≈ change rtol = 1e-6
            states = HamJL.node_states(t)
            @test states[1:n+arcs, 1] == [t.x0; t.w0]
            @test all(iszero, states[n+arcs+1:end, end])
        end
    end

    @testset "a sweep over the mesh inverts the Hessian, and finds where it is not positive" begin
        rng = Xoshiro(13)
        huber = f(("w",), "sqrt(1 + w**2)", "w/sqrt(1 + w**2)", "(1 + w**2)**(-3/2)")
        for (d, n, density) in ((0, 3, 1.1), (2, 4, 0.6))
            network = random_network(rng, d, n, density)
            steps, arcs, outputs = 4, length(network.arcs), network.outputs
            t = HamJL.transcription(
                network; regularizer = huber, h = rand(rng, steps) .+ 0.2, measure = rand(rng, 2steps) .+ 0.1,
                theta = rand(rng, 2steps), drives = randn(rng, 2d * steps), x0 = randn(rng, n), w0 = randn(rng, arcs),
                guess = Float64[],
            )
            roots = randn(rng, 2, 2, 2, steps)
            curvature = stack(roots[:, :, q, k]' * roots[:, :, q, k] for q in 1:2, k in 1:steps)
            t.unknown .= randn(rng, arcs, 2, steps)
            @test HamJL.forward!(t)
            t.source .= randn(rng, n, 2, steps)
            HamJL.gradient!(t)
            function product(e)
                t.direction .= reshape(e, arcs, 2, steps)
                HamJL.tangent!(t)
                t.source .= 0
                for k in 1:steps, q in 1:2
                    t.source[outputs, q, k] = curvature[:, :, q, k] * t.dx[outputs, q, k]
                end
                HamJL.curvature!(t)
                return vec(copy(t.result))
            end
            hessian = stack(product, eachcol(Matrix(1.0I, 2arcs * steps, 2arcs * steps)))
            lowest = eigmin(Symmetric(hessian))
            sweep = HamJL.Sweep(t)
            factor(shift) = HamJL.factor!(sweep, t, outputs, vec(curvature), shift, false)
            @test !factor(-lowest - 1e-6)
            @test factor(-lowest + 1e-6)
            @test factor(1 - lowest)
            right = randn(rng, arcs, 2, steps)
            t.direction .= right
            HamJL.solve!(sweep, t)
            @test (hessian + (1 - lowest) * I) * vec(t.result) ≈ vec(right)
        end
    end

    @testset "structured, dense and sparse linear algebra give the same trajectory" begin
        rng = Xoshiro(5)
        system = random_network(rng, 2, 6, 0.6)
        initial = 0.3 * randn(rng, HamJL.dimension(system))
        reference, _, rows, status, _, _ = integrated(system, "Vern9", initial)
        @test status == "success" && rows == 26
        for method in ("Rodas5P", "FBDF", "KenCarp4"), kind in ("structured", "dense", "sparse")
            states, _, _, status, _, _ = integrated(system, method, initial; kind)
            @test status == "success"
            @test states ≈ reference rtol = 1e-6
        end
    end

    @testset "a run taken up in another integrator takes the same steps" begin
        rng = Xoshiro(6)
        cases = Iterators.product(("none", "periodic", "track"), ("Euler", HamJL.METHODS...), (false, true))
        for (flip, method, symbolic) in cases
            law = HamJL.Law(; costate_sign = -1, flip, frequency = 0.7, radius = 1.0, hysteresis = 0.1)
            fresh() = symbolic ? pendulum(law) : small_network(; law)
            initial = 0.5 * randn(Xoshiro(7), HamJL.dimension(fresh()))
            begun() = started(fresh(), method, initial)
            function stretch(run, from, to)
                save = collect(from+50:50:to)
                HamJL.aim!(run, to * 1e-3, save * 1e-3, save)
                while HamJL.advance!(run, 0.01)
                end
                @test run.status == "success"
                return copy(run.recorder.states)
            end
            straight, stopped = begun(), begun()
            for (from, to) in ((0, 350), (350, 1000), (1000, 1050), (1050, 4000))
                @test stretch(straight, from, to) ≈ stretch(stopped, from, to) rtol = 1e-9
                @test HamJL.statistics(straight)["steps"] == HamJL.statistics(stopped)["steps"]
                state = HamJL.export_state(stopped)
                stopped = begun()
                @test HamJL.take_up!(stopped, state...) == ""
                method == "Euler" || @test !stopped.over || straight.over  # the solver took its bytes
            end
        end
    end

    @testset "a forged state is refused" begin
        initial = fill(0.3, HamJL.dimension(small_network()))
        for method in ("Euler", HamJL.METHODS...)
            run = started(small_network(), method, initial)
            HamJL.aim!(run, 1.0, Float64[], Int[])
            while HamJL.advance!(run, 0.01)
            end
            taken(parts...) = HamJL.take_up!(started(small_network(), method, initial), parts...)
            numbers, y, before, guess, bytes = HamJL.export_state(run)
            @test taken(numbers, y, before, guess, bytes) == ""
            for k in eachindex(numbers), value in (NaN, Inf, -7.0, 0.5)
                forged = copy(numbers)
                forged[k] = value
                entered = k == 2 && method != "Euler" && value == 0.5  # as it may be
                @test (taken(forged, y, before, guess, bytes) == "") == entered
            end
            method == "Euler" && continue
            @test taken(numbers, y, before, guess, bytes[1:end-1]) != ""
            @test taken(numbers, y, before, guess, [bytes; 0x00]) != ""
            @test taken(numbers, y, before, guess, UInt8[]) != ""
            for range in (0:8:80, -8:8:72)  # whatever is there: it is refused, or the run ends
                forged = copy(bytes)
                for at in 9 .+ mod.(range, length(bytes) - 17)
                    forged[at:at+7] .= 0xff
                end
                @test taken(numbers, y, before, guess, forged) != ""
            end
        end
        put(name, x, value) = HamJL.number(collect(reinterpret(UInt8, [value])), x, name)
        @test put(:order, 3, 4) == 4
        @test put(:maxiters, 3, 4) == 3  # which no step changes
        for (name, x, value) in ((:order, 1, 6), (:current, 1, 3), (:new_W, true, 0x02), (:nf, 0, -2^60))
            @test_throws HamJL.Mismatch put(name, x, value)
        end
        filled(name, x, values) = HamJL.numbers(IOBuffer(reinterpret(UInt8, [length(values); values])), x, name)
        @test filled(:ipiv, Int[], [2, 2, 3]) == [2, 2, 3]
        @test_throws HamJL.Mismatch filled(:ipiv, Int[], [2, 2, 4])
        @test_throws HamJL.Mismatch filled(:rows, [1, 2], [0, 2])
        @test_throws HamJL.Mismatch filled(:rows, [1, 2], [10^9])
    end

    @testset "stiff: the steps do not grow with the velocity" begin
        steps = map((1e2, 1e4, 1e6)) do c
            system = small_network(;
                source = [1, 2, 3], target = [1, 2, 3], velocity = fill(c, 3), loss_scale = c,
                losses = (HamJL.Separable(f(("y", "z"), "y - z", "1"), [1]),), regularizer = f(("w",), "w", "1"), rate = f(("t",), "0.5"),
            )
            _, _, _, status, _, statistics = integrated(system, "FBDF", fill(0.1, 12); rtol = 1e-6)
            @test status == "success"
            statistics["steps"]
        end
        @test maximum(steps) < 2 * minimum(steps)
    end

    @testset "ends" begin
        cube = f(("a",), "a**3", "3*a**2", "6*a")
        system = small_network(;
            inputs = 0, neurons = 2, source = [1, 2, 1, 2], target = [1, 1, 2, 2], outputs = [1], velocity = ones(2),
            activations = (cube,), kind = ones(Int, 2), loss_scale = 1.0, regularizer_scale = 0.0,
            losses = (HamJL.Separable(f(("y", "z"), "y - z", "1"), [1]),), rate = f(("t",), "0"), signals = [cosine(1)], law = HamJL.Law(),
        )
        for method in ("Euler", "Tsit5", "FBDF", "auto")
            states, _, rows, status, reached, _ =
                integrated(system, method, fill(3.0, 12); step = 0.5, save = collect(0:10), stop = 50.0)
            @test status == "diverged"
            @test all(isfinite, states[:, 1:rows])
            @test reached < 50
        end
    end
end
