"""What everything stands on: errors, files, recipes as read from disk."""
