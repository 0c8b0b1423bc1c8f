# Formulas that come as text become Julia functions.
#
# The text is carried in a type, and a generated function turns it into code. So equal formulas share one compiled
# function, presets can be precompiled, nothing is evaluated at run time and no world age has to be minded.

"""
    Formula{code}

A function of numbers that returns a tuple of numbers. `code` is the `Symbol` of its Julia text
`"a, b -> r_0 = tanh(a); (r_0, b)"`; build it with [`formula`](@ref).
"""
struct Formula{code} end

"""
    formula(arguments, names, values, results)

The function of `arguments` that assigns `values` to `names` one after another and returns the tuple of `results`.
All are strings; `**` is read as power. Only arithmetic, numbers, the given names and the functions in `FUNCTIONS` are
let through.
"""
function formula(arguments, names, values, results)
    assigned = join(("$name = $value; " for (name, value) in zip(names, values)))
    text = "$(join(arguments, ", ")) -> $assigned($(join(results, ", ")),)"
    code = Symbol(replace(text, "**" => "^"))
    definition(code)  # refuse now what could not be compiled later
    return Formula{code}()
end

# -- functions that give NaN outside their domain, where Julia's throw ---------------------------------------------------
_sqrt(x) = x < 0 ? oftype(x, NaN) : sqrt(x)
_log(x) = x < 0 ? oftype(x, NaN) : log(x)
_sin(x) = isinf(x) ? oftype(x, NaN) : sin(x)
_cos(x) = isinf(x) ? oftype(x, NaN) : cos(x)
_tan(x) = isinf(x) ? oftype(x, NaN) : tan(x)
_asin(x) = abs(x) > 1 ? oftype(x, NaN) : asin(x)
_acos(x) = abs(x) > 1 ? oftype(x, NaN) : acos(x)
_power(x, y) = x < 0 && !isinteger(y) ? oftype(x, NaN) : x^y
_logistic(x) = 1 / (1 + exp(-x))
_softplus(x) = max(x, zero(x)) + log1p(exp(-abs(x)))
_erf(x::Float64) = @ccall Base.Math.libm.erf(x::Float64)::Float64

"""
    fast_tanh(x)

tanh without branches, so that loops over neurons become vector instructions; correct to a few units in the last place.
"""
@inline function fast_tanh(x::Float64)
    a = abs(x)
    a = ifelse(a > 20.0, 20.0, a)  # tanh(20) rounds to 1; a NaN passes
    # e = exp(2a) - 1 = 2^k (exp(r) - 1) + (2^k - 1), |r| <= log(2)/2; the shifter leaves k in the low bits of m
    m = muladd(a, 2.8853900817779268, 6755399441055744.0)
    k = m - 6755399441055744.0
    r = muladd(k, -0.6931471805599453, 2a)
    r = muladd(k, -2.3190468138462996e-17, r)
    # (exp(r) - 1)/r to the twelfth power of r, in pairs (Estrin): a shorter chain than Horner's
    r2 = r * r
    r4 = r2 * r2
    q1 = muladd(r2, muladd(r, 1 / 24, 1 / 6), muladd(r, 1 / 2, 1.0))
    q2 = muladd(r2, muladd(r, 1 / 40320, 1 / 5040), muladd(r, 1 / 720, 1 / 120))
    q3 = muladd(r2, muladd(r, 1 / 479001600, 1 / 39916800), muladd(r, 1 / 3628800, 1 / 362880))
    q = muladd(r4 * r4, muladd(r4, 1 / 6227020800, q3), muladd(r4, q2, q1))
    scale = reinterpret(Float64, (reinterpret(UInt64, m) + 0x00000000000003ff) << 52)
    e = muladd(scale, r * q, scale - 1.0)
    return copysign(e / (e + 2.0), x)
end

const FUNCTIONS = Dict{Symbol,Any}(
    :exp => exp, :log => _log, :sqrt => _sqrt, :sin => _sin, :cos => _cos, :tan => _tan, :asin => _asin, :acos => _acos,
    :atan => atan, :sinh => sinh, :cosh => cosh, :tanh => fast_tanh, :asinh => asinh, :erf => _erf,
    :logistic => _logistic, :softplus => _softplus, :abs => abs, :sign => sign,
)
const OPERATORS = Dict{Symbol,Any}(:+ => +, :- => -, :* => *, :/ => /)

# -- from text to code -----------------------------------------------------------------------------------------------------
refuse(what) = throw(ArgumentError("a formula may hold only numbers, names, + - * / ** and known functions, got $what"))

"The argument names and the checked body of the code of a `Formula`."
function definition(code::Symbol)
    head, body = split(String(code), "->"; limit = 2)
    names = Symbol.(strip.(split(head, ","; keepempty = false)))
    filter!(name -> name !== Symbol(""), names)
    known = Set{Symbol}(names)
    push!(known, :pi)
    tree = Meta.parse("begin $body end")
    lines = Any[]
    for line in tree.args
        line isa LineNumberNode && continue
        if line isa Expr && line.head === :(=)
            push!(lines, Expr(:(=), line.args[1], translate(line.args[2], known)))
            push!(known, line.args[1])
        elseif line isa Expr && line.head === :tuple
            push!(lines, Expr(:tuple, (translate(part, known) for part in line.args)...))
        else
            refuse(line)
        end
    end
    return names, lines
end

translate(x::Real, known) = Float64(x)
translate(x::Symbol, known) = x === :pi ? Float64(pi) : x in known ? x : refuse(x)
translate(x, known) = refuse(x)
function translate(x::Expr, known)
    x.head === :call || refuse(x)
    f, given = x.args[1], x.args[2:end]
    if f === :^ && length(given) == 2
        base, exponent = translate(given[1], known), given[2]
        whole = literal_integer(exponent)
        # small whole powers become products, as in NumPy's squares
        whole !== nothing && abs(whole) <= 64 && return :(Base.literal_pow(^, $base, $(Val(whole))))
        return Expr(:call, _power, base, translate(exponent, known))
    elseif haskey(OPERATORS, f)
        return Expr(:call, OPERATORS[f], (translate(part, known) for part in given)...)
    elseif haskey(FUNCTIONS, f) && length(given) == 1
        return Expr(:call, FUNCTIONS[f], translate(given[1], known))
    end
    return refuse(x)
end

literal_integer(x::Integer) = Int(x)
literal_integer(x) =
    x isa Expr && x.head === :call && length(x.args) == 2 && x.args[1] === :- && x.args[2] isa Integer ?
    -Int(x.args[2]) : nothing

@generated function (::Formula{code})(values::Vararg{Float64,N}) where {code,N}
    names, lines = definition(code)
    unpack = [:($name = values[$k]) for (k, name) in enumerate(names)]
    return Expr(:block, Expr(:meta, :inline), unpack..., lines...)
end

"The regulariser that is not there: V' and V'' are 0."
const NO_REGULARIZER = formula(("w",), (), (), ("0", "0"))
