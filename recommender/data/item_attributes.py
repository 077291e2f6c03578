"""Item attributes as codes. Models learn which tracks share a value, not the value itself."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recommender.data.interactions import UNKNOWN


def attribute_codes(texts: pl.Series) -> NDArray[np.int32]:
    """Return a code from 0 for each text, in sort order; equal texts share a code. Blank or null texts are UNKNOWN.

    Texts are compared as a whole, without surrounding spaces. A list of genres is not split, because its format is
    unknown.
    """
    stripped = texts.cast(pl.String).str.strip_chars()
    non_blank = stripped.set(stripped == "", None)
    return (non_blank.rank("dense").cast(pl.Int32) - 1).fill_null(UNKNOWN).to_numpy()
