"""Stage 3: what a service and its host use, read from the kernel."""
