"""Pages for people, and texts for those who read for them: the first page, and /llms.txt."""
