"""Pure functions: frames in, frames out. No Dagster, no files, no sockets, no clock, no environment."""
