"""The HTTP service: routes, authentication and the shape of answers."""
