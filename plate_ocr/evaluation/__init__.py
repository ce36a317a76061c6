"""How well it reads: metrics, benchmark sets, figures."""
