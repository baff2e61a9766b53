"""What `vpsmon install` puts on a machine, and `vpsmon uninstall` takes away again."""
