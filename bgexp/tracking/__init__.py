"""MLflow: store, runs, registry, outbox, votes."""
