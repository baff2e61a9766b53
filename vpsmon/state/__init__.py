"""The files of .alerts/: locks, atomic writes, and what happens when the disk refuses."""
