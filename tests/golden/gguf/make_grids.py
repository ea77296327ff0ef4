"""Prints src/dialects/gguf_grids.inc: the code points of GGUF's IQ1, IQ2 and IQ3 types, read out of the gguf package.

Needs: pip install gguf numpy. Usage: python make_grids.py > ../../../src/dialects/gguf_grids.inc
Every entry is one grid point: digit i (2 bits each for IQ1 and IQ2, 3 bits for IQ3) is the index of coordinate i among the
grid's sorted values.
"""
import gguf.quants as q
import numpy as np

print("// The grids of GGUF's IQ types, part of the format. Made by tests/golden/gguf/make_grids.py.")
print("// Digit i of an entry is the index of coordinate i among the type's values: 2 bits in IQ1 and IQ2, 3 bits in IQ3.")
for name, bits in (("IQ2_XXS", 2), ("IQ2_XS", 2), ("IQ2_S", 2), ("IQ3_XXS", 3), ("IQ3_S", 3), ("IQ1_S", 2)):
    kind = getattr(q, name)
    kind.init_grid()
    grid = kind.grid.reshape(kind.grid_shape)
    values = np.array(sorted(set(kind.grid_map)), dtype=np.float32)
    digits = np.searchsorted(values, grid)
    entries = (digits << (bits * np.arange(grid.shape[1]))).sum(axis=1)
    print(f"NBL_GRID(k{name.title().replace('_', '')}, {len(entries)})")
    for i in range(0, len(entries), 18):
        print(", ".join(str(e) for e in entries[i:i + 18]) + ("," if i + 18 < len(entries) else ""))
    print("NBL_GRID_END")
