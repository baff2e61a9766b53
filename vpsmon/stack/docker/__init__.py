"""Containers: the engine, control groups, and what is known where the engine is silent."""
