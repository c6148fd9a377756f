"""What is shown and written: the page, the terminal's table, the files."""
