"""Media: sounds and pictures, read from files, brought to a rate, written back."""
