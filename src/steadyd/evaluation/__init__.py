"""Stage 4: reading and rule in, decision out. Pure."""
