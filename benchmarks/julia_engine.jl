# The Newton solve with the arcs eliminated beside dense and sparse linear algebra, and the right-hand side as a fraction of
# the memory bandwidth.
#
#     julia --project=SOME_ENVIRONMENT benchmarks/julia_engine.jl
using LinearAlgebra, Printf, Random, SparseArrays
push!(LOAD_PATH, joinpath(dirname(@__DIR__), "julia", "HamJL"))
using HamJL
using LinearSolve: LinearSolve

f(arguments, results...; names = (), values = ()) = HamJL.formula(arguments, names, values, results)
const TANH = f(("a",), "r_0", "1 - r_1", "-r_0*(2 - 2*r_1)"; names = ("r_0", "r_1"), values = ("tanh(a)", "r_0**2"))

function network(n; c = 1.0, degree = n)
    rng = Xoshiro(0)
    arcs = [(j, i) for i in 1:n for j in (degree == n ? (1:n) : sort!(randperm(rng, n)[1:degree]))]
    cosine = HamJL.Table([0.0], [0.1], [0.5], [0.3], [0.0], Float64[], [1])
    return HamJL.network(
        0, n, first.(arcs), last.(arcs), [1], fill(c, n), (TANH,), ones(Int, n), c, c, 0.01c, false,
        f(("y", "z"), "y - z", "1"), f(("w",), "w", "1"), f(("t",), "1"), [cosine], HamJL.Law(costate_sign = -1),
    )
end

start(rng, system) = (n = system.arcs.neurons; N = length(system.arcs); [zeros(n); randn(rng, N) ./ 2sqrt(n); zeros(n + N)])
best(g, times = 5) = minimum(@elapsed(g()) for _ in 1:times)

println("One Newton matrix factored and solved, milliseconds (sparse: KLU; - where memory forbids)")
@printf("%8s %10s %12s %10s %10s\n", "neurons", "unknowns", "structured", "dense", "sparse")
for n in (10, 30, 100, 300)
    rng, system = Xoshiro(1), network(n; c = 1e4)
    y = start(rng, system)
    A = HamJL.ArcMatrix(system)
    HamJL.jacobian!(A, system, y, 0.0, 1.0)
    A.shift = 1e2
    b, E = randn(rng, length(y)), HamJL.Elimination(A)
    δ = similar(b)
    structured = best(() -> ldiv!(δ, HamJL.eliminate!(E, A), A, b))
    dense = sparsely = NaN
    if n <= 30
        D = Matrix(A)
        dense = best(() -> lu(D) \ b, 2)
        S = sparse(A)
        problem = LinearSolve.LinearProblem(S, b)
        sparsely = best(() -> LinearSolve.solve(problem, LinearSolve.KLUFactorization()), 2)
        @assert norm(D * δ - b) < 1e-6 * norm(b)
    end
    show_(x) = isnan(x) ? "-" : @sprintf("%.3f", 1e3x)
    @printf("%8d %10d %12s %10s %10s\n", n, length(y), show_(structured), show_(dense), show_(sparsely))
end

println("\nLaw (18), c = 1e4, span 1, FBDF at rtol 1e-4 with the arcs eliminated")
@printf("%8s %10s %8s %10s\n", "neurons", "unknowns", "steps", "seconds")
for n in (10, 30, 100)
    system = network(n; c = 1e4)
    y = start(Xoshiro(1), system)
    function solve()
        run = HamJL.start(system, system.law, "FBDF", 0.0, 1e-4, 1e-7, 10^6, y, 0.0, 1.0, [0.0, 1.0], Int[])
        while HamJL.advance!(run, 1.0)
        end
        return run
    end
    run = solve()
    taken = @elapsed solve()
    @printf("%8d %10d %8d %10.3f %s\n", n, length(y), run.steps, taken, run.status)
end

println("\nRight-hand side, n = 1000 and 10⁶ arcs, against copying the same number of bytes")
function copied(bytes)
    from, to = rand(bytes ÷ 16), zeros(bytes ÷ 16)
    return bytes / best(() -> copyto!(to, from), 20)
end
for (name, system) in (("full", network(1000)), ("sparse", network(10_000; degree = 100)))
    N = length(system.arcs)
    y = start(Xoshiro(1), system)
    out = similar(y)
    taken = best(() -> HamJL.rhs!(out, system, y, 0.0, 1.0), 20)
    # w and p_w read, their derivatives written; the sparse one reads its sources too
    bytes = 32N + (name == "full" ? 0 : 4N)
    @printf("%8s %10.2f ms %8.1f GB/s, %3.0f %% of copying\n", name, 1e3taken, 1e-9bytes / taken, 100bytes / taken / copied(bytes))
end
