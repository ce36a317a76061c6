"""Draw simulated number plates and read their five digits."""

__version__ = "0.1.0"
