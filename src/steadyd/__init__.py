"""Keep a host's services in a steady state by making the init system do its job."""

__version__ = "0.1.0"
