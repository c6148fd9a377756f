"""Whole talks with simulated people: does the tuned model hold up as long as its base does?"""
