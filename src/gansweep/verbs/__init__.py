"""The verbs but train, by what they are for. Cheap to import: what a verb needs is imported when it is asked for."""
