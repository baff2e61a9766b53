"""The keys of monitor.conf, and reading them."""
