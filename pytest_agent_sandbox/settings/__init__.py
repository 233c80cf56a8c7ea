"""What people can set: every setting once, the kinds of values, and how a setting is called."""
