# Gaussian elimination with partial pivoting in plain loops: faster than LAPACK for the small matrices of small networks;
# LAPACK for the large ones.

const LOOPS = 48  # rows up to which loops win

"Factor a square matrix in place, and write the rows that were swapped to `pivots`. False where it is singular."
function factor!(a::AbstractMatrix, pivots::AbstractVector{Int})
    n = size(a, 1)
    if n > LOOPS
        _, swapped, info = LAPACK.getrf!(a)
        copyto!(pivots, swapped)
        return info == 0
    end
    @inbounds for k in 1:n
        best, top = k, abs(a[k, k])
        for i in k+1:n
            size_i = abs(a[i, k])
            best, top = ifelse(size_i > top, i, best), ifelse(size_i > top, size_i, top)
        end
        pivots[k] = best
        (top > 0.0) & isfinite(top) || return false
        if best != k
            for j in 1:n
                a[k, j], a[best, j] = a[best, j], a[k, j]
            end
        end
        inverse = 1.0 / a[k, k]
        @simd ivdep for i in k+1:n
            a[i, k] *= inverse
        end
        for j in k+1:n
            factor = a[k, j]
            @simd ivdep for i in k+1:n
                a[i, j] -= a[i, k] * factor
            end
        end
    end
    return true
end

"Solve with the factors of `factor!`, in place."
function solve!(a::AbstractMatrix, pivots::AbstractVector{Int}, b::AbstractVector)
    n = length(b)
    n > LOOPS && return LAPACK.getrs!('N', a, pivots, b)
    @inbounds for k in 1:n
        swap = pivots[k]
        b[k], b[swap] = b[swap], b[k]
    end
    @inbounds for k in 1:n
        value = b[k]
        @simd ivdep for i in k+1:n
            b[i] -= a[i, k] * value
        end
    end
    @inbounds for k in n:-1:1
        value = b[k] / a[k, k]
        b[k] = value
        @simd ivdep for i in 1:k-1
            b[i] -= a[i, k] * value
        end
    end
    return b
end

"Solve with the transpose."
function solve_transposed!(a::AbstractMatrix, pivots::AbstractVector{Int}, b::AbstractVector)
    n = length(b)
    n > LOOPS && return LAPACK.getrs!('T', a, pivots, b)
    @inbounds for k in 1:n
        total = b[k]
        @simd for i in 1:k-1
            total -= a[i, k] * b[i]
        end
        b[k] = total / a[k, k]
    end
    @inbounds for k in n:-1:1
        total = b[k]
        @simd for i in k+1:n
            total -= a[i, k] * b[i]
        end
        b[k] = total
    end
    @inbounds for k in n:-1:1
        swap = pivots[k]
        b[k], b[swap] = b[swap], b[k]
    end
    return b
end

"C = α A Bᵀ of square matrices."
function outer!(C, A, B, α)
    n = size(A, 1)
    2n > LOOPS && return mul!(C, A, transpose(B), α, 0.0)
    @inbounds for j in 1:n
        @simd ivdep for i in 1:n
            C[i, j] = 0.0
        end
        for k in 1:n
            factor = α * B[j, k]
            @simd ivdep for i in 1:n
                C[i, j] += A[i, k] * factor
            end
        end
    end
    return C
end
