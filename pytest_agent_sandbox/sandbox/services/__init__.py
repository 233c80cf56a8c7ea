"""Services: containers beside a sandbox, such as a database, that its agent works with."""
