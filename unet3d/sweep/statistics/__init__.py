"""Statistics of configurations: estimates, paired comparisons, races; functions over arrays."""
