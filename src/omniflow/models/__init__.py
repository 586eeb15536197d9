"""The networks: joint transformer, text autoencoder, image and audio front ends."""
