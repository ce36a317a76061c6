"""What keeps notebooks, figures and tables in step with results/."""
