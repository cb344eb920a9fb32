"""The arrays that everything here works on.

On a GPU they are CuPy's, which have the same interface; type checkers see NumPy's.
"""

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
