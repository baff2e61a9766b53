"""The commands of `vpsmon`, one file each."""
