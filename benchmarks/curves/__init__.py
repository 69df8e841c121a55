"""What each network has learned after so many CPU seconds, on the same ids: ours and those of others."""
