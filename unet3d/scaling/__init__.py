"""Which parallelism, on how many devices, for how long: studies simulated and measured."""
