"""Many explainers on the same images: cells that are computed once, tables and figures of them."""
