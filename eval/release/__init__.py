"""From a finished run to something others can use: card, merge, publish, serve, export."""
