"""Talk to a run: base, tuned, or both on the same question, in a web page or in the terminal."""
