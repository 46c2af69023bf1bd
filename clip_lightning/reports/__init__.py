"""Pages and pictures of results. No torch."""
