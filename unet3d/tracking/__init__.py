"""All that knows MLflow: its store, a run's record, a sweep's record, a server of one's own."""
