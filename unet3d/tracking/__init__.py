"""Everything that knows MLflow: its store, the records of runs and sweeps, and a server."""
