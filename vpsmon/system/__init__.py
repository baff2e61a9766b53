"""The machine itself: /proc, the kernel log, disks, commands, clocks, the terminal."""
