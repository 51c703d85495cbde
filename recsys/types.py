"""Array aliases that every package shares."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int32] | NDArray[np.int64]
FloatArray = NDArray[np.float32] | NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Arrays = dict[str, NDArray[Any]]
JsonObject = dict[str, Any]
