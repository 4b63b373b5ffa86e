"""Physics of a glass under any ASE calculator: what a potential is judged by (paper, section III)."""
