"""Public data sets as they are distributed: one small file per layout, listed in `registry`."""
