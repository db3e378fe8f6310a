"""From other tools' configuration to ours: texts in, texts out, and a list of what was left."""
