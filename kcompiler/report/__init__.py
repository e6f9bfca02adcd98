"""What users read: the summary, the JSON object, the table of nodes, a chip's facts."""
