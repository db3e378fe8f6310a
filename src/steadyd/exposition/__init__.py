"""What is known, shown: metrics, JSON, a page, and the doors through which they are served."""
