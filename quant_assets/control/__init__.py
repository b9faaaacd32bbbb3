"""What every long job needs and no job owns: locks, the audit log, status files, progress."""
