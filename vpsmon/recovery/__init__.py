"""Repairs what can be repaired, verifies it, and undoes what was only for the emergency."""
