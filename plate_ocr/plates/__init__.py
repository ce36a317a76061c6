"""What a plate is: its digits, fonts, drawing, folders and images."""
