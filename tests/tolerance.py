"""What a value or a gradient may be off, by dtype and in units of its condition scale."""

# The 16-bit ones are one eps, room for rounding the result: a sum of 4096 terms that was itself
# taken in 16 bits misses it many times over.
TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "bfloat16": 2**-7, "float16": 2**-10}
