"""The resident monitor: what stays in memory between two passes."""
