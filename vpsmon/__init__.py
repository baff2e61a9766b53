"""vpsmon: watches a small Docker Compose server, says what is wrong, and repairs what it safely can."""

# A plain constant, because importlib.metadata costs more CPU (60 ms) than a whole pass.
__version__ = "0.1.0"
