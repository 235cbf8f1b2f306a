"""Settings: the schema, the rules across settings, and how they are composed."""
