"""What every service shares: problems, request ids, health, settings. No service imports another service."""
