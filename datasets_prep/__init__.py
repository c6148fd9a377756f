"""From raw conversations to clean, private, leak-free chat data that is proven trainable."""
