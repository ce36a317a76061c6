"""What reads a plate, in Keras: find the digits, crop them, CRNN."""
