"""Where connector, store and control meet, without Dagster."""
