"""The world of scenes: which there are, and each of them in words, as a picture and as a sound."""
