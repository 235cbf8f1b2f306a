"""Where trials come from: a grid, an adaptive search, each repeated, or a race."""
