"""n8n: finding it, its API, its executions."""
