"""How the service is run: the command line, the image and the sample feed."""
