"""What an agent server keeps beside files, commands and conversations; a file a kind."""
