"""PURE: rules against recorded history, on the engine that runs live, in virtual time."""
