"""Checks of the kernel's own files: a few milliseconds together, no network, run inside the resident monitor."""
