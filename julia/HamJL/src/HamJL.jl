"""
HamJL integrates learning problems as Hamiltonian systems. It is the Julia engine of the Python package hamjl, of which it
mirrors the concepts by the same names; a problem reaches it as plain numbers, arrays and text.
"""
module HamJL

using LinearAlgebra
using SparseArrays
using ADTypes: AutoFiniteDiff
using LinearSolve: LinearSolve
using OrdinaryDiffEqBDF: FBDF
using OrdinaryDiffEqRosenbrock: Rodas5P
using OrdinaryDiffEqSDIRK: KenCarp4
using OrdinaryDiffEqTsit5: AutoTsit5, Tsit5
using OrdinaryDiffEqVerner: AutoVern7, Vern7, Vern9
using PrecompileTools: @compile_workload
using SciMLBase: SciMLBase, ODEFunction, ODEProblem, ReturnCode, init, reinit!, step!
using SciMLLogging: SciMLLogging

include("formulas.jl")
include("piecewise.jl")
include("arcs.jl")
include("weights.jl")
include("loss.jl")
include("network.jl")
include("symbolic.jl")
include("elimination.jl")
include("structured.jl")
include("limit.jl")
include("transcription.jl")
include("sweep.jl")
include("recorder.jl")
include("euler.jl")
include("adaptive.jl")
include("state.jl")
include("bridge.jl")
include("precompile.jl")

end
