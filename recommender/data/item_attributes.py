"""What is known of tracks, as codes: names are not learned, only who shares one."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recommender.data.interactions import UNKNOWN


def attribute_codes(texts: pl.Series) -> NDArray[np.int32]:
    """A code from 0 for each text, the same for equal ones, by their order; UNKNOWN for what is blank or null.

    Texts are compared as a whole, without spaces around them: what a list of genres is made of is not ours to guess.
    """
    stripped = texts.cast(pl.String).str.strip_chars()
    known = stripped.set(stripped == "", None)
    return (known.rank("dense").cast(pl.Int32) - 1).fill_null(UNKNOWN).to_numpy()
