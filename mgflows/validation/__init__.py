"""Properties of a glass under any ASE calculator; one property per module."""
