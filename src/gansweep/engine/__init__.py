"""The engine: does what phases say, when the timetable says so. Knows the vocabulary, never a concrete system."""
