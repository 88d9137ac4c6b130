"""Running what was asked for, once or many times over: directories, jobs, and the record of a sweep."""
