"""Stage 5: may a verb run, how is it run, and did it help."""
