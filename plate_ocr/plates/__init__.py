"""What a plate is: its digits, fonts, rendering, datasets and images."""
