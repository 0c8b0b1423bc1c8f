# With PythonCall loaded, some of what HamJL compiled ahead is no longer valid (PythonCall adds methods to the solvers'
# packages). Compiled once more here, it is valid where Python is.
module HamJLPythonCallExt

using HamJL: HamJL
using PrecompileTools: @compile_workload
using PythonCall: PythonCall

@compile_workload HamJL.workload()

end
