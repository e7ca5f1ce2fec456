"""What trained networks achieve on cases they never saw, with how far the figures can be trusted."""
