"""Stage 6: notification in, told person out."""
