"""What Prometheus gets: metrics, and the files that `vpsmon export` prints."""
