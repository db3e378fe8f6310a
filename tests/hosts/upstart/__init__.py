"""A stand-in for Upstart as PID 1, held to recordings of the real one."""
