# Formulas that come as text become Julia functions.
#
# The text is carried in a type, and a generated function turns it into code. So equal formulas share one compiled
# function, presets can be precompiled, nothing is evaluated at run time and no world age has to be minded. Operators
# follow their operands in the text, so a few lines read it; Julia's own parser, whose compiled code is thrown away when
# some of the solvers' packages are loaded, would cost the first run seconds.

"""
    Formula{code}

A function of numbers that returns a tuple of numbers. `code` is the `Symbol` of its text, e.g.
`"a b; r_0 = a tanh(); r_0, b"`; build it with [`formula`](@ref).
"""
struct Formula{code} end

"""
    formula(text)

The function that `text` spells: its arguments, then assignments, then the results, of which it returns the tuple.
Operators follow their operands, `"a 2 ** negative b tanh() +"` being -a² + tanh(b). Only the operators
`+ - * / ** negative`, numbers, the names given before and the functions in `FUNCTIONS` are let through.
"""
function formula(text)
    code = Symbol(text)
    definition(code)  # refuse now what could not be compiled later
    return Formula{code}()
end

"The formula that is a number whatever its arguments: data, so that nothing is compiled for another number."
struct Constant
    value::Float64
end

(constant::Constant)(_) = (constant.value,)

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
    e1 = muladd(r2, muladd(r, 1 / 24, 1 / 6), muladd(r, 1 / 2, 1.0))
    e2 = muladd(r2, muladd(r, 1 / 40320, 1 / 5040), muladd(r, 1 / 720, 1 / 120))
    e3 = muladd(r2, muladd(r, 1 / 479001600, 1 / 39916800), muladd(r, 1 / 3628800, 1 / 362880))
    ratio = muladd(r4 * r4, muladd(r4, 1 / 6227020800, e3), muladd(r4, e2, e1))
    scale = reinterpret(Float64, (reinterpret(UInt64, m) + 0x00000000000003ff) << 52)
    e = muladd(scale, r * ratio, scale - 1.0)
    return copysign(e / (e + 2.0), x)
end

const FUNCTIONS = Dict{Symbol,Any}(
    :exp => exp, :log => _log, :sqrt => _sqrt, :sin => _sin, :cos => _cos, :tan => _tan, :asin => _asin, :acos => _acos,
    :atan => atan, :sinh => sinh, :cosh => cosh, :tanh => fast_tanh, :asinh => asinh, :erf => _erf,
    :logistic => _logistic, :softplus => _softplus, :abs => abs, :sign => sign,
)
const OPERATORS = Dict{String,Any}("+" => +, "-" => -, "*" => *, "/" => /)

# -- from text to code -----------------------------------------------------------------------------------------------------
refuse(what) = throw(ArgumentError("a formula may hold only numbers, names, + - * / ** and known functions, got $what"))

"The argument names and the checked body of the code of a `Formula`."
function definition(code::Symbol)
    head, middle..., last = split(String(code), "; ")
    names = Symbol.(split(head))
    known = Set{Symbol}(names)
    lines = Expr[]
    for line in middle
        occursin(" = ", line) || refuse(line)
        name, value = split(line, " = ")
        push!(lines, Expr(:(=), Symbol(name), expression(value, known)))
        push!(known, Symbol(name))
    end
    push!(lines, Expr(:tuple, (expression(part, known) for part in split(last, ", "))...))
    return names, lines
end

"The Julia expression of a text in which operators follow their operands."
function expression(text, known)
    stack = Any[]
    operand() = isempty(stack) ? refuse(text) : pop!(stack)
    for token in split(text)
        if haskey(OPERATORS, token)
            right = number(operand())
            push!(stack, Expr(:call, OPERATORS[token], number(operand()), right))
        elseif token == "**"
            exponent = operand()
            push!(stack, power(number(operand()), exponent))
        elseif token == "negative"
            push!(stack, Expr(:call, -, number(operand())))
        elseif endswith(token, "()")
            name = Symbol(chop(token; tail = 2))
            haskey(FUNCTIONS, name) || refuse(token)
            push!(stack, Expr(:call, FUNCTIONS[name], number(operand())))
        else
            push!(stack, leaf(token, known))
        end
    end
    length(stack) == 1 || refuse(text)
    return number(only(stack))
end

function leaf(token, known)
    Symbol(token) in known && return Symbol(token)
    token == "pi" && return Float64(pi)
    value = tryparse(Int, token)
    value === nothing && (value = tryparse(Float64, token))
    return value === nothing ? refuse(token) : value
end

number(x) = x
number(x::Int) = Float64(x)

# small whole powers become products, as in NumPy's squares
power(base, exponent) = Expr(:call, _power, base, exponent)
power(base, exponent::Int) =
    abs(exponent) <= 64 ? :(Base.literal_pow(^, $base, $(Val(exponent)))) : power(base, Float64(exponent))

@generated function (::Formula{code})(values::Vararg{Float64,N}) where {code,N}
    names, lines = definition(code)
    unpack = [:($name = values[$k]) for (k, name) in enumerate(names)]
    return Expr(:block, Expr(:meta, :inline), unpack..., lines...)
end

"The regulariser that is not there: V' and V'' are 0."
const NO_REGULARIZER = formula("w; 0, 0")
