# The loss of the outputs: sums of formulas, and softmax. Nothing where there is no target.

"A formula (∂L/∂y, ∂²L/∂y²) in y and z, summed over some columns of the outputs."
struct Separable{F}
    formula::F
    columns::Vector{Int}
end

"The cross-entropy -Σ q z log softmax(y) of some columns of the outputs: of all at once, or of none."
struct Softmax
    columns::Vector{Int}
end

"""
    Losses(terms, outputs, inputs, weighted)

The terms of the loss. Targets follow the inputs in the drive, and the weights q of the outputs follow these where there
are any (`weighted`).
"""
struct Losses{T<:Tuple}
    terms::T
    outputs::Vector{Int}
    targets::Int  # the place before the first in the drive
    weights::Int  # 0 for none
end

Losses(terms, outputs, inputs, weighted) =
    Losses(Tuple(terms), outputs, inputs, weighted ? inputs + length(outputs) : 0)

"The weight of an output's loss, 0 where nothing is asked."
@inline function weight(losses::Losses, drive, k)
    losses.weights == 0 && return 1.0
    q = @inbounds drive[losses.weights+k]
    return isnan(q) ? 0.0 : q
end

"Write ∂L/∂y to `out`, 0 where there is no target."
@inline gradient!(out, losses::Losses, drive, y) = each_term!(gradient!, out, losses.terms, losses, drive, y)
"Write ∂²L/∂y² to `out` (output, output)."
hessian!(out, losses::Losses, drive, y) = each_term!(hessian!, fill!(out, 0.0), losses.terms, losses, drive, y)

@inline each_term!(f, out, ::Tuple{}, losses, drive, y) = nothing
@inline function each_term!(f::F, out, terms::Tuple, losses, drive, y) where {F}
    f(out, first(terms), losses, drive, y)
    return each_term!(f, out, Base.tail(terms), losses, drive, y)
end

@inline function gradient!(out, term::Separable, losses::Losses, drive, y)
    (; outputs, targets, weights) = losses
    if weights == 0
        @inbounds for k in term.columns
            z = drive[targets+k]
            slope, _ = term.formula(y[outputs[k]], z)
            out[k] = isnan(z) ? 0.0 : slope
        end
        return nothing
    end
    @inbounds for k in term.columns
        z, q = drive[targets+k], weight(losses, drive, k)
        slope, _ = term.formula(y[outputs[k]], z)
        out[k] = isnan(z) | iszero(q) ? 0.0 : q * slope
    end
    return nothing
end

function hessian!(out, term::Separable, losses::Losses, drive, y)
    for k in term.columns
        z, q = drive[losses.targets+k], weight(losses, drive, k)
        out[k, k] = isnan(z) | iszero(q) ? 0.0 : q * last(term.formula(y[losses.outputs[k]], z))
    end
    return nothing
end

function gradient!(out, term::Softmax, losses::Losses, drive, y)
    norm, total = softmax!(out, term, losses, drive, y)
    for k in term.columns
        out[k] = total == 0 ? 0.0 : total * out[k] / norm - weight(losses, drive, k) * drive[losses.targets+k]
    end
    return nothing
end

function hessian!(out, term::Softmax, losses::Losses, drive, y)
    share = zeros(length(losses.outputs))
    norm, total = softmax!(share, term, losses, drive, y)
    total == 0 && return nothing
    share ./= norm
    for k in term.columns, l in term.columns
        out[k, l] = total * (k == l ? share[k] - share[k]^2 : -share[k] * share[l])
    end
    return nothing
end

"Put exp(y) into `out`, times a number; return their sum and Σ q z, which is 0 where there is no target."
function softmax!(out, term::Softmax, losses::Losses, drive, y)
    top = maximum(k -> y[losses.outputs[k]], term.columns; init = -Inf)
    norm, total = 0.0, 0.0
    for k in term.columns
        out[k] = exp(y[losses.outputs[k]] - top)
        norm += out[k]
        total += weight(losses, drive, k) * drive[losses.targets+k]
    end
    return norm, any(k -> isnan(drive[losses.targets+k]), term.columns) ? 0.0 : total
end
